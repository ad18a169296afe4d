"""What is broken in one place stays there: a flipped bit, a full disk, a worker's last words."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
import zmq

from farm import wire
from farm.lifecycle import State
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets
from farm.store import totals
from farm.store.core import DAY_US, Group
from farm.store.dispatch import PROMOTED_PER_TURN_MAX
from farm.store.sqlite import SqliteStorage
from farm.store.storage import StorageFull
from farm.store.writer import GROUP_OUTCOMES_MAX, Writer
from farm.wire import Kind, LeaseOutcome, Op
from tests.store.harness import RAISES, Store, members, open_sqlite, outcome


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(partial(open_sqlite, tmp_path), max_attempts=1)


def change(store: Store, statement: str) -> None:
    assert isinstance(store.storage, SqliteStorage)
    store.storage.db.execute(statement)


def test_a_broken_current_segment_stops_nobody_else(store: Store) -> None:
    """Fault row 114: it is read at every lease of the author's posts, in the commit of others."""
    store.follow("ann", "bob")
    store.follow("cat", "bob")
    store.follow("dan", "eve")
    store.publish("p", "bob")
    store.unfollow("ann", "bob")
    change(store, "update segment set members = zeroblob(30) where until = 0 and author = "
           "(select number from user where id = 'bob')")  # fmt: skip
    store.reopen()
    store.group(leases=[store.request("w", 100)])
    assert store.publish("q", "eve").queued == 1
    assert store.follow("fay", "eve")
    assert store.granted(store.ask("w2", 100)) in (["dan"], [])
    assert store.ledger("p")["simulated"].queued == 2


def test_an_old_post_that_cannot_be_read_keeps_its_place(store: Store) -> None:
    """Fault row 114, by retention, which runs beside everybody's requests."""
    store.followers("bob", 3)
    store.publish("old", "bob")
    (grant,) = store.ask("w", 10).grants
    store.tell("w", outcome(grant, dead=members(grant)))
    change(store, "update batch set members = zeroblob(30) where state = 3")
    store.pass_s(31 * DAY_US / 1e6)
    for number in range(30):
        store.clock.pass_s(0.5)
        assert store.publish(f"p{number}", "bob").queued == 3
    assert store.storage.post_by_id("old") is not None


@pytest.mark.parametrize(
    "statement",
    [
        "update muted_by set members = zeroblob(length(members))",
        "update author set newest = zeroblob(length(newest)) where newest <> x''",
    ],
)
def test_dead_letters_of_an_old_post_that_cannot_go_are_counted_on(
    store: Store, statement: str
) -> None:
    """However often it is tried: who mutes its author, or what else they posted, is damaged."""
    store.followers("bob", 5)
    store.mute("f1", "bob")
    store.publish("old", "bob")
    (grant,) = store.ask("w", 10).grants
    store.tell("w", outcome(grant, dead=members(grant)))
    before = store.storage.dead_groups((0, 0), 9)
    assert [group.dead for group in before] == [4]
    change(store, statement)
    store.reopen()
    store.pass_s(31 * DAY_US / 1e6)
    for _ in range(4):
        store.pass_s(11)
    assert store.storage.post_by_id("old") is not None
    assert store.storage.dead_groups((0, 0), 9) == before


def test_a_worker_s_last_words_count_before_its_death(store: Store) -> None:
    store.followers("bob", 5)
    store.publish("p", "bob")
    (grant,) = store.ask("w", 10).grants
    last = store.message("w", outcome(grant, delivered=members(grant)))
    store.group([(Op.SESSION_DIED, "w")], outcomes=[last])
    assert store.ledger("p")["simulated"].delivered == 5
    assert store.ask("w2", 10).grants == []


