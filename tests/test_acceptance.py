"""What Hark promises, seen from outside: nothing acknowledged is lost, everything ends somewhere.

Whole farms, real clients, processes killed in the middle. Each test prints its seed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from gateway.pb.notification import notification_pb2, notification_pb2_grpc
from tests.farm_process import ROOT, FarmProcess, StartFarm, wait_until

pytestmark = pytest.mark.process

POSTS = 1_000
FOLLOWERS = 6  # of user1 among the sample people
CALLERS = 32  # a gateway refuses nobody before there are more
AUDITORS = 8
CALL_S = 20.0
SETTLE_S = 40.0
DEFINITE = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
ROLES = ("store", "gateway", "worker", "reader", "web")
# A gateway that was killed is back long before gRPC would look for it by itself.
SOON_AGAIN = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


@pytest.fixture
def seed() -> int:
    value = random.SystemRandom().randrange(2**32)
    print(f"seed {value}")
    return value


class Client:
    """Publishes as one who asks again, with the same id, until there is a definite answer."""

    def __init__(self, hark: FarmProcess) -> None:
        self._hark = hark
        self._channel = grpc.insecure_channel(hark.grpc_address, SOON_AGAIN)

    def publish(self, post_id: str, author: str = "user1") -> int:
        """How many notifications were queued."""
        stub = notification_pb2_grpc.NotificationServiceStub(self._channel)
        post = notification_pb2.Post(id=post_id, author_id=author, content=f"post {post_id}")

        def attempt() -> notification_pb2.NotificationResponse | None:
            try:
                answer: notification_pb2.NotificationResponse
                answer = stub.PublishPost(post, timeout=5, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() in DEFINITE:
                    raise
                return None
            return answer

        published = wait_until(attempt, CALL_S)
        assert published is not None
        return published.notifications_queued

    def publish_all(self, post_ids: Sequence[str]) -> int:
        with ThreadPoolExecutor(CALLERS) as pool:
            return sum(pool.map(self.publish, post_ids))

    def ledger(self, post_id: str) -> hark_pb2.ChannelLedger:
        stub = hark_pb2_grpc.OperationsServiceStub(self._channel)
        request = hark_pb2.GetLedgerRequest(post_id=post_id)
        answer: hark_pb2.GetLedgerResponse
        answer = stub.GetLedger(request, timeout=10, wait_for_ready=True)
        return answer.channels["simulated"]

    def inbox(self, user_id: str, page_size: int = 100) -> Iterator[hark_pb2.Notification]:
        """All of it, page by page."""
        stub = hark_pb2_grpc.InboxServiceStub(self._channel)
        after = ""
        while True:
            request = hark_pb2.ListNotificationsRequest(
                user_id=user_id, page_size=page_size, after=after
            )
            page = stub.ListNotifications(request, timeout=10, wait_for_ready=True)
            yield from page.notifications
            after = page.next_cursor
            if not after:
                return

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def connect() -> Iterator[type[Client]]:
    """Makes clients and closes them."""
    made: list[Client] = []

    class Closed(Client):
        def __init__(self, hark: FarmProcess) -> None:
            super().__init__(hark)
            made.append(self)

    yield Closed
    for client in made:
        client.close()


def counters(hark: FarmProcess) -> dict[str, int]:
    with urllib.request.urlopen(f"http://{hark.http_address}/metrics.json", timeout=10) as answer:
        found: dict[str, int] = json.load(answer)
        return found


def drained(hark: FarmProcess, sent_and_dead: int) -> bool:
    """Nothing waits any more, as the store's counters say."""
    try:
        found = counters(hark)
    except OSError:
        return False  # the web process is being replaced
    return found["queue_size"] == 0 and found["total_sent"] >= sent_and_dead


