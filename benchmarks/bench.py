"""What a row is handed: how much to do, where, and the farms to do it with."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import crowd, million
from benchmarks.drivers import Drivers
from benchmarks.load import Load

LONG_ROUND_S = 2.0
DRIVER_BUSY_CORES = 0.9
NO_DELIVERY = (
    "--workers", "1", "--worker-concurrency", "1", "--simulated-latency-ms", "60000-60000",
)  # fmt: skip
AT_ONCE = ("--simulated-latency-ms", "0-0", "--simulated-failure-rate", "0")
NOTHING_SENT = ("--channel", "inbox", "--workers", "1")


class Bench:
    """One run of the benchmark."""

    def __init__(self, directory: Path, *, rounds: int, round_s: float, graph: Path | None) -> None:
        self.rounds = rounds
        self.round_s = round_s
        self.quick = round_s < LONG_ROUND_S
        self.graph = graph
        self.driver = Drivers(1)
        self._directory = directory
        self._names = itertools.count(1)
        self._crowd: Path | None = None
        self._million: million.Million | None = None

    def close(self) -> None:
        self.driver.close()

    def tell(self, text: str) -> None:
        """Progress, for whoever waits."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def scratch(self) -> Path:
        """A path where nothing is yet."""
        return self._directory / f"scratch-{next(self._names)}"

    @contextmanager
    def data_dir(self, *, of_crowd: bool = True) -> Iterator[Path]:
        """A data directory for one farm: an empty one, or a copy of the crowd's."""
        with self.copy_of(self._made_crowd() if of_crowd else None) as target:
            yield target

    @contextmanager
    def copy_of(self, source: Path | None) -> Iterator[Path]:
        """A data directory for one farm, gone at the end."""
        target = self.scratch()
        if source is None:
            target.mkdir()
        else:
            shutil.copytree(source, target)
        try:
            yield target
        finally:
            shutil.rmtree(target)

    def million(self) -> million.Million:
        """The farm of a million posts, of which rows use copies, unless they only read."""
        if self._million is None:
            started_s = time.perf_counter()
            posts = million.QUICK_POSTS if self.quick else million.POSTS
            people = million.QUICK_FANS if self.quick else million.FANS
            self._million = million.make(self._directory / "million", self.driver, posts, people)
            self.tell(f"made the million in {time.perf_counter() - started_s:.1f} s")
        return self._million

    def _made_crowd(self) -> Path:
        """Made when first asked for; all rows copy it."""
        if self._crowd is None:
            started_s = time.perf_counter()
            self._crowd = self._directory / "crowd"
            imported_s = crowd.make(self._crowd)
            self.tell(
                f"made the crowd in {time.perf_counter() - started_s:.1f} s,"
                f" of which {imported_s:.1f} s the farm's import"
            )
        return self._crowd

    def repeat(self, what: str, measure: Callable[[], float]) -> list[float]:
        """The values of so many rounds."""
        values: list[float] = []
        for number in range(1, self.rounds + 1):
            values.append(measure())
            self.tell(f"{what}, round {number} of {self.rounds}: {values[-1]:,.2f}")
        return values


def about_driver(load: Load, name: str = "the driver") -> list[str]:
    """A row whose load generator was the bottleneck says so."""
    text = f"{name} kept {load.driver_cores:.2f} cores busy"
    if load.driver_cores >= DRIVER_BUSY_CORES:
        text += ": it was the bottleneck"
    return [text]
