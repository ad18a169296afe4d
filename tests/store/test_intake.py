"""Publishing: the audience is who follows now, and the same id is the same post."""

from __future__ import annotations

import pytest

from farm.errors import AlreadyExists, NotFound, ResourceExhausted
from farm.lifecycle import REST, State
from farm.store import totals
from farm.wire import Op
from tests.store.conftest import MakeStore
from tests.store.harness import Store, outcome


def test_a_post_s_audience_is_who_follows_at_its_seq(store: Store) -> None:
    store.follow("ann", "star")
    first = store.publish("p", "star")
    assert first == ("p", 1, 1, False)
    store.follow("bob", "star")
    store.unfollow("ann", "star")
    assert list(store.audience("p")["simulated"]) == ["ann"]
    row = store.storage.post_by_id("p")
    assert row is not None
    assert (row.author_id, row.ordinal, row.audience, row.queued) == ("star", 1, 1, 1)
    assert row.received_at_us == store.core._clock.now_us()


def test_the_same_post_again_gets_the_first_answer_again(store: Store) -> None:
    store.followers("star", 3)
    store.mute("f1", "star")
    first = store.publish("p", "star")
    store.follow("late", "star")
    store.reopen()
    again = store.publish("p", "star")
    assert (again.queued, again.audience) == (first.queued, first.audience) == (2, 3)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert store.waiting() == (2, 0)
    both = store.group([(Op.PUBLISH, "q", "star", "x", time, True) for time in (5, 6)]).results
    assert [result[1][1:] for result in both] == [(3, 4, False), (3, 4, True)]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("author", "content"), [("other", "hello"), ("star", "bye")])
def test_the_same_id_for_another_post_is_refused(
    store: Store, author: str, content: str, together: bool
) -> None:
    store.follow("ann", "star")
    store.follow("ann", "other")
    one, two = (
        (Op.PUBLISH, "p", *what, 0, True) for what in (("star", "hello"), (author, content))
    )
    if together:
        results = store.group([one, two]).results
    else:
        results = store.group([one]).results + store.group([two]).results
    assert [result[0] for result in results] == [0, AlreadyExists.code]
    assert len(store.storage.posts_after(0, 10)) == 1
    assert store.inbox("ann") == ["p"]


def test_an_unknown_author_is_refused_or_has_nobody(store: Store) -> None:
    with pytest.raises(NotFound, match="author_id 'ghost'"):
        store.publish("p", "ghost")
    assert store.storage.post_by_id("p") is None
    assert store.publish("p", "ghost", must_be_known=False) == ("p", 0, 0, False)
    assert store.publish("p", "ghost", must_be_known=False).duplicate
    assert store.storage.number_of("ghost") is None
    store.follow("ann", "ghost")
    assert store.inbox("ann") == []
    store.reopen()
    row = store.storage.post_by_id("p")
    assert row is not None
    assert (row.author, row.author_id) == (0, "ghost")
    assert store.publish("q", "ghost").audience == 1


def test_a_known_author_whom_nobody_follows(store: Store) -> None:
    store.follow("ann", "star")
    assert store.publish("p", "ann") == ("p", 0, 0, False)
    assert store.ask("w1", 10).grants == []
    store.check()


def test_who_mutes_the_author_is_suppressed_from_the_start(store: Store) -> None:
    store.followers("star", 5)
    store.mute("f2", "star")
    store.mute("f4", "star")
    assert store.publish("p", "star")[1:3] == (3, 5)
    found = store.ledger("p")["simulated"]
    assert (found.queued, found.suppressed) == (3, {"muted": 2})
    assert store.waiting() == (3, 0)
    assert store.counter(totals.SUPPRESSED, "simulated", "muted") == 2
    assert store.granted(store.ask("w1", 10)) == ["f1", "f3", "f5"]
    store.check()


def test_when_everybody_mutes_nothing_is_sent(store: Store) -> None:
    for name in store.followers("star", 3):
        store.mute(name, "star")
    assert store.publish("p", "star")[1:3] == (0, 3)
    assert store.waiting() == (0, 0)
    assert store.ask("w1", 10).grants == []
    store.check()


def test_the_inbox_channel_is_delivered_in_the_publishing_commit(make_store: MakeStore) -> None:
    store = make_store(channels=("inbox",))
    store.followers("star", 4)
    store.mute("f1", "star")
    store.publish("p", "star")
    found = store.ledger("p")["inbox"]
    assert (found.delivered, found.suppressed, found.queued) == (3, {"muted": 1}, 0)
    assert store.counter(totals.SENT) == 3
    assert store.ask("w1", 10).grants == []
    store.check()


def test_each_channel_has_a_batch_of_its_own(make_store: MakeStore) -> None:
    store = make_store(channels=("simulated", "inbox", "push"))
    store.followers("star", 4)
    store.publish("p", "star")
    assert store.waiting() == (8, 0)
    grants = store.ask("w1", 100).grants
    assert sorted(grant.channel for grant in grants) == ["push", "simulated"]
    (push,) = (grant for grant in grants if grant.channel == "push")
    store.tell("w1", outcome(push, others=State.DELIVERED))
    ledger = store.ledger("p")
    assert {name: one.delivered for name, one in ledger.items()} == {
        "simulated": 0,
        "inbox": 4,
        "push": 4,
    }
    (shown,) = store.reading.inbox("f1", 1, "", False).notifications
    assert shown.state is State.DELIVERED
    assert len(shown.deliveries) == 3
    store.check()


def test_a_channel_that_is_off_waits_and_new_posts_have_none_of_it(make_store: MakeStore) -> None:
    store = make_store(channels=("simulated", "push"))
    store.followers("star", 2)
    store.publish("p", "star")
    store.rules = store.rules.__class__(
        channels=("simulated",),
        following_max=store.rules.following_max,
        backlog_max=store.rules.backlog_max,
        disk_reserve_bytes=0,
        terms=store.rules.terms,
    )
    store.reopen()
    store.publish("q", "star")
    assert set(store.ledger("q")) == {"simulated"}
    assert {grant.channel for grant in store.ask("w1", 10).grants} == {"simulated"}


def test_beyond_the_backlog_posts_are_refused_until_some_are_sent(make_store: MakeStore) -> None:
    store = make_store(backlog_max=25)
    store.followers("star", 10)
    store.publish("p1", "star")
    store.publish("p2", "star")
    with pytest.raises(ResourceExhausted, match="20 notifications wait") as caught:
        store.publish("p3", "star")
    assert caught.value.retry_after_ms > 0
    assert store.storage.post_by_id("p3") is None
    assert store.publish("p2", "star").duplicate  # which is stored, so no new one
    store.follow("f1", "small")
    assert store.publish("p4", "small").audience == 1
    for grant in store.ask("w1", 100).grants:
        store.tell("w1", outcome(grant, others=State.DELIVERED))
    assert store.publish("p3", "star").queued == 10
    store.check()


def test_one_post_larger_than_the_backlog_is_taken_while_nothing_waits(
    make_store: MakeStore,
) -> None:
    store = make_store(backlog_max=5)
    store.followers("star", 10)
    assert store.publish("p", "star").queued == 10
    with pytest.raises(ResourceExhausted):
        store.publish("q", "star")


def test_a_post_costs_one_row_a_segment_and_channel(store: Store) -> None:
    store.followers("star", 20_000)
    store.publish("p", "star")
    row = store.storage.post_by_id("p")
    assert row is not None
    parts = store.storage.parts_of_post(row.seq)
    assert len(parts) == 3
    assert {(part.part, part.members) for part in parts} == {(REST, None)}
