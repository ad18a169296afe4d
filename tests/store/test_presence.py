"""Frames: what each commit means to people who are online, and to nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from farm import wire
from farm.audience import unseal
from farm.errors import Corrupt, InvalidArgument
from farm.lifecycle import State
from farm.store.core import DAY_US
from farm.store.presence import SESSION_HOLDS_S
from farm.wire import Concern, Frame, Online, Op
from tests.store.conftest import MakeStore
from tests.store.harness import RAISES, Store, outcome


def say(session: str, came: Sequence[str] = (), went: Sequence[str] = ()) -> tuple[Any, ...]:
    return (Op.ONLINE, session, f"at {session}", [*came], [*went])


def publish(post: str, author: str) -> tuple[Any, ...]:
    return (Op.PUBLISH, post, author, "hello", 0, True)


def said(store: Store, session: str, came: Sequence[str] = (), went: Sequence[str] = ()) -> Online:
    """What a process hears that says who is online there."""
    return Online(*store.call(*say(session, came, went)))


def frames(store: Store, *operations: Sequence[Any]) -> list[Frame]:
    return [frame for _, frame in store.group(operations).frames]


def told(store: Store, found: Iterable[Frame]) -> list[tuple[str, Concern, list[str]]]:
    """Of each session, which news concern whom."""
    return [
        (frame.session, Concern(news.concern), sorted(store.ids(unseal(news.users))))
        for frame in found
        for news in frame.news
    ]


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    """Bob is followed by ann, who is online at one process, and by eve, who is at another."""
    store = make_store()
    for follower in ("ann", "eve", "off"):
        store.follow(follower, "bob")
    said(store, "one", ["ann"])
    said(store, "two", ["eve"])
    return store


def test_each_process_is_told_of_its_own_people(store: Store) -> None:
    assert told(store, frames(store, publish("p1", "bob"))) == [
        ("one", Concern.ADDED, ["ann"]),
        ("two", Concern.ADDED, ["eve"]),
    ]
    store.mute("eve", "bob")
    assert told(store, frames(store, publish("p2", "bob"))) == [("one", Concern.ADDED, ["ann"])]


def test_what_concerns_nobody_who_is_online_is_told_nobody(store: Store) -> None:
    store.follow("off", "cat")
    assert not frames(store, publish("p1", "cat"), (Op.MUTE, "off", "bob"))


def test_frames_name_the_place_and_the_change_of_the_one_before(store: Store) -> None:
    begin = said(store, "one").told
    store.follow("ann", "cat")
    chain = [
        frame
        for number in range(5)
        for frame in frames(store, publish(f"p{number}", "cat" if number % 2 else "bob"))
        if frame.session == "one"
    ]
    assert [frame.after for frame in chain] == [begin, *(frame.change for frame in chain[:-1])]
    assert chain[-1].change == said(store, "one").told == store.storage.meta().change
    (place, _), *_ = store.group([publish("more", "cat")]).frames
    assert place == "at one"


def test_news_come_in_the_order_of_changes(make_store: MakeStore) -> None:
    """A post's batches may be worked on around another post's; an event behind a later one would
    be taken for an old one."""
    store = make_store()
    store.followers("star", 3_000)
    store.publish("p0", "star")
    store.followers("star", 3, prefix="g")
    store.followers("small", 3, prefix="g")
    said(store, "one", ["f1", "g1"])
    store.publish("p1", "star")
    store.publish("p2", "small")
    grants = [grant for grant in store.ask("w", 10_000).grants if grant.post_id != "p0"]
    of_star = [grant for grant in grants if grant.author_id == "star"]
    of_small = [grant for grant in grants if grant.author_id == "small"]
    assert len(of_star) > 1
    order = [of_star[0], *of_small, *of_star[1:]]
    done = [outcome(grant, others=State.DELIVERED) for grant in order]
    (frame,) = [f for _, f in store.group(outcomes=[store.message("w", *done)]).frames]
    changes = [news.change for news in frame.news]
    assert len(set(changes)) > 1
    assert changes == sorted(changes)


def test_who_gets_a_number_is_named_and_counted_from_then_on(store: Store) -> None:
    assert said(store, "one", ["new"]).numbers == [0]
    (frame,) = frames(store, (Op.FOLLOW, "new", "cat"), publish("p1", "cat"))
    (news,) = frame.news
    assert (news.concern, news.reason) == (Concern.NAMED, "new")
    assert store.ids([news.post]) == ["new"]
    assert news.change == frame.change
    assert told(store, frames(store, publish("p2", "cat"))) == [("one", Concern.ADDED, ["new"])]


def test_who_is_online_at_two_processes_is_named_at_both(store: Store) -> None:
    said(store, "one", ["new"])
    said(store, "two", ["new"])
    assert told(store, frames(store, (Op.FOLLOW, "new", "cat"))) == [
        ("one", Concern.NAMED, ["new"]),
        ("two", Concern.NAMED, ["new"]),
    ]
    said(store, "one", went=["new"])
    assert told(store, frames(store, publish("p1", "cat"))) == [("two", Concern.ADDED, ["new"])]


def test_coming_and_going_count_within_a_group(store: Store) -> None:
    answers = store.group(
        [
            say("one", went=["ann"]),
            publish("p1", "bob"),
            say("one", ["ann", "off"]),
            publish("p2", "bob"),
            (Op.UNFOLLOW, "off", "bob"),
            publish("p3", "bob"),
            say("two", went=["eve"]),
            (Op.FOLLOW, "off", "bob"),
            publish("p4", "bob"),
        ]
    )
    found = told(store, (frame for _, frame in answers.frames))
    assert [(name, [*whom]) for name, concern, whom in found if concern is Concern.ADDED] == [
        ("one", ["ann", "off"]),
        ("one", ["ann"]),
        ("one", ["ann", "off"]),
    ]
    since = Online(*wire.value_of(answers.results[2])).change
    assert store.storage.post_by_id("p1").seq == since  # type: ignore[union-attr]


def test_who_does_something_to_their_inbox_is_told_to_read(store: Store) -> None:
    found = frames(store, (Op.UNFOLLOW, "ann", "bob"), (Op.MUTE, "off", "bob"), publish("p", "bob"))
    assert told(store, found) == [
        ("one", Concern.PERSON, ["ann"]),
        ("two", Concern.ADDED, ["eve"]),
    ]


def test_what_is_too_much_for_a_frame_breaks_the_chain(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is read, and memory holds neither more of a commit nor of a process that is stopped."""
    before = said(store, "one").told
    monkeypatch.setattr("farm.store.presence.TOLD_PER_COMMIT_MAX", 7)
    (much, also) = frames(store, *(publish(f"p{number}", "bob") for number in range(4)))
    assert (much.session, also.session) == ("one", "two")
    assert (much.after, much.news) == (much.change, [])
    assert before < much.change == said(store, "one").told == store.storage.meta().change
    (frame, _) = frames(store, *(publish(f"q{number}", "bob") for number in range(3)))
    assert (frame.after, len(frame.news)) == (much.change, 3)
    said(store, "one")
    monkeypatch.setattr("farm.store.presence.UNHEARD_BYTES_MAX", len(frame.news[0].users))
    (first, _), (second, _) = (frames(store, publish(name, "bob")) for name in ("r1", "r2"))
    assert (first.after, len(first.news)) == (frame.change, 1)
    assert (second.after, second.news) == (second.change, [])
    monkeypatch.setattr("farm.store.presence.TOLD_PER_COMMIT_MAX", 0)
    assert frames(store, publish("alone", "bob"))
    monkeypatch.undo()
    second = frames(store, publish("s1", "bob"))[0]
    said(store, "one")
    (third, _) = frames(store, publish("s2", "bob"))
    assert (third.after, len(third.news)) == (second.change, 1)


