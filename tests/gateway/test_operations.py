"""For those who run it, by hark.v1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, wait_until
from tests.gateway.conftest import NewId

pytestmark = pytest.mark.process


@pytest.fixture
def operations(channel: grpc.Channel) -> Any:
    return hark_pb2_grpc.OperationsServiceStub(channel)


def test_a_ledger_adds_up(operations: Any, channel: grpc.Channel, new_id: NewId) -> None:
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    post_id = new_id()
    publisher.PublishPost(
        hark_pb2.PublishPostRequest(post_id=post_id, author_id="user1", content="Hello")
    )

    def ledger() -> Any:
        return operations.GetLedger(hark_pb2.GetLedgerRequest(post_id=post_id))

    def settled() -> bool:
        (channel_ledger,) = ledger().channels.values()
        return bool(channel_ledger.delivered + channel_ledger.dead == 6)

    wait_until(settled, 20)
    assert ledger().audience == 6
    assert list(ledger().channels) == ["simulated"]
    simulated = ledger().channels["simulated"]
    assert (simulated.queued, simulated.retrying, simulated.unaccounted) == (0, 0, 0)


@pytest.mark.parametrize(
    ("post_id", "code", "sentence"),
    [
        ("nothing", grpc.StatusCode.NOT_FOUND, "post_id 'nothing': there is no such post"),
        ("", grpc.StatusCode.INVALID_ARGUMENT,
         "post_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
    ],
)  # fmt: skip
def test_a_ledger_of_nothing(
    operations: Any, post_id: str, code: grpc.StatusCode, sentence: str
) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        operations.GetLedger(hark_pb2.GetLedgerRequest(post_id=post_id))
    assert (refusal.value.code(), refusal.value.details()) == (code, sentence)


def test_capacity_when_nothing_waits(operations: Any) -> None:
    def capacity() -> Any:
        return operations.GetCapacity(hark_pb2.GetCapacityRequest())

    wait_until(lambda: capacity().backlog == 0, 20)
    now = capacity()
    assert (now.accepting, now.refusing_because) == (True, "")
    assert now.HasField("backlog_estimate")
    assert (now.backlog_estimate.seconds, now.oldest_queued.seconds) == (0, 0)


@pytest.mark.parametrize("workers", [2, 1])
def test_workers_can_be_set(operations: Any, hark: FarmProcess, workers: int) -> None:
    answer = operations.SetWorkers(hark_pb2.SetWorkersRequest(workers=workers))
    assert answer.workers == workers
    assert operations.GetCapacity(hark_pb2.GetCapacityRequest()).workers == workers
    wait_until(lambda: len(hark.pids("worker")) == workers, 10)


@pytest.mark.parametrize("workers", [0, 65, 2**32 - 1])
def test_how_many_workers_there_may_be(operations: Any, workers: int) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        operations.SetWorkers(hark_pb2.SetWorkersRequest(workers=workers))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == f"workers {workers}: must be from 1 to 64"


# Why somebody was told or not


def publish(channel: grpc.Channel, author: str, post_id: str) -> None:
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    publisher.PublishPost(
        hark_pb2.PublishPostRequest(post_id=post_id, author_id=author, content="Hello")
    )


def test_why_somebody_was_told_or_not(
    operations: Any, channel: grpc.Channel, new_id: NewId
) -> None:
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    author, fan, late, gone, muter, post_id = (new_id() for _ in range(6))

    def follow(user: str) -> None:
        graph.Follow(hark_pb2.FollowRequest(follower_id=user, author_id=author))

    def explain(post: str, user: str) -> Any:
        return operations.Explain(hark_pb2.ExplainRequest(post_id=post, user_id=user))

    def code(post: str, user: str) -> str:
        found = explain(post, user)
        assert found.reason.endswith(".")
        assert found.in_audience is bool(found.deliveries)
        return hark_pb2.ExplainCode.Name(found.code).removeprefix("EXPLAIN_CODE_")

    for user in (fan, gone, muter):
        follow(user)
    graph.Mute(hark_pb2.MuteRequest(user_id=muter, author_id=author))
    publish(channel, author, post_id)
    follow(late)
    graph.Unfollow(hark_pb2.UnfollowRequest(follower_id=gone, author_id=author))
    delivered = hark_pb2.NOTIFICATION_STATUS_DELIVERED
    wait_until(lambda: explain(post_id, fan).deliveries[0].status == delivered, 20)
    (step,) = explain(post_id, fan).deliveries
    assert (step.channel, step.attempts >= 1) == ("simulated", True)
    assert not step.HasField("next_attempt_at")
    assert [code(post_id, user) for user in (fan, late, gone, muter, "user1", "nobody")] == [
        "NOTIFIED", "FOLLOWED_LATER", "UNFOLLOWED", "MUTED", "NEVER_FOLLOWED", "USER_UNKNOWN",
    ]  # fmt: skip
    assert code("no post", fan) == "POST_UNKNOWN"
    publisher.RetractPost(hark_pb2.RetractPostRequest(post_id=post_id))
    assert code(post_id, fan) == "RETRACTED"


# Dead letters


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """A farm whose every attempt fails, and is the last."""
    flags = ("--simulated-failure-rate", "1", "--max-attempts", "1", "--workers", "1")
    one = FarmProcess(tmp_path_factory.mktemp("failing"), flags)
    try:
        yield one.start()
    finally:
        one.kill_tree()
        print(f"--- the end of {one.log_path}:\n{one.log_tail()}")


def test_dead_letters_come_by_cause_and_get_another_try(failing: FarmProcess) -> None:
    with grpc.insecure_channel(failing.grpc_address) as channel:
        operations: Any = hark_pb2_grpc.OperationsServiceStub(channel)
        graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)

        def groups() -> list[Any]:
            page = operations.ListDeadLetters(hark_pb2.ListDeadLettersRequest(page_size=1))
            assert page.next_page_token == ""
            return list(page.groups)

        def replay(group: str, *, dry_run: bool) -> tuple[int, dict[str, int]]:
            asked = hark_pb2.ReplayDeadLettersRequest(group_id=group, dry_run=dry_run)
            done = operations.ReplayDeadLetters(asked)
            return done.replayed, dict(done.skipped)

        def attempts(user: str) -> int:
            asked = hark_pb2.ExplainRequest(post_id="p", user_id=user)
            (step,) = operations.Explain(asked).deliveries
            dead = step.status == hark_pb2.NOTIFICATION_STATUS_FAILED
            return int(step.attempts) if dead else 0

        assert groups() == []
        publish(channel, "user1", "p")
        wait_until(lambda: sum(one.count for one in groups()) == 6, 20)
        (group,) = groups()
        assert (group.channel, group.error) == ("simulated", "simulated failure")
        assert sorted(group.sample_user_ids) == [f"user{n}" for n in range(2, 8)]
        assert list(group.sample_post_ids) == ["p"]
        assert 0 < group.first_at.seconds <= group.last_at.seconds

        graph.Unfollow(hark_pb2.UnfollowRequest(follower_id="user2", author_id="user1"))
        graph.Mute(hark_pb2.MuteRequest(user_id="user3", author_id="user1"))
        expected = (4, {"unfollowed": 1, "muted": 1})
        assert replay(group.id, dry_run=True) == expected
        assert attempts("user4") == 1
        assert replay(group.id, dry_run=False) == expected
        wait_until(lambda: attempts("user4") == 2, 20)
        assert attempts("user2") == 1


@pytest.mark.parametrize(
    ("method", "request_", "code", "sentence"),
    [
        ("Explain", hark_pb2.ExplainRequest(post_id="p"), "INVALID_ARGUMENT",
         "user_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
        ("ListDeadLetters", hark_pb2.ListDeadLettersRequest(page_size=101), "INVALID_ARGUMENT",
         "page_size 101: must be from 1 to 100"),
        ("ListDeadLetters", hark_pb2.ListDeadLettersRequest(page_token="x"), "INVALID_ARGUMENT",
         "page_token: was not given out here for this; leave it out"),
        ("ReplayDeadLetters", hark_pb2.ReplayDeadLettersRequest(), "INVALID_ARGUMENT",
         "group_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
        ("ReplayDeadLetters", hark_pb2.ReplayDeadLettersRequest(group_id="9.9"), "NOT_FOUND",
         "group_id '9.9': there is no such group of dead letters"),
    ],
)  # fmt: skip
def test_refusals(operations: Any, method: str, request_: Any, code: str, sentence: str) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        getattr(operations, method)(request_)
    assert (refusal.value.code().name, refusal.value.details()) == (code, sentence)
