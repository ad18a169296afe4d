"""What `farm.store.storage` asks of an engine, tried on every one there is, verb by verb."""

from __future__ import annotations

import array
from collections.abc import Iterator

import pytest

from farm.audience import BitMap, seal
from farm.lifecycle import READY, REST, Part, Reason, State
from farm.store.history import sealed_seqs
from farm.store.storage import (
    DEEDS_KEPT_MAX,
    FOLLOW,
    MUTE,
    NO_SEQ,
    TAIL,
    AuthorRow,
    Deed,
    DeedRow,
    ExpiryRow,
    LeaseRow,
    PartRow,
    PostRow,
    RelationRow,
    SegmentRow,
    Storage,
)
from tests.store.harness import OpenStorage

MEMBERS = seal(BitMap([3, 5, 70_000]))
SUPPRESSED = Part(State.SUPPRESSED, 0, Reason.MUTED).key


class Opened:
    """The storage of a test, which can be closed and opened again."""

    def __init__(self, open_storage: OpenStorage) -> None:
        self._open_storage = open_storage
        self.storage = open_storage()

    def again(self) -> Storage:
        self.storage.close()
        self.storage = self._open_storage()
        return self.storage


@pytest.fixture
def opened(open_storage: OpenStorage) -> Iterator[Opened]:
    made = Opened(open_storage)
    yield made
    made.storage.close()


@pytest.fixture
def storage(opened: Opened) -> Storage:
    """One with six people, in a transaction."""
    opened.storage.begin()
    opened.storage.add_users(enumerate(["", "ann", "bob", "cat", "dan", "eve", "star"][1:], 1))
    return opened.storage


def post(seq: int, post_id: str, author: int = 6, author_id: str = "star") -> PostRow:
    return PostRow(seq, post_id, author, author_id, 1, 11, 12, 3, 2, 0, "hello ✓")


def part(
    seq: int,
    key: int = REST,
    *,
    channel: int = 1,
    segment: int = 1,
    state: State = State.QUEUED,
    due_us: int | None = None,
) -> PartRow:
    members = None if key == REST else MEMBERS
    return PartRow(seq, channel, segment, key, state, due_us, 0, seq, members)


def retry(seq: int, slot: int, due_us: int | None) -> PartRow:
    return part(seq, Part(State.RETRYING, 1, slot).key, state=State.RETRYING, due_us=due_us)


# Transactions


def test_what_is_committed_is_there_after_reopening(opened: Opened, storage: Storage) -> None:
    storage.commit()
    assert opened.again().number_of("ann") == 1


def test_what_is_rolled_back_is_gone(opened: Opened, storage: Storage) -> None:
    storage.rollback()
    assert storage.number_of("ann") is None
    storage.begin()
    storage.add_users([(1, "ann")])
    storage.add_posts([post(7, "p", author=1)])
    storage.rollback()
    storage.rollback()  # of nothing, as after an engine's own
    assert opened.again().post(7) is None


def test_a_storage_closed_in_a_transaction_keeps_nothing_of_it(
    opened: Opened, storage: Storage
) -> None:
    assert opened.again().numbers_of(["ann", "bob"]) == {}


def test_meta_is_what_was_saved_last(opened: Opened, storage: Storage) -> None:
    first = storage.meta()
    assert (first.change, len(first.secret)) == (0, 32)
    saved = first._replace(change=2**40, now_us=2**50, totals=b"\x80\x00")
    storage.save_meta(saved._replace(change=3))
    storage.save_meta(saved)
    storage.commit()
    assert opened.again().meta() == saved


# Names


def test_channels_and_errors_get_numbers_that_stay(opened: Opened, storage: Storage) -> None:
    channels = {name: storage.add_channel(name) for name in ("simulated", "inbox")}
    errors = {storage.add_error(text): text for text in ("gone", "née ✗")}
    storage.commit()
    assert opened.again().channels() == channels
    assert opened.storage.errors() == errors
    assert {number: opened.storage.error(number) for number in errors} == errors


