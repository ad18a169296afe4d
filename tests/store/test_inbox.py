"""Reading: who sees what, page after page, and the count that never differs from the list."""

from __future__ import annotations

import itertools

import pytest

from farm import wire
from farm.cursor import InboxCursors
from farm.errors import InvalidArgument
from farm.lifecycle import State
from farm.looks import KnownLooks
from farm.store.history import History
from farm.store.inbox import Reading
from farm.store.storage import BLOCK
from farm.wire import Notification, Op
from tests.store.conftest import MakeStore
from tests.store.harness import Store, members, outcome


def pages(store: Store, user: str, size: int) -> list[str]:
    """The whole inbox, read page by page."""
    found: list[str] = []
    after = ""
    for _ in range(1_000):
        page = store.reading.inbox(user, size, after, False)
        found += [shown.post_id for shown in page.notifications]
        assert len(page.notifications) == size or not page.has_more
        if not page.has_more:
            return found
        after = page.notifications[-1].cursor
    raise AssertionError(f"no end: {found[:50]}")


def newest_of(reading: Reading, user: str, size: int) -> list[Notification]:
    """As whoever asks over the wire has them."""
    answer = wire.pack_answers(1, [wire.ok(reading.newest(user, size))])
    [result] = wire.results_in(wire.unpack(answer)[1], KnownLooks(wire.look))
    return wire.newest(wire.value_of(result), user, result[2])


@pytest.mark.parametrize("posts", [1, 31, 32, 33, 63, 64, 65, 96, 100, 160])
def test_pages_of_any_size_show_every_post_once(store: Store, posts: int) -> None:
    """Also where a page ends at the edge of a block of an author's older posts."""
    store.follow("ann", "star")
    for number in range(posts):
        store.publish(f"p{number}", "star")
    expected = [f"p{number}" for number in reversed(range(posts))]
    for size in range(1, 71):
        assert pages(store, "ann", size) == expected, size
    assert store.reading.inbox("ann", 1, "", False).unread == posts


def test_pages_merge_authors_by_time(store: Store) -> None:
    authors = ["a", "b", "c"]
    for author in authors:
        store.follow("ann", author)
    order = [
        (f"{author}{number}", author)
        for number in range(50)
        for author in authors[: 1 + number % 3]
    ]
    for post, author in order:
        store.publish(post, author)
    expected = [post for post, _ in reversed(order)]
    for size in (1, 7, 33, 100):
        assert pages(store, "ann", size) == expected


def test_an_author_s_history_finds_every_seq_and_place(store: Store) -> None:
    store.follow("ann", "star")
    for number in range(3 * BLOCK + 5):
        store.publish(f"p{number}", "star")
        store.publish(f"q{number}", "ann")  # so that seqs have gaps
    (number,) = store.numbers("star")
    author = store.storage.author(number)
    assert author is not None
    seqs = [row.seq for row in map(store.storage.post_by_id, (f"p{n}" for n in range(101))) if row]
    assert len(seqs) == author.last_ordinal == 101
    for one, other in itertools.product((0, 1, 31, 32, 40, 63, 64, 69, 100), repeat=2):
        history = History(store.storage, author)
        assert history.seq(one + 1) == seqs[one]  # whatever was looked at before
        assert history.before(seqs[other]) == other
        assert history.before(seqs[other] + 1) == other + 1
        assert history.seq(other + 1) == seqs[other]


def test_a_new_follow_shows_only_what_comes_after_it(store: Store) -> None:
    store.follow("bob", "star")
    store.publish("before", "star")
    store.follow("ann", "star")
    assert store.inbox("ann") == []
    store.publish("after", "star")
    assert store.inbox("ann") == ["after"]
    assert store.inbox("bob") == ["after", "before"]


def test_an_unfollow_hides_at_once_and_a_new_follow_does_not_bring_back(store: Store) -> None:
    store.follow("ann", "star")
    store.publish("one", "star")
    store.unfollow("ann", "star")
    assert store.inbox("ann") == []
    store.publish("two", "star")
    store.follow("ann", "star")
    store.publish("three", "star")
    assert store.inbox("ann") == ["three"]
    assert store.reading.inbox("ann", 5, "", False).unread == 1