def check(data_dir: Path) -> None:
    """`hark check` finds nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "farm", "check", "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def assert_all_ended(client: Client, post_ids: Sequence[str], audience: int = FOLLOWERS) -> int:
    """Every post's ledger is whole and settled; returns how many are dead."""
    dead = 0
    with ThreadPoolExecutor(AUDITORS) as pool:
        ledgers = pool.map(client.ledger, post_ids)
    for post_id, ledger in zip(post_ids, ledgers, strict=True):
        assert ledger.unaccounted == 0, post_id
        assert ledger.delivered + ledger.dead == audience, (post_id, ledger)
        dead += ledger.dead
    return dead


def ids(prefix: str, count: int = POSTS) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_a_thousand_posts_lose_nothing(farm: StartFarm, connect: type[Client]) -> None:
    hark = farm("--workers", "2")
    client = connect(hark)
    assert client.publish_all(ids("p")) == POSTS * FOLLOWERS
    wait_until(lambda: counters(hark)["queue_size"] == 0, SETTLE_S)
    dead = assert_all_ended(client, ids("p"))
    assert counters(hark)["total_sent"] == POSTS * FOLLOWERS - dead
    for user in range(2, 8):
        seen = [notification.post_id for notification in client.inbox(f"user{user}")]
        assert sorted(seen) == sorted(ids("p"))
    assert hark.stop() == 0
    check(hark.data_dir)


@pytest.mark.parametrize(
    ("rate", "status", "attempts"),
    [
        ("1", hark_pb2.NOTIFICATION_STATUS_FAILED, 4),
        ("0", hark_pb2.NOTIFICATION_STATUS_DELIVERED, 1),
    ],
)
def test_every_attempt_fails_or_none(
    farm: StartFarm, connect: type[Client], rate: str, status: int, attempts: int
) -> None:
    hark = farm("--simulated-failure-rate", rate, "--simulated-latency-ms", "1-3")
    client = connect(hark)
    client.publish_all(ids("p", 100))
    wait_until(lambda: counters(hark)["queue_size"] == 0, SETTLE_S)
    for user in range(2, 8):
        found = list(client.inbox(f"user{user}"))
        assert len(found) == 100
        assert {(n.status, n.attempts) for n in found} == {(status, attempts)}
    expected = 600 * attempts if rate == "1" else 0
    assert counters(hark)["failed_attempts"] == expected


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """One whose processes are killed; at its end it stops as it should, and nothing is broken."""
    flags = ["--workers", "2", "--simulated-latency-ms", "5-20"]
    made = FarmProcess(tmp_path_factory.mktemp("hark"), flags)
    try:
        yield made.start()
        assert made.stop() == 0
        check(made.data_dir)
    finally:
        made.kill_tree()
        print(f"--- the end of {made.log_path}:\n{made.log_tail()}")


@pytest.mark.parametrize("role", ROLES)
def test_killing_a_process_loses_nothing(
    hark: FarmProcess, connect: type[Client], role: str, seed: int
) -> None:
    """kill -9 of a process of each role, twice, while posts come in and go out."""
    chance = random.Random(seed)
    client = connect(hark)
    before, sent = published(hark), counters(hark)["total_sent"]
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(client.publish_all, ids(role))
        for share in (0.25, 0.6):
            wait_for_posts(hark, publishing, before + share * POSTS)
            kill_and_wait(hark, chance.choice(wait_until(lambda: hark.pids(role))), role)
        assert publishing.result(SETTLE_S) == POSTS * FOLLOWERS
    # Who reads counters while they are on their way may still find those of the role before.
    wait_until(lambda: drained(hark, sent + POSTS), SETTLE_S)
    assert_all_ended(client, ids(role))


def wait_for_posts(hark: FarmProcess, publishing: Future[int], posts: float) -> None:
    wait_until(lambda: published(hark) >= posts or publishing.done(), SETTLE_S)


def kill_and_wait(hark: FarmProcess, victim: int, role: str) -> None:
    """Until another process has taken its place."""
    before = hark.pids(role)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: set(hark.pids(role)) - set(before), 5)


