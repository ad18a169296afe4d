"""Posts in, by hark.v1."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import wait_until
from tests.gateway.conftest import NewId
from tests.gateway.gateway_process import Surroundings

pytestmark = pytest.mark.process
Post = hark_pb2.PublishPostRequest


@pytest.fixture
def publisher(channel: grpc.Channel) -> Any:
    return hark_pb2_grpc.PublisherServiceStub(channel)


@pytest.fixture
def operations(channel: grpc.Channel) -> Any:
    return hark_pb2_grpc.OperationsServiceStub(channel)


def test_a_post_reaches_its_followers(publisher: Any, operations: Any, new_id: NewId) -> None:
    post_id = new_id()
    answer = publisher.PublishPost(Post(post_id=post_id, author_id="user1", content="Hello"))
    assert answer == hark_pb2.PublishPostResponse(post_id=post_id, notifications_queued=6)
    assert operations.GetLedger(hark_pb2.GetLedgerRequest(post_id=post_id)).audience == 6


def test_fifty_equal_posts_at_once_are_one(publisher: Any, operations: Any, new_id: NewId) -> None:
    post = Post(post_id=new_id(), author_id="user1", content="Hello")
    answers = [one.result(10) for one in [publisher.PublishPost.future(post) for _ in range(50)]]
    assert {(one.post_id, one.notifications_queued) for one in answers} == {(post.post_id, 6)}
    assert [one.duplicate for one in answers].count(False) == 1
    assert operations.GetLedger(hark_pb2.GetLedgerRequest(post_id=post.post_id)).audience == 6


UNKNOWN = (
    "author_id 'nobody': unknown; an author is known who has, or ever had, a follower or somebody "
    "to follow"
)
REFUSALS: list[tuple[dict[str, Any], grpc.StatusCode, str]] = [
    (
        {"author_id": "nobody"},
        grpc.StatusCode.NOT_FOUND,
        UNKNOWN,
    ),
    (
        {"author_id": "é" * 65},
        grpc.StatusCode.INVALID_ARGUMENT,
        "author_id: is 130 bytes long; must be 1 to 128 bytes of UTF-8",
    ),
    (
        {"post_id": "a\x1b[2Jb"},
        grpc.StatusCode.INVALID_ARGUMENT,
        "post_id 'a\\x1b[2Jb': must not contain control characters",
    ),
    (
        {"content": "x" * 16_385},
        grpc.StatusCode.INVALID_ARGUMENT,
        "content: is 16385 bytes long; must be 1 to 16384 bytes of UTF-8",
    ),
    (
        {"created_at": Timestamp(seconds=-1)},
        grpc.StatusCode.INVALID_ARGUMENT,
        "created_at: is -1 seconds since 1970; must be in the years 1970 to 9999",
    ),
    (
        {"created_at": Timestamp(seconds=2**62)},
        grpc.StatusCode.INVALID_ARGUMENT,
        "created_at: is 4611686018427387904 seconds since 1970; must be in the years 1970 to 9999",
    ),
    (
        {"created_at": Timestamp(nanos=1_000_000_000)},
        grpc.StatusCode.INVALID_ARGUMENT,
        "created_at: has 1,000,000,000 nanos; must have from 0 to 999,999,999",
    ),
    (
        {"created_at": Timestamp(nanos=-1)},
        grpc.StatusCode.INVALID_ARGUMENT,
        "created_at: has -1 nanos; must have from 0 to 999,999,999",
    ),
]


@pytest.mark.parametrize(("fields", "code", "message"), REFUSALS)
def test_refusals_name_field_value_and_rule(
    publisher: Any, operations: Any, new_id: NewId,
    fields: dict[str, Any], code: grpc.StatusCode, message: str,
) -> None:  # fmt: skip
    """Fault rows 5 and 8, of fields."""
    post = Post(**{"post_id": new_id(), "author_id": "user1", "content": "Hello"} | fields)
    with pytest.raises(grpc.RpcError) as refusal:
        publisher.PublishPost(post)
    assert (refusal.value.code(), refusal.value.details()) == (code, message)
    (result,) = publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=[post])).results
    assert (result.rejected.code, result.rejected.message) == (code.value[0], message)
    if "post_id" not in fields:
        with pytest.raises(grpc.RpcError) as unknown:
            operations.GetLedger(hark_pb2.GetLedgerRequest(post_id=post.post_id))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_limits_themselves_are_allowed(publisher: Any) -> None:
    last = Timestamp(seconds=253_402_300_799, nanos=999_999_999)
    for created_at in (Timestamp(), last):
        post = Post(
            post_id=f"{created_at.seconds:0128d}",
            author_id="user1",
            content="x" * 16_384,
            created_at=created_at,
        )
        assert publisher.PublishPost(post).notifications_queued == 6


def test_many_have_each_their_result_in_order(publisher: Any, new_id: NewId) -> None:
    same = Post(post_id=new_id(), author_id="user2", content="Hello")
    posts = [
        same,
        Post(post_id=new_id(), author_id="nobody", content="Hello"),
        Post(author_id="user3", content="Hello"),
        Post(author_id="user3", content=""),
        same,
        Post(post_id=same.post_id, author_id="user2", content="Other"),
        Post(author_id="user3", content="Hello", created_at=Timestamp(nanos=-1)),
        Post(post_id=new_id(), author_id="user1", content="Hello"),
    ]
    results = publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=posts)).results
    codes = [one.rejected.code if one.HasField("rejected") else 0 for one in results]
    assert codes == [0, 5, 0, 3, 0, 6, 3, 0]
    queued = [one.ok.notifications_queued for one in results if one.HasField("ok")]
    assert queued == [3, 3, 3, 6]
    assert [one.ok.duplicate for one in results] == [n == 4 for n in range(8)]
    assert len({results[2].ok.post_id, same.post_id, ""}) == 3


def test_how_many_there_may_be(publisher: Any) -> None:
    posts = [Post(author_id="user1", content="Hello")] * 1_000
    results = publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=posts)).results
    assert {one.ok.notifications_queued for one in results} == {6}
    assert len({one.ok.post_id for one in results}) == 1_000
    assert not publisher.PublishPosts(hark_pb2.PublishPostsRequest()).results
    with pytest.raises(grpc.RpcError) as refusal:
        publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=[*posts, posts[0]]))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == "posts: are 1,001; must be at most 1,000 a call"


# Taking back, and looking ahead


def followed(channel: grpc.Channel, author: str, *followers: str) -> None:
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    for follower in followers:
        graph.Follow(hark_pb2.FollowRequest(follower_id=follower, author_id=author))


def test_a_retraction_hides_what_was_delivered_and_says_the_same_again(
    channel: grpc.Channel, publisher: Any, operations: Any, new_id: NewId
) -> None:
    inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
    author, reader, post_id = new_id(), new_id(), new_id()
    followed(channel, author, reader)
    publisher.PublishPost(Post(post_id=post_id, author_id=author, content="Hello"))
    ledger = hark_pb2.GetLedgerRequest(post_id=post_id)
    wait_until(lambda: operations.GetLedger(ledger).channels["simulated"].delivered == 1, 20)
    asked = hark_pb2.RetractPostRequest(post_id=post_id)
    for _ in range(2):
        assert publisher.RetractPost(asked) == hark_pb2.RetractPostResponse(stopped=0, hidden=1)
    page = inbox.ListNotifications(hark_pb2.ListNotificationsRequest(user_id=reader))
    assert (list(page.notifications), page.unread) == ([], 0)


def test_before_anything_is_delivered(alone: Surroundings) -> None:
    """Without workers everything waits, so a retraction stops it, and no rate says how long."""
    alone.store()
    alone.gateway().wait_for_line("serving")
    with alone.channel() as channel:
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        followed(channel, "author", "a", "b")
        alone.reader()  # there is a database now
        preview = publisher.PreviewPost(hark_pb2.PreviewPostRequest(author_id="author"))
        assert (preview.audience, dict(preview.queued)) == (2, {"simulated": 2})
        assert not preview.HasField("estimate")
        publisher.PublishPost(Post(post_id="p", author_id="author", content="Hello"))
        asked = hark_pb2.RetractPostRequest(post_id="p")
        for _ in range(2):
            assert publisher.RetractPost(asked) == hark_pb2.RetractPostResponse(stopped=2)


def test_a_preview_says_what_publishing_would_do(
    channel: grpc.Channel, publisher: Any, operations: Any, new_id: NewId
) -> None:
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    author, muter, post_id = new_id(), new_id(), new_id()
    followed(channel, author, new_id(), new_id(), muter)
    graph.Mute(hark_pb2.MuteRequest(user_id=muter, author_id=author))
    asked = hark_pb2.PreviewPostRequest(author_id=author)
    preview = publisher.PreviewPost(asked)
    assert preview.audience == 3
    assert dict(preview.suppressed) == {"muted": 1}
    assert dict(preview.queued) == {"simulated": 2}
    publisher.PublishPost(Post(post_id=post_id, author_id=author, content="Hello"))
    ledger = hark_pb2.GetLedgerRequest(post_id=post_id)
    wait_until(lambda: operations.GetLedger(ledger).channels["simulated"].delivered == 2, 20)

    def rate_when_nothing_waits() -> float:
        now = operations.GetCapacity(hark_pb2.GetCapacityRequest())
        return 0.0 if now.backlog else float(now.deliveries_per_second)

    before = wait_until(rate_when_nothing_waits, 20)
    estimate_s = publisher.PreviewPost(asked).estimate.ToNanoseconds() / 1e9
    assert 2 / before <= estimate_s + 1e-6
    assert estimate_s - 1e-6 <= 2 / rate_when_nothing_waits()


@pytest.mark.parametrize(
    ("method", "request_", "code", "sentence"),
    [
        ("RetractPost", hark_pb2.RetractPostRequest(post_id="nothing"), "NOT_FOUND",
         "post_id 'nothing': there is no such post"),
        ("RetractPost", hark_pb2.RetractPostRequest(), "INVALID_ARGUMENT",
         "post_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
        ("PreviewPost", hark_pb2.PreviewPostRequest(author_id="nobody"), "NOT_FOUND",
         "author_id 'nobody': unknown"),
        ("PreviewPost", hark_pb2.PreviewPostRequest(), "INVALID_ARGUMENT",
         "author_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
    ],
)  # fmt: skip
def test_nothing_is_taken_back_or_looked_ahead_to_for_nobody(
    publisher: Any, method: str, request_: Any, code: str, sentence: str
) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        getattr(publisher, method)(request_)
    assert (refusal.value.code().name, refusal.value.details()) == (code, sentence)
