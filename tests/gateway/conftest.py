"""A whole farm for the tests of this folder, and gateways by themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.farm_process import FarmProcess
from tests.gateway.gateway_process import Surroundings

NewId = Callable[[], str]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """One that serves, for tests that leave it as it is but for posts and people of their own."""
    one = FarmProcess(tmp_path_factory.mktemp("hark"), ["--workers", "1"])
    try:
        yield one.start()
    finally:
        one.kill_tree()
        print(f"--- the end of {one.log_path}:\n{one.log_tail()}")


@pytest.fixture(scope="module")
def channel(hark: FarmProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(hark.grpc_address) as one:
        yield one


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Surroundings]:
    """Starts a gateway, and a store, without a supervisor."""
    made = Surroundings(tmp_path)
    yield made
    made.close()


@pytest.fixture
def new_id() -> NewId:
    """Ids that no other test uses."""
    return lambda: f"test-{next(_numbers)}"
