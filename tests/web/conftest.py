"""Web processes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.farm_process import FarmProcess
from tests.web.web_process import WebProcess

ALLOWED_ORIGIN = "https://app.example"


class StartWeb(Protocol):
    """The `start_web` fixture."""

    def __call__(self, *, number: int = 1, port: int = 0, **settings: Any) -> WebProcess: ...


@pytest.fixture
def start_web(tmp_path: Path) -> Iterator[StartWeb]:
    """Starts web processes; what one says on standard error is shown where the test fails."""
    started: list[WebProcess] = []

    def start(*, number: int = 1, port: int = 0, **settings: Any) -> WebProcess:
        started.append(WebProcess(tmp_path, number=number, port=port, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()
        print(f"--- {one.log_path}:\n{one.log()}")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """One that serves, for tests that leave it as it is."""
    one = WebProcess(tmp_path_factory.mktemp("web"), allowed_origin=(ALLOWED_ORIGIN,))
    try:
        yield one.wait_serving()
    finally:
        one.close()
        print(f"--- {one.log_path}:\n{one.log()}")


@pytest.fixture(scope="session")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """A farm to change, where one channel delivers at once and the other gives up at once.

    Each test has people of its own.
    """
    flags = ("--channel", "inbox", "--channel", "simulated", "--simulated-failure-rate", "1")
    more = ("--simulated-latency-ms", "0-1", "--max-attempts", "1", "--workers", "1")
    made = FarmProcess(tmp_path_factory.mktemp("farm"), (*flags, *more, "--no-sample-data"))
    try:
        yield made.start()
    finally:
        made.kill_tree()
        print(f"--- the end of {made.log_path}:\n{made.log_tail()}")