def published(hark: FarmProcess) -> float:
    """Posts that were answered OK, as far as a scrape can tell now."""
    try:
        with urllib.request.urlopen(f"http://{hark.http_address}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith('hark_posts_published_total{outcome="ok"}'):
                    return float(line.rsplit(" ", 1)[1])
    except OSError:
        pass
    return 0.0


def test_killing_everything_loses_nothing_acknowledged(
    farm: StartFarm, connect: type[Client]
) -> None:
    """kill -9 of the whole tree in the middle of delivering, then the same directory again."""
    hark = farm("--workers", "2", "--simulated-latency-ms", "20-60", "--worker-concurrency", "50")
    client = connect(hark)
    client.publish_all(ids("p", 300))
    assert counters(hark)["queue_size"] > 0, "it was delivered before it could be killed"
    hark.kill_tree()
    check(hark.data_dir)
    again = connect(hark.start())
    wait_until(lambda: drained(hark, 1), SETTLE_S)
    assert_all_ended(again, ids("p", 300))
    assert again.publish("p0") == FOLLOWERS, "the same id gets its first answer again"
    assert hark.stop() == 0
    check(hark.data_dir)


def test_stopping_in_the_middle_goes_on_at_the_next_start(
    farm: StartFarm, connect: type[Client]
) -> None:
    """SIGTERM with work waiting: exit status 0 in time, and no try is counted twice."""
    flags = ("--simulated-failure-rate", "0", "--simulated-latency-ms", "20-60")
    hark = farm("--workers", "2", "--worker-concurrency", "50", *flags)
    client = connect(hark)
    client.publish_all(ids("p", 300))
    waiting = counters(hark)["queue_size"]
    assert waiting > 0, "it was delivered before it could be stopped"
    assert hark.restart().pid
    again = connect(hark)
    wait_until(lambda: drained(hark, 1), SETTLE_S)
    assert assert_all_ended(again, ids("p", 300)) == 0
    attempts = {n.attempts for user in range(2, 8) for n in again.inbox(f"user{user}")}
    assert attempts == {1}
    assert hark.stop() == 0
    check(hark.data_dir)


def test_a_graph_where_everybody_posts_once(
    farm: StartFarm, connect: type[Client], tmp_path: Path, seed: int
) -> None:
    """A heavy-tailed graph of its own, imported at the start; workers are killed in between."""
    chance = random.Random(seed)
    people = 2_000
    edges: set[tuple[int, int]] = set()
    while len(edges) < 20_000:
        follower, author = chance.randrange(people), int(chance.paretovariate(0.9)) % people
        if follower != author:
            edges.add((follower, author))
    graph = tmp_path / "graph.tsv"
    graph.write_text("# a graph\n" + "".join(f"{a}\t{b}\n" for a, b in sorted(edges)))
    hark = farm("--workers", "2", "--import-follows", str(graph), "--simulated-latency-ms", "1-5")
    client = connect(hark)
    known = sorted({person for edge in edges for person in edge})
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = pool.map(lambda one: client.publish(f"by-{one}", str(one)), known)
        for worker in hark.pids("worker"):
            os.kill(worker, signal.SIGKILL)
        assert sum(answers) == len(edges)
    wait_until(lambda: drained(hark, 1), SETTLE_S)
    found = counters(hark)
    followers: dict[int, set[int]] = {}
    for follower, author in edges:
        followers.setdefault(author, set()).add(follower)
    star = max(followers, key=lambda author: len(followers[author]))
    ledger = client.ledger(f"by-{star}")
    assert (ledger.delivered + ledger.dead, ledger.unaccounted) == (len(followers[star]), 0)
    others = set(known) - followers[star] - {star}
    for group, sees in ((followers[star], True), (others, False)):
        for person in chance.sample(sorted(group), min(10, len(group))):
            posts = {notification.post_id for notification in client.inbox(str(person))}
            assert (f"by-{star}" in posts) is sees
    dead = sum(client.ledger(f"by-{one}").dead for one in chance.sample(known, 20))
    assert found["total_sent"] <= len(edges) - dead
    assert hark.stop() == 0
    check(hark.data_dir)
