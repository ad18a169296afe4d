"""The whole farm is killed and starts again, with work leased and with retries waiting."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from farm.lifecycle import State
from farm.schedule import Backoff
from farm.store import totals
from farm.store.sqlite_records import SqliteRecords
from farm.store.totals import Totals
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.chaos.receivers import Receivers
from tests.checker import dump
from tests.checker.history import Recorder
from tests.checker.model import Model
from tests.farm_process import FarmProcess, StartFarm, wait_until

pytestmark = pytest.mark.process

CROWD = 3_000
LIVES = 3
BACKOFF = Backoff(5_000, 60_000)
POSTS = 40
PEOPLE = 6  # who follow user1 among the sample people
LOG_S = 0.002  # it knows milliseconds
LOGGED = ("--log-level", "debug", "--log-format", "json")


def publish(hark: FarmProcess, *posts: str, author: str) -> None:
    request = hark_pb2.PublishPostsRequest(
        posts=[
            hark_pb2.PublishPostRequest(post_id=post, author_id=author, content=post)
            for post in posts
        ]
    )
    with grpc.insecure_channel(hark.grpc_address) as channel:
        stub = hark_pb2_grpc.PublisherServiceStub(channel)
        answer = stub.PublishPosts(request, timeout=10, wait_for_ready=True)
    assert all(result.HasField("ok") for result in answer.results), answer


def waiting(hark: FarmProcess) -> tuple[int, int, int]:
    """How many are queued, retry, and are leased, on disk."""
    with SqliteRecords.open(hark.data_dir) as records:
        kept = Totals(records.meta().totals)
        return kept.of(totals.QUEUED), kept.of(totals.RETRYING), len(records.leases())


def test_a_farm_killed_with_a_large_batch_leased_poisons_nobody(
    farm: StartFarm, tmp_path: Path
) -> None:
    """Fault row 116. Three times, and each of the crowd is delivered at the first try counted."""
    graph = tmp_path / "graph.csv"
    graph.write_text("".join(f"fan{number},star\n" for number in range(CROWD)))
    flags = ("--import-follows", str(graph), "--no-sample-data", "--simulated-failure-rate", "0")
    # So slow that nobody is delivered between a lease and the kill, on a busy machine either.
    slow = ("--simulated-latency-ms", "2500-3000", "--worker-concurrency", "2000")
    hark = farm(*flags, *slow)
    publish(hark, "p1", author="star")
    for life in range(1, LIVES + 1):
        wait_until(lambda: waiting(hark)[2], 20)
        hark.kill_tree()
        queued, retrying, leases = waiting(hark)
        assert queued > 0
        assert retrying == 0, "no try was counted"
        assert leases > 0, "it was not killed while it delivered"
        if life == LIVES:
            hark.flags += ("--simulated-latency-ms", "0-1")
        hark.start()
    wait_until(lambda: waiting(hark) == (0, 0, 0), 30)
    assert hark.stop() == 0
    found = dump.read(hark.data_dir)
    assert found.breaches == []
    (held,) = found.posts[0].held
    assert (held.part.state, held.part.attempt, len(held.members)) == (State.DELIVERED, 1, CROWD)


def test_retries_keep_their_schedule_over_a_restart_of_everything(
    farm: StartFarm, tmp_path: Path
) -> None:
    """Fault row 78. Whatever had failed waits for its own time, and none of it comes sooner for the
    farm having started again."""
    history = Recorder(lambda: 0.0)
    flags = ("--simulated-failure-rate", "1", "--max-attempts", "2", "--simulated-latency-ms", "1")
    backoff = ("--backoff-ms", str(BACKOFF.base_ms), "--backoff-cap-ms", str(BACKOFF.cap_ms))
    hark = farm(*flags, *backoff, *LOGGED, "--sample-data")
    receivers = Receivers(hark.log_path, history)
    posts = [f"p{number}" for number in range(POSTS)]
    publish(hark, *posts, author="user1")
    wait_until(lambda: waiting(hark)[1] == POSTS * PEOPLE, 10)
    hark.kill_tree()
    killed_s = time.monotonic()
    hark.start()
    back_s = time.monotonic()
    wait_until(lambda: waiting(hark)[:2] == (0, 0), 30)
    assert hark.stop() == 0
    receivers.read_on()
    tries = [
        copies for people in Model(history.events).copies.values() for copies in people.values()
    ]
    assert len(tries) == POSTS * PEOPLE
    half_s = BACKOFF.delay_us(1) / 2e6
    early = [(one, two) for one, two in tries if two.at_s - one.at_s < half_s - LOG_S]
    assert not early
    assert all(two.at_s > killed_s for _, two in tries)
    print(
        f"back after {back_s - killed_s:.1f} s, {sum(two.at_s < back_s for _, two in tries)} sent"
    )