def test_what_was_retracted_is_not_removed_once_more_when_it_expires(store: Store) -> None:
    store.publish("retracted", "bob")
    store.publish("kept", "bob")
    (grant,) = (grant for grant in store.ask("w", 100).grants if grant.post_id == "kept")
    store.tell("w", outcome(grant, others=State.DELIVERED))
    assert [found[1] for found in told(store, frames(store, (Op.RETRACT, "retracted")))] == [
        Concern.REMOVED, Concern.REMOVED,
    ]  # fmt: skip
    seq = store.storage.post_by_id("kept").seq  # type: ignore[union-attr]
    store.clock.pass_s(31 * DAY_US / 1e6)
    found = frames(store, say("one", ["ann"]))
    assert [(n.reason, n.post) for f in found for n in f.news] == [("expired", seq)]


@pytest.mark.parametrize("place", ["", "x" * 200, "../store", "web-1/..", "nul\0", "web-1\n"])
def test_nobody_is_told_where_no_socket_can_be(store: Store, place: str) -> None:
    """A name too long for a socket ended the store when it was to tell anything there."""
    with pytest.raises(InvalidArgument):
        store.call(Op.ONLINE, "three", place, ["off"], [])
    assert [frame.session for frame in frames(store, publish("p", "bob"))] == ["one", "two"]


