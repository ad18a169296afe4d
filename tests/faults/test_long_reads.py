"""Somebody reads and reads: the reading is cut, and the log begins anew behind it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import apsw
import pytest

from farm.store import sqlite, sqlite_snapshot
from farm.store.sqlite import Checkpointer
from farm.store.sqlite_records import SqliteRecords
from farm.store.sqlite_snapshot import (
    DATABASE,
    GIVE_WAY_EVERY_S,
    GIVE_WAY_S_MAX,
    READ_S_MAX,
    SqliteSnapshot,
)
from tests.store.harness import ManualClock, Store, open_sqlite

READ_S = 0.5  # here; the readers' own are READ_S_MAX
READERS = 4
PAGES_MAX = 64  # of the log here, before it begins anew
ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(sqlite, "LOG_PAGES_MAX", PAGES_MAX)
    monkeypatch.setattr(sqlite, "CHECKPOINT_EVERY_S", 0.02)
    made = Store(partial(open_sqlite, tmp_path))
    made.follow("ann", "star")
    yield made
    made.close()


def read_for_ever(directory: Path) -> float:
    """As a reader does; how long it was let."""
    snapshot = SqliteSnapshot.open(directory)
    begun_s = time.monotonic()
    snapshot.cut_at(lambda: begun_s + READ_S - time.monotonic())
    with snapshot:
        snapshot.meta()  # from here on it is of one moment, which the log has to keep
        with pytest.raises(apsw.InterruptError):
            snapshot.db.execute(ENDLESS).fetchall()
    snapshot.close()
    return time.monotonic() - begun_s


def test_the_log_grows_only_as_long_as_a_reader_may_read(store: Store, tmp_path: Path) -> None:
    """One after the other holds up the checkpoints for as long as it may, under writes; the log
    becomes as long as what is written during one of them, not during all. Fault row 28."""
    assert READ_S_MAX == 5.0
    checkpointer, held_up, between = Checkpointer(tmp_path), list[int](), 0
    with ThreadPoolExecutor(1) as pool:
        for _ in range(READERS):
            reading = pool.submit(read_for_ever, tmp_path)
            held_up.append(0)
            while not reading.done():
                held_up[-1] += write(store)
            assert reading.result() < READ_S + 2.0
            between += sum(write(store) for _ in range(PAGES_MAX // 2))
    checkpointer.close()
    size = (tmp_path / f"{DATABASE}-wal").stat().st_size
    print(f"written {held_up} and {between}, log {size}")
    assert size > PAGES_MAX * sqlite.PAGE_BYTES, "nothing was held up"
    assert size < max(held_up) + 3 * PAGES_MAX * sqlite.PAGE_BYTES
    assert size < (sum(held_up) + between) / 2


class HastyClock(ManualClock):
    """A tenth of a second passes whenever it is looked at."""

    def monotonic_s(self) -> float:
        self.pass_s(0.1)
        return super().monotonic_s()


def test_readers_do_not_wait_again_and_again_for_what_is_no_reader(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of the whole store holds the log for as long as it takes. Readers give way for as
    long as a reader may be what is in the way, and from then on once in a while."""
    for module in (sqlite, sqlite_snapshot):
        monkeypatch.setattr(module, "LOG_BYTES_LONG", PAGES_MAX * sqlite.PAGE_BYTES)
    reader, clock = SqliteSnapshot.open(tmp_path), HastyClock()
    waits_s = []
    with SqliteRecords.open(tmp_path) as records:
        records.count()
        while not reader.log_is_long():
            write(store)
        begun_s = now_s = clock.monotonic_s()
        while now_s < begun_s + 10 * GIVE_WAY_EVERY_S:
            before_s = now_s
            reader.give_way(clock)
            now_s = clock.monotonic_s()
            if now_s - before_s > 1.0:
                waits_s.append(now_s)
    in_vain_s = begun_s + READ_S_MAX + GIVE_WAY_S_MAX
    assert len([at_s for at_s in waits_s if at_s < in_vain_s]) >= READ_S_MAX / GIVE_WAY_S_MAX
    later = Counter(at_s // GIVE_WAY_EVERY_S for at_s in waits_s if at_s > in_vain_s)
    assert len(later) >= 9
    assert max(later.values()) <= 2
    write(store)
    assert not reader.log_is_long()
    reader.close()


def write(store: Store) -> int:
    """A post in a commit of its own, and what the writer does after each; bytes of the log."""
    storage = store.storage
    assert isinstance(storage, sqlite.SqliteStorage)
    before = storage._log_pages
    store.publish(os.urandom(8).hex(), "star", "x" * 8_000)
    after = storage._log_pages  # fewer, where the log has begun anew
    storage.checkpoint()
    return (after - before if after > before else after) * sqlite.PAGE_BYTES