def test_a_delivery_counts_before_a_retraction_of_the_same_commit(store: Store) -> None:
    store.followers("bob", 5)
    store.publish("p", "bob")
    (grant,) = store.ask("w", 10).grants
    told = store.message("w", outcome(grant, others=State.DELIVERED))
    (result,) = store.group([(Op.RETRACT, "p")], outcomes=[told]).results
    assert result == (0, (0, 5))


def test_a_group_that_finds_the_disk_full_is_refused_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault row 113: not one by one, each with all of memory read anew."""
    store.followers("bob", 5)
    tried = []

    def full(rows: object) -> None:
        tried.append(rows)
        raise StorageFull("the disk is full", retry_after_ms=5_000)

    monkeypatch.setattr(store.storage, "add_posts", full)
    asked = [(Op.PUBLISH, f"p{n}", "bob", "hello", 0, True) for n in range(50)]
    *refused, stats = store.group([*asked, (Op.STATS,)]).results
    assert {result[0] for result in refused} == {8}
    assert stats[0] == 0
    assert len(tried) == 1
    assert store.storage.posts_after(0, 100) == []


@pytest.mark.parametrize(
    "statement",
    [
        "update batch set members = null where part <> 0",
        "update batch set state = 77 where part = 0",
        "delete from batch where part = 0",
    ],
)
def test_a_batch_whose_rows_make_no_sense_stops_nobody_else(tmp_path: Path, statement: str) -> None:
    """Fault row 114: its retries are looked at when they are due, whoever asks, or nobody."""
    store = Store(partial(open_sqlite, tmp_path))
    store.followers("bob", 5)
    store.follow("cat", "eve")
    store.publish("p", "bob")
    (grant,) = store.ask("w", 10).grants
    store.tell("w", outcome(grant, retry=members(grant)))
    change(store, statement)
    store.reopen()
    store.clock.pass_s(60)
    store.group()
    assert store.publish("q", "eve").queued == 1
    assert store.granted(store.ask("w2", 100)) == ["cat"]


@pytest.mark.parametrize(
    "statement",
    [
        "update batch set members = zeroblob(length(members)) where part <> 0",
        "update segment set members = zeroblob(length(members)) where size = 5",
        "update post set content = 'jello' where id = 'p'",
        "delete from post where id = 'p'",
    ],
)
@pytest.mark.parametrize("again", [True, False])
def test_what_cannot_be_read_while_it_is_leased_stops_nobody_else(
    tmp_path: Path, statement: str, *, again: bool
) -> None:
    """Neither a start, nor the reading anew behind a group that broke; and nobody holds it then."""
    store = Store(partial(open_sqlite, tmp_path))
    store.followers("bob", 5)
    store.follow("cat", "eve")
    store.publish("p", "bob")
    (grant,) = store.ask("w", 3).grants
    store.tell("w", outcome(grant, others=State.RETRYING))
    store.pass_s(60)
    held = [grant.lease for grant in store.ask("w", 10).grants]
    assert len(held) == 2, "a part, and what is left of the rest"
    change(store, statement)
    if again:
        store.reopen()
    else:
        store.group([RAISES])
    assert store.publish("q", "eve").queued == 1
    assert store.granted(store.ask("w2", 100)) == ["cat"]
    assert store.ask("w", 0, held=held).lost == held
    assert [lease.session for lease in store.storage.leases()] == ["w2"]


def test_a_death_counts_after_the_last_report_also_where_the_group_breaks(store: Store) -> None:
    """Fault row 33: what is run in halves is run in the same order."""
    store.followers("bob", 5)
    store.publish("p", "bob")
    (grant,) = store.ask("w", 10).grants
    last = store.message("w", outcome(grant, delivered=members(grant)))
    store.group([(Op.SESSION_DIED, "w"), RAISES], outcomes=[last])
    assert store.ledger("p")["simulated"].delivered == 5
    assert store.ask("w2", 10).grants == []


def test_who_waited_for_work_when_a_group_broke_gets_none_that_never_ends(store: Store) -> None:
    """Memory was read anew, and who holds nothing is not in it. Fault row 33."""
    store.followers("bob", 5)
    assert not store.group(leases=[store.request("w", 10)]).leases
    publish = (Op.PUBLISH, "p", "bob", "hello", 0, True)
    store.group([RAISES, publish])
    for _ in range(12):
        store.pass_s(1)
    assert len(store.granted(store.ask("w2", 10))) == 5


def test_many_retries_that_cannot_be_read_hold_up_no_others(tmp_path: Path) -> None:
    """More of them than are looked at in a turn, and all due before. Fault row 114."""
    store = Store(partial(open_sqlite, tmp_path))
    store.follow("ann", "bob")
    store.follow("cat", "eve")
    for number in range(PROMOTED_PER_TURN_MAX + 10):
        store.publish(f"p{number}", "bob")
    grants = store.ask("w", 1_000).grants
    store.tell("w", *(outcome(grant, retry=members(grant)) for grant in grants))
    change(store, "update post set content = 'changed'")
    store.reopen()
    store.pass_s(60)
    store.publish("q", "eve")
    (grant,) = store.ask("w", 1_000).grants
    store.tell("w", outcome(grant, retry=members(grant)))
    for _ in range(10):
        store.pass_s(2)
    assert store.granted(store.ask("w2", 100)) == ["cat"]


def test_a_broken_segment_of_somebody_online_holds_up_no_report(store: Store) -> None:
    """Who is online is looked for in all of an author's segments. Fault row 114."""
    store.followers("star", 9_000)
    store.follow("ann", "bob")
    store.publish("p", "star")
    store.publish("q", "bob")
    change(store, "update segment set members = zeroblob(30) where id = (select max(id) from"
           " segment where author = (select number from user where id = 'star'))")  # fmt: skip
    store.reopen()
    store.call(Op.ONLINE, "web", "web-1", ["f1", "ann"], [])
    grants = store.ask("w", 20_000).grants
    assert {grant.post_id for grant in grants} == {"p", "q"}
    store.tell("w", *(outcome(grant, others=State.DELIVERED) for grant in grants))
    assert store.ledger("q")["simulated"].delivered == 1
    assert store.ledger("p")["simulated"].delivered > 0
    assert store.publish("r", "star").queued == 9_000


