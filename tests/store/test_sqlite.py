"""The SQLite engine itself: its lock, its pragmas, its version, and a disk without room."""

from __future__ import annotations

import array
import random
import subprocess
from collections.abc import Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import apsw
import pytest

from farm.audience import BitMap, seal
from farm.errors import ResourceExhausted, StartError
from farm.lifecycle import State
from farm.store.core import FULL_PAUSE_S
from farm.store.history import sealed_seqs
from farm.store.sqlite import Checkpointer, SqliteStorage
from farm.store.sqlite_schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION
from farm.store.sqlite_snapshot import DATABASE, SqliteSnapshot, check_version
from farm.store.storage import BLOCK, ExpiryRow
from tests.store.harness import START_US, Store, open_sqlite, outcome


def open_storage(directory: Path) -> SqliteStorage:
    return SqliteStorage.create_or_open(directory, chance=random.Random(1), now_us=START_US)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill_up(store: Store, first: int) -> int:
    """Publishes until there is no room; how many posts were taken."""
    for number in range(first, 10_000):
        try:
            store.publish(f"p{number}", "star", "x" * 3_000)
        except ResourceExhausted:
            return number
    raise AssertionError("the disk never filled up")


def test_a_disk_that_is_full_at_the_commit_refuses_for_sure(small_disk: Path) -> None:
    """The process lives, nothing of the refused is stored, and room is all that it takes."""
    store = Store(partial(open_sqlite, small_disk))
    store.followers("star", 1_000)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    taken = fill_up(store, 0)
    assert taken > 10
    assert store.storage.post_by_id(f"p{taken}") is None
    assert store.waiting() == (1_000 * taken, 0)
    with pytest.raises(ResourceExhausted):
        store.publish(f"p{taken}", "star", "x" * 3_000)
    ballast.unlink()
    store.clock.pass_s(FULL_PAUSE_S)
    assert not store.publish(f"p{taken}", "star", "x" * 3_000).duplicate
    grants = store.ask("w1", 2_000).grants
    store.tell("w1", *(outcome(grant, others=State.DELIVERED) for grant in grants))
    store.reopen()
    store.check()
    store.close()


def test_what_was_refused_on_a_full_disk_is_not_there_after_a_crash(small_disk: Path) -> None:
    """Its pages may lie in the log, but never the record that makes them a commit."""
    store = Store(partial(open_sqlite, small_disk))
    store.followers("star", 10)
    taken = fill_up(store, 0)
    copy = small_disk.parent / "copy"
    copy.mkdir()
    for name in (DATABASE, f"{DATABASE}-wal"):  # as a power cut would leave them
        (copy / name).write_bytes((small_disk / name).read_bytes())
    store.close()
    after = Store(partial(open_sqlite, copy))
    assert after.storage.post_by_id(f"p{taken - 1}") is not None
    assert after.storage.post_by_id(f"p{taken}") is None
    after.check()
    after.close()


# Opening


