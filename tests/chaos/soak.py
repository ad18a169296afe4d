"""`make soak HOURS=24`: a farm that runs for long under a light load, with a fault a minute.

The run is a row of chapters, each with people of its own. At the end of each the farm is left alone
until nothing waits; the chapter's history is judged, and forgotten. Meanwhile memory, descriptors
and files are measured: what lives for long must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from tests.chaos.crowd import Cast, Crowd, Place
from tests.chaos.growth import Growth
from tests.chaos.nemesis import Mix, Nemesis
from tests.chaos.receivers import Receivers
from tests.chaos.run import Scene, live, settle
from tests.chaos.world import RULES, World, elapse
from tests.checker import dump
from tests.checker.findings import Finding
from tests.checker.history import Recorder
from tests.checker.verdict import judge

CHAPTER_S = 300.0
LEISURE = 3.0  # about a third of what the crowd does elsewhere
FAULT_EVERY_S = (50.0, 70.0)
# The supervisor and the store live on, so that one can see whether they grow.
MIX: Mix = {
    "kill a worker": 3, "kill a reader": 2, "kill a gateway": 2, "kill a web": 2,
    "pause a worker": 2, "pause the store": 2, "pause the supervisor": 1, "cut": 2, "hold": 2,
}  # fmt: skip


def main() -> int:
    """0: valid, 1: invalid."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--chapter-s", type=float, default=CHAPTER_S)
    parser.add_argument("--seed", type=int)
    asked = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="hark-soak-"))
    found = asyncio.run(soak(directory, seed, asked.hours * 3_600, asked.chapter_s))
    if found:
        print(*found, f"invalid; the log and the data are in {directory}", sep="\n")
        return 1
    shutil.rmtree(directory)
    print("valid")
    return 0


async def soak(directory: Path, seed: int, duration_s: float, chapter_s: float) -> list[Finding]:
    """Ends with the first chapter that is not valid."""
    world = World(directory)
    growth = Growth(world)
    end_s = time.monotonic() + duration_s
    findings: list[Finding] = []
    after = 0
    async with world.running(), growth.measured():
        with tqdm(total=duration_s, unit="s", disable=None) as bar:
            for number in itertools.count(1):
                begin_s = time.monotonic()
                found, after = await _chapter(world, f"c{number}-", seed, chapter_s, after)
                findings += found
                bar.update(time.monotonic() - begin_s)
                if findings or time.monotonic() > end_s:
                    break
        if status := await asyncio.to_thread(world.hark.stop):
            findings.append(Finding("it ends as it should", f"with exit status {status}"))
    return findings + growth.findings()


async def _chapter(
    world: World, prefix: str, seed: int, chapter_s: float, after: int
) -> tuple[list[Finding], int]:
    """What is wrong with it, and the newest post's seq."""
    os.truncate(world.hark.log_path, 0)  # nobody writes while nothing waits
    history = Recorder(time.monotonic)
    receivers = Receivers(world.hark.log_path, history)
    chance = random.Random(f"{seed} {prefix}")
    nemesis = Nemesis(world, history, receivers, chance, FAULT_EVERY_S)
    crowd = Crowd(Place(world, history, chance.getrandbits(32), Cast(prefix), LEISURE))

    async def happens(_: Scene) -> None:
        over = asyncio.Event()
        faults = asyncio.create_task(nemesis.run(MIX, over))
        await elapse(chapter_s)
        over.set()
        await faults

    async with receivers.reading():
        try:
            await crowd.begin()
            await live(Scene(world, history, receivers, crowd, nemesis), happens)
            findings = await settle(world, crowd, history)
        finally:
            await crowd.close()
    found = dump.read(world.hark.data_dir, after)
    verdict = judge(history.events, found, RULES._replace(whole=False), ())
    print(f"{prefix.strip('-')}:\n{verdict}", flush=True)
    return findings + verdict.findings, max((post.seq for post in found.posts), default=after)


if __name__ == "__main__":
    sys.exit(main())
