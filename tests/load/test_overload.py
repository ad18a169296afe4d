"""More than a farm can do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.drivers import Drivers
from benchmarks.figures import percentile
from tests.load import loads, overload
from tests.load.caller import OK, RESOURCE_EXHAUSTED
from tests.load.conftest import StartLoaded

pytestmark = pytest.mark.process

SECONDS = 3.0
BURST = 8_000
TOO_MANY = b"more calls come here than can be answered soon; ask again later"
GROWTH_MIB_MAX = 64  # it was 150 where a flood was decoded before it was refused
NORMAL_S = 1.0  # an answer, on a machine that others use too
NORMAL_WITHIN_S = 5.0


def test_under_overload_each_is_answered_or_told_when_to_come_again(
    start: StartLoaded, drivers: Drivers, tmp_path: Path
) -> None:
    """2,000 callers at once and ten times as many posts as the store takes: what is acknowledged is
    there, what is refused is not, memory stays, and so soon after it all is as before. Fault rows
    10 and 11."""
    edges = tmp_path / "edges.tsv"
    overload.write_edges(edges)
    hark = start(*overload.FLAGS, "--import-follows", str(edges))
    _refuses_who_waited_too_long(hark.grpc_address, drivers)
    done = overload.overload(hark, drivers, SECONDS, normal_s=NORMAL_S)
    for load in (done.callers, done.flood):
        print(load.codes, f"p99 {percentile(load.ok_s, 0.99):.3f} s, {load.cores:.2f} cores")
        assert {code for code, count in load.codes.items() if count} == {OK, RESOURCE_EXHAUSTED}
        assert load.acknowledged
        assert load.undelayed == 0
    print(f"the store's rate {done.store_rate:,.0f} posts/s", done.memory, done.normal_after_s)
    assert done.flood.refused_posts > len(done.flood.acknowledged), "it was no flood"
    assert done.lost == 0
    assert done.refused_yet_stored == 0
    assert done.growth_mib("gateway") < GROWTH_MIB_MAX
    assert done.growth_mib("store") < GROWTH_MIB_MAX
    assert done.normal_after_s < NORMAL_WITHIN_S


def _refuses_who_waited_too_long(address: str, drivers: Drivers) -> None:
    """Of calls at once, which wait where this process does not see them."""
    answers = drivers.run(loads.burst, address, overload.AUTHORS, BURST, "burst")
    told = Counter((answer.status, answer.message) for answer in answers)
    print(told)
    assert told[OK, b""] > 0
    assert told[RESOURCE_EXHAUSTED, TOO_MANY] > 0