# Processes that die, and transactions that fail


def test_who_says_nothing_for_long_is_forgotten(store: Store) -> None:
    before = said(store, "one").since
    for _ in range(3):
        store.pass_s(SESSION_HOLDS_S / 2)
        assert said(store, "one").since == before
    assert told(store, frames(store, publish("p1", "bob"))) == [("one", Concern.ADDED, ["ann"])]
    assert said(store, "two", ["eve"]).since > before
    store.pass_s(SESSION_HOLDS_S + 1)
    assert not frames(store, publish("p2", "bob"))


def test_a_store_that_starts_again_knows_nobody_and_says_so(store: Store) -> None:
    before = said(store, "one").since
    store.clock.pass_s(0.5)
    store.reopen()
    assert not frames(store, publish("p1", "bob"))
    assert said(store, "one").since != before


def test_a_process_hears_that_it_was_unknown_also_when_the_first_answer_is_lost(
    store: Store,
) -> None:
    store.clock.pass_s(SESSION_HOLDS_S + 1)
    store.group()
    before = said(store, "three").since
    assert said(store, "three").since == before
    # The group of the first is undone, and run again.
    answers = store.group([RAISES, say("four")])
    heard = Online(*wire.value_of(answers.results[1]))
    assert heard.since == said(store, "four").since > 0


def test_what_was_undone_is_told_nobody_and_what_is_done_right(store: Store) -> None:
    answers = store.group(
        [
            say("one", ["off", "new"]),
            publish("p1", "bob"),
            (Op.FOLLOW, "new", "bob"),
            RAISES,
            publish("p2", "bob"),
        ]
    )
    posts = {store.storage.post_by_id(name).seq for name in ("p1", "p2")}  # type: ignore[union-attr]
    of_one = [frame for _, frame in answers.frames if frame.session == "one"]
    assert told(store, of_one) == [
        ("one", Concern.ADDED, ["ann", "off"]),
        ("one", Concern.NAMED, ["new"]),
        ("one", Concern.ADDED, ["ann", "new", "off"]),
    ]
    added = [n for frame in of_one for n in frame.news if n.concern == Concern.ADDED]
    assert {news.post for news in added} == posts
    assert [f.after for f in of_one[1:]] == [f.change for f in of_one[:-1]]


def test_who_was_named_in_what_was_undone_is_not(store: Store) -> None:
    said(store, "one", ["new"])
    assert not frames(store, RAISES)
    assert not store.group([(Op.IMPORT, ["new"], ["bob", "too many"])]).frames
    found = frames(store, (Op.FOLLOW, "other", "new"))
    assert told(store, found) == [("one", Concern.NAMED, ["new"])]


def test_nothing_is_run_again_that_was_committed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it cannot be read whom somebody follows who has just got a number."""
    said(store, "one", ["new"])
    followed_by = store.storage.followed_by

    def fail(_: int) -> list[int]:
        monkeypatch.setattr(store.storage, "followed_by", followed_by)
        raise Corrupt("a page of the database")

    monkeypatch.setattr(store.storage, "followed_by", fail)
    follow, post = store.group([(Op.FOLLOW, "new", "bob"), publish("p", "bob")]).results
    assert (follow, post[1].duplicate) == ((0, True), False)
