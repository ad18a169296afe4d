"""Notifications out, by hark.v1."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import wait_until
from tests.gateway.conftest import NewId

pytestmark = pytest.mark.process
Page = hark_pb2.ListNotificationsRequest
SETTLED = {hark_pb2.NOTIFICATION_STATUS_DELIVERED, hark_pb2.NOTIFICATION_STATUS_FAILED}
NOT_GIVEN_OUT = "after: was not given out here for this; leave it out"


@pytest.fixture
def inbox(channel: grpc.Channel) -> Any:
    return hark_pb2_grpc.InboxServiceStub(channel)


@pytest.fixture
def reader(channel: grpc.Channel, new_id: NewId) -> str:
    """Somebody with 45 notifications, the text of the oldest ending in 0."""
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    user, author = new_id(), new_id()
    graph.Follow(hark_pb2.FollowRequest(follower_id=user, author_id=author))
    posts = [hark_pb2.PublishPostRequest(author_id=author, content=f"{n}") for n in range(45)]
    posts[0].created_at.seconds = 1_700_000_000
    publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=posts))
    return user


def test_pages_go_from_the_newest_to_the_oldest(inbox: Any, reader: str) -> None:
    notifications, cursor = [], ""
    for size, expected in ((0, 20), (7, 7), (100, 18)):
        page = inbox.ListNotifications(Page(user_id=reader, page_size=size, after=cursor))
        assert len(page.notifications) == expected
        assert page.unread == 45
        notifications += page.notifications
        cursor = page.next_cursor
    assert cursor == ""
    texts = [one.content.rpartition(": ")[2] for one in notifications]
    assert texts == [str(n) for n in reversed(range(45))]
    oldest = notifications[-1]
    assert oldest.created_at.seconds == 1_700_000_000
    assert (oldest.user_id, oldest.read) == (reader, False)


def test_notifications_settle(inbox: Any, reader: str) -> None:
    def page() -> Any:
        return inbox.ListNotifications(Page(user_id=reader, page_size=100)).notifications

    wait_until(lambda: {one.status for one in page()} <= SETTLED, 20)
    assert {1, 2} & {one.attempts for one in page()}
    assert len({one.id for one in page()}) == 45


def test_somebody_unknown_has_an_empty_inbox(inbox: Any) -> None:
    page = inbox.ListNotifications(Page(user_id="nobody"))
    assert (list(page.notifications), page.unread, page.next_cursor) == ([], 0, "")


REFUSALS = {
    "nobody": (Page(), "user_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
    "size": (Page(user_id="user1", page_size=101), "page_size 101: must be from 1 to 100"),
    "forged": (Page(user_id="user1", after="x"), NOT_GIVEN_OUT),
    "long": (Page(user_id="user1", after="é" * 5_000), NOT_GIVEN_OUT),
}


@pytest.mark.parametrize("which", REFUSALS)
def test_refusals(inbox: Any, which: str) -> None:
    page, sentence = REFUSALS[which]
    with pytest.raises(grpc.RpcError) as refusal:
        inbox.ListNotifications(page)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == sentence


def test_a_cursor_is_good_for_its_own_inbox_only(inbox: Any, reader: str) -> None:
    cursor = inbox.ListNotifications(Page(user_id=reader, page_size=1)).next_cursor
    with pytest.raises(grpc.RpcError) as refusal:
        inbox.ListNotifications(Page(user_id="user1", after=cursor))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
