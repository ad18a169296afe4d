"""The limits that need no server: the same rows in bare SQLite, the same random numbers.

The rows are read from a database that the farm has written, so they are the same by construction,
and go in by statements as plain as can be. Posts go into a copy of that database, under new ids:
into an empty one they went in three times as fast, because its trees are flat and its rows lie side
by side, and no store that has been used is like that. Less is written than the farm writes (no side
blocks, no leases), which makes the limit harder.
"""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import apsw

from farm.store.sqlite import CACHE_KIB, PAGE_BYTES
from farm.store.sqlite_snapshot import DATABASE

EDGES_PER_TRANSACTION = 200_000
TAIL = bytes(2_048)  # a set of half as many as are folded in at a time
RECIPIENTS_PER_LOOK = 1_000  # one post
FAILURE_RATE, LATENCY_S = 0.0, 0.0

Rows = Sequence[tuple[Any, ...]]


def sends_per_second(seconds: float) -> float:
    """How many recipients a straightforward program gets through that draws for each whether the
    send fails and how long it takes: two random numbers, which is all that a simulated one needs.
    """
    chance = random.Random(1)
    failed, latency_s = 0, 0.0
    count, started_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - started_s) < seconds:
        for _ in range(RECIPIENTS_PER_LOOK):
            if chance.random() < FAILURE_RATE:
                failed += 1
            latency_s += LATENCY_S * chance.random()
        count += RECIPIENTS_PER_LOOK
    return count / took_s


def publish(
    source: str, scratch: str, posts_per_transaction: int, posts: int, audience: int
) -> tuple[list[float], float]:
    """Writes posts of `source` to so many people, their batches as they were at publishing, their
    authors' rows and the counter: seconds of each transaction, and of copying the
    log into the database at the end.
    """
    database = _read(source)
    groups = list(_groups(database, posts_per_transaction, posts, audience))
    database.close()
    target = _copy(source, scratch)
    seconds = []
    for meta, authors, post_rows, batches in groups:
        started_s = time.perf_counter()
        target.execute("begin immediate")
        _insert(target, "post", post_rows)
        _insert(target, "batch", batches)
        _insert(target, "author", authors)
        _insert(target, "meta", meta)
        target.execute("commit")
        seconds.append(time.perf_counter() - started_s)
    started_s = time.perf_counter()
    target.execute("pragma wal_checkpoint(passive)").fetchall()
    copying_s = time.perf_counter() - started_s
    target.close()
    return seconds, copying_s


def graph(source: str, scratch: str) -> float:
    """Seconds it takes to write all people, relations, segments and authors of `source`, sorted."""
    database, target = _read(source), _create(scratch)
    took_s = 0.0
    for name in ("user", "relation", "segment", "author"):
        rows = database.execute(f"select * from {name}")
        while group := list(itertools.islice(rows, EDGES_PER_TRANSACTION)):
            started_s = time.perf_counter()
            target.execute("begin immediate")
            _insert(target, name, group)
            target.execute("commit")
            took_s += time.perf_counter() - started_s
    target.close()
    return took_s


def follows(source: str, scratch: str, author: str, per_transaction: int, count: int) -> float:
    """Writes the newest relations to the author into a copy without them, with the author's row,
    the counter and a set as large as the author's tail is on average: seconds for so many."""
    database = _read(source)
    [(number,)] = database.execute("select number from user where id = ?", (author,))
    relations = list(database.execute("select * from relation where author = ?", (number,)))
    authors = list(database.execute("select * from author where number = ?", (number,)))
    meta = list(database.execute("select * from meta"))
    database.close()
    target = _copy(source, scratch)
    relations = sorted(relations, key=lambda row: row[3])[-count:]  # as they came
    target.executemany(
        "delete from relation where user = ? and author = ?", [row[:2] for row in relations]
    )
    target.execute("pragma wal_checkpoint(truncate)").fetchall()
    [(segment,)] = target.execute("select max(id) from segment where author = ?", (number,))
    started_s = time.perf_counter()
    for first in range(0, len(relations), per_transaction):
        target.execute("begin immediate")
        _insert(target, "relation", relations[first : first + per_transaction])
        target.execute("update segment set members = ? where id = ?", (TAIL, segment))
        _insert(target, "author", authors)
        _insert(target, "meta", meta)
        target.execute("commit")
    took_s = time.perf_counter() - started_s
    target.close()
    return took_s


