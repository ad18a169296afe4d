"""One batch in memory: parts stay disjoint, leases stay apart, and only changes are written."""

from __future__ import annotations

import itertools

import pytest

from farm.audience import BitMap, seal, unseal
from farm.lifecycle import READY, REST, IllegalMove, Part, Reason, State
from farm.store.batches import DONE, Batch, Lease
from farm.store.storage import PartRow, PostRow

KEY = (7, 1, 3)
POST = PostRow(7, "p", 6, "star", 1, 0, 0, 10, 10, 0, "hello")
SOON = Part(State.RETRYING, 1, 3).key
NOW = Part(State.RETRYING, 1, READY).key


def fresh(people: int = 10) -> Batch:
    return Batch(KEY, POST, people, seal(BitMap(range(1, people + 1))), State.QUEUED)


def lease(batch: Batch, part: int, count: int, number: int = 1) -> Lease:
    low, high, members, blob = batch.reserve(part, count)
    held = Lease(number, "w", batch, part, low, high, members)
    assert set(unseal(blob)) == set(held.all())
    batch.leases.add(held)
    return held


def test_nobody_has_left_a_fresh_batch() -> None:
    batch = fresh()
    assert batch.untouched
    assert (batch.rest_size(), batch.free_size(REST)) == (10, 10)
    assert list(batch.ready()) == [REST]
    assert set(batch.members_of(REST)) == set(range(1, 11))


def test_the_rest_is_everybody_who_is_in_no_part() -> None:
    batch = fresh()
    batch.move(REST, SOON, BitMap([2, 3]), error=5)
    batch.move(REST, DONE, BitMap([4]))
    assert set(batch.members_of(REST)) == {1, 5, 6, 7, 8, 9, 10}
    assert batch.rest_size() == 7
    assert batch.errors[SOON] == 5
    batch.move(SOON, DONE, BitMap([2]))
    assert set(batch.parts[SOON]) == {3}
    batch.move(SOON, DONE, BitMap([3]))
    assert SOON not in batch.parts


def test_an_illegal_move_is_refused_and_moves_nobody() -> None:
    batch = fresh()
    batch.move(REST, DONE, BitMap([1]))
    with pytest.raises(IllegalMove):
        batch.move(DONE, SOON, BitMap([1]))
    assert (set(batch.parts[DONE]), SOON in batch.parts) == ({1}, False)


def rest_of(batch: Batch) -> State:
    return batch.rest


def test_when_nobody_of_the_rest_waits_it_becomes_those_delivered() -> None:
    batch = fresh(4)
    batch.move(REST, DONE, BitMap([1, 2]))
    batch.settle_rest()
    assert rest_of(batch) is State.QUEUED
    batch.move(REST, SOON, BitMap([3, 4]))
    batch.settle_rest()
    assert rest_of(batch) is State.DELIVERED
    assert DONE not in batch.parts
    assert batch.rest_size() == 2
    assert list(batch.gone_parts()) == [(*KEY, DONE)]


def test_leases_of_a_part_never_overlap_by_range() -> None:
    """They are stored as ranges, so ranges are all that a restart knows."""
    batch = fresh(100)
    first, second, third = (lease(batch, REST, 20, number) for number in (1, 2, 3))
    batch.leases.discard(second)
    batch.give_back(second)
    batch.move(REST, DONE, BitMap([25, 26]))
    again = [lease(batch, REST, 30, number) for number in (4, 5)]
    leases = [first, third, *again]
    for one, other in itertools.combinations(leases, 2):
        assert one.high < other.low or other.high < one.low
        assert not one.all() & other.all()
    assert len(again[0].all()) == 18  # up to the third's beginning, no further
    for held in leases:
        assert held.low <= held.all().min() <= held.all().max() <= held.high


def test_what_a_lease_gives_back_is_free_again_and_nobody_else() -> None:
    batch = fresh(10)
    one, other = lease(batch, REST, 4), lease(batch, REST, 4, 2)
    assert batch.free_size(REST) == 2
    batch.move(REST, DONE, BitMap([1]))
    batch.give_back(one)
    assert set(batch.free_members(REST)) == {2, 3, 4, 9, 10}
    batch.give_back(other)
    assert batch.free_size(REST) == 9


def test_retries_that_come_due_join_only_what_nobody_holds() -> None:
    batch = fresh(10)
    batch.move(REST, SOON, BitMap([2, 6]))
    batch.promote(SOON)
    assert set(batch.parts[NOW]) == {2, 6}
    held = lease(batch, NOW, 10)
    batch.move(REST, SOON, BitMap([4]))
    batch.promote(SOON)
    assert (set(batch.parts[NOW]), set(held.left())) == ({2, 6}, {2, 6})
    (beside,) = set(batch.ready()) - {REST, NOW}
    assert set(batch.parts[beside]) == {4}
    batch.move(REST, SOON, BitMap([5]))
    batch.promote(SOON)
    assert set(batch.parts[beside]) == {4, 5}


def test_only_what_changed_is_written_and_it_can_be_loaded_again() -> None:
    batch = fresh(6)
    muted = Part(State.SUPPRESSED, 0, Reason.MUTED).key
    batch.move(REST, muted, BitMap([1]))
    batch.move(REST, SOON, BitMap([2, 3]), error=9)
    batch.due[SOON] = 1_234
    batch.changed = 50
    rows = {row.part: row for row in batch.part_rows()}
    assert set(rows) == {muted, SOON}
    assert (rows[SOON].due_us, rows[SOON].error, rows[SOON].changed) == (1_234, 9, 50)
    rest = PartRow(*KEY, REST, State.QUEUED, None, 0, 7, None)
    again = Batch.load(KEY, POST, 6, lambda: batch.blob, [rest, *rows.values()])
    assert again.parts == batch.parts
    assert again.due == {SOON: 1_234}
    assert again.errors[SOON] == 9
    assert again.members_of(REST) == batch.members_of(REST)
    assert not again.dirty
