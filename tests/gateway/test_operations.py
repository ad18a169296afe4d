"""For those who run it, by hark.v1."""

from __future__ import annotations

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
