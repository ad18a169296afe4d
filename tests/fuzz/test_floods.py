"""Floods of HTTP/2 on one connection: others are answered meanwhile, and nothing grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, Self

import grpc
import pytest

from gateway.heap import EVERY_S
from gateway.pb.post import post_pb2, post_pb2_grpc
from tests.farm_process import FarmProcess, wait_until
from tests.fuzz.http2 import FLOODS
from tests.fuzz.place import FLAGS
from tests.fuzz.tally import cost_of

pytestmark = pytest.mark.process
CALM = 50  # calls
# What others wait meanwhile, in the median. On a machine with nothing else to do that is below
# 100 ms; on one that has much, also what they wait in calm is longer.
ANSWERED_WITHIN_S = 1.0
TIMES_CALM = 30
GROWTH_BYTES_MAX = 24 * 1024 * 1024  # once what was freed has been given back


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    one = FarmProcess(tmp_path_factory.mktemp("floods"), FLAGS)
    try:
        yield one.start()
    finally:
        one.kill_tree()


class Neighbour:
    """Somebody who publishes over a connection of their own, one post after the other."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._posts: Any = post_pb2_grpc.PostServiceStub(channel)
        self.waits_s: list[float] = []
        self._done = threading.Event()

    def publish(self) -> float:
        """How long it took; whoever is told to come again does, and has waited meanwhile."""
        begun_s = time.monotonic()
        while True:
            try:
                self._posts.PublishPost(post_pb2.Post(authorId="user1", content="x"), timeout=20)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
            else:
                return time.monotonic() - begun_s

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.is_set():
            self.waits_s.append(self.publish())


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_on_one_connection_holds_up_nobody_else(hark: FarmProcess, name: str) -> None:
    """Fault row 13."""
    flood, count = FLOODS[name]
    (gateway,) = hark.pids("gateway")
    with grpc.insecure_channel(hark.grpc_address) as channel:
        neighbour = Neighbour(channel)
        calm_s = median([neighbour.publish() for _ in range(CALM)])
        for _ in flood(hark.grpc_address, count):
            pass  # what a first one takes, all others share
        before = cost_of(gateway)
        with neighbour:
            sent = sum(1 for _ in flood(hark.grpc_address, count))
            wait_until(lambda: len(neighbour.waits_s) > 2, 20)
        neighbour.publish()
    assert sent > 0
    waited_s = median(neighbour.waits_s)
    print(f"{name}: {sent} sent; others waited {waited_s * 1e3:.1f} ms, in calm {calm_s * 1e3:.1f}")
    assert waited_s < max(ANSWERED_WITHIN_S, TIMES_CALM * calm_s)
    wait_until(lambda: cost_of(gateway).descriptors <= before.descriptors + 1, 10)
    most_bytes = before.memory_bytes + GROWTH_BYTES_MAX
    wait_until(lambda: cost_of(gateway).memory_bytes < most_bytes, 2 * EVERY_S)
    assert hark.pids("gateway") == [gateway]
