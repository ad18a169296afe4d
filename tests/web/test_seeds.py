"""Both seed systems' questions, word for word, and the rest of the schema, against a whole farm."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from gateway.pb.notification.notification_pb2 import Post
from gateway.pb.notification.notification_pb2_grpc import NotificationServiceStub
from tests.farm_process import FarmProcess, StartFarm, wait_until
from tests.web.web_process import ask, data, run

pytestmark = pytest.mark.process

TEXT = "New post from user1: Hello world!"


@pytest.fixture
def hark(farm: StartFarm) -> FarmProcess:
    """A farm where everything is delivered at the first try, with one post."""
    made = farm("--simulated-failure-rate", "0", "--workers", "2")
    with grpc.insecure_channel(made.grpc_address) as channel:
        service = NotificationServiceStub(channel)
        post = Post(id="p1", author_id="user1", content="Hello world!", created_at=1_700_000_000)
        assert service.PublishPost(post, wait_for_ready=True, timeout=10).notifications_queued == 6
    wait_until(lambda: _status(made, "user2") == ["DELIVERED"], 15)
    return made


def _status(hark: FarmProcess, user: str) -> list[str]:
    query = 'query { getNotifications(userId: "%s") { id content createdAt status } }'
    return [one["status"] for one in data(hark.http_address, query % user)["getNotifications"]]


def test_first_seed(hark: FarmProcess) -> None:
    query = 'query { getNotifications(userId: "user2") { id content createdAt status } }'
    (one,) = data(hark.http_address, query)["getNotifications"]
    assert one == {
        "id": one["id"],
        "content": TEXT,
        "createdAt": "2023-11-14T22:13:20Z",
        "status": "DELIVERED",
    }
    assert one["id"]
    query = (
        "query { getMetrics "
        "{ totalSent failedAttempts totalRetries avgDeliveryTime queueSize workerCount } }"
    )
    wait_until(lambda: data(hark.http_address, query)["getMetrics"]["totalSent"] == 6)
    metrics = data(hark.http_address, query)["getMetrics"]
    assert re.fullmatch(r"\d+\.\dms", metrics.pop("avgDeliveryTime"))
    assert metrics == {
        "totalSent": 6,
        "failedAttempts": 0,
        "totalRetries": 0,
        "queueSize": 0,
        "workerCount": 2,
    }


@pytest.mark.parametrize("headers", [{"accept": "application/json"}, {}])
def test_first_seed_metrics_as_json(hark: FarmProcess, headers: dict[str, str]) -> None:
    path = "/metrics" if headers else "/metrics.json"

    def told() -> dict[str, Any]:
        reply = ask(hark.http_address, path, headers=headers)
        assert reply.status == 200
        assert reply.headers["content-type"] == "application/json"
        body: dict[str, Any] = reply.json
        return body

    body = wait_until(lambda: (now := told())["total_sent"] == 6 and now)
    assert isinstance(body, dict)
    assert re.fullmatch(r"\d+\.\dms", body.pop("avg_delivery_time"))
    assert body == {
        "total_sent": 6,
        "failed_attempts": 0,
        "total_retries": 0,
        "queue_size": 0,
        "worker_count": 2,
    }


def test_second_seed(hark: FarmProcess) -> None:
    query = '{ notifications(userId: "user2") }'
    assert data(hark.http_address, query, "/query") == {"notifications": [TEXT]}
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
        "postId": "p1",
        "authorId": "user1",
        "content": TEXT,
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
    assert page["pageInfo"] == {"hasNextPage": False, "endCursor": edge["cursor"]}
    assert page["unreadCount"] == 1
    assert page["liveCursor"]
    after = data(hark.http_address, query, user="user2", after=edge["cursor"])["inbox"]
    assert after["edges"] == []
    assert after["pageInfo"] == {"hasNextPage": False, "endCursor": None}
    forged = run(hark.http_address, query, user="user2", after="forged")
    assert [error["extensions"]["code"] for error in forged["errors"]] == ["INVALID_ARGUMENT"]


def test_post_and_its_ledger(hark: FarmProcess) -> None:
    query = """query($id: ID!) { post(id: $id) {
      id authorId content createdAt retracted audience
      ledger { channel queued retrying delivered dead retracted suppressed { reason count }
               unaccounted }
    } }"""
    wait_until(lambda: data(hark.http_address, query, id="p1")["post"]["ledger"][0]["queued"] == 0)
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
    wait_until(lambda: data(hark.http_address, query)["capacity"]["backlog"] == 0)
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
