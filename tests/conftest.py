"""What every test may ask for."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import pytest

from tests.farm_process import FarmProcess, StartFarm

_REPORT = pytest.StashKey[pytest.TestReport]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that ask for much time begin first: at the end nobody is left alone with one."""
    items.sort(key=_time_asked_for_s, reverse=True)


def _time_asked_for_s(item: pytest.Item) -> float:
    """0 for the usual, so that all others stay beside those of their module."""
    asked = item.get_closest_marker("timeout")
    return float(asked.args[0]) if asked is not None else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keeps how a test went, so that a fixture can show more of one that failed."""
    report = yield
    if report.when == "call":
        item.stash[_REPORT] = report
    return report


@pytest.fixture
def farm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartFarm]:
    """Starts farms; see farm_process.py for how to use them."""
    started: list[FarmProcess] = []
    numbers = itertools.count(1)

    def start(
        *flags: str,
        data_dir: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> FarmProcess:
        directory = tmp_path / f"farm{next(numbers)}"
        made = FarmProcess(directory, flags, data_dir=data_dir, environment=environment)
        started.append(made)
        return made.start(wait=wait)

    yield start
    report = request.node.stash.get(_REPORT, None)
    for one in started:
        one.kill_tree()
        if report is None or report.failed:
            print(f"--- the end of {one.log_path}:\n{one.log_tail()}")
