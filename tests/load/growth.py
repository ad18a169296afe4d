"""Makes a store's rows grow as fast as they can, and counts them.

The store is the real one, on a real database, in this process and with a clock by hand.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from farm.audience import BitMap, unseal
from farm.lifecycle import State
from farm.schedule import GRID
from farm.wire import Op
from tests.store.harness import Store, members, open_sqlite, outcome

AUTHOR = "star"
ATTEMPTS = 4
FAILING = 0.1
WANT = 10_000  # recipients at a time
TURN_S = 0.03  # between two reports, so that retries spread over all slots there are
# Who waits for another attempt, by slot; for each attempt also who is ready and who was delivered;
# and who was never tried, is done with, or is dead.
ROWS_A_SEGMENT_MAX = (ATTEMPTS - 1) * (GRID + 3) + 3
ROWS_A_SETTLED_SEGMENT_MAX = ATTEMPTS + 2
FOLLOWS_A_POST = 100


@contextmanager
def opened() -> Iterator[tuple[Store, Path]]:
    """A store of its own, in memory: what counts is how much it keeps, not where."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-load-") as directory:
        store = Store(partial(open_sqlite, Path(directory)))
        yield store, Path(directory)
        store.close()


@dataclass(slots=True)
class Storm:
    """What one post to very many left behind, while some failed and when all was over."""

    segments: int
    most_rows: int
    last_rows: int
    bytes_grown: int
    delivered: int
    dead: int
    unaccounted: int


def retry_storm(store: Store, people: int, chance: random.Random) -> Storm:
    """One post, of which each tenth attempt fails."""
    _let_follow(store, people)
    before = _bytes_used(store)
    store.publish("post", AUTHOR)
    segments, most_rows = _count(store, "select count(*) from segment"), 0
    while any(store.waiting()):
        answer = store.ask("worker", WANT)
        for grant in answer.grants:
            failed = [number for number in members(grant) if chance.random() < FAILING]
            store.tell("worker", outcome(grant, retry=failed, others=State.DELIVERED))
            store.pass_s(TURN_S / len(answer.grants))
        store.pass_s(TURN_S)
        most_rows = max(most_rows, _count(store, "select count(*) from batch"))
    ledger = store.ledger("post")["simulated"]
    return Storm(
        segments,
        most_rows,
        _count(store, "select count(*) from batch"),
        _bytes_used(store) - before,
        ledger.delivered,
        ledger.dead,
        ledger.unaccounted,
    )


@dataclass(slots=True)
class Churn:
    """What posts left behind between which people followed."""

    posts: int
    wrong: int  # posts that tell others than those who followed then
    bytes_kept: int  # of all versions of the author's sets
    bytes_of_copies: int  # what a copy for each post would take, two bytes a person


def churn(store: Store, people: int, follows: int, chance: random.Random) -> Churn:
    """People drawn from all there are begin to follow, and now and then there is a post."""
    names = _let_follow(store, people, author="other")
    chosen = chance.sample(names, follows + people // 5)
    already, coming = chosen[follows:], chosen[:follows]
    store.call(Op.IMPORT, already, [AUTHOR] * len(already))
    following = store.numbers(*already)
    told: dict[str, BitMap] = {}
    for number in range(follows // FOLLOWS_A_POST):
        some = coming[number * FOLLOWS_A_POST : (number + 1) * FOLLOWS_A_POST]
        store.group((Op.FOLLOW, name, AUTHOR) for name in some)
        following = following | store.numbers(*some)
        published = store.publish(f"post{number}", AUTHOR)
        told[f"post{number}"] = following
        assert published.audience == len(following)
    (author,) = store.numbers(AUTHOR)
    kept = _count(store, f"select sum(length(members)) from segment where author = {author}")
    wrong = sum(_audience(store, post) != expected for post, expected in told.items())
    return Churn(len(told), wrong, kept, sum(2 * len(expected) for expected in told.values()))


def _let_follow(store: Store, people: int, author: str = AUTHOR) -> list[str]:
    names = [f"f{number}" for number in range(people)]
    for first in range(0, people, 10_000):
        some = names[first : first + 10_000]
        store.call(Op.IMPORT, some, [author] * len(some))
    return names


def _audience(store: Store, post: str) -> BitMap:
    row = store.storage.post_by_id(post)
    assert row is not None
    segments = {part.segment for part in store.storage.parts_of_post(row.seq)}
    return BitMap.union(*(unseal(store.storage.members(segment)) for segment in segments))


def _bytes_used(store: Store) -> int:
    pages = _count(store, "pragma page_count") - _count(store, "pragma freelist_count")
    return pages * _count(store, "pragma page_size")


def _count(store: Store, question: str) -> int:
    database = store.storage.db  # type: ignore[attr-defined]
    return int(database.execute(question).get)
