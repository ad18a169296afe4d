"""The sweep finds what no counter tells, rests between rounds, and outlives what it cannot read."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from farm.store.sqlite import SqliteStorage
from farm.store.sweep import REST_S_MIN, Sweeper
from tests.store.harness import Store, open_sqlite, outcome


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
    sweeper.step(store.storage, store.reading)
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