def test_people_are_found_by_id_and_by_number(opened: Opened, storage: Storage) -> None:
    ids = ["é", "e\u0301", "E", "e", "a'b\"c", "%_", "🐈" * 32, "x" * 128]
    storage.add_users(enumerate(ids, 7))
    storage.commit()
    storage = opened.again()
    assert storage.last_user() == 14
    assert storage.numbers_of([*ids, "nobody"]) == {name: n for n, name in enumerate(ids, 7)}
    assert storage.numbers_of([]) == {}
    assert [storage.number_of(name) for name in ids] == [*range(7, 15)]
    assert storage.user_ids([9, 7, 14, 7]) == [ids[2], ids[0], ids[7], ids[0]]
    assert storage.user_ids([]) == []
    assert storage.number_of("nobody") is None


def test_last_user_of_an_empty_storage_is_0(open_storage: OpenStorage) -> None:
    storage = open_storage()
    assert storage.last_user() == 0
    assert storage.oldest_waiting() is None
    assert storage.next_due_us() is None
    assert list(storage.waiting_posts([1])) == []
    storage.close()


# Authors


def test_an_author_s_row_is_replaced(storage: Storage) -> None:
    row = AuthorRow(6, 3, 50, 40, bytes(range(64)), 9)
    storage.save_authors([row._replace(followers=1), AuthorRow(1, 0, 0, 0, b"", 0)])
    storage.save_authors([row])
    assert storage.author(6) == row
    assert storage.author(2) is None


def test_the_block_in_which_an_ordinal_lies(storage: Storage) -> None:
    storage.add_author_blocks([(6, 1, b"first"), (6, 33, b"second"), (5, 1, b"another's")])
    found = {ordinal: storage.author_block(6, ordinal) for ordinal in (1, 32, 33, 64)}
    assert found == {1: b"first", 32: b"first", 33: b"second", 64: b"second"}
    assert storage.author_block(4, 1) is None


def test_who_mutes_an_author(storage: Storage) -> None:
    assert storage.muted_by(6) is None
    storage.save_muted_by(6, b"old")
    storage.save_muted_by(6, MEMBERS)
    assert storage.muted_by(6) == MEMBERS
    storage.save_muted_by(6, None)
    assert storage.muted_by(6) is None


# What live events are read from


def test_deeds_of_a_person_come_in_order_and_old_ones_are_forgotten(storage: Storage) -> None:
    rows = [DeedRow(1, change, Deed.MUTED, 6) for change in range(1, DEEDS_KEPT_MAX + 21)]
    for row in rows:
        storage.add_deed(row)
    storage.add_deed(DeedRow(2, 1_000, Deed.MARKED, 0, 3, 9, None))
    assert storage.deeds(1, 0) == rows[20:]
    assert storage.deeds(1, rows[-2].change) == rows[-2:]
    assert storage.deeds(2, 0) == [DeedRow(2, 1_000, Deed.MARKED, 0, 3, 9, None)]
    assert storage.deeds(3, 0) == []


def test_touches_of_older_posts_of_some_authors_in_order(storage: Storage) -> None:
    storage.add_touched([(10, 1, 6), (11, 2, 6), (12, 1, 6), (13, 3, 5), (14, 1, 6), (16, 15, 6)])
    assert storage.touched(11, 14, BitMap([6]), 99) == [(11, 2), (12, 1)]
    assert [at for at, _ in storage.touched(9, 99, BitMap([5, 6]), 99)] == [10, 11, 12, 13, 14]
    assert storage.touched(9, 99, BitMap([5, 6]), 2) == [(10, 1), (11, 2)]
    assert storage.touched(9, 99, BitMap(), 99) == []


def test_touches_long_after_the_post(storage: Storage) -> None:
    """Wherever a run of changes ends, none is left out and no newer post comes with them."""
    rows = [(2, 1, 6)]
    for change in range(10_000, 100_000, 997):
        rows += [(change, 1, 6), (change + 1, 3, 5), (change + 2, change - 5, 6)]
    storage.add_touched(rows)
    for begin in (2, 10_000, 16_383, 16_384, 16_385, 50_000, 99_999):
        for until in (begin + 1, 16_384, 40_000, 200_000):
            expected = [
                (change, post)
                for change, post, author in rows
                if author == 6 and begin <= change < until and post <= begin
            ]
            for limit in (1, 30, 999):
                found = storage.touched(begin, until, BitMap([6]), limit)
                assert found == expected[:limit], (begin, until, limit)


