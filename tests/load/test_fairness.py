"""Small authors beside one whom very many follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.drivers import Drivers
from benchmarks.figures import percentile
from tests.load import fairness
from tests.load.conftest import StartLoaded

pytestmark = pytest.mark.process

PEOPLE = 60_000
PER_SECOND = 100
SECONDS = 2.0


def test_small_posts_do_not_wait_for_a_large_one(
    start: StartLoaded, drivers: Drivers, tmp_path: Path
) -> None:
    """Three posts to very many wait at any moment, so whoever waited for their turn behind them
    would wait three times as long as one of these takes. Fault row 54."""
    edges = tmp_path / "edges.tsv"
    fairness.write_edges(edges, PEOPLE)
    hark = start(
        "--workers", "2", "--import-follows", str(edges), "--simulated-failure-rate", "0"
    )  # fmt: skip
    large_s = drivers.run(fairness.drain, hark.grpc_address)
    among = drivers.run(fairness.steady, hark.grpc_address, PER_SECOND, SECONDS, PEOPLE, "among")
    assert not among.missing
    assert len(among.seconds) == PER_SECOND * SECONDS
    p99_s = percentile(among.seconds, 0.99)
    print(f"a large post alone {large_s:.2f} s; p99 of small ones among them {p99_s:.3f} s")
    assert among.large_posts > 2
    assert p99_s < min(large_s, 2.0)
