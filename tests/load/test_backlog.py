"""A farm without a worker."""

from __future__ import annotations

import pytest

from benchmarks.drivers import Drivers
from tests.load import backlog
from tests.load.caller import OK, RESOURCE_EXHAUSTED
from tests.load.conftest import StartLoaded

pytestmark = pytest.mark.process

PER_SECOND = 3_000
SECONDS = 2.0
GROWTH_MIB_MAX = 16
WITHIN_S = 60.0


def test_without_a_worker_posts_are_taken_and_only_get_older(
    start: StartLoaded, drivers: Drivers
) -> None:
    """As many posts as in 12 s of 500 a second. Fault row 49."""
    hark = start("--workers", "1", "--simulated-failure-rate", "0", *backlog.AWAY)
    found = backlog.wait_without_worker(hark, drivers, PER_SECOND, SECONDS, WITHIN_S)
    print(found.posts, found.mib, found.told_s, found.known_s, found.drained_s)
    for load in found.loads:
        assert set(load.codes) <= {OK, RESOURCE_EXHAUSTED}
        assert load.refused_posts < len(load.acknowledged) / 2
    assert found.backlog == found.posts * backlog.FOLLOWERS > 0
    assert found.mib[1] - found.mib[0] < GROWTH_MIB_MAX
    assert SECONDS - 1 < found.told_s <= found.known_s
