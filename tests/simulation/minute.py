"""One simulated minute: a farm, people who use it, and what goes wrong, all from one seed."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_snapshot import DATABASE
from tests.checker import dump
from tests.checker.deliveries import Rules
from tests.checker.findings import Finding
from tests.checker.history import Event, Recorder
from tests.checker.verdict import Verdict, judge
from tests.power.files import Machine
from tests.simulation.farm import RULES, START_US, Farm, MachineClock
from tests.simulation.faults import Nemesis
from tests.simulation.load import Load
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network, Weather
from tests.simulation.receiver import Receiver
from tests.simulation.sometimes import SOMETIMES

MINUTE_S = 60.0
PATIENCE_S = 150.0  # by then all must be at its end
CALM_FROM_S = 35.0  # from here on nothing new goes wrong, so that all can be brought to its end


class Minute(NamedTuple):
    """`trace`: a digest of the history, which is the same for the same seed. `seen`: which of the
    things that a run must meet it met."""

    seed: int
    verdict: Verdict
    trace: str
    seen: frozenset[str]
    events: list[Event]


def simulate(seed: int, place: Path) -> Minute:
    """Runs it in a new directory below `place`, which is gone afterwards."""
    run = _Run(seed, place / f"seed-{seed}")
    try:
        return run.result()
    finally:
        shutil.rmtree(place / f"seed-{seed}", ignore_errors=True)


class _Run:
    def __init__(self, seed: int, place: Path) -> None:
        self._seed = seed
        self._place = place
        chance = random.Random(seed)
        self._loop = VirtualLoop()
        self._bugs: list[Finding] = []
        self._loop.set_exception_handler(self._hear)
        self._history = Recorder(self._loop.time)
        self._network = Network(self._loop, random.Random(chance.random()), Weather())
        self._machine = Machine(place, new_database(), chance=random.Random(seed))
        receiver = Receiver(self._history, random.Random(chance.random()), MachineClock(self._loop))
        self._load = Load(self._history, random.Random(chance.random()), ends_s=CALM_FROM_S + 5)
        self._farm = Farm(
            self._loop, self._network, self._machine, self._history,
            random.Random(chance.random()), receiver, self._load.run,
        )  # fmt: skip
        self._weather = _weather(chance)
        self._nemesis = Nemesis(
            self._farm, self._network, self._history, random.Random(chance.random())
        )

    def result(self) -> Minute:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._live())
        self._farm.close()
        self._machine.before = lambda deed: None
        self._machine.kill()
        found = dump.read(self._machine.directory)
        rules = Rules(
            RULES.terms.max_attempts,
            RULES.terms.backoff,
            early_s=None if self._nemesis.jumps else 0.0,
        )
        verdict = judge(self._history.events, found, rules, SOMETIMES)
        verdict.findings.extend(self._bugs)
        verdict.findings.extend(
            Finding("nobody ends by itself", f"{died.process} at {died.at_s:.3f} s: {died.why!r}")
            for died in self._farm.died
        )
        if self._load.unanswered:
            what = f"{self._load.unanswered} posts have no answer, though all is well again"
            verdict.findings.append(Finding("nothing is stuck", what))
        for name in ("carried", "lost", "doubled"):
            verdict.figures[f"messages {name}"] = getattr(self._network, name)
        self._loop.reap()
        self._loop.close()
        trace = hashlib.blake2b(repr(self._history.events).encode(), digest_size=8).hexdigest()
        seen = {one.name for one in SOMETIMES} - {*verdict.missing}
        return Minute(self._seed, verdict, trace, frozenset(seen), self._history.events)

    async def _live(self) -> None:
        tasks = [asyncio.create_task(run) for run in (self._farm.run(), self._trouble())]
        await asyncio.sleep(MINUTE_S)
        while not self._is_over() and self._loop.time() < PATIENCE_S:  # noqa: ASYNC110
            await asyncio.sleep(1.0)  # of virtual time
        del tasks

    def _is_over(self) -> bool:
        return not self._load.unanswered and not self._farm.backlog

    async def _trouble(self) -> None:
        await asyncio.sleep(1.0)
        self._network.weather = self._weather
        await self._nemesis.run(CALM_FROM_S)
        self._network.weather = Weather()

    def _hear(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Of tasks of dead processes that will never end, and of bugs."""
        if "exception" in context:
            self._bugs.append(Finding("nothing raises", repr(context["exception"])))


def _weather(chance: random.Random) -> Weather:
    return Weather(
        late_s=chance.choice([0.0005, 0.005, 0.05]),
        very_late=chance.choice([0.0, 0.0, 0.001]),
        lost=chance.choice([0.0, 0.0, 0.01, 0.05]),
        doubled=chance.choice([0.0, 0.0, 0.01, 0.1]),
    )


@cache
def new_database() -> Mapping[str, bytes]:
    """The files of an empty store, made once."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        place = Path(name)
        SqliteStorage.create_or_open(place, chance=random.Random(7), now_us=START_US).close()
        return {DATABASE: (place / DATABASE).read_bytes()}
