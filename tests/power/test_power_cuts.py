"""The power goes at any moment: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

import apsw
import pytest

from farm import datadir
from farm.store.sqlite import PAGE_BYTES
from farm.store.sqlite_snapshot import DATABASE
from tests.power import cuts
from tests.power.disk import Disk, Write
from tests.power.files import put
from tests.store.harness import Store, open_sqlite

CUTS = 300
META_ROOT = "select rootpage from sqlite_schema where name = 'meta'"


def test_a_power_cut_loses_nothing_that_was_acknowledged(shm: Path) -> None:
    """Fault row 16. Every image is the store after some commit, whole, and works."""
    tally = cuts.run(shm, CUTS, seed=16)
    assert tally.wrong == []
    assert tally.cuts >= CUTS
    assert tally.commits > 10 * CUTS
    assert tally.lost == 0
    assert tally.in_flight > 0, "no cut came between a commit and its answer"


def test_without_an_fsync_at_each_commit_the_same_cuts_lose_some(shm: Path) -> None:
    """Fault row 16: the proof that these cuts find what is not durable."""
    tally = cuts.run(shm, CUTS // 3, seed=16, synchronous=cuts.NORMAL)
    assert tally.wrong == [], "lost is one thing, damaged another"
    assert tally.lost > 0


def test_what_the_log_has_whole_may_be_anything_in_the_database(shm: Path) -> None:
    """As where the power went in the middle of a checkpoint: a page is half old and half new, and
    what stands there makes no sense, or another one."""
    (shm / "store").mkdir()
    store = Store(partial(open_sqlite, shm / "store"))
    store.followers("star", 3)
    database, log = (shm / "store" / name for name in (DATABASE, DATABASE + "-wal"))
    db: apsw.Connection = store.storage.db  # type: ignore[attr-defined]
    db.execute("pragma wal_checkpoint(truncate)").fetchall()
    store.publish("p", "star")  # which writes the page of the row in question to the log
    page = PAGE_BYTES * (db.execute(META_ROOT).get - 1)
    sound, in_log, chance = database.read_bytes(), log.read_bytes(), random.Random(16)
    store.close()
    for number in range(CUTS):
        half = bytearray(sound)
        for _ in range(chance.randint(1, 20)):
            at = chance.choice([chance.randrange(16), PAGE_BYTES - 1 - chance.randrange(150)])
            half[page + at] ^= 1 << chance.randrange(8)
        directory = shm / str(number)
        put(directory, {DATABASE: bytes(half), DATABASE + "-wal": in_log})
        storage = open_sqlite(directory)
        assert storage.seqs_of(["p"])
        storage.close()


def test_the_names_of_new_directories_are_durable_before_anything_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    names = Path("/proc/self/fd")
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str((names / str(fd)).readlink())))
    with datadir.opened(str(tmp_path / "new" / "data")):
        assert synced == [str(tmp_path), str(tmp_path / "new")]
    with datadir.opened(str(tmp_path / "new" / "data")):
        assert len(synced) == 2


# The disk that this rests on


def test_what_was_synced_survives_and_the_rest_by_chance() -> None:
    disk = Disk({})
    file = disk.open("log")
    file.pending.append(Write(0, b"a" * 2_000))
    file.sync()
    disk.sync_names()
    file.pending.append(Write(1_000, b"b" * 2_000))
    found = {disk.cut(random.Random(seed))["log"] for seed in range(200)}
    assert all(content[:1_000] == b"a" * 1_000 for content in found)
    assert b"a" * 2_000 in found
    assert b"a" * 1_000 + b"b" * 2_000 in found
    # Sector by sector, a later one without an earlier one.
    assert any(content[1_000:1_536] == b"a" * 24 + b"b" * 512 for content in found)


@pytest.mark.parametrize("synced", [True, False])
def test_a_name_is_durable_once_its_directory_is_synced(synced: bool) -> None:
    disk = Disk({"old": b"1"})
    disk.delete("old")
    disk.open("new").sync()
    if synced:
        disk.sync_names()
    found = {tuple(disk.cut(random.Random(seed))) for seed in range(100)}
    assert found == ({("new",)} if synced else {(), ("new",), ("new", "old"), ("old",)})


def test_a_sync_that_failed_is_not_made_good_by_the_next_one() -> None:
    disk = Disk({"log": b""})
    file = disk.open("log")
    for _ in range(20):
        file.pending.append(Write(0, b"x" * 512))
        file.fail_to_sync(random.Random(1))
        file.sync()
        if disk.cut(random.Random(2))["log"] != b"x" * 512:
            return
    raise AssertionError("all that was written reached the disk")
