"""Both seed systems' questions, word for word, and the rest of the schema, against a whole farm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import grpc
import pytest

from gateway.pb.notification.notification_pb2 import Post
from gateway.pb.notification.notification_pb2_grpc import NotificationServiceStub
from tests.farm_process import FarmProcess, wait_until
from tests.web.web_process import ask, data, run

pytestmark = pytest.mark.process

TEXTS = ["New post from user1: Hello world!", "New post from user1: Again!"]


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """A farm where everything is delivered at the first try, with two posts; only to be read."""
    flags = ("--simulated-failure-rate", "0", "--workers", "2")
    made = FarmProcess(tmp_path_factory.mktemp("farm"), flags)
    try:
        made.start()
        publish(made, "p1", "Hello world!")
        publish(made, "p2", "Again!")
        wait_until(lambda: _backlog(made) == 0, 15)
        yield made
    finally:
        made.kill_tree()
        print(f"--- the end of {made.log_path}:\n{made.log_tail()}")


def publish(hark: FarmProcess, post_id: str, content: str) -> None:
    post = Post(id=post_id, author_id="user1", content=content, created_at=1_700_000_000)
    with grpc.insecure_channel(hark.grpc_address) as channel:
        answer = NotificationServiceStub(channel).PublishPost(post, timeout=10)
    assert answer.notifications_queued == 6


def _backlog(hark: FarmProcess) -> int:
    waiting = data(hark.http_address, "{ capacity { backlog } }")["capacity"]["backlog"]
    assert isinstance(waiting, int)
    return waiting


def test_first_seed(hark: FarmProcess) -> None:
    query = 'query { getNotifications(userId: "user2") { id content createdAt status } }'
    newest_first = data(hark.http_address, query)["getNotifications"]
    ids = [one.pop("id") for one in newest_first]
    assert len(set(ids)) == 2
    assert newest_first == [
        {"content": text, "createdAt": "2023-11-14T22:13:20Z", "status": "DELIVERED"}
        for text in (TEXTS[1], TEXTS[0])
    ]
    query = (
        "query { getMetrics "
        "{ totalSent failedAttempts totalRetries avgDeliveryTime queueSize workerCount } }"
    )
    metrics = data(hark.http_address, query)["getMetrics"]
    assert re.fullmatch(r"\d+\.\dms", metrics.pop("avgDeliveryTime"))
    assert metrics == {
        "totalSent": 12,
        "failedAttempts": 0,
        "totalRetries": 0,
        "queueSize": 0,
        "workerCount": 2,
    }


@pytest.mark.parametrize("headers", [{"accept": "application/json"}, {}])
def test_first_seed_metrics_as_json(hark: FarmProcess, headers: dict[str, str]) -> None:
    path = "/metrics" if headers else "/metrics.json"

    reply = ask(hark.http_address, path, headers=headers)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    body = reply.json
    assert re.fullmatch(r"\d+\.\dms", body.pop("avg_delivery_time"))
    assert body == {
        "total_sent": 12,
        "failed_attempts": 0,
        "total_retries": 0,
        "queue_size": 0,
        "worker_count": 2,
    }


def test_second_seed(hark: FarmProcess) -> None:
    query = '{ notifications(userId: "user2") }'
    assert data(hark.http_address, query, "/query") == {"notifications": TEXTS}
    nobody = '{ notifications(userId: "nobody") getNotifications(userId: "nobody") { id } }'
    assert data(hark.http_address, nobody) == {"notifications": [], "getNotifications": []}


def test_inbox(hark: FarmProcess) -> None:
    query = """query($user: ID!, $after: String, $unread: Boolean) {
      inbox(userId: $user, first: 1, after: $after, unreadOnly: $unread) {
        edges { cursor node {
          id userId postId authorId content createdAt read status attempts
          deliveries { channel status attempts lastError nextAttemptAt }
        } }
        pageInfo { hasNextPage endCursor } unreadCount liveCursor
      }
    }"""
    page = data(hark.http_address, query, user="user2")["inbox"]
    (edge,) = page["edges"]
    assert edge["node"] == {
        "id": edge["node"]["id"],
        "userId": "user2",
        "postId": "p2",
        "authorId": "user1",
        "content": TEXTS[1],
        "createdAt": "2023-11-14T22:13:20Z",
        "read": False,
        "status": "DELIVERED",
        "attempts": 1,
        "deliveries": [
            {
                "channel": "simulated",
                "status": "DELIVERED",
                "attempts": 1,
                "lastError": None,
                "nextAttemptAt": None,
            }
        ],
    }
    assert page["pageInfo"] == {"hasNextPage": True, "endCursor": edge["cursor"]}
    assert page["unreadCount"] == 2
    assert page["liveCursor"]
    after = data(hark.http_address, query, user="user2", after=edge["cursor"])["inbox"]
    assert [one["node"]["content"] for one in after["edges"]] == [TEXTS[0]]
    assert after["pageInfo"]["hasNextPage"] is False
    nobody = data(hark.http_address, query, user="nobody")["inbox"]
    assert (nobody["edges"], nobody["unreadCount"]) == ([], 0)
    assert nobody["pageInfo"] == {"hasNextPage": False, "endCursor": None}
    forged = run(hark.http_address, query, user="user2", after="forged")
    assert [error["extensions"]["code"] for error in forged["errors"]] == ["INVALID_ARGUMENT"]


def test_post_and_its_ledger(hark: FarmProcess) -> None:
    query = """query($id: ID!) { post(id: $id) {
      id authorId content createdAt retracted audience
      ledger { channel queued retrying delivered dead retracted suppressed { reason count }
               unaccounted }
    } }"""
    assert data(hark.http_address, query, id="p1")["post"] == {
        "id": "p1",
        "authorId": "user1",
        "content": "Hello world!",
        "createdAt": "2023-11-14T22:13:20Z",
        "retracted": False,
        "audience": 6,
        "ledger": [
            {
                "channel": "simulated",
                "queued": 0,
                "retrying": 0,
                "delivered": 6,
                "dead": 0,
                "retracted": 0,
                "suppressed": [],
                "unaccounted": 0,
            }
        ],
    }
    assert data(hark.http_address, query, id="none")["post"] is None


def test_user_and_pages_of_people(hark: FarmProcess) -> None:
    query = """query($id: ID!, $first: Int, $after: String) { user(id: $id) {
      id unreadCount
      followers(first: $first, after: $after) {
        ids totalCount pageInfo { hasNextPage endCursor }
      }
      following { ids totalCount }
    } }"""
    user = data(hark.http_address, query, id="user1", first=4)["user"]
    assert (user["id"], user["unreadCount"]) == ("user1", 0)
    assert sorted(user["following"]["ids"]) == ["user2", "user3"]
    first = user["followers"]
    assert (len(first["ids"]), first["totalCount"]) == (4, 6)
    assert first["pageInfo"]["hasNextPage"]
    after = first["pageInfo"]["endCursor"]
    rest = data(hark.http_address, query, id="user1", first=4, after=after)["user"]["followers"]
    assert sorted(first["ids"] + rest["ids"]) == [f"user{n}" for n in range(2, 8)]
    assert rest["pageInfo"] == {"hasNextPage": False, "endCursor": None}
    assert data(hark.http_address, query, id="nobody")["user"] is None
    wrong = run(hark.http_address, query, id="user1", first=101)
    assert wrong["errors"][0]["message"] == "first 101: must be from 1 to 100"


def test_capacity_and_processes(hark: FarmProcess) -> None:
    query = """{
      capacity { backlog oldestQueuedSeconds deliveriesPerSecond backlogSeconds workers accepting
                 refusingBecause }
      processes { role pid startedAt restarts }
    }"""
    answer = data(hark.http_address, query)
    capacity = answer["capacity"]
    assert capacity["deliveriesPerSecond"] > 0
    assert capacity["oldestQueuedSeconds"] == 0
    assert capacity["backlogSeconds"] == 0
    assert (capacity["workers"], capacity["accepting"]) == (2, True)
    assert capacity["refusingBecause"] is None
    by_pid = {one["pid"]: one["role"] for one in answer["processes"]}
    roles = ("gateway", "store", "reader", "worker", "web")
    assert by_pid == {hark.pid: "supervisor"} | {
        pid: role for role in roles for pid in hark.pids(role)
    }
    for one in answer["processes"]:
        assert one["restarts"] == 0
        assert datetime.fromisoformat(one["startedAt"]) < datetime.now(UTC)
        assert one["startedAt"].endswith("Z")
