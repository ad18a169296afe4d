"""Notifications out, by hark.v1."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, wait_until
from tests.gateway.conftest import NewId
from tests.gateway.gateway_process import Surroundings
from tests.web.web_process import data

pytestmark = pytest.mark.process
Page = hark_pb2.ListNotificationsRequest
Mark = hark_pb2.MarkReadRequest
SETTLED = {hark_pb2.NOTIFICATION_STATUS_DELIVERED, hark_pb2.NOTIFICATION_STATUS_FAILED}
NOT_GIVEN_OUT = "was not given out here for this; leave it out"


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
    "forged": (Page(user_id="user1", after="x"), f"after: {NOT_GIVEN_OUT}"),
    "long": (Page(user_id="user1", after="é" * 5_000), f"after: {NOT_GIVEN_OUT}"),
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


def test_paging_through_all_while_ten_thousand_arrive(
    inbox: Any, channel: grpc.Channel, new_id: NewId
) -> None:
    """Fault row 87: every notification there was at the first page is shown once, in order."""
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    user, author = new_id(), new_id()
    graph.Follow(hark_pb2.FollowRequest(follower_id=user, author_id=author))

    def arrive(first: int, count: int) -> None:
        numbers = range(first, first + count)
        posts = [hark_pb2.PublishPostRequest(author_id=author, content=f"{n}") for n in numbers]
        publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=posts))

    def page_through() -> tuple[list[int], bool]:
        """The numbers shown, and whether any arrived meanwhile."""
        page = first = inbox.ListNotifications(Page(user_id=user, page_size=100))
        shown = texts(page)
        while page.next_cursor:
            after = Page(user_id=user, page_size=100, after=page.next_cursor)
            page = inbox.ListNotifications(after)
            shown += texts(page)
        return [int(text) for text in shown], page.unread > first.unread

    arrive(0, 500)
    grew = 0
    with ThreadPoolExecutor(1) as pool:
        arriving = [pool.submit(arrive, n, 500) for n in range(500, 10_500, 500)]
        while not all(one.done() for one in arriving):
            numbers, some_arrived = page_through()
            assert numbers == list(range(numbers[0], -1, -1))
            grew += some_arrived
    assert grew, "nothing arrived between two pages"
    assert page_through() == (list(range(10_499, -1, -1)), False)
    for one in arriving:
        one.result()


def texts(page: hark_pb2.ListNotificationsResponse) -> list[str]:
    return [one.content.rpartition(": ")[2] for one in page.notifications]


def test_a_cursor_bent_anywhere_is_refused(inbox: Any, reader: str) -> None:
    """Fault row 87: nobody makes a cursor out of another one, nor another text of the same."""
    cursor = inbox.ListNotifications(Page(user_id=reader, page_size=1)).next_cursor
    bent = [
        f"{cursor[:n]}{'B' if cursor[n] == 'A' else 'A'}{cursor[n + 1 :]}"
        for n in range(len(cursor))
    ]
    others = (cursor[1:], cursor[:-1], f"{cursor}A", f"{cursor}==", f"{cursor}{cursor}")
    for after in (*bent, *others):
        with pytest.raises(grpc.RpcError) as refusal:
            inbox.ListNotifications(Page(user_id=reader, after=after))
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT, after


def test_what_was_answered_is_seen(
    inbox: Any, channel: grpc.Channel, hark: FarmProcess, new_id: NewId
) -> None:
    """Fault row 88: by the next question, on either protocol, and so within a second."""
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    user, author = new_id(), new_id()
    graph.Follow(hark_pb2.FollowRequest(follower_id=user, author_id=author))
    look = "query($user: ID!) { inbox(userId: $user, first: 1) { edges { node { id read } } } }"
    mark = """mutation($user: ID!, $ids: [ID!]!) {
      markUnread(userId: $user, notificationIds: $ids) { unreadCount } }"""

    def seen() -> tuple[Any, Any]:
        began_s = time.monotonic()
        (one,) = inbox.ListNotifications(Page(user_id=user, page_size=1)).notifications
        (edge,) = data(hark.http_address, look, user=user)["inbox"]["edges"]
        assert time.monotonic() - began_s < 1
        return (one.id, one.read), (edge["node"]["id"], edge["node"]["read"])

    before = ""
    for _ in range(15):
        publisher.PublishPost(hark_pb2.PublishPostRequest(author_id=author, content="Hello"))
        first, second = seen()
        assert first == second
        assert first[0] != before
        before = first[0]
        inbox.MarkRead(Mark(user_id=user, notification_ids=[before]))
        assert seen() == ((before, True), (before, True))
        data(hark.http_address, mark, user=user, ids=[before])
        assert seen() == ((before, False), (before, False))


# Marking


def all_of(inbox: Any, user: str, *, unread_only: bool = False) -> list[Any]:
    page = inbox.ListNotifications(Page(user_id=user, page_size=100, unread_only=unread_only))
    unread = [one for one in page.notifications if not one.read]
    assert page.unread == len(unread)
    return list(page.notifications)


def test_single_ones_are_marked_and_unmarked(inbox: Any, reader: str) -> None:
    ids = [one.id for one in all_of(inbox, reader)]
    assert inbox.MarkRead(Mark(user_id=reader, notification_ids=ids[:3])).unread == 42
    assert inbox.MarkRead(Mark(user_id=reader, notification_ids=ids[:3])).unread == 42
    unmark = Mark(user_id=reader, notification_ids=[ids[1]], unread=True)
    assert inbox.MarkRead(unmark).unread == 43
    assert [one.read for one in all_of(inbox, reader)] == [n in {0, 2} for n in range(45)]
    unread = [one.id for one in all_of(inbox, reader, unread_only=True)]
    assert unread == [one for one in ids if one not in {ids[0], ids[2]}]


def test_all_up_to_one_are_marked_and_single_ones_beside(inbox: Any, reader: str) -> None:
    every = all_of(inbox, reader)
    mark = Mark(user_id=reader, up_to=every[10].cursor, notification_ids=[every[2].id])
    assert inbox.MarkRead(mark).unread == 9
    assert [one.read for one in all_of(inbox, reader)] == [n == 2 or n >= 10 for n in range(45)]
    unmark = Mark(user_id=reader, notification_ids=[every[44].id], unread=True)
    assert inbox.MarkRead(unmark).unread == 10
    unread = all_of(inbox, reader, unread_only=True)
    assert [one.id for one in unread] == [every[n].id for n in (0, 1, *range(3, 10), 44)]


def test_those_of_somebody_else_and_of_nobody_are_left_alone(
    inbox: Any, channel: grpc.Channel, reader: str, new_id: NewId
) -> None:
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    other, author = new_id(), all_of(inbox, reader)[0].author_id
    graph.Follow(hark_pb2.FollowRequest(follower_id=other, author_id=author))
    publisher.PublishPost(hark_pb2.PublishPostRequest(author_id=author, content="for both"))
    ids = [one.id for one in all_of(inbox, reader)]
    odd = ["", "no id", ".", "1.", "-1.-1", "1." + "f" * 5_000]
    assert inbox.MarkRead(Mark(user_id=other, notification_ids=[*ids, *odd])).unread == 1
    assert not any(one.read for user in (reader, other) for one in all_of(inbox, user))


MARKS: dict[str, tuple[hark_pb2.MarkReadRequest, str, str]] = {
    "nothing": (
        Mark(user_id="user1"),
        "INVALID_ARGUMENT",
        "notification_ids: are none, and up_to is empty; one of them must say what to mark",
    ),
    "unread up to": (
        Mark(user_id="user1", up_to="x", unread=True),
        "INVALID_ARGUMENT",
        "up_to: cannot be given with unread; only notification_ids can be marked as unread",
    ),
    "many": (
        Mark(user_id="user1", notification_ids=["x"] * 1_001),
        "INVALID_ARGUMENT",
        "notification_ids: are 1,001; must be at most 1,000 a call",
    ),
    "forged": (
        Mark(user_id="user1", up_to="x"),
        "INVALID_ARGUMENT",
        f"up_to: {NOT_GIVEN_OUT}",
    ),
    "unnamed": (
        Mark(notification_ids=["x"]),
        "INVALID_ARGUMENT",
        "user_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8",
    ),
    "unknown": (
        Mark(user_id="nobody", notification_ids=["x"]),
        "NOT_FOUND",
        "user_id 'nobody': nobody here has this id",
    ),
}


@pytest.mark.parametrize("which", MARKS)
def test_marks_that_are_refused(inbox: Any, which: str) -> None:
    mark, code, sentence = MARKS[which]
    with pytest.raises(grpc.RpcError) as refusal:
        inbox.MarkRead(mark)
    assert (refusal.value.code().name, refusal.value.details()) == (code, sentence)


def test_a_refused_mark_has_marked_nothing(inbox: Any, reader: str) -> None:
    every = all_of(inbox, reader)
    ids = [one.id for one in every]
    for mark in (
        Mark(user_id=reader, notification_ids=ids[:1], up_to="x"),
        Mark(user_id=reader, notification_ids=ids * 23, up_to=every[0].cursor),
    ):
        with pytest.raises(grpc.RpcError):
            inbox.MarkRead(mark)
    assert not any(one.read for one in all_of(inbox, reader))


def test_large_marks_hold_up_nobody(alone: Surroundings) -> None:
    """Together they are more than a message to the store may be; all of them wait for it."""
    store = alone.store()
    alone.gateway().wait_for_line("serving")
    with alone.channel() as channel:
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
        graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
        graph.Follow(hark_pb2.FollowRequest(follower_id="ana", author_id="ben"), timeout=15)
        store.process.send_signal(signal.SIGSTOP)
        large = Mark(user_id="nobody", notification_ids=["x" * 3_900] * 1_000)
        marks = [inbox.MarkRead.future(large, timeout=30) for _ in range(20)]
        cursors = [
            inbox.MarkRead.future(Mark(user_id="ana", up_to="x" * 3_900_000), timeout=30)
            for _ in range(20)
        ]
        for one in cursors:  # these know without the store
            assert f"up_to: {NOT_GIVEN_OUT}" == one.exception().details()
        post = hark_pb2.PublishPostRequest(author_id="ben", content="Hello")
        posts = [publisher.PublishPost.future(post, timeout=5) for _ in range(10)]
        store.process.send_signal(signal.SIGCONT)
        assert {one.result().notifications_queued for one in posts} == {1}
        assert {one.exception().code() for one in marks} == {grpc.StatusCode.NOT_FOUND}
