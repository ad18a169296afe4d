"""The two older interfaces, word for word, as their users call them: by reflection."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.pb.notification import notification_pb2, notification_pb2_grpc
from gateway.pb.post import post_pb2, post_pb2_grpc
from tests.farm_process import FarmProcess
from tests.gateway.conftest import NewId

pytestmark = pytest.mark.process
BUF = Path(sys.executable).with_name("buf")


def call(hark: FarmProcess, method: str, **request: Any) -> Any:
    """What a client answers who knows nothing but the address and the name of the method."""
    ran = subprocess.run(
        [
            BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge",
            "--data", json.dumps(request), f"http://{hark.grpc_address}/{method}",
        ],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return json.loads(ran.stdout or ran.stderr)


def test_the_second_tells_of_the_followers(hark: FarmProcess, new_id: NewId) -> None:
    answer = call(
        hark, "post.PostService/PublishPost",
        postId=new_id(), authorId="user1", content="Hello world!",
    )  # fmt: skip
    assert answer == {"message": "Post from user1 sent to 6 followers"}


def test_the_second_takes_a_post_nobody_follows(hark: FarmProcess) -> None:
    for _ in range(2):  # and does not make its author known
        answer = call(hark, "post.PostService/PublishPost", authorId="ghost", content="Boo!")
        assert answer == {"message": "Post received, but no followers for user: ghost"}
    unknown = call(
        hark, "notification.NotificationService/PublishPost", author_id="ghost", content="Boo!"
    )
    assert unknown["code"] == "not_found"


def test_the_first_queues_for_each_follower(hark: FarmProcess, new_id: NewId) -> None:
    post_id = new_id()
    answer = call(
        hark, "notification.NotificationService/PublishPost",
        id=post_id, author_id="user2", content="Hello", created_at=1_700_000_000,
    )  # fmt: skip
    assert answer == {"postId": post_id, "notificationsQueued": 3, "success": True}


@pytest.fixture
def first(channel: grpc.Channel) -> notification_pb2_grpc.NotificationServiceStub:
    return notification_pb2_grpc.NotificationServiceStub(channel)


@pytest.fixture
def second(channel: grpc.Channel) -> post_pb2_grpc.PostServiceStub:
    return post_pb2_grpc.PostServiceStub(channel)


def test_the_first_makes_ids_that_sort_by_time(first: Any) -> None:
    post = notification_pb2.Post(author_id="user1", content="Hello")
    ids = [first.PublishPost(post).post_id for _ in range(5)]
    assert ids == sorted(set(ids))
    assert {len(one) for one in ids} == {32}


def test_the_first_answers_a_repeated_post_alike(first: Any, new_id: NewId) -> None:
    post_id = new_id()
    answers = {
        first.PublishPost(
            notification_pb2.Post(id=post_id, author_id="user1", content="Hi", created_at=at)
        ).SerializeToString()
        for at in (0, 1, 1_700_000_000)
    }
    assert len(answers) == 1


UNKNOWN = (
    "author_id 'nobody': unknown; an author is known who has, or ever had, a follower or somebody "
    "to follow"
)
FIRST_REFUSALS: list[tuple[dict[str, Any], grpc.StatusCode, str]] = [
    (
        {"author_id": "nobody"},
        grpc.StatusCode.NOT_FOUND,
        UNKNOWN,
    ),
    (
        {"author_id": ""},
        grpc.StatusCode.INVALID_ARGUMENT,
        "author_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8",
    ),
    (
        {"id": "x" * 129},
        grpc.StatusCode.INVALID_ARGUMENT,
        "id: is 129 bytes long; must be 1 to 128 bytes of UTF-8",
    ),
    (
        {"id": "a\x00b"},
        grpc.StatusCode.INVALID_ARGUMENT,
        "id 'a\\x00b': must not contain control characters",
    ),
    (
        {"content": ""},
        grpc.StatusCode.INVALID_ARGUMENT,
        "content: is 0 bytes long; must be 1 to 16384 bytes of UTF-8",
    ),
    (
        {"created_at": -1},
        grpc.StatusCode.INVALID_ARGUMENT,
        "created_at: is -1 seconds since 1970; must be in the years 1970 to 9999",
    ),
    (
        {"created_at": 253_402_300_800},
        grpc.StatusCode.INVALID_ARGUMENT,
        "created_at: is 253402300800 seconds since 1970; must be in the years 1970 to 9999",
    ),
    (
        {"created_at": 2**63 - 1},
        grpc.StatusCode.INVALID_ARGUMENT,
        "created_at: is 9223372036854775808 seconds since 1970; must be in the years 1970 to 9999",
    ),
]


@pytest.mark.parametrize(("fields", "code", "message"), FIRST_REFUSALS)
def test_the_first_refuses(
    first: Any, fields: dict[str, Any], code: grpc.StatusCode, message: str
) -> None:
    post = {"author_id": "user1", "content": "Hello"} | fields
    with pytest.raises(grpc.RpcError) as refusal:
        first.PublishPost(notification_pb2.Post(**post))
    assert (refusal.value.code(), refusal.value.details()) == (code, message)


def test_each_names_its_own_fields(first: Any, second: Any, new_id: NewId) -> None:
    post_id = new_id()
    second.PublishPost(post_pb2.Post(postId=post_id, authorId="user1", content="Hello"))
    with pytest.raises(grpc.RpcError) as refusal:
        second.PublishPost(post_pb2.Post(postId=post_id, authorId="user1", content="Other"))
    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert str(refusal.value.details()).startswith(f"postId '{post_id}': ")
    with pytest.raises(grpc.RpcError) as refusal:
        first.PublishPost(notification_pb2.Post(id=post_id, author_id="user2", content="Hello"))
    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert str(refusal.value.details()).startswith(f"id '{post_id}': ")
    with pytest.raises(grpc.RpcError) as refusal:
        second.PublishPost(post_pb2.Post(authorId="", content="Hello"))
    assert refusal.value.details() == "authorId: is 0 bytes long; must be 1 to 128 bytes of UTF-8"
