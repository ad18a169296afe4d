"""Processes without memory or file descriptors: they refuse or die, and nothing is lost."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, wait_until
from tests.test_acceptance import Client, check, counters

pytestmark = pytest.mark.process
OWN_POOL = [("grpc.use_local_subchannel_pool", 1)]
Post = hark_pb2.PublishPostRequest


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    directory = tmp_path_factory.mktemp("hark")
    graph = directory / "graph.csv"
    graph.write_text("ann,few\n")
    flags = ["--workers", "1", "--simulated-failure-rate", "0", "--simulated-latency-ms", "0-1"]
    one = FarmProcess(directory / "farm", [*flags, "--import-follows", str(graph)])
    try:
        yield one.start()
        assert one.stop() == 0
        check(one.data_dir)
    finally:
        one.kill_tree()
        print(f"--- the end of {one.log_path}:\n{one.log_tail()}")


@pytest.fixture
def client(hark: FarmProcess) -> Iterator[Client]:
    one = Client(hark)
    yield one
    one.close()


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def publish_newly(hark: FarmProcess) -> bool:
    """On a connection of its own; whether it was answered."""
    post = Post(post_id="new", author_id="few", content="x")
    with grpc.insecure_channel(hark.grpc_address, OWN_POOL) as channel:
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        try:
            publisher.PublishPost(post, timeout=1)
        except grpc.RpcError:
            return False
    return True


def test_a_gateway_without_descriptors_serves_whom_it_has(
    hark: FarmProcess, client: Client
) -> None:
    """Who comes new is refused or waits, who is connected is served, nothing spins; and all is well
    as soon as some leave. Fault row 23."""
    (pid,) = hark.pids("gateway")
    assert client.publish("connected before", "few") == 1
    before, limit = resource.prlimit(pid, resource.RLIMIT_NOFILE), descriptors(pid) + 4
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    with ExitStack() as crowd:
        for _ in range(40):
            crowd.enter_context(socket.create_connection(("127.0.0.1", hark.grpc_port)))
        wait_until(lambda: descriptors(pid) == limit)
        began_s, used_s = time.monotonic(), cpu_s(pid)
        assert not publish_newly(hark)
        for number in range(20):
            assert client.publish(f"connected {number}", "few") == 1
        assert cpu_s(pid) - used_s < (time.monotonic() - began_s) / 2
    wait_until(lambda: publish_newly(hark), 15)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert hark.pids("gateway") == [pid]


def address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def starve(pid: int, more_bytes: int) -> None:
    """The process gets hardly any more address space."""
    resource.prlimit(pid, resource.RLIMIT_AS, (address_space(pid) + more_bytes,) * 2)


def test_a_store_without_memory_is_replaced_and_loses_nothing(hark: FarmProcess) -> None:
    """Fault row 24."""
    (pid,) = hark.pids("store")
    starve(pid, 2**20)
    large = [
        Post(post_id=f"large-{number}", author_id="few", content="x" * 3_800)
        for number in range(1_000)
    ]
    with grpc.insecure_channel(hark.grpc_address) as channel:
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        asked = hark_pb2.PublishPostsRequest(posts=large)
        results = publisher.PublishPosts(asked, timeout=20).results
        assert [one.ok.post_id for one in results] == [post.post_id for post in large]
        assert hark.pids("store") not in ([pid], []), "it had memory enough"
        again = publisher.PublishPosts(asked, timeout=20).results
        assert all(one.ok.duplicate for one in again)


def test_a_worker_without_memory_is_replaced_and_loses_nothing(hark: FarmProcess) -> None:
    """Nobody is given up for it. Fault row 24."""
    wait_until(lambda: counters(hark)["queue_size"] == 0, 20)
    before, (pid,) = counters(hark)["total_sent"], hark.pids("worker")
    starve(pid, 2**20)
    large = [
        Post(post_id=f"larger-{number}", author_id="few", content="x" * 16_000)
        for number in range(250)  # together in one answer to the worker
    ]
    with grpc.insecure_channel(hark.grpc_address) as channel:
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        asked = hark_pb2.PublishPostsRequest(posts=large)
        results = publisher.PublishPosts(asked, timeout=20).results
        assert [one.ok.notifications_queued for one in results] == [1] * len(large)
    wait_until(lambda: counters(hark)["total_sent"] == before + len(large), 40)
    assert hark.pids("worker") not in ([pid], []), "it had memory enough"
