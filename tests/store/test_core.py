"""Groups of requests: one commit for all, and for each its own answer when one of them fails."""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from farm import wire
from farm.errors import Internal, NotFound, ResourceExhausted
from farm.lifecycle import State
from farm.store import totals
from farm.store.core import FULL_PAUSE_S
from farm.store.storage import StorageFull
from farm.wire import Op
from tests.store.conftest import MakeStore
from tests.store.harness import RAISES, Store, outcome


def publish(post: str, author: str, content: str = "hello") -> tuple[Any, ...]:
    return (Op.PUBLISH, post, author, content, 0, True)


def memory(store: Store) -> dict[str, Any]:
    """What the core believes, as far as the next requests hang on it."""
    dispatch, graph = store.core._dispatch, store.core._graph
    star = graph.find("star")
    assert star is not None
    return {
        "change": store.core._changes.newest,
        "totals": store.core._totals.counters,
        "leases": {lease.id: (lease.session, sorted(lease.left())) for lease in
                   dispatch.leases.values()},
        "star": (star.followers, star.last_seq, star.last_ordinal, sorted(star.muted)),
        "segments": [(s.id, s.lower, s.size, sorted(graph.members(star, s)))
                     for s in star.segments],
    }  # fmt: skip


def test_requests_that_follow_each_other_in_one_group(store: Store) -> None:
    """Each sees what those before it did: followed too late is not of the audience."""
    answers = store.group(
        [
            (Op.FOLLOW, "ann", "star"),
            publish("p1", "star"),
            (Op.FOLLOW, "bob", "star"),
            publish("p2", "star"),
            (Op.UNFOLLOW, "ann", "star"),
            publish("p3", "star"),
            (Op.FOLLOW, "ann", "star"),
            publish("p4", "star"),
        ],
        leases=[store.request("w1", 100)],
    )
    audiences = [wire.value_of(result).audience for result in answers.results[1::2]]
    assert audiences == [1, 2, 1, 2]
    people = [sorted(store.audience(f"p{number}")["simulated"]) for number in (1, 2, 3, 4)]
    assert people == [["ann"], ["ann", "bob"], ["bob"], ["ann", "bob"]]
    assert store.inbox("ann") == ["p4"]
    assert store.inbox("bob") == ["p4", "p3", "p2"]
    assert sum(grant.recipients for grant in answers.leases["w1"].grants) == 6
    store.check()


def test_one_request_that_breaks_in_a_group_of_64_leaves_63(store: Store) -> None:
    """Fault row 33."""
    store.followers("star", 10)
    operations = [publish(f"p{number}", "star") for number in range(64)]
    operations[31] = RAISES
    results = store.group(operations).results
    assert [result[0] for result in results].count(0) == 63
    assert results[31][0] == Internal.code
    assert len(store.storage.posts_after(0, 100)) == 63
    assert store.waiting() == (630, 0)
    store.check()


def test_after_a_rollback_memory_is_what_is_stored(store: Store) -> None:
    store.followers("star", 300)
    store.publish("p1", "star")
    answer = store.ask("w1", 100)
    (grant,) = answer.grants
    store.group(
        [
            (Op.FOLLOW, "late", "star"),
            (Op.MUTE, "f1", "star"),
            (Op.UNFOLLOW, "f2", "star"),
            publish("p2", "star"),
            RAISES,
            publish("p3", "star"),
            (Op.SESSION_DIED, "w7"),
        ],
        outcomes=[store.message("w1", outcome(grant, others=State.DELIVERED, final=False))],
        leases=[store.request("w1", 50, [grant.lease]), store.request("w2", 70)],
    )
    believed = memory(store)
    store.check()
    store.reopen()
    assert memory(store) == believed
    assert store.counter(totals.SENT) == 100


def test_a_request_that_breaks_alone_is_told_an_error_number_and_no_more(store: Store) -> None:
    (result,) = store.group([RAISES]).results
    assert result[0] == Internal.code
    assert "zip" not in result[1]
    assert store.follow("ann", "star")


def test_a_refusal_in_a_group_costs_the_others_nothing(store: Store) -> None:
    results = store.group(
        [(Op.FOLLOW, "ann", "star"), publish("p", "nobody"), publish("q", "star")]
    )
    assert [result[0] for result in results.results] == [0, NotFound.code, 0]
    store.check()


# The disk


def fill(store: Store) -> None:
    """From now on the database finds no room for another page."""
    database = store.storage.db  # type: ignore[attr-defined]
    database.pragma("max_page_count", database.pragma("page_count"))


def make_room(store: Store) -> None:
    database = store.storage.db  # type: ignore[attr-defined]
    database.pragma("max_page_count", 2**30)


def test_on_a_full_disk_what_is_refused_is_not_stored(store: Store) -> None:
    store.followers("star", 100)
    store.publish("before", "star")
    fill(store)
    content = "x" * 10_000
    operations = [publish(f"p{number}", "star", content) for number in range(50)]
    results = store.group(operations).results
    refused = [number for number, result in enumerate(results) if result[0]]
    assert {results[number][0] for number in refused} == {ResourceExhausted.code}
    assert len(refused) >= 48
    for number, result in enumerate(results):
        stored = store.storage.post_by_id(f"p{number}") is not None
        assert stored == (result[0] == 0), number
    store.check()


