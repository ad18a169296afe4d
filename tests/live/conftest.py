"""A farm for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.farm_process import FarmProcess


@pytest.fixture(scope="session")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """Two of each process that people reach, and much that fails, again and for good.

    Each test has people of its own.
    """
    flags = ["--web-processes", "2", "--gateways", "2", "--readers", "2", "--workers", "2"]
    flags += ["--simulated-failure-rate", "0.4", "--simulated-latency-ms", "0-3"]
    flags += ["--max-attempts", "2", "--backoff-ms", "20", "--no-sample-data"]
    made = FarmProcess(tmp_path_factory.mktemp("live"), flags)
    try:
        yield made.start()
    finally:
        made.kill_tree()
        print(f"--- the end of {made.log_path}:\n{made.log_tail()}")