def test_the_end_of_a_mute_shows_all_again(store: Store) -> None:
    store.follow("ann", "star")
    store.publish("one", "star")
    store.mute("ann", "star")
    store.publish("two", "star")
    assert store.inbox("ann") == []
    assert store.reading.user("ann")[3] == 0  # type: ignore[index]
    store.unmute("ann", "star")
    assert store.inbox("ann") == ["two", "one"]


def test_what_a_notification_shows_follows_its_set(store: Store) -> None:
    store.followers("star", 4)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 4).grants
    first, second, third, fourth = members(grant)
    store.tell("w1", outcome(grant, delivered=[first], retry=[second], dead=[third], error="no"))
    shown = {
        number: store.reading.inbox(store.ids([number])[0], 1, "", False).notifications[0]
        for number in (first, second, third, fourth)
    }
    assert (shown[first].state, shown[first].attempts) == (State.DELIVERED, 1)
    assert (shown[second].state, shown[second].attempts) == (State.RETRYING, 1)
    assert (shown[third].state, shown[third].attempts) == (State.DEAD, 1)
    assert (shown[fourth].state, shown[fourth].attempts) == (State.QUEUED, 0)
    due_us = shown[second].deliveries[0].next_attempt_us
    assert due_us is not None
    assert 50_000 <= due_us - store.core._clock.now_us() <= 100_000
    store.pass_s(1.0)
    retrying = store.reading.inbox(store.ids([second])[0], 1, "", False).notifications[0]
    assert (retrying.state, retrying.deliveries[0].next_attempt_us) == (State.RETRYING, None)
    assert [n.post_id for n in store.reading.delivered(store.ids([first])[0], 5)] == ["p"]
    assert store.reading.delivered(store.ids([fourth])[0], 5) == []


def test_what_many_ask_at_one_moment_is_each_one_s_own(store: Store) -> None:
    """One reading answers all of them, and remembers posts and sets from one to the next; later
    followers are in another version of the segment."""
    early = store.followers("star", 3, "early")
    store.publish("p", "star")
    late = store.followers("star", 3, "late")
    store.publish("q", "star")
    for grant in store.ask("w1", 20).grants:
        some = members(grant)
        store.tell("w1", outcome(grant, delivered=some[:1], retry=some[1:2], dead=some[2:3]))
    for asked in ([*early, *late, "nobody"], [*late, *early]):
        reading = store.reading
        for user in asked:
            page = reading.inbox(user, 20, "", False)
            assert page == store.reading.inbox(user, 20, "", False)
            plain = [shown._replace(cursor="") for shown in page.notifications]
            assert reading.newest(user, 20) == store.reading.newest(user, 20)
            assert newest_of(reading, user, 20) == plain
            delivered = [shown for shown in page.notifications if shown.state is State.DELIVERED]
            assert reading.delivered(user, 20) == delivered
    states = {shown.state for user in early for shown in newest_of(store.reading, user, 20)}
    assert states == {State.DELIVERED, State.RETRYING, State.DEAD}


def test_people_to_whom_a_post_looks_alike_share_a_look(store: Store) -> None:
    """Of one moment: it is made once and told once, to as many as ask. Others have their own."""
    people = store.followers("star", 6)
    for number in range(3):
        store.publish(f"p{number}", "star")
    newest, _, oldest = store.reading.inbox(people[0], 3, "", False).notifications
    store.call(Op.MARK, people[0], [newest.id, oldest.id], True)
    grant = store.ask("w1", 20).grants[0]
    assert grant.post_id == oldest.post_id
    [delivered, dead] = members(grant)[1:3]
    store.tell("w1", outcome(grant, delivered=[delivered], dead=[dead]))
    reading = store.reading
    answers = [reading.newest(user, 20) for user in people]
    _, body = wire.unpack(wire.pack_answers(1, [wire.ok(answer) for answer in answers]))
    # One of each post for nearly all; who has read one, got one, or never will, see it otherwise.
    assert len(body[2]) == 3 + 4
    results = wire.results_in(body, KnownLooks(wire.look))
    for user, result in zip(people, results, strict=True):
        page = store.reading.inbox(user, 20, "", False).notifications
        assert wire.newest(wire.value_of(result), user, result[2]) == [
            shown._replace(cursor="") for shown in page
        ]


