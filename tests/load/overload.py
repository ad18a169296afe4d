"""More than a farm can do, and what it answers, keeps and becomes of it."""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks.drivers import Drivers
from benchmarks.farm import pss_mib
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, wait_until
from tests.load import loads
from tests.load.loads import Tally

AUTHORS = [f"author{number}" for number in range(100)]
FOLLOWERS = 10
UNFOLLOWED = "somebody"  # whose posts wait for nobody, so the backlog does not slow the store
FLAGS = ("--workers", "2", "--backlog-max", "20000")
CALLERS = 2_000
TIMES = 10  # the store's rate
A_CALL = 1_000  # posts
LOOK_EVERY_S = 0.25
IN_A_ROW = 10
NORMAL_WITHIN_S = 30.0


@dataclass(slots=True)
class Overloaded:
    """What came of it. Memory by process in MiB (PSS), in the order it was looked at."""

    callers: Tally
    flood: Tally
    store_rate: float  # posts a second
    memory: dict[str, list[float]]
    lost: int  # acknowledged, and not there
    refused_yet_stored: int  # of a sample
    normal_after_s: float

    def growth_mib(self, role: str) -> float:
        """From the most of the first third to the most of the last."""
        looks = self.memory[role]
        third = max(len(looks) // 3, 1)
        return max(looks[-third:]) - max(looks[:third])


def write_edges(path: Path) -> None:
    with path.open("w") as file:
        for author in AUTHORS:
            file.writelines(f"follower{number}\t{author}\n" for number in range(FOLLOWERS))
        file.write(f"{UNFOLLOWED}\t{AUTHORS[0]}\n")


def overload(hark: FarmProcess, drivers: Drivers, seconds: float, *, normal_s: float) -> Overloaded:
    """2,000 callers, and at the same time ten times as many posts as the store takes. Afterwards
    all is normal once so many posts in a row are taken, each within `normal_s`."""
    address = hark.grpc_address
    rate = _store_rate(address, drivers)
    calling = drivers.begin(loads.callers, address, AUTHORS, CALLERS, seconds, "call")
    flooding = drivers.begin(
        loads.flood, address, AUTHORS, A_CALL, rate * TIMES, seconds, "flood"
    )  # fmt: skip
    memory = _memory_until(hark, calling, flooding)
    ended_s = time.monotonic()
    with grpc.insecure_channel(address) as channel:
        wait_until(lambda: _is_normal(channel, normal_s), NORMAL_WITHIN_S)
        normal_after_s = time.monotonic() - ended_s
        callers, flood = calling.result(), flooding.result()
        lost = drivers.run(
            loads.publish_again, address, [*callers.acknowledged, *flood.acknowledged]
        )  # fmt: skip
        refused = [*callers.refused, *flood.refused]
        stored = drivers.run(loads.count_stored, address, refused)
    return Overloaded(callers, flood, rate, memory, lost, stored, normal_after_s)


def _store_rate(address: str, drivers: Drivers) -> float:
    """Posts a second, of as many as it can be sent."""
    tally = drivers.run(loads.flood, address, [UNFOLLOWED], A_CALL, 1e6, 1.0, "rate")
    return len(tally.acknowledged) / tally.seconds


def _memory_until(hark: FarmProcess, *loads: Future[Any]) -> dict[str, list[float]]:
    looks: dict[str, list[float]] = {"gateway": [], "store": []}
    while wait_for(loads, LOOK_EVERY_S).not_done:
        for role, seen in looks.items():
            seen.append(pss_mib(hark.pids(role)[0]))
    return looks


def _is_normal(channel: grpc.Channel, normal_s: float) -> bool:
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    for _ in range(IN_A_ROW):
        begun_s = time.monotonic()
        try:
            publisher.PublishPost(
                hark_pb2.PublishPostRequest(author_id=AUTHORS[0], content="Hello"), timeout=10
            )
        except grpc.RpcError:
            return False
        if time.monotonic() - begun_s > normal_s:
            return False
    return True