def test_expiries_from_a_change_on_with_what_was_gone_before(storage: Storage) -> None:
    rows = [ExpiryRow(change, change // 2, seal(BitMap([6]))) for change in (10, 20, 30)]
    for row in rows:
        storage.add_expiry(row)
    assert storage.expiries(5) == rows
    assert storage.expiries(20) == rows  # the newest before it is the first of them
    assert storage.expiries(21) == rows[1:]
    assert storage.expiries(99) == rows[2:]


def test_what_only_older_cursors_needed_goes(storage: Storage) -> None:
    block = [sealed_seqs(array.array("Q", range(n, n + 32))) for n in (1, 33)]
    storage.add_author_blocks([(6, 1, block[0]), (6, 33, block[1]), (5, 1, block[0])])
    authors = seal(BitMap([6]))
    for change, horizon in ((40, 20), (70, 32), (90, 64)):
        storage.add_expiry(ExpiryRow(change, horizon, authors))
    storage.add_touched([(change, 1, 6) for change in (39, 75, 76)])
    storage.drop_before(76)
    assert [row.change for row in storage.expiries(0)] == [70, 90]
    assert storage.author_block(6, 1) is None
    assert storage.author_block(6, 33) == block[1]
    assert storage.author_block(5, 1) == block[0]
    assert storage.touched(1, 99, BitMap([6]), 99) == [(76, 1)]


def test_who_of_some_people_has_read_and_follows(storage: Storage) -> None:
    storage.save_read_up_to(1, 50)
    storage.save_read_up_to(2, 49)
    assert list(storage.read_beyond(BitMap([1, 2, 3]), 50)) == [1]
    storage.save_flipped(1, 6, MEMBERS)
    storage.save_flipped(3, 6, MEMBERS)
    assert storage.read_marks(6, BitMap([1, 2])) == [(1, MEMBERS)]
    relations = [(1, 6, 10, 0), (2, 6, 50, 0), (3, 6, 10, 20), (4, 5, 10, 0)]
    storage.add_relations(
        [RelationRow(user, author, FOLLOW, since, 0, 0) for user, author, since, _ in relations]
    )
    storage.add_relations([RelationRow(5, 6, MUTE, 10, 0, 0)])
    storage.close_relation(RelationRow(3, 6, FOLLOW, 10, 0, 0), 20)
    assert list(storage.following_since(6, BitMap(range(1, 6)), 50)) == [1]
    assert list(storage.following_since(6, BitMap(range(1, 6)), 50, 19)) == [1, 3]
    assert list(storage.following_since(6, BitMap(range(1, 6)), 50, 20)) == [1]
    assert storage.followed_by(4) == [5]
    assert storage.followed_by(3) == []


# Relations


def test_the_newest_relation_of_a_kind(storage: Storage) -> None:
    old = RelationRow(1, 6, FOLLOW, 3, 0, 0)
    storage.add_relations(
        [old, RelationRow(1, 6, MUTE, 4, 0, 0), RelationRow(2, 6, FOLLOW, 5, 0, 1)]
    )
    storage.close_relation(old, 8)
    assert storage.relation(1, 6, FOLLOW) == old._replace(until=8)
    new = RelationRow(1, 6, FOLLOW, 9, 0, 7)
    storage.add_relations([new])
    assert storage.relation(1, 6, FOLLOW) == new
    assert storage.relation(1, 6, MUTE) == RelationRow(1, 6, MUTE, 4, 0, 0)
    assert storage.relation(1, 5, FOLLOW) is None


def test_seen_are_those_followed_and_not_muted_who_have_posted_since(storage: Storage) -> None:
    rows = [RelationRow(1, author, FOLLOW, author, 0, 1) for author in (2, 3, 4, 5, 6, 7)]
    storage.add_relations(
        [*rows, RelationRow(1, 5, MUTE, 9, 0, 0), RelationRow(1, 8, MUTE, 9, 0, 0)]
    )
    storage.close_relation(rows[2], 12)
    storage.save_authors(
        [
            AuthorRow(3, 1, 30, 9, b"older", 0, expired=2),
            AuthorRow(4, 1, 40, 2, b"left", 0),
            AuthorRow(5, 1, 45, 2, b"muted", 0),
            AuthorRow(6, 1, 50, 3, b"newer", 0),
            AuthorRow(7, 1, 7, 1, b"before", 0),
        ]
    )
    older = (3, 30, 9, 2, b"older", None, 3, 1)
    newer = (6, 50, 3, 0, b"newer", None, 6, 1)
    assert sorted(storage.seen(1, 30)) == [older, newer], "author 2 has no row, so no post"
    assert sorted(storage.seen(1, 31)) == [(*older[:4], None, *older[5:]), newer]
    assert storage.seen_last(1, NO_SEQ, 1) == [newer]
    assert storage.seen_last(1, NO_SEQ, 9) == [newer, older]
    assert storage.seen_last(1, 50, 9) == [older]
    assert storage.seen_last(2, NO_SEQ, 9) == []


def test_what_is_unread_of_those_of_whom_nothing_else_is_known(storage: Storage) -> None:
    storage.add_relations(RelationRow(1, author, FOLLOW, author, 0, 1) for author in (2, 3, 6))
    storage.save_authors(
        [
            AuthorRow(2, 1, 20, 5, b"", 0),
            AuthorRow(3, 1, 30, 9, b"", 0, expired=2),
            AuthorRow(6, 1, 50, 4, b"newer", 0),
        ]
    )

    def odd(up_to: int, reached: int = 0) -> list[int]:
        return sorted(row[0] for row in storage.seen_oddly(1, up_to, reached))

    assert storage.unread_plainly(1, 0) == (4 + 7 + 3, 0)
    assert odd(0) == []
    assert storage.unread_plainly(1, 30) == (0, 1)
    assert odd(30) == [6]
    storage.save_retracted_of(6, b"some")
    assert storage.unread_plainly(1, 0) == (4 + 7, 1)
    assert list(storage.seen_oddly(1, 0, 51)) == [(6, 50, 4, 0, None, b"some", 6, 1)]
    storage.save_flipped(1, 2, b"one")
    storage.save_flipped(2, 3, b"another's")
    assert storage.unread_plainly(1, 0) == (7, 2)
    assert odd(0) == [2, 6]
    assert storage.unread_plainly(7, 0) == (0, 0)


def test_whom_somebody_follows_and_mutes(storage: Storage) -> None:
    rows = [RelationRow(1, author, FOLLOW, author, 0, 0) for author in (2, 3, 4, 6)]
    storage.add_relations(
        [*rows, RelationRow(1, 3, MUTE, 9, 0, 0), RelationRow(1, 5, MUTE, 9, 0, 0)]
    )
    storage.close_relation(rows[2], 12)
    assert storage.following_count(1) == 3
    assert storage.mutes(1) == {3, 5}
    assert storage.following_ids(1, "", 10) == ["bob", "cat", "star"]
    assert storage.following_ids(1, "bob", 1) == ["cat"]
    assert storage.following_ids(2, "", 10) == []


def test_many_follows_at_once_are_relations_like_others(storage: Storage) -> None:
    high = 2**32 - 1
    storage.add_follows(array.array("Q", [1 << 32 | 2, 1 << 32 | high, high << 32 | 2]), 7)
    storage.add_follows(array.array("Q"), 8)
    for user, author in ((1, 2), (1, high), (high, 2)):
        row = RelationRow(user, author, FOLLOW, 7, 0, 0)
        assert storage.relations(user, author, FOLLOW) == [row]
    storage.close_relation(RelationRow(1, 2, FOLLOW, 7, 0, 0), 9)
    assert storage.following_counts([1, high, 5]) == {1: 1, high: 1, 5: 0}


def test_which_of_many_have_a_row_of_an_author(storage: Storage) -> None:
    storage.save_authors(AuthorRow(number, 0, 0, 0, b"", 0, 0) for number in (2, 9))
    assert storage.authors_among([1, 2, 3, 9, 10]) == {2, 9}
    assert storage.authors_among([]) == set()


# Segments


def segment(lower: int, since: int, author: int = 6) -> SegmentRow:
    return SegmentRow(0, author, lower, since, 0, 3)


def test_current_segments_come_in_order_the_tail_first(storage: Storage) -> None:
    ids = [storage.add_segment(segment(lower, 5), MEMBERS) for lower in (900, 0, TAIL)]
    storage.add_segment(segment(0, 5, author=5), MEMBERS)
    assert len({*ids}) == 3
    assert [row.id for row in storage.segments(6)] == ids[::-1]
    assert storage.segment(ids[0]) == segment(900, 5)._replace(id=ids[0])
    assert storage.members(ids[0]) == MEMBERS
    storage.rewrite_segment(ids[0], 1, b"new")
    assert (storage.segment(ids[0]).size, storage.members(ids[0])) == (1, b"new")
    storage.close_segment(ids[1], 7)
    storage.drop_segment(ids[2])
    assert [row.id for row in storage.segments(6)] == [ids[0]]
    assert storage.segment(ids[1]).until == 7
    assert storage.members(ids[1]) == MEMBERS  # kept: a post may refer to it


def test_many_segments_at_once_are_segments_like_others(storage: Storage) -> None:
    storage.add_segments((segment(lower, 5), MEMBERS) for lower in (TAIL, 0, 900))
    assert [row.lower for row in storage.segments(6)] == [TAIL, 0, 900]
    assert {storage.members(row.id) for row in storage.segments(6)} == {MEMBERS}


def test_a_dropped_segment_s_id_is_not_used_again(storage: Storage) -> None:
    """What is cached by id must never be another segment's."""
    first = storage.add_segment(segment(0, 5), MEMBERS)
    storage.drop_segment(first)
    assert storage.add_segment(segment(0, 6), MEMBERS) > first


def test_the_parts_of_batches_in_which_somebody_could_be(storage: Storage) -> None:
    """Those of the segments that were there when the post was published."""
    tail = storage.add_segment(segment(TAIL, 10), MEMBERS)
    storage.close_segment(tail, 20)
    new_tail = storage.add_segment(segment(TAIL, 20), MEMBERS)
    low = storage.add_segment(segment(0, 10), MEMBERS)
    storage.close_segment(low, 30)
    new_low = storage.add_segment(segment(0, 30), MEMBERS)
    high = storage.add_segment(segment(100, 30), MEMBERS)
    number = storage.add_channel("inbox")
    storage.add_posts([post(seq, f"p{seq}") for seq in (5, 15, 25, 35)])
    storage.add_posts([post(36, "of another", author=5)])
    segments = (tail, new_tail, low, new_low, high)
    storage.save_parts(
        part(seq, channel=number, segment=one) for seq in (5, 15, 25, 35, 36) for one in segments
    )

    def near(number: int, *seqs: int) -> set[tuple[int, int]]:
        return {(row.post, row.segment) for row in storage.parts_near(seqs, number)}

    assert near(5, 15) == {(15, tail), (15, low)}
    assert near(5, 25) == {(25, new_tail), (25, low)}
    assert near(500, 25) == {(25, new_tail), (25, low)}  # high was not yet
    assert near(500, 35) == {(35, new_tail), (35, high)}
    assert near(99, 35) == {(35, new_tail), (35, new_low)}
    assert near(5, 5, 36, 77) == set()
    assert near(5, 15, 25) == near(5, 15) | near(5, 25)


# Posts and parts


def test_posts_by_seq_and_by_id(opened: Opened, storage: Storage) -> None:
    rows = [post(7, "p"), post(9, "q"), PostRow(8, "g", 0, "ghost", 0, 1, 2, 0, 0, 0, "boo")]
    storage.add_posts(rows)
    storage.commit()
    storage = opened.again()
    assert [storage.post(row.seq) for row in rows] == rows
    assert [storage.post_by_id(row.id) for row in rows] == rows
    assert storage.posts([9, 1, 8]) == {9: rows[1], 8: rows[2]}
    assert storage.post(1) is None
    assert storage.post_by_id("x") is None
    assert storage.posts_after(0, 2) == [7, 8]
    assert storage.posts_after(8, 9) == [9]


def test_parts_are_replaced_dropped_and_set(storage: Storage) -> None:
    muted = part(7, SUPPRESSED, state=State.SUPPRESSED)
    rows = [part(7), muted, part(7, channel=2), part(7, segment=2), part(9)]
    storage.save_parts(rows)
    assert sorted(storage.parts((7, 1, 1))) == sorted(rows[:2])
    assert len(storage.parts_of_post(7)) == 4
    storage.save_parts([muted._replace(members=b"other", changed=99)])
    storage.set_rest([(State.DELIVERED, 50, 7, 1, 1)])
    (rest, changed) = sorted(storage.parts((7, 1, 1)))
    assert (rest.state, rest.changed, rest.members) == (State.DELIVERED, 50, None)
    assert (changed.members, changed.changed) == (b"other", 99)
    storage.drop_parts([(7, 1, 1, SUPPRESSED), (7, 1, 1, 12345)])
    assert [row.part for row in storage.parts((7, 1, 1))] == [REST]
    assert storage.parts((9, 1, 1)) == [part(9)]


def test_what_could_be_leased_now(storage: Storage) -> None:
    storage.add_posts([post(seq, f"p{seq}") for seq in (7, 8, 9, 10)])
    ready = Part(State.RETRYING, 1, READY).key
    storage.save_parts(
        [
            part(7, state=State.DELIVERED),
            retry(7, 3, 500),
            part(8, state=State.DELIVERED),
            retry(8, READY, None),
            part(9),
            part(10, channel=2),
        ]
    )
    assert list(storage.waiting_posts([1])) == [(6, 8), (6, 9)]
    assert list(storage.waiting_posts([1, 2])) == [(6, 8), (6, 9), (6, 10)]
    assert storage.ready_parts(7, [1]) == []
    assert storage.ready_parts(8, [1]) == [(1, 1, ready)]
    assert storage.ready_parts(10, [1]) == []
    assert storage.ready_parts(10, [1, 2]) == [(2, 1, REST)]
    assert storage.oldest_waiting() == 7


def test_retries_come_due_in_order(storage: Storage) -> None:
    storage.save_parts([part(7), retry(7, 1, 300), retry(7, 2, 100), retry(8, 1, 200)])
    assert storage.next_due_us() == 100
    keys = [(7, 1, 1, Part(State.RETRYING, 1, 2).key), (8, 1, 1, Part(State.RETRYING, 1, 1).key)]
    assert storage.due_parts(99, 10) == []
    assert storage.due_parts(200, 10) == keys
    assert storage.due_parts(999, 1) == keys[:1]


# Leases and the rest


def test_leases_are_kept_until_dropped(opened: Opened, storage: Storage) -> None:
    rows = [LeaseRow(2**40 + n, f"w{n}", 7, 1, 1, REST, n, 2**32 - 1, 0) for n in range(3)]
    storage.add_leases(reversed(rows))
    storage.add_leases([rows[1]._replace(session="", deaths=2)])
    storage.drop_leases([rows[0].id, 12345])
    storage.commit()
    assert opened.again().leases() == [rows[1]._replace(session="", deaths=2), rows[2]]


def test_imports_are_remembered(opened: Opened, storage: Storage) -> None:
    assert not storage.import_known("a" * 64)
    storage.add_import("a" * 64)
    storage.add_import("a" * 64)
    storage.commit()
    assert opened.again().import_known("a" * 64)
    assert not opened.storage.import_known("b" * 64)


def test_the_size_on_disk_grows_and_a_checkpoint_loses_nothing(
    opened: Opened, storage: Storage
) -> None:
    before = storage.disk_bytes()
    storage.add_users((number, f"person {number}") for number in range(7, 5_000))
    storage.commit()
    storage.checkpoint()
    assert storage.disk_bytes() > before + 4_993 * 10
    assert storage.free_bytes() > 0
    assert opened.again().last_user() == 4_999
