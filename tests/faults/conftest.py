"""A whole farm for the tests of a module, and processes by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm_process import FarmProcess
from tests.gateway.gateway_process import Surroundings
from tests.store.store_process import StoreProcess

StartStore = Callable[..., StoreProcess]


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """One that serves, for tests that leave it as it is but for posts of their own."""
    one = FarmProcess(tmp_path_factory.mktemp("hark"), ["--workers", "1"])
    try:
        yield one.start()
    finally:
        one.kill_tree()
        print(f"--- the end of {one.log_path}:\n{one.log_tail()}")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Surroundings]:
    """Starts a gateway, and a store, without a supervisor."""
    made = Surroundings(tmp_path)
    yield made
    made.close()


@pytest.fixture
def start_store(tmp_path: Path) -> Iterator[StartStore]:
    """Starts stores as processes of their own; takes what `StoreProcess` takes."""
    started: list[StoreProcess] = []

    def start(data_dir: Path | None = None, **settings: Any) -> StoreProcess:
        started.append(StoreProcess(data_dir or tmp_path / "data", **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()
        print(f"--- {one.log_path}:\n{one.log_path.read_text()}")
