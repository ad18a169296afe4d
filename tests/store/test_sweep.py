"""The sweep finds what no counter tells, rests between rounds, and outlives what it cannot read."""

from __future__ import annotations

import logging
from functools import partial
from math import inf
from pathlib import Path

import apsw
import pytest

from farm.store.inbox import SegmentCache
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_snapshot import SqliteSnapshot
from farm.store.sweep import REST_S_MIN, Sweeper
from farm.wire import Op
from tests.store.harness import Store, damage_page, open_sqlite, outcome


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three posts to five people, of each of which one is to be tried again."""
    made = Store(partial(open_sqlite, tmp_path))
    made.followers("star", 5)
    for number in range(3):
        made.publish(f"p{number}", "star")
    for grant in made.ask("w", 100).grants:
        made.tell("w", outcome(grant, retry=made.numbers("f1"), delivered=made.numbers("f2", "f3")))
    return made


def swept(store: Store) -> int:
    sweeper = Sweeper(store.clock)
    sweeper.step(store.storage, SegmentCache())
    assert sweeper.next_s >= store.clock.monotonic_s() + REST_S_MIN
    return sweeper.result().unaccounted


def change(store: Store, statement: str) -> None:
    assert isinstance(store.storage, SqliteStorage)
    store.storage.db.execute(statement)


def test_a_sound_store_has_nobody_unaccounted(store: Store) -> None:
    assert swept(store) == 0


def test_a_missing_rest_is_found(store: Store) -> None:
    change(store, "delete from batch where part = 0 and post = (select min(post) from batch)")
    assert swept(store) == 5


def test_what_cannot_be_read_is_counted_and_told_and_the_rest_is_looked_at(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    change(
        store,
        "update batch set members = zeroblob(40) where post = (select min(post) from batch)"
        " and members is not null",
    )
    change(store, "delete from batch where part = 0 and post = (select max(post) from batch)")
    with caplog.at_level(logging.ERROR, "hark"):
        assert swept(store) == 1 + 5
    assert "cannot be read" in caplog.text


def test_a_state_that_is_none_ends_no_round(store: Store) -> None:
    change(store, "update batch set state = 77 where part = 0")
    assert swept(store) == 3


def test_a_damaged_page_is_counted_and_what_lies_behind_it_is_looked_at(tmp_path: Path) -> None:
    store = Store(partial(open_sqlite, tmp_path))
    store.follow("ann", "star")
    store.group((Op.PUBLISH, f"p{n}", "star", "x" * 200, 0, True) for n in range(200))
    change(store, "update batch set state = 77 where post = (select max(post) from batch)")
    store.close()
    damage_page(tmp_path, "post")
    snapshot = SqliteSnapshot.open(tmp_path)
    sweeper = Sweeper(store.clock)
    for _ in range(2):
        with snapshot:
            sweeper.step(snapshot, SegmentCache())
        assert sweeper.next_s >= store.clock.monotonic_s() + REST_S_MIN
        assert sweeper.result() == (1 + 1, 0.0), "the page, and ann in the last post"
    snapshot.close()


def test_a_round_has_an_age_once_it_is_whole(store: Store) -> None:
    sweeper = Sweeper(store.clock)
    store.clock.pass_s(5)
    assert sweeper.result() == (0, inf)
    sweeper.step(store.storage, SegmentCache())
    store.clock.pass_s(7)
    assert sweeper.result() == (0, 7.0)


def test_what_cannot_be_read_at_all_is_no_sound_store(store: Store) -> None:
    change(store, "update meta set change = change + 1")
    assert swept(store) == 1


def cut_after(database: apsw.Connection, instructions: int) -> None:
    """Behind so many, it ends every statement."""
    left = iter(range(instructions))
    database.set_progress_handler(lambda: next(left, None) is None, 1)


def test_what_was_cut_short_is_read_again_and_nobody_is_missed(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever that was: the process may have stood still for longer than a reading may take."""
    assert isinstance(store.storage, SqliteStorage)
    cuts = 0
    while True:
        sweeper = Sweeper(store.clock)
        cut_after(store.storage.db, 10 * cuts)
        sweeper.step(store.storage, SegmentCache())
        store.storage.db.set_progress_handler(None)
        if sweeper.result() == (0, 0.0):
            break
        cuts += 1
        assert sweeper.result() == (0, inf)
        assert sweeper.next_s < store.clock.monotonic_s() + REST_S_MIN
        sweeper.step(store.storage, SegmentCache())
        assert sweeper.result() == (0, 0.0)
    assert cuts > 10
    assert not caplog.records
