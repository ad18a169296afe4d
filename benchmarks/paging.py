"""A page of an inbox with its count, as a reader makes it, and what SQLite alone must do for it.

Runs in a process of its own, on the database of a farm that has stopped: the socket in between is
not what is measured.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from farm import wire
from farm.store.inbox import Reading, SegmentCache
from farm.store.sqlite_snapshot import SqliteSnapshot

PAGE = 20

_SOURCES = (
    "select last_seq, last_ordinal, base from relation"
    " cross join author on author.number = relation.author"
    " where relation.user = (select number from user where id = ?) and kind = 0 and until = 0"
)
_POST = "select * from post where seq = ?"
_PARTS = "select * from batch where post = ?"


def pages(data_dir: str, users: Sequence[str], seconds: float) -> list[float]:
    """Milliseconds of each page, from the question to the packed answer; the users in turn."""
    with_segments = SegmentCache()
    snapshot = SqliteSnapshot.open(Path(data_dir))

    def page(user: str) -> None:
        with snapshot:
            answer = Reading(snapshot, with_segments).inbox(user, PAGE, "", False)
            wire.pack_answers(1, [wire.ok(answer)])

    return _timed(page, users, seconds)


def bare_pages(data_dir: str, users: Sequence[str], seconds: float) -> list[float]:
    """The rows of the authors, and of 20 posts and their batches, by the plainest statements."""
    snapshot = SqliteSnapshot.open(Path(data_dir))

    def rows(statement: str, value: str | int) -> list[Any]:
        return snapshot.db.execute(statement, (value,)).fetchall()

    def page(user: str) -> None:
        with snapshot:
            for seq, *_ in heapq.nlargest(PAGE, rows(_SOURCES, user)):
                rows(_POST, seq)
                rows(_PARTS, seq)

    return _timed(page, users, seconds)


def replayed_pages(data_dir: str, users: Sequence[str], seconds: float) -> list[float]:
    """The very statements of the reader's pages, noted and run again with nothing around them."""
    snapshot, with_segments = SqliteSnapshot.open(Path(data_dir)), SegmentCache()
    statements: dict[str, list[tuple[str, Any]]] = {}

    def ask(user: str) -> None:
        with snapshot:
            Reading(snapshot, with_segments).inbox(user, PAGE, "", False)

    for user in users:
        ask(user)  # what is kept in memory is there from now on
        noted = statements[user] = []

        def note(_: Any, sql: str, bindings: Any, noted: list[tuple[str, Any]] = noted) -> bool:
            noted.append((sql, bindings))
            return True

        snapshot.db.exec_trace = note
        ask(user)
        snapshot.db.exec_trace = None

    def page(user: str) -> None:
        for sql, bindings in statements[user]:
            snapshot.db.execute(sql, bindings).fetchall()

    return _timed(page, users, seconds)


def _timed(page: Callable[[str], None], users: Sequence[str], seconds: float) -> list[float]:
    taken: list[float] = []
    for user in users:
        page(user)
    end_s = time.perf_counter() + seconds
    while (started_s := time.perf_counter()) < end_s:
        page(users[len(taken) % len(users)])
        taken.append((time.perf_counter() - started_s) * 1000)
    return taken