def test_a_page_goes_on_below_authors_who_have_hidden_all_their_newest(store: Store) -> None:
    """Authors are asked for by their last posts, as many as a page is long."""
    authors = [f"a{number}" for number in range(30)]
    for author in authors:
        store.follow("ann", author)
        store.publish(f"old-{author}", author)
    for author in authors[:25]:
        store.publish(f"new-{author}", author)
        store.call(Op.RETRACT, f"new-{author}")
    expected = [f"old-{author}" for author in reversed(authors)]
    for size in (1, 2, 7, 40):
        assert pages(store, "ann", size) == expected
    assert [shown.post_id for shown in newest_of(store.reading, "ann", 3)] == expected[:3]
    store.call(
        Op.MARK_UP_TO, "ann", store.reading.inbox("ann", 40, "", False).notifications[3].cursor
    )
    page = store.reading.inbox("ann", 1, "", True)
    assert ([shown.post_id for shown in page.notifications], page.unread) == (expected[:1], 3)
    assert store.reading.unread("ann") == 3


def test_a_cursor_is_its_owner_s_and_nobody_else_s(store: Store) -> None:
    for user in ("ann", "bob"):
        store.follow(user, "star")
    for number in range(3):
        store.publish(f"p{number}", "star")
    cursor = store.reading.inbox("ann", 1, "", False).notifications[0].cursor
    assert store.reading.inbox("ann", 5, cursor, False).notifications[0].post_id == "p1"
    bent = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for user, token in (("bob", cursor), ("ann", bent), ("ann", "nonsense"), ("ann", "%%%")):
        with pytest.raises(InvalidArgument, match="after"):
            store.reading.inbox(user, 5, token, False)


def test_a_page_from_where_live_events_begin_has_all_that_came_before(
    make_store: MakeStore,
) -> None:
    """Also where the newest post is the newest change, as nothing comes of it later."""
    store = make_store(channels=("inbox",))
    store.follow("ann", "star")
    for number in range(3):
        store.publish(f"p{number}", "star")
    live = store.reading.inbox("ann", 1, "", False).live_cursor
    store.publish("later", "star")
    page = store.reading.inbox("ann", 9, live, False)
    assert [shown.post_id for shown in page.notifications] == ["p2", "p1", "p0"]


def test_nothing_is_read_before_it_is_published(store: Store) -> None:
    """A directory that was put back as it once was has given out cursors of what is to come."""
    store.follow("ann", "star")
    store.publish("p", "star")
    meta = store.storage.meta()
    later = InboxCursors(meta.incarnation, meta.secret).sign("ann", meta.change + 1_000)
    assert store.call(Op.MARK_UP_TO, "ann", later)
    store.publish("q", "star")
    page = store.reading.inbox("ann", 9, "", True)
    assert ([shown.post_id for shown in page.notifications], page.unread) == (["q"], 1)


def test_an_unknown_user_sees_nothing(store: Store) -> None:
    page = store.reading.inbox("nobody", 10, "", False)
    assert (page.notifications, page.has_more, page.unread) == ([], False, 0)
    assert store.reading.delivered("nobody", 10) == []
    assert store.reading.user("nobody") is None
    assert store.reading.post("nothing") is None


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_followers_and_following_page_by_page(store: Store, size: int) -> None:
    followers = store.followers("star", 25)
    for number in range(9):
        store.follow("f1", f"a{number}")
    found: list[str] = []
    token = ""
    while True:
        page = store.reading.followers("star", size, token)
        found, token = found + page.ids, page.next_token
        assert page.total == 25
        if not token:
            break
    assert found == followers
    found, token = [], ""
    while True:
        page = store.reading.following("f1", size, token)
        found, token = found + page.ids, page.next_token
        if not token:
            break
    assert found == sorted([*(f"a{number}" for number in range(9)), "star"])
