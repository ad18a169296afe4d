"""All that a SQLite database of Hark's holds, read beside a running farm or of a stopped one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import apsw

from farm.errors import Corrupt, StartError
from farm.store.records import Damage, PostHead
from farm.store.sqlite_schema import SCHEMA_VERSION, schema_made
from farm.store.sqlite_snapshot import DATABASE, SqliteSnapshot
from farm.store.sqlite_sums import meta_of, sum_of
from farm.store.storage import (
    AuthorRow,
    DeadGroupRow,
    DeedRow,
    ExpiryRow,
    LeaseRow,
    Meta,
    PartRow,
    PostRow,
    SegmentRow,
)

_SEGMENT = "id, author, lower, since, until, size from segment"
_COUNTED = ("author", "relation", "segment", "post", "post", "batch", "touched")


def database_in(data_dir: Path) -> Path:
    """The file that holds a directory's database. Raises `StartError` where there is none, or
    nobody may look."""
    path = data_dir / DATABASE
    try:
        there = path.is_file()
    except OSError as error:
        raise StartError(
            f"{data_dir}: {error.strerror}; say with --data-dir where there is a database, and be "
            "somebody who may read it"
        ) from None
    if not there:
        raise StartError(f"{data_dir}: there is no database here; say with --data-dir where")
    return path


def opened(data_dir: Path) -> SqliteSnapshot:
    """Read-only. Raises `StartError` where there is no database that can be read."""
    path = database_in(data_dir)
    try:
        return SqliteSnapshot.open(data_dir)
    except apsw.Error as error:
        raise StartError(f"{path}: {error}; restore a backup") from None


class SqliteRecords:
    """`Records`. Inside `with`, everything is of one moment."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    @classmethod
    def open(cls, data_dir: Path) -> SqliteRecords:
        """Read-only. Raises `StartError` where there is no database that this Hark knows."""
        db = opened(data_dir).db
        version = db.pragma("user_version")
        if version < SCHEMA_VERSION:
            raise StartError(
                f"{data_dir / DATABASE}: the database has version {version}, this Hark knows "
                f"{SCHEMA_VERSION}; start Hark on it once"
            )
        return cls(db)

    def __enter__(self) -> Self:
        self._db.execute("begin")
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def count(self) -> int:
        return sum(self._count(table) for table in _COUNTED)

    def damage(self) -> Iterator[Damage]:
        """What SQLite finds, and values of another type than their column's: it takes any."""
        found = [text for (text,) in self._rows("pragma integrity_check")]
        if found != ["ok"]:
            yield from (Damage("sqlite", " ".join(text.split())) for text in found)
            return
        tables = dict(self._rows("select name, sql from sqlite_schema where sql is not null"))
        for name, sql in schema_made().items():
            if tables.get(name) != sql:
                yield Damage("sqlite", f"describes {name} otherwise than it was made")
        for (table,) in list(self._rows("select name from sqlite_schema where type = 'table'")):
            described = 'select name, type, "notnull" from pragma_table_info(?)'
            for name, kind, required in list(self._rows(described, (table,))):
                allowed = f"'{kind.lower()}'" if required else f"'{kind.lower()}', 'null'"
                wrong = self._count(f"{table} where typeof({name}) not in ({allowed})")
                if wrong and kind:
                    yield Damage(table, f"{wrong} rows have something else than {kind} as {name}")

    def _count(self, rows: str) -> int:
        count: int = next(self._rows(f"select count(*) from {rows}"))[0]  # noqa: S608 (our words)
        return count

    def meta(self) -> Meta:
        row = next(self._rows("select incarnation, secret, change, now_us, totals from meta"), None)
        if row is None:
            raise Corrupt("meta has no row; restore a backup")
        return meta_of(row)

    def channels(self) -> dict[str, int]:
        return dict(self._rows("select name, number from channel"))

    def errors(self) -> dict[int, str]:
        return dict(self._rows("select number, text from error"))

    def user_numbers(self) -> Iterator[int]:
        return (number for (number,) in self._rows("select number from user"))

    def dead_groups(self) -> Iterator[DeadGroupRow]:
        return (DeadGroupRow(*row) for row in self._rows("select * from dead_group"))

    def leases(self) -> list[LeaseRow]:
        return [LeaseRow(*row) for row in self._rows("select * from lease order by id")]

    def authors(self) -> Iterator[AuthorRow]:
        return (AuthorRow(*row) for row in self._rows("select * from author order by number"))

    def author_blocks(self) -> Iterator[tuple[int, int, bytes]]:
        return self._rows("select number, first, seqs from author_block order by number, first")

    def author_posts(self) -> Iterator[tuple[int, int, int, int]]:
        return self._rows(
            "select author, seq, ordinal, audience from post where author <> 0 order by author, seq"
        )

    def muted_by(self) -> Iterator[tuple[int, bytes]]:
        return self._rows("select author, members from muted_by order by author")

    def author_relations(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        return self._rows(
            "select author, kind, user, since, until, base from relation"
            " order by author, kind, user, since"
        )

    def author_segments(self) -> Iterator[tuple[int, SegmentRow]]:
        rows = self._rows(f"select {_SEGMENT} order by author, lower, since")
        return ((row[1], SegmentRow(*row)) for row in rows)

    def retracted_posts(self) -> Iterator[tuple[int, int]]:
        return self._rows(
            "select author, ordinal from post where retracted <> 0 and author <> 0"
            " order by author, ordinal"
        )

    def retracted_of(self) -> Iterator[tuple[int, bytes]]:
        return self._rows("select author, ordinals from retracted_of order by author")

    def read_up_to(self) -> Iterator[tuple[int, int]]:
        return self._rows("select user, change from read_up_to")

    def read_marks(self) -> Iterator[tuple[int, int, bytes]]:
        return self._rows("select user, author, flipped from read_mark")

    def deeds(self) -> Iterator[DeedRow]:
        return (DeedRow(*row) for row in self._rows("select * from deed"))

    def expiries(self) -> Iterator[ExpiryRow]:
        return (ExpiryRow(*row) for row in self._rows("select * from expiry order by change"))

    def touched(self) -> Iterator[tuple[int, int, int]]:
        return self._rows("select change, post, author from touched order by change")

    def posts(self) -> Iterator[PostHead]:
        rows = self._rows(
            "select seq, id, author, author_name, ordinal, created_at_us, received_at_us, audience,"
            " queued, retracted, content, sum from post order by seq"
        )
        return (_head_of(*row) for row in rows)

    def parts(self) -> Iterator[PartRow]:
        rows = self._rows("select * from batch order by post, channel, segment, part")
        return (PartRow(*row) for row in rows)

    def segment(self, segment: int) -> SegmentRow | None:
        row = next(self._rows(f"select {_SEGMENT} where id = ?", (segment,)), None)
        return None if row is None else SegmentRow(*row)

    def members(self, segment: int) -> bytes:
        row = next(self._rows("select members from segment where id = ?", (segment,)), None)
        if row is None:
            raise Corrupt(f"segment {segment} is missing")
        members: bytes = row[0]
        return members

    def _rows(self, statement: str, bindings: tuple[int | str, ...] = ()) -> Iterator[Any]:
        try:
            yield from self._db.execute(statement, bindings)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise Corrupt(f"the database cannot be read: {error}; restore a backup") from None


def _head_of(*row: Any) -> PostHead:
    post, kept = PostRow(*row[:-1]), row[-1]
    return PostHead(
        post.seq, post.id, post.author, row[3], post.ordinal, post.received_at_us, post.audience,
        post.queued, post.retracted, whole=kept is None or kept == sum_of(post),
    )  # fmt: skip
