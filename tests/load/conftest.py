"""Farms under load, one for each file of tests, and processes that make the load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.drivers import Drivers
from tests.farm_process import FarmProcess

StartLoaded = Callable[..., FarmProcess]


@pytest.fixture(scope="module")
def drivers() -> Iterator[Drivers]:
    made = Drivers(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartLoaded]:
    """Starts farms that end with the file; what they log is shown."""
    started: list[FarmProcess] = []

    def start(*flags: str) -> FarmProcess:
        directory: Path = tmp_path_factory.mktemp("loaded")
        started.append(FarmProcess(directory, [*flags, "--log-level", "warning"]))
        return started[-1].start()

    yield start
    for one in started:
        one.kill_tree()
        print(f"--- the end of {one.log_path}:\n{one.log_tail(20)}")
