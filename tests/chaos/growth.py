"""Whether the processes of a farm take more and more while they live."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import linear_regression
from typing import NamedTuple

from farm.store.sqlite_snapshot import DATABASE
from tests.chaos.world import World, elapse
from tests.checker.findings import Finding

LOOK_EVERY_S = 10.0
WARM_S = 300.0  # before it a process may still grow, and in the first quarter of its life
SAMPLES_MIN = 12
JUDGED_H = 1.0  # a shorter life says little about megabytes an hour
GROWTH_MB_PER_H_MAX = 1.0
DESCRIPTORS_MORE_MAX = 16
WAL_BYTES_MAX = 256 * 2**20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Sample(NamedTuple):
    at_s: float
    memory_mb: float
    descriptors: int


class Growth:
    """What every process takes, by its name and number in this life, and the size of the log."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lives: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
        self._wal_bytes_max = 0

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._measure())
        try:
            yield
        finally:
            task.cancel()

    async def _measure(self) -> None:
        while True:
            self._look()
            await elapse(LOOK_EVERY_S)

    def _look(self) -> None:
        for name, pid in self._world.processes().items():
            with contextlib.suppress(OSError):  # it is just ending
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                open_files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
                sample = Sample(time.monotonic(), pages * PAGE_BYTES / 2**20, open_files)
                self._lives[name, pid].append(sample)
        log = self._world.hark.data_dir / f"{DATABASE}-wal"
        with contextlib.suppress(OSError):
            self._wal_bytes_max = max(self._wal_bytes_max, log.stat().st_size)

    def findings(self) -> list[Finding]:
        """Prints a line for each life that says something, and returns what grew."""
        found = []
        print(f"write-ahead log: at most {self._wal_bytes_max / 2**20:.0f} MB")
        if self._wal_bytes_max > WAL_BYTES_MAX:
            found.append(Finding("nothing grows", f"the log had {self._wal_bytes_max} bytes"))
        for (name, pid), samples in sorted(self._lives.items()):
            lived_s = samples[-1].at_s - samples[0].at_s
            warm_s = samples[0].at_s + max(WARM_S, lived_s / 4)
            warm = [sample for sample in samples if sample.at_s >= warm_s]
            if len(warm) >= SAMPLES_MIN:
                what, grew = told(warm)
                print(f"{name} ({pid}): {what}")
                if grew:
                    found.append(Finding("nothing grows", f"{name} ({pid}): {what}"))
        return found


def told(samples: Sequence[Sample]) -> tuple[str, bool]:
    """How a life went, and whether it took more and more."""
    hours = [sample.at_s / 3_600 for sample in samples]
    lived = hours[-1] - hours[0]
    slope, _ = linear_regression(hours, [sample.memory_mb for sample in samples])
    half = len(samples) // 2
    early, late = (max(s.descriptors for s in some) for some in (samples[:half], samples[half:]))
    what = (
        f"{samples[0].memory_mb:.1f} to {samples[-1].memory_mb:.1f} MB, {slope:+.2f} MB/h over "
        f"{lived:.2f} h, {early} and {late} descriptors"
    )
    grew = slope > GROWTH_MB_PER_H_MAX and lived >= JUDGED_H
    return what, grew or late - early > DESCRIPTORS_MORE_MAX