def test_a_report_that_came_in_time_counts_however_many_came_before(tmp_path: Path) -> None:
    """The store stood still for longer than a lease holds, and reads reports a part at a time.
    Fault row 32."""
    store = Store(partial(open_sqlite, tmp_path))
    store.followers("bob", 1)
    store.followers("eve", 1)
    store.publish("p", "bob")
    store.publish("q", "eve")
    first, second = (
        store.message("w", outcome(grant, others=State.DELIVERED))
        for grant in store.ask("w", 10).grants
    )
    store.clock.pass_s(12)
    store.core.run(Group(outcomes=[first], more=True))
    store.core.run(Group(outcomes=[second]))
    assert (store.counter(totals.SENT), store.counter(totals.STALE)) == (2, 0)


def test_a_group_says_whether_more_waits_than_it_took(store: Store) -> None:
    directory = Path(tempfile.mkdtemp())
    sockets, context = Sockets(), zmq.Context()
    try:
        addresses = Addresses(directory)
        writer = Writer(store.core, sockets, addresses, store.clock, ProcessMetrics())
        worker = context.socket(zmq.PUSH)
        worker.connect(addresses.outcomes)
        for leases, more in ((1, False), (GROUP_OUTCOMES_MAX, True)):
            told = [LeaseOutcome(7, True, [])] * leases
            worker.send(wire.pack(Kind.OUTCOMES, "w", 1, told, [], 0.0))
            writer._waiter.wait(5)
            group, _ = writer._collect()
            assert len(group.outcomes) == 1
            assert group.more is more
    finally:
        context.destroy(linger=0)
        sockets.close()
        shutil.rmtree(directory)
