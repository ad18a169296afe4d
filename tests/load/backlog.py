"""A farm without a worker: posts are taken all the same, and only get older."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.drivers import Drivers
from benchmarks.farm import pss_mib
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, wait_until
from tests.load import loads
from tests.load.loads import Tally

AUTHOR = "author"
FOLLOWERS = 2
A_CALL = 100  # posts
# A worker that is as good as none: it has one send under way, which takes a minute.
AWAY = ("--worker-concurrency=1", "--simulated-latency-ms=60000-60000")
BACK = ("--simulated-latency-ms=0-0",)


@dataclass(slots=True)
class Waited:
    """What became of it. Memory of the store in MiB (PSS), ages of the oldest post in seconds."""

    loads: list[Tally]  # the first half of the posts, and the second
    mib: list[float]  # behind each of them
    told_s: float  # the age, as the farm says
    known_s: float  # the same, as the caller knows
    backlog: int
    drained_s: float  # from when workers are back until nothing waits

    @property
    def posts(self) -> int:
        return sum(len(load.acknowledged) for load in self.loads)


def wait_without_worker(
    hark: FarmProcess, drivers: Drivers, per_second: float, seconds: float, within_s: float
) -> Waited:
    """Publishes so many posts a second for so long to a farm of `AWAY`; then it is killed, and
    started with workers that work."""
    with grpc.insecure_channel(hark.grpc_address) as channel:
        _follow(channel)
        begun_s, done, mib = time.monotonic(), [], []
        for half in ("first", "second"):
            arguments = (hark.grpc_address, [AUTHOR], A_CALL, per_second, seconds / 2, half)
            done.append(drivers.run(loads.flood, *arguments))
            mib.append(pss_mib(hark.pids("store")[0]))
        seen, known_s = _capacity(channel), time.monotonic() - begun_s
    hark.kill_tree()
    hark.flags = [flag for flag in hark.flags if flag not in AWAY] + [*BACK]
    hark.start()
    started_s = time.monotonic()
    with grpc.insecure_channel(hark.grpc_address) as channel:
        wait_until(lambda: not _capacity(channel).backlog, within_s)
    drained_s = time.monotonic() - started_s
    told_s = seen.oldest_queued.ToTimedelta().total_seconds()
    return Waited(done, mib, told_s, known_s, seen.backlog, drained_s)


def _follow(channel: grpc.Channel) -> None:
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    for number in range(FOLLOWERS):
        graph.Follow(
            hark_pb2.FollowRequest(follower_id=f"follower{number}", author_id=AUTHOR), timeout=20
        )


def _capacity(channel: grpc.Channel) -> hark_pb2.GetCapacityResponse:
    operations: Any = hark_pb2_grpc.OperationsServiceStub(channel)
    found: hark_pb2.GetCapacityResponse = operations.GetCapacity(
        hark_pb2.GetCapacityRequest(), timeout=20
    )
    return found