def test_a_second_store_on_the_same_data_refuses_to_start(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    with pytest.raises(StartError, match="another store"):
        open_storage(tmp_path)
    storage.close()
    open_storage(tmp_path).close()


def test_a_log_without_its_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Fault row 26. It may hold the newest of what somebody has moved away, or lost."""
    log = tmp_path / f"{DATABASE}-wal"
    log.write_bytes(b"commits")
    with pytest.raises(StartError, match="without its database"):
        open_storage(tmp_path)
    assert log.read_bytes() == b"commits"
    log.unlink()
    open_storage(tmp_path).close()


def test_a_database_of_the_first_version_gets_what_is_missing(tmp_path: Path) -> None:
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.pragma("application_id", APPLICATION_ID)
    first = resources.files("farm.store").joinpath(SCHEMA[0]).read_text("utf-8")
    for _ in database.execute(first):
        pass
    database.execute("insert into meta values(1, 77, x'00', 5, 0, x'80')")
    database.execute("insert into user values(1, 'ann')")
    database.pragma("user_version", 1)
    database.close()
    storage = open_storage(tmp_path)
    assert (storage.meta().incarnation, storage.meta().change) == (77, 5)
    assert storage.number_of("ann") == 1
    assert storage.deeds(1, 0) == []
    assert storage.db.pragma("user_version") == SCHEMA_VERSION
    storage.close()


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = b"somebody's letters, certainly no database at all. " * 200
    (tmp_path / DATABASE).write_bytes(text)
    with pytest.raises(StartError, match="nothing was changed"):
        open_storage(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == text


def test_commits_are_synced_and_readers_do_not_write(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    assert storage.db.pragma("journal_mode") == "wal"
    assert storage.db.pragma("synchronous") == 2
    assert storage.db.pragma("wal_autocheckpoint") == 0
    assert storage.db.pragma("application_id") == APPLICATION_ID
    reader = SqliteSnapshot.open(tmp_path)
    with pytest.raises(apsw.ReadOnlyError):
        reader.db.execute("delete from user")
    reader.close()
    storage.close()


def test_a_reader_without_a_database_says_so(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no database"):
        SqliteSnapshot.open(tmp_path)


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.51.2"])
def test_a_sqlite_that_may_lose_commits_is_refused(version: str) -> None:
    """In every process that opens the database, so nobody connects beside the writer. Fault row
    29."""
    with pytest.raises(StartError, match=version):
        check_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.60.0", "4.0.0"])
def test_a_sound_sqlite_is_taken(version: str) -> None:
    check_version(version)


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    reader = SqliteSnapshot.open(tmp_path)
    with reader as snapshot:
        assert snapshot.number_of("ann") is None
        storage.begin()
        storage.add_users([(1, "ann")])
        storage.commit()
        assert snapshot.number_of("ann") is None
    with reader as snapshot:
        assert snapshot.number_of("ann") == 1
    reader.close()
    storage.close()


def test_a_read_that_takes_too_long_is_cut(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    reader = SqliteSnapshot.open(tmp_path)
    reader.cut_at(lambda: -1.0)
    endless = (
        "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"
    )
    with pytest.raises(apsw.InterruptError):
        reader.db.execute(endless).fetchall()
    reader.close()
    storage.close()


def test_the_checkpointer_ends_when_asked(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    Checkpointer(tmp_path).close()
    storage.close()


# Broken bytes


def test_a_flipped_bit_in_a_segment_is_found_and_no_wrong_person_is_told(tmp_path: Path) -> None:
    store = Store(partial(open_sqlite, tmp_path))
    store.followers("star", 100)
    store.publish("p", "star")
    flip(store, "update segment set members = ?1 where id = (select max(id) from segment)")
    store.reopen()
    assert store.ask("w1", 100).grants == []
    assert store.follow("ann", "bob")  # others are served on
    assert store.publish("q", "bob").audience == 1
    assert store.granted(store.ask("w1", 100)) == ["ann"]
    store.close()


def flip(store: Store, statement: str) -> None:
    """One bit of the newest segment's members, behind the store's back."""
    database = store.storage.db  # type: ignore[attr-defined]
    blob = bytearray(database.execute("select members from segment order by id desc limit 1").get)
    blob[len(blob) // 2] ^= 4
    database.execute(statement, (bytes(blob),))


def test_a_flipped_bit_in_retries_stops_neither_others_nor_the_clock(tmp_path: Path) -> None:
    store = Store(partial(open_sqlite, tmp_path))
    store.followers("star", 100)
    store.publish("p", "star")
    store.tell("w1", *(outcome(g, others=State.RETRYING) for g in store.ask("w1", 100).grants))
    flip(store, "update batch set members = ?1 where due_us = (select min(due_us) from batch)")
    store.pass_s(1.0)
    assert store.core.idle_s() > 0.5
    store.follow("ann", "bob")
    store.publish("q", "bob")
    assert "ann" in store.granted(store.ask("w1", 200))
    store.close()


def test_of_a_long_list_of_posts_no_more_is_read_than_goes(tmp_path: Path) -> None:
    """A step of the retention takes as long for who has posted much as for anybody."""
    storage = open_storage(tmp_path)
    storage.begin()
    blocks = [range(first, first + BLOCK) for first in range(1, 100 * BLOCK, BLOCK)]
    storage.add_author_blocks((6, seqs[0], sealed_seqs(array.array("Q", seqs))) for seqs in blocks)
    for change, horizon in ((4_000, 2 * BLOCK), (4_001, 3 * BLOCK)):
        storage.add_expiry(ExpiryRow(change, horizon, seal(BitMap([6]))))
    rows: list[Any] = []

    def note(_: Any, row: Any) -> Any:
        rows.append(row)
        return row

    storage.db.row_trace = note
    storage.drop_before(4_001)
    storage.db.row_trace = None
    assert [storage.author_block(6, seqs[0]) is None for seqs in blocks[:4]] == [True] * 3 + [False]
    assert len(rows) < 10
    storage.commit()
    storage.close()