def test_a_group_in_which_the_disk_fills_up_can_be_asked_again(store: Store) -> None:
    store.followers("star", 100)
    fill(store)
    operations = [publish(f"p{number}", "star", "x" * 10_000) for number in range(20)]
    store.group(operations)
    make_room(store)
    store.clock.pass_s(FULL_PAUSE_S)
    results = store.group(operations).results
    assert {result[0] for result in results} == {0}
    assert sum(grant.recipients for grant in store.ask("w1", 10_000).grants) == 2_000
    store.check()


def test_on_a_full_disk_no_work_is_handed_out_for_a_moment(store: Store) -> None:
    """Else every worker that asks would be another transaction that fails."""
    store.followers("star", 100)
    store.publish("p", "star")
    fill(store)
    with pytest.raises(ResourceExhausted):
        store.publish("q", "star", "x" * 16_000)
    make_room(store)
    assert store.ask("w1", 100).grants == []
    assert 0 < store.core.idle_s() <= FULL_PAUSE_S
    store.pass_s(FULL_PAUSE_S)
    assert len(store.granted(store.ask("w1", 100))) == 100


def test_the_engine_says_that_it_is_full_and_has_rolled_back(store: Store) -> None:
    fill(store)
    store.storage.begin()
    people = [(number, f"somebody {number} " * 9) for number in range(1, 10_000)]
    with pytest.raises(StorageFull):
        store.storage.add_users(people)
    store.storage.rollback()
    assert store.storage.numbers_of([name for _, name in people]) == {}
    make_room(store)
    assert store.follow("ann", "star")


def test_posts_are_refused_while_the_disk_has_less_than_its_reserve(make_store: MakeStore) -> None:
    store = make_store(disk_reserve_bytes=2**60)
    assert store.follow("ann", "star")
    with pytest.raises(ResourceExhausted, match="reserve"):
        store.publish("p", "star")
    assert store.call(Op.STATS).refusing_because
    assert store.storage.post_by_id("p") is None


def test_an_error_of_the_database_is_one_request_s_and_not_the_store_s(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(rows: object) -> None:
        raise apsw.IOError("disk I/O error")

    store.followers("star", 3)
    with monkeypatch.context() as patch:
        patch.setattr(store.storage, "add_posts", broken)
        results = store.group([publish("p", "star"), (Op.FOLLOW, "ann", "star")]).results
        assert [result[0] for result in results] == [Internal.code, 0]
    assert store.publish("p", "star").audience == 4
    store.check()


# Housekeeping


def test_the_store_sleeps_until_the_next_thing_is_due(make_store: MakeStore) -> None:
    store = make_store(backoff_ms=400)
    assert store.core.idle_s() == 1.0
    store.followers("star", 5)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 5).grants
    store.tell("w1", outcome(grant, others=State.RETRYING))
    assert 0.2 <= store.core.idle_s() <= 0.4
    store.pass_s(0.41)
    assert store.core.idle_s() > 0


def test_stats_count_from_totals_what_the_sets_hold(store: Store) -> None:
    store.followers("star", 10)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 6).grants
    store.tell("w1", outcome(grant, retry=[1, 2], others=State.DELIVERED))
    store.clock.pass_s(2.0)
    stats = store.call(Op.STATS)
    assert (stats.backlog, stats.sent, stats.failed_attempts) == (6, 4, 2)
    gauges = {(name, *labels): value for name, labels, value in stats.gauges}
    assert gauges["hark_queue_notifications", "queued"] == 4
    assert gauges["hark_queue_notifications", "retrying"] == 2
    assert gauges["hark_queue_oldest_seconds",] == 2.0
    assert stats.has_users


def test_time_in_the_store_never_goes_back_over_a_restart(store: Store) -> None:
    store.followers("star", 1)
    store.clock.pass_s(5_000)
    store.publish("p1", "star")
    store.clock.pass_s(-5_000)  # somebody sets the clock to the past
    store.reopen()
    store.publish("p2", "star")
    first, second = store.storage.post_by_id("p1"), store.storage.post_by_id("p2")
    assert first is not None
    assert second is not None
    assert second.received_at_us > first.received_at_us


def test_a_doubled_message_counts_its_durations_once(store: Store) -> None:
    store.followers("star", 4)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 4).grants
    counts = [0] * len(store.core._totals._counts[totals.ATTEMPT_DURATION])
    counts[0] = 2
    said = outcome(grant, delivered=[1, 2], final=False)
    message = store.message("w1", said)._replace(duration_counts=counts, duration_sum_s=0.5)
    store.group(outcomes=[message])
    store.group(outcomes=[message])
    assert sum(store.core._totals._counts[totals.ATTEMPT_DURATION]) == 2