def bytes_used(data_dir: Path) -> int:
    """The pages in use of a stopped farm's database, in bytes; free ones do not count."""
    database = _read(str(data_dir))
    pages = database.pragma("page_count") - database.pragma("freelist_count")
    size: int = pages * database.pragma("page_size")
    database.close()
    return size


def set_bytes_a_follower(data_dir: Path, followers: int) -> float:
    """What the sets of followers take, which are kept once: of authors with so many."""
    database = _read(str(data_dir))
    [(size, members)] = database.execute(
        "select sum(length(members)), sum(size) from segment"
        " where author in (select number from author where followers = ?)",
        (followers,),
    )
    database.close()
    return float(size / members)


def give_numbers(data_dir: Path, people: Iterable[tuple[int, str]]) -> None:
    """Makes people known to a stopped farm by numbers of our choice."""
    database = apsw.Connection(str(data_dir / DATABASE), flags=apsw.SQLITE_OPEN_READWRITE)
    with database:
        database.executemany("insert into user(number, id) values(?, ?)", people)
    database.close()


def _groups(
    source: apsw.Connection, size: int, posts: int, audience: int
) -> Iterator[tuple[Rows, Rows, Rows, Rows]]:
    """What belongs into each transaction: meta, authors, posts, batches."""
    meta = list(source.execute("select * from meta"))
    authors = {row[0]: row for row in source.execute("select * from author")}
    [(later,)] = source.execute("select max(seq) from post")
    found = source.execute(
        "select * from post where audience = ? order by seq limit ?", (audience, posts)
    )
    while group := list(itertools.islice(found, size)):
        batches = [
            row
            for (seq, *_) in group
            for row in source.execute(
                "select post + ?, channel, segment, part, 0, due_us, error, changed + ?, members"
                " from batch where post = ? and part = 0",
                (later, later, seq),
            )
        ]
        # Ids as Hark makes them ascend, and so must the new ones.
        again = [(seq + later, f"z{post_id}", *others) for seq, post_id, *others in group]
        yield (
            meta,
            [authors[number] for number in sorted({row[2] for row in group})],
            again,
            batches,
        )


def _insert(database: apsw.Connection, table: str, rows: Rows) -> None:
    if rows:
        places = ", ".join("?" * len(rows[0]))
        database.executemany(f"insert or replace into {table} values({places})", rows)


def _read(data_dir: str) -> apsw.Connection:
    return apsw.Connection(str(Path(data_dir) / DATABASE), flags=apsw.SQLITE_OPEN_READWRITE)


def _copy(source: str, scratch: str) -> apsw.Connection:
    Path(scratch).mkdir(parents=True)
    shutil.copy(Path(source) / DATABASE, scratch)
    return _opened(scratch)


def _create(scratch: str) -> apsw.Connection:
    Path(scratch).mkdir(parents=True)
    database = _opened(scratch)
    schema = resources.files("farm.store").joinpath("schema.sql").read_text("utf-8")
    database.execute(schema).fetchall()
    return database


def _opened(scratch: str) -> apsw.Connection:
    """With the pragmas of the store."""
    database = apsw.Connection(str(Path(scratch) / DATABASE))
    database.pragma("page_size", PAGE_BYTES)
    database.pragma("journal_mode", "wal")
    database.pragma("synchronous", 2)
    database.pragma("wal_autocheckpoint", 0)
    database.pragma("cache_size", -CACHE_KIB)
    return database
