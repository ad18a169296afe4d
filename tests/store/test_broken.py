"""What is broken in one place stays there: a flipped bit, a full disk, a worker's last words."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from farm.lifecycle import State
from farm.store.core import DAY_US
from farm.store.sqlite import SqliteStorage
from farm.store.storage import StorageFull
from farm.wire import Op
from tests.store.harness import Store, members, open_sqlite, outcome


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
