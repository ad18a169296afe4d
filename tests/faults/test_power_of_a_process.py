"""Power cuts under the store's own process, with its threads and its kernel.

A library that is loaded before all others keeps what the process writes and syncs. From that, the
simulated disk of `tests/power/` makes what a power cut would have left at any moment; each post
that had been answered by then must be in it.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from farm import wire
from farm.errors import StartError
from farm.store.check import Check
from farm.store.sqlite_records import SqliteRecords
from farm.store.sqlite_snapshot import DATABASE
from farm.wire import Op
from tests.faults.conftest import StartStore
from tests.power.disk import Disk, DiskFile, Truncate, Write
from tests.power.files import put
from tests.store.harness import Store, open_sqlite

pytestmark = pytest.mark.process
SOURCE = Path(__file__).with_name("write_log.c")
RECORD = struct.Struct("=c23sQQQ")
COMMITS = 100  # of each of two lives
CUTS = 30


class Deed(NamedTuple):
    """What the process did, and how long the log was then."""

    kind: bytes
    name: str
    thread: int
    offset: int
    size: int
    data: bytes
    end: int


@pytest.fixture
def write_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where processes that are started from now on tell what they write."""
    compiler = shutil.which("cc")
    if compiler is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no C compiler is here, so nothing can see what the store writes")
        pytest.skip("no C compiler is here")
    library = tmp_path / "write_log.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("WRITE_LOG", str(tmp_path / "write.log"))
    monkeypatch.setenv("WRITE_LOG_OF", str(tmp_path / "data"))
    return tmp_path / "write.log"


def test_what_the_process_answered_is_on_its_disk(write_log: Path, start_store: StartStore) -> None:
    """Fault row 17."""
    chance = random.Random(seed := random.SystemRandom().randrange(2**32))
    print(f"seed {seed}")
    store = start_store()
    store.write((Op.STATS,))
    acknowledged: list[tuple[int, str]] = []  # how long the log was then, and the post
    for life in range(2):
        copied_at = (write_log.parent / "data" / DATABASE).stat().st_mtime_ns
        for number in itertools.count():
            # At least so many, and until the helper has copied some of the log into the database.
            now = (write_log.parent / "data" / DATABASE).stat().st_mtime_ns
            if number >= COMMITS and now != copied_at:
                break
            post = f"{life}-{number}"
            for result in store.write(
                (Op.FOLLOW, f"follower {number % 40}", f"author {number % 7}"),
                (Op.PUBLISH, post, f"author {number % 7}", "x" * 500, 0, True),
            ):
                wire.value_of(result)
            acknowledged.append((write_log.stat().st_size, post))
        store.start_again()
    store.write((Op.STATS,))
    deeds = [deed for deed in read(write_log) if not deed.name.endswith("-shm")]
    synced = {deed.name for deed in deeds if deed.kind == b"e"}
    assert {DATABASE, f"{DATABASE}-wal", "."} <= synced, "there was no checkpoint"
    ends = sorted(chance.sample([deed.end for deed in deeds], CUTS))
    assert lost_of(acknowledged, images(deeds, ends, chance)) == 0
    deaf = images(deeds, ends[-3:], chance, deaf=True)
    assert lost_of(acknowledged, deaf) > 0, "nobody would notice if the store never synced"


def lost_of(
    acknowledged: list[tuple[int, str]], found: Iterator[tuple[int, dict[str, bytes]]]
) -> int:
    """How many posts are gone that had been answered before their cut, summed over the cuts."""
    lost = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as place:
        for number, (end, image) in enumerate(found):
            directory = Path(place) / str(number)
            put(directory, image)
            lost += lost_by(directory, [post for then, post in acknowledged if then <= end])
            shutil.rmtree(directory)
    return lost


def read(path: Path) -> Iterator[Deed]:
    raw, at = path.read_bytes(), 0
    while at < len(raw):
        kind, name, thread, offset, size = RECORD.unpack_from(raw, at)
        at += RECORD.size
        data = raw[at : at + size] if kind == b"w" else b""
        at += len(data)
        yield Deed(kind, name.rstrip(b"\0").decode(), thread, offset, size, data, at)


def images(
    deeds: list[Deed], ends: list[int], chance: random.Random, *, deaf: bool = False
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """What a cut leaves, at each place in the log; of a disk that is deaf to syncs, if so asked."""
    disk, begun, done = Disk({}), dict[tuple[int, str], int](), Counter[str]()
    wanted = iter([*ends, None])
    end = next(wanted)
    for deed in deeds:
        file = None if deed.name == "." else disk.open(deed.name)
        match deed.kind, file:
            case b"w", DiskFile():
                file.pending.append(Write(deed.offset, deed.data))
            case b"t", DiskFile():
                file.pending.append(Truncate(deed.size))
            case b"d", _:
                disk.delete(deed.name)
            case b"b", DiskFile():
                begun[deed.thread, deed.name] = done[deed.name] + len(file.pending)
            case b"e", DiskFile() if not deaf:
                count = begun.pop((deed.thread, deed.name)) - done[deed.name]
                done[deed.name] += max(count, 0)
                for change in file.pending[: max(count, 0)]:
                    change.apply(file.durable)
                del file.pending[: max(count, 0)]
            case b"e", None:
                disk.sync_names()
            case _:
                pass
        while end is not None and deed.end >= end:
            yield end, disk.cut(chance)
            end = next(wanted)


def lost_by(directory: Path, promised: list[str]) -> int:
    """How many of the posts are gone, and what else is wrong; more than all of them, where what was
    left is no database."""
    try:
        store = Store(partial(open_sqlite, directory))
        lost = sum(store.storage.post_by_id(post) is None for post in promised)
        store.close()
        with SqliteRecords.open(directory) as records:
            return lost + len(list(Check(records, lambda _: None).breaches()))
    except (StartError, apsw.Error):
        return len(promised) + 1
