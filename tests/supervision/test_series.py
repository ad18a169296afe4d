"""What people write makes no series of metrics, however many they are and whatever they write."""

from __future__ import annotations

import itertools
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from farm.audience import BitMap, seal
from farm.lifecycle import State
from farm.observe import METRICS
from farm.wire import LeaseOutcome, Op, Outcome, Stats
from gateway.pb.hark.v1.hark_pb2 import PublishPostRequest, PublishPostsRequest
from gateway.pb.hark.v1.hark_pb2_grpc import PublisherServiceStub
from tests.farm_process import FarmProcess, StartFarm
from tests.store.harness import Store, members, open_sqlite

SERIES_MAX = 2_000
AUTHORS = 10_000
TEXTS = 10_000
POSTS = 10
URLS = 200


def series(hark: FarmProcess) -> list[str]:
    with urllib.request.urlopen(f"http://{hark.http_address}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.process
def test_neither_authors_nor_calls_nor_urls_make_series(farm: StartFarm) -> None:
    """Fault row 106."""
    hark = farm("--workers", "1")
    before = series(hark)
    with grpc.insecure_channel(hark.grpc_address) as channel:
        stub = PublisherServiceStub(channel)
        for first in range(0, AUTHORS, 1_000):
            posts = [
                PublishPostRequest(author_id=f"author{n}", content=f"content{n}")
                for n in range(first, first + 1_000)
            ]
            answer = stub.PublishPosts(PublishPostsRequest(posts=posts), timeout=30)
            assert len(answer.results) == 1_000
        for number in range(URLS):
            with pytest.raises(grpc.RpcError):
                unknown(channel, number)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://{hark.http_address}/made/up/{number}", timeout=10)
            refused.value.close()
    after = series(hark)
    print(f"{len(before)} series before, {len(after)} after")
    assert {*before} == {*after}
    assert len(after) <= SERIES_MAX
    assert hark.stop() == 0


def unknown(channel: grpc.Channel, number: int) -> None:
    call: Any = channel.unary_unary(f"/made.up.Service{number}/Method")
    call(b"", timeout=10)


def test_texts_of_errors_make_no_series(tmp_path: Path) -> None:
    """Fault row 106."""
    store = Store(partial(open_sqlite, tmp_path))
    before = rows(store)
    store.followers("star", TEXTS // POSTS)
    numbers = itertools.count()
    for post in range(POSTS):
        store.publish(f"p{post}", "star")
        (grant,) = store.ask("w1", TEXTS).grants
        dead = [
            Outcome(State.DEAD, f"error text {next(numbers)}", seal(BitMap([member])))
            for member in members(grant)
        ]
        store.tell("w1", LeaseOutcome(grant.lease, True, dead))
        assert store.ledger(f"p{post}")["simulated"].dead == len(dead) == TEXTS // POSTS
    assert next(numbers) == TEXTS
    after = rows(store)
    assert not [row for row in after if "error text" in str(row)]
    assert {*before} <= {*after}
    assert len(after) <= 2 * len(METRICS)
    store.close()


def rows(store: Store) -> list[tuple[str, tuple[str, ...]]]:
    stats = Stats(*store.call(Op.STATS))
    return [(name, tuple(labels)) for name, labels, _ in [*stats.counters, *stats.gauges]]
