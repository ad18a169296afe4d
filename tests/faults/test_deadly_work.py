"""Work that takes its worker with it, and kills at every step of one large fan-out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from farm.failpoints import Point
from farm.store.dispatch import POISON
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, StartFarm, wait_until
from tests.test_acceptance import Client, check

pytestmark = pytest.mark.process
DEADLY = Path(__file__).with_name("deadly")
FOLLOWERS = 1_000
CROWD = 10_000


def graph_of(directory: Path, followers: int) -> Path:
    """An edge list in which so many follow one."""
    path = directory / "graph.csv"
    path.write_text("".join(f"f{number},star\n" for number in range(followers)))
    return path


@pytest.fixture
def client() -> Iterator[list[Client]]:
    made: list[Client] = []
    yield made
    for one in made:
        one.close()


def ended(client: Client, post: str, audience: int) -> hark_pb2.ChannelLedger:
    """The ledger, once nobody waits any more."""

    def whole() -> bool:
        ledger = client.ledger(post)
        assert ledger.unaccounted == 0
        return ledger.delivered + ledger.dead == audience

    wait_until(whole, 40)
    return client.ledger(post)


def test_one_recipient_who_kills_whoever_sends_to_him_and_a_worker_that_hangs_in_c(
    farm: StartFarm, tmp_path: Path, client: list[Client]
) -> None:
    """Three workers die of the one, and 999 are delivered; the one that hangs is found by its
    heartbeat, killed, and what it held is delivered by another. Fault rows 75, 76 and 115."""
    hark = farm(
        "--workers", "2", "--simulated-failure-rate", "0", "--simulated-latency-ms", "0-1",
        "--import-follows", str(graph_of(tmp_path, FOLLOWERS)),
        environment={
            "PYTHONPATH": str(DEADLY), "DEADLY_POST": "deadly", "DEADLY_NUMBER": "700",
            "STUCK_POST": "stuck", "STUCK_FILE": str(tmp_path / "stuck"),
        },
    )  # fmt: skip
    client.append(Client(hark))
    client[0].publish("stuck", "star")
    wait_until((tmp_path / "stuck").exists)
    client[0].publish("deadly", "star")
    client[0].publish("after", "star")
    ledgers = [ended(client[0], post, FOLLOWERS) for post in ("deadly", "after", "stuck")]
    assert [(one.delivered, one.dead) for one in ledgers] == [(999, 1), (1_000, 0), (1_000, 0)]
    assert hark.log().count("ended with status 3") == 3
    assert hark.log().count("killed, for it missed 3 heartbeats") == 1
    (letters,) = dead_letters(hark)
    assert (letters.error, letters.count) == (POISON, 1)
    assert hark.stop() == 0


def dead_letters(hark: FarmProcess) -> list[hark_pb2.DeadLetterGroup]:
    with grpc.insecure_channel(hark.grpc_address) as channel:
        operations: Any = hark_pb2_grpc.OperationsServiceStub(channel)
        return list(operations.ListDeadLetters(hark_pb2.ListDeadLettersRequest()).groups)


# Who is killed there in their first life, their second, and so on.
STORE_DIES = (Point.STORE_FANOUT, Point.STORE_LEASE, Point.STORE_OUTCOMES)
WORKER_DIES = (
    Point.WORKER_GRANTED,
    Point.WORKER_SEND,
    Point.WORKER_SENT,
    Point.WORKER_REPORT,
    Point.WORKER_REPORTED,
)


def test_kills_at_eight_points_of_a_fan_out_to_ten_thousand(
    farm: StartFarm, tmp_path: Path, client: list[Client]
) -> None:
    """Exactly 10,000 are accounted for, each in one set. Fault row 52."""
    deaths = [
        f"{point}:kill:1:{life}"
        for points in (STORE_DIES, WORKER_DIES)
        for life, point in enumerate(points, 1)
    ]
    hark = farm(
        "--workers", "1", "--simulated-failure-rate", "0.02", "--simulated-latency-ms", "0-1",
        "--import-follows", str(graph_of(tmp_path, CROWD)),
        environment={"HARK_FAILPOINTS": ",".join(deaths)},
    )  # fmt: skip
    client.append(Client(hark))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(client[0].publish, "crowd", "star").result(30) == CROWD
    ledger = ended(client[0], "crowd", CROWD)
    assert ledger.delivered + ledger.dead == CROWD
    assert ledger.dead <= 5  # one that three workers died of, and some that failed four times
    found = re.findall(r"failpoint name=(\S+) action=kill", hark.log())
    assert sorted(found) == sorted([*STORE_DIES, *WORKER_DIES])
    assert hark.stop() == 0
    check(hark.data_dir)
