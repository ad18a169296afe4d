"""A database with flipped bits, a cut or foreign log: what was, or a refusal; wrong sets never."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from farm.audience import checked
from farm.errors import Corrupt, HarkError, StartError
from farm.store.check import Check
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_records import SqliteRecords
from farm.store.sqlite_snapshot import DATABASE
from tests.fuzz import database
from tests.fuzz.database import LOG, PAGE_BYTES, answers, copied, flipped, look
from tests.store.harness import START_US, Store, open_sqlite

FLIPS = 60
LOOKS = 6  # at a blob, by way of the store
FRAMES_APART = 5
FRAME_BYTES = 24 + PAGE_BYTES
LOG_HEADER_BYTES = 32
# Every column that holds a set or a list, by table.
BLOBS = {
    "segment": "members", "batch": "members", "muted_by": "members", "read_mark": "flipped",
    "retracted_of": "ordinals", "author": "newest", "author_block": "seqs", "meta": "totals",
}  # fmt: skip


@pytest.fixture(scope="module")
def sound() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as directory:
        database.make(Path(directory))
        yield Path(directory)


@pytest.fixture(scope="module")
def truth(sound: Path) -> dict[str, Any]:
    return answers(sound)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as directory:
        yield Path(directory) / "copy"


def test_one_bit_anywhere_is_never_a_wrong_answer_that_the_check_does_not_find(
    sound: Path, truth: dict[str, Any], place: Path
) -> None:
    """Fault row 25. `make fuzz PORT=database` flips as many as one likes."""
    chance = random.Random(25)
    whole = (sound / DATABASE).read_bytes()
    used = [at for at, byte in enumerate(whole) if byte]
    place.mkdir()
    found: Counter[str] = Counter()
    for _ in range(FLIPS):
        damage = flipped(whole, chance.choice(used), chance)
        database.put(place, damage)
        came = look(place, truth)
        found[came.how] += 1
        assert came.how != "wrong" or came.named, came
        assert came.how != "refused" or came.named, came
        assert (place / DATABASE).read_bytes() == damage, "what looks damaged is left alone"
    assert found["refused"] > 0


@pytest.mark.parametrize("table", BLOBS)
def test_each_byte_of_each_set_and_list_is_vouched_for(
    sound: Path, truth: dict[str, Any], place: Path, table: str
) -> None:
    """Fault row 114: a bit of it flipped is a refusal, or is where nobody looks; and the check
    names it. Never other members."""
    copied(sound, place)
    db = apsw.Connection(str(place / DATABASE))
    column, chance = BLOBS[table], random.Random(114)
    # The largest there is has every part that any has.
    ((key, blob),) = db.execute(
        f"select {_key(table)}, {column} from {table} where {column} is not null"
        f" order by length({column}) desc limit 1"
    )
    if table != "meta":
        for at in range(len(blob)):
            with pytest.raises(Corrupt):
                checked(flipped(blob, at, chance))
    for at in range(0, len(blob), len(blob) // LOOKS + 1):
        damage = flipped(blob, at, chance)
        db.execute(f"update {table} set {column} = ? where {_key(table)} = ?", (damage, key))
        found = look(place, truth)
        assert found.how != "wrong", (table, at, found)
        named = _breaches(place)
        assert any("checksum" in line for line in named), (table, at, named)
    db.close()


def _key(table: str) -> str:
    """What tells the rows of a table apart."""
    return {
        "segment": "id", "batch": "post || ' ' || channel || ' ' || segment || ' ' || part",
        "read_mark": "user || ' ' || author", "author_block": "number || ' ' || first",
        "author": "number", "meta": "only_one",
    }.get(table, "author")  # fmt: skip


def _breaches(directory: Path) -> list[str]:
    with SqliteRecords.open(directory) as records:
        return [str(breach) for breach in Check(records, lambda rows: None).breaches()]


# Logs


@pytest.fixture
def logged(place: Path) -> tuple[Path, list[str]]:
    """A directory as a killed store leaves it, with all since a checkpoint in the log; and the
    posts in it."""
    store = Store(partial(open_sqlite, place_made(place)))
    store.followers("star", 50)
    posts = [f"p{number}" for number in range(12)]
    for post in posts:
        store.publish(post, "star")
    left = Path(shutil.copytree(place, place.with_name("left")))
    store.close()
    return left, posts


def place_made(place: Path) -> Path:
    place.mkdir()
    return place


def _posts_of(directory: Path) -> list[str] | None:
    """The posts that a store has which starts on it; None where it refuses to."""
    try:
        store = Store(partial(open_sqlite, directory))
    except HarkError:
        return None
    try:
        found = [store.storage.post(seq) for seq in store.storage.posts_after(0, 100)]
        store.check()
        store.publish("new", "star", must_be_known=False)
        return [row.id for row in found if row is not None]
    finally:
        store.close()


def test_a_log_cut_at_any_frame_is_a_beginning_of_what_was_done(
    logged: tuple[Path, list[str]], place: Path
) -> None:
    """Fault row 25: what is there is whole, in order, and nothing else."""
    left, posts = logged
    log = (left / LOG).read_bytes()
    frames = (len(log) - LOG_HEADER_BYTES) // FRAME_BYTES
    seen = set()
    for frame in range(0, frames, FRAMES_APART):
        for more in (0, 1_000):
            copied(left, place)
            os.truncate(place / LOG, LOG_HEADER_BYTES + frame * FRAME_BYTES + more)
            (place / f"{DATABASE}-shm").unlink(missing_ok=True)
            found = _posts_of(place)
            if found is not None:
                assert found == posts[: len(found)], frame
                seen.add(len(found))
    assert len(seen) > len(posts) // 6


def test_a_last_frame_of_garbage_is_no_frame(logged: tuple[Path, list[str]]) -> None:
    """Fault row 25."""
    left, posts = logged
    log = (left / LOG).read_bytes()
    (left / LOG).write_bytes(log[:-FRAME_BYTES] + log[: -FRAME_BYTES - 1 : -1])
    (left / f"{DATABASE}-shm").unlink(missing_ok=True)
    found = _posts_of(left)
    assert found is not None
    assert found == posts[: len(found)]
    assert len(found) >= len(posts) - 1


def test_without_its_shared_memory_a_log_is_read_all_the_same(
    logged: tuple[Path, list[str]],
) -> None:
    """Fault row 26."""
    left, posts = logged
    (left / f"{DATABASE}-shm").unlink(missing_ok=True)
    assert _posts_of(left) == posts


def test_the_log_of_another_store_is_refused_and_left_alone(
    logged: tuple[Path, list[str]], sound: Path, place: Path
) -> None:
    """Fault row 26: SQLite would take it, and the store that was here would be the other one."""
    left, _ = logged
    copied(sound, place)
    db = apsw.Connection(str(place / DATABASE))
    db.execute("update meta set incarnation = incarnation + 1")  # the same dice made both
    db.close()
    before = answers(place)
    log = (left / LOG).read_bytes()
    (place / LOG).write_bytes(log)
    with pytest.raises(StartError, match="is of another store"):
        SqliteStorage.create_or_open(place, chance=random.Random(7), now_us=START_US)
    assert (place / LOG).read_bytes() == log
    (place / LOG).unlink()
    assert answers(place) == before


def test_a_stale_journal_changes_nothing(logged: tuple[Path, list[str]]) -> None:
    """Fault row 26: what an older way of writing left beside it."""
    left, posts = logged
    (left / f"{DATABASE}-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(5_000))
    assert _posts_of(left) in (posts, None)
