"""What a store keeps of retries, of followers who come while posts go out, and behind a reader."""

from __future__ import annotations

import random

import pytest

from farm.store import sqlite, sqlite_snapshot
from tests.load import growth, open_reader

MIB = 2**20
PEOPLE = 50_000
FOLLOWS = 6_000


def test_retries_of_many_keep_few_rows() -> None:
    """Each tenth attempt fails, of four; however they spread, a segment has no more rows than there
    are attempts and slots. Fault row 124."""
    print(seed := random.randrange(2**32))
    with growth.opened() as (store, _):
        storm = growth.retry_storm(store, PEOPLE, random.Random(seed))
    print(storm)
    assert storm.delivered + storm.dead == PEOPLE
    assert storm.dead > 0
    assert storm.unaccounted == 0
    assert storm.most_rows <= storm.segments * growth.ROWS_A_SEGMENT_MAX
    assert storm.last_rows <= storm.segments * growth.ROWS_A_SETTLED_SEGMENT_MAX
    assert storm.bytes_grown <= 4 * PEOPLE


def test_followers_who_come_while_posts_go_out_cost_little() -> None:
    """A post behind each hundred of them tells whom it should, for ever, and all versions of the
    sets take a fraction of what copies would. Fault row 125."""
    print(seed := random.randrange(2**32))
    with growth.opened() as (store, _):
        churn = growth.churn(store, PEOPLE, FOLLOWS, random.Random(seed))
    print(churn)
    assert churn.posts == FOLLOWS / growth.FOLLOWS_A_POST
    assert churn.wrong == 0
    assert churn.bytes_kept < churn.bytes_of_copies / 4


def test_the_log_stays_short_behind_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads without end is cut, and the log begins anew: it is never longer than four times
    what it is without a reader. All lengths are a sixteenth of the real ones. Fault row 28."""
    monkeypatch.setattr(sqlite, "LOG_PAGES_MAX", sqlite.LOG_PAGES_MAX // 16)
    long = sqlite_snapshot.LOG_BYTES_LONG // 16
    monkeypatch.setattr(sqlite, "LOG_BYTES_LONG", long)
    monkeypatch.setattr(sqlite_snapshot, "LOG_BYTES_LONG", long)
    with growth.opened() as (store, place):
        held = open_reader.hold_open(store, place, 48 * MIB, allowance=4 * MIB)
    print(held)
    assert held.cuts >= 5
    assert held.most_log < 16 * MIB
