"""One port fuzzed in pieces, with what is known looked at before, during and after."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.farm_process import wait_until
from tests.fuzz.place import Place
from tests.fuzz.tally import Cost, Tally, Watch

PIECES = 10
# Caches of the store and its readers fill up with whatever is asked; beyond them nothing may grow.
GROWTH_BYTES_MAX = 96 * 1024 * 1024
DESCRIPTORS_MORE_MAX = 4
SETTLES_S = 20.0

Fuzz = Callable[[Place, Tally, int, random.Random], None]


@dataclass(slots=True)
class Result:
    tally: Tally
    seconds: float
    dead: list[str]
    growth: dict[str, Cost]

    @property
    def wrong(self) -> list[str]:
        found = list(self.tally.wrong)
        if self.tally.wrongs > len(found):
            found.append(f"{self.tally.port}: and {self.tally.wrongs - len(found)} more")
        return found

    def __str__(self) -> str:
        """A row of the table."""
        grown = [
            f"{title.removeprefix('hark: ')} {cost.memory_bytes / 2**20:+.0f} MiB "
            f"{cost.descriptors:+d} fd"
            for title, cost in self.growth.items()
            if cost.memory_bytes > 2**20 or cost.descriptors
        ]
        return (
            f"| {self.tally.port} | {self.tally.inputs:,} | {self.tally.summary} "
            f"| {len(self.dead)} | {', '.join(grown) or 'none'} | {self.tally.wrongs} "
            f"| {self.seconds:.0f} |"
        )


def fuzz_port(
    place: Place,
    name: str,
    fuzz: Fuzz,
    count: int,
    seed: int,
    done: Callable[[int], object] = lambda count: None,
    *,
    pieces: int = PIECES,
) -> Result:
    """`done` is told of inputs. What is known is looked at after the first, middle and last."""
    # By name, so that a port gets the same inputs alone as among others.
    chance = random.Random(f"{seed} {name}")
    tally, begun_s = Tally(name), time.monotonic()
    watch = Watch(place.processes)
    for piece in range(pieces):
        before = tally.inputs
        fuzz(place, tally, max(count // pieces, 1), chance)
        done(tally.inputs - before)
        if piece in {0, pieces // 2, pieces - 1}:
            for what in place.wrong():
                tally.blame(what)
        if piece == 0:
            watch.settle()
    result = Result(tally, time.monotonic() - begun_s, watch.dead(), {})
    _judge(result, watch)
    return result


def _judge(result: Result, watch: Watch) -> None:
    for title in result.dead:
        result.tally.blame(f"{title} died")
    try:
        wait_until(lambda: not _too_many(watch), SETTLES_S)
    except AssertionError:
        result.tally.blame(f"keeps descriptors: {_too_many(watch)}")
    result.growth = watch.growth()
    for title, cost in result.growth.items():
        if cost.memory_bytes > GROWTH_BYTES_MAX:
            result.tally.blame(f"{title} grew by {cost.memory_bytes >> 20} MiB")


def _too_many(watch: Watch) -> dict[str, int]:
    return {
        title: cost.descriptors
        for title, cost in watch.growth().items()
        if cost.descriptors > DESCRIPTORS_MORE_MAX
    }
