"""The SQLite engine: one file, one writer, any number of readers, fsync on every commit.

SQLite comes with apsw, because the one of the operating system may have the WAL-reset race of 3.7.0
to 3.51.2, which can lose commits when a second connection is open.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

import apsw

from farm.errors import Corrupt, StartError, Unavailable
from farm.store.storage import (
    BLOCK,
    FOLLOW,
    MUTE,
    TAIL,
    AuthorRow,
    BatchKey,
    CommitUnknown,
    DeadGroupRow,
    Followed,
    LeaseRow,
    Meta,
    PartKey,
    PartRow,
    PostRow,
    RelationRow,
    SegmentRow,
    StorageFull,
)

DATABASE = "hark.db"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x4841524B  # "HARK"
OLDEST_SQLITE = (3, 51, 3)
PAGE_BYTES = 4096
CACHE_KIB = 64 * 1024
READER_CACHE_KIB = 32 * 1024
LOG_PAGES_MAX = 64 * 1024 * 1024 // PAGE_BYTES
RESTART_BUSY_MS = 50
CHECKPOINT_EVERY_S = 0.5
BUSY_MS = 10_000
READ_S_MAX = 5.0

_POST = (
    "post.seq, post.id, post.author, coalesce(post.author_name, user.id), post.ordinal,"
    " post.created_at_us, post.received_at_us, post.audience, post.queued, post.retracted,"
    " post.content from post left join user on user.number = post.author"
)
_PART = "post, channel, segment, part, state, due_us, error, changed, members from batch"
_SEGMENT = "id, author, lower, since, until, size from segment"
_RELATION = "user, author, kind, since, until, base from relation"


def check_version(version: str) -> None:
    """Raises `StartError` where this SQLite could lose commits."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        raise StartError(
            f"SQLite {version} can lose commits (WAL-reset race); install apsw 3.51.3 or later"
        )


def _connect(path: Path, flags: int) -> apsw.Connection:
    check_version(apsw.sqlite_lib_version())
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_MS)
    return connection


def _set(connection: apsw.Connection, pragma: str, value: int | str) -> None:
    """One pragma a call, read back: a pragma that SQLite does not take raises nothing."""
    connection.pragma(pragma, value)
    found = connection.pragma(pragma)
    if str(found).lower() != str(value).lower():
        raise StartError(f"SQLite did not take pragma {pragma}={value}: it says {found}")


class SqliteSnapshot:
    """Reading. Inside `with`, everything is read at one moment."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.db = connection

    @classmethod
    def open(cls, data_dir: Path) -> SqliteSnapshot:
        """Read-only, for a reader process. Raises `StartError` where there is no database yet."""
        try:
            connection = _connect(data_dir / DATABASE, apsw.SQLITE_OPEN_READONLY)
            _set(connection, "query_only", 1)
            _set(connection, "cache_size", -READER_CACHE_KIB)
            return cls(connection)
        except apsw.CantOpenError:
            raise StartError(f"{data_dir / DATABASE}: there is no database here yet") from None

    def __enter__(self) -> Self:
        self.db.execute("begin")
        return self

    def __exit__(self, *_: object) -> None:
        if self.db.in_transaction:
            self.db.execute("commit")

    def close(self) -> None:
        self.db.close()

    def cut_at(self, seconds_left: Any) -> None:
        """Ends a statement once `seconds_left()` is below 0, so that no snapshot lives for long."""
        self.db.set_progress_handler(lambda: seconds_left() < 0, 10_000)

    def meta(self) -> Meta:
        row = self.db.execute("select incarnation, secret, change, now_us, totals from meta")
        return Meta(*_one(row))

    def channels(self) -> dict[str, int]:
        return dict(self.db.execute("select name, number from channel"))

    def errors(self) -> dict[int, str]:
        return dict(self.db.execute("select number, text from error"))

    def number_of(self, user_id: str) -> int | None:
        number: int | None = self.db.execute("select number from user where id = ?", (user_id,)).get
        return number

    def numbers_of(self, user_ids: Sequence[str]) -> dict[str, int]:
        if not user_ids:
            return {}
        statement = "select id, number from user where id in carray(?)"
        return dict(self.db.execute(statement, (apsw.carray(tuple(user_ids)),)))

    def user_ids(self, numbers: Sequence[int]) -> list[str]:
        if not numbers:
            return []
        asked = apsw.carray(array.array("q", numbers))
        found = dict(
            self.db.execute("select number, id from user where number in carray(?)", (asked,))
        )
        return [found[number] for number in numbers]

    def author(self, number: int) -> AuthorRow | None:
        row = self.db.execute("select * from author where number = ?", (number,)).fetchone()
        return None if row is None else AuthorRow(*row)

    def author_block(self, number: int, ordinal: int) -> bytes | None:
        seqs: bytes | None = self.db.execute(
            "select seqs from author_block where number = ? and first <= ?"
            " order by first desc limit 1",
            (number, ordinal),
        ).get
        return seqs

    def muted_by(self, author: int) -> bytes | None:
        members: bytes | None = self.db.execute(
            "select members from muted_by where author = ?", (author,)
        ).get
        return members

    def segments(self, author: int) -> list[SegmentRow]:
        statement = f"select {_SEGMENT} where author = ? and until = 0 order by lower"
        return [SegmentRow(*row) for row in self.db.execute(statement, (author,))]

    def segment_at(self, author: int, seq: int, number: int) -> list[int]:
        tail = self.db.execute(
            "select id, until from segment where author = ? and lower = ? and since <= ?"
            " order by since desc limit 1",
            (author, TAIL, seq),
        )
        of_range = self.db.execute(
            "select id, until from segment where author = ? and lower between 0 and ?"
            " and since <= ? and (until = 0 or until > ?) order by lower desc, since desc limit 1",
            (author, number, seq, seq),
        )
        return [segment for segment, until in (*tail, *of_range) if until == 0 or until > seq]

    def segment(self, segment: int) -> SegmentRow:
        return SegmentRow(*_one(self.db.execute(f"select {_SEGMENT} where id = ?", (segment,))))

    def members(self, segment: int) -> bytes:
        row = _one(self.db.execute("select members from segment where id = ?", (segment,)))
        members: bytes = row[0]
        return members

    def relation(self, user: int, author: int, kind: int) -> RelationRow | None:
        row = self.db.execute(
            f"select {_RELATION} where user = ? and kind = ? and author = ?"
            " order by since desc limit 1",
            (user, kind, author),
        ).fetchone()
        return None if row is None else RelationRow(*row)

    def following(self, user: int) -> Iterator[Followed]:
        for row in self.db.execute(
            "select relation.user, relation.author, kind, since, until, base, ordinals, flipped,"
            " author.* from relation"
            " left join author on author.number = relation.author"
            " left join retracted_of on retracted_of.author = relation.author"
            " left join read_mark on read_mark.user = relation.user"
            "  and read_mark.author = relation.author"
            " where relation.user = ? and kind = ? and until = 0",
            (user, FOLLOW),
        ):
            author = AuthorRow(*row[8:]) if row[8] is not None else None
            yield Followed(RelationRow(*row[:6]), author, row[6], row[7])

    def following_ids(self, user: int, after: str, size: int) -> list[str]:
        rows = self.db.execute(
            "select id from relation join user on user.number = relation.author"
            " where user = ? and kind = ? and until = 0 and id > ? order by id limit ?",
            (user, FOLLOW, after, size),
        )
        return [author_id for (author_id,) in rows]

    def following_count(self, user: int) -> int:
        statement = "select count(*) from relation where user = ? and kind = ? and until = 0"
        return int(_one(self.db.execute(statement, (user, FOLLOW)))[0])

    def mutes(self, user: int) -> set[int]:
        statement = "select author from relation where user = ? and kind = ? and until = 0"
        return {author for (author,) in self.db.execute(statement, (user, MUTE))}

    def relations(self, user: int, author: int, kind: int) -> list[RelationRow]:
        statement = f"select {_RELATION} where user = ? and kind = ? and author = ? order by since"
        return [RelationRow(*row) for row in self.db.execute(statement, (user, kind, author))]

    def read_up_to(self, user: int) -> int:
        change: int | None = self.db.execute(
            "select change from read_up_to where user = ?", (user,)
        ).get
        return change or 0

    def flipped(self, user: int) -> list[tuple[int, bytes]]:
        statement = "select author, flipped from read_mark where user = ?"
        return list(self.db.execute(statement, (user,)))

    def flipped_of(self, user: int, author: int) -> bytes | None:
        ordinals: bytes | None = self.db.execute(
            "select flipped from read_mark where user = ? and author = ?", (user, author)
        ).get
        return ordinals

    def retracted_of(self, author: int) -> bytes | None:
        ordinals: bytes | None = self.db.execute(
            "select ordinals from retracted_of where author = ?", (author,)
        ).get
        return ordinals

    def retraction(self, post: int) -> tuple[int, int] | None:
        statement = "select stopped, hidden from retraction where post = ?"
        return self.db.execute(statement, (post,)).fetchone()

    def dead_groups(self, after: tuple[int, int], limit: int) -> list[DeadGroupRow]:
        rows = self.db.execute(
            "select * from dead_group where (channel, error) > (?, ?) and dead > 0"
            " order by channel, error limit ?",
            (*after, limit),
        )
        return [DeadGroupRow(*row) for row in rows]

    def dead_group(self, channel: int, error: int) -> DeadGroupRow | None:
        row = self.db.execute(
            "select * from dead_group where channel = ? and error = ?", (channel, error)
        ).fetchone()
        return None if row is None else DeadGroupRow(*row)

    def dead_parts(self, channel: int, error: int, after: PartKey, limit: int) -> list[PartRow]:
        post, _, segment, part = after
        rows = self.db.execute(
            f"select {_PART} where channel = ? and error = ? and state = 3"
            " and (post, segment, part) > (?, ?, ?) order by post, segment, part limit ?",
            (channel, error, post, segment, part, limit),
        )
        return [PartRow(*row) for row in rows]

    def post(self, seq: int) -> PostRow | None:
        row = self.db.execute(f"select {_POST} where seq = ?", (seq,)).fetchone()
        return None if row is None else PostRow(*row)

    def post_by_id(self, post_id: str) -> PostRow | None:
        row = self.db.execute(f"select {_POST} where post.id = ?", (post_id,)).fetchone()
        return None if row is None else PostRow(*row)

    def seqs_of(self, post_ids: Sequence[str]) -> dict[str, int]:
        if not post_ids:
            return {}
        statement = "select id, seq from post where id in carray(?)"
        return dict(self.db.execute(statement, (apsw.carray(tuple(post_ids)),)))

    def posts_after(self, seq: int, limit: int) -> list[int]:
        statement = "select seq from post where seq > ? order by seq limit ?"
        return [seq for (seq,) in self.db.execute(statement, (seq, limit))]

    def batches(self, post: int) -> list[tuple[int, int]]:
        statement = "select channel, segment from batch where post = ? and part = 0"
        return list(self.db.execute(statement, (post,)))

    def parts_of_post(self, post: int) -> list[PartRow]:
        return [PartRow(*row) for row in self.db.execute(f"select {_PART} where post = ?", (post,))]

    def parts(self, batch: BatchKey) -> list[PartRow]:
        statement = f"select {_PART} where post = ? and channel = ? and segment = ?"
        return [PartRow(*row) for row in self.db.execute(statement, batch)]


def _one(rows: Iterable[Any]) -> Any:
    """The row that must be there."""
    for row in rows:
        return row
    raise Corrupt("a row that others refer to is missing; restore from a backup")


class SqliteStorage(SqliteSnapshot):
    """The one writer of a data directory."""

    def __init__(self, connection: apsw.Connection, path: Path, lock: int) -> None:
        super().__init__(connection)
        self._path = path
        self._lock = lock
        self._log_pages, self._restart_at_pages = 0, LOG_PAGES_MAX
        connection.set_wal_hook(self._note_log_pages)

    @classmethod
    def create_or_open(cls, data_dir: Path, *, chance: random.Random, now_us: int) -> SqliteStorage:
        """Opens the database of a data directory, making it where there is none.

        Raises `StartError`: in use by another, newer than this code, or not readable.
        """
        lock = _take_lock(data_dir / "store.lock")
        path = data_dir / DATABASE
        try:
            connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
            _prepare(connection)
            storage = cls(connection, path, lock)
            _migrate(storage, chance=chance, now_us=now_us)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise StartError(
                f"{path}: {error}; nothing was changed. Restore a backup or move the file away"
            ) from None
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise StartError(f"{path}: cannot be written ({error}); check its owner") from None
        except (apsw.FullError, StorageFull):
            raise StartError(f"{path}: the disk is full; make room and start again") from None
        return storage

    def close(self) -> None:
        super().close()
        os.close(self._lock)

    # Transactions

    def begin(self) -> None:
        self.db.execute("begin immediate")

    def commit(self) -> None:
        try:
            self.db.execute("commit")
        except apsw.FullError:
            # Only a write to the log says so, and the record that makes a commit valid is the last
            # one written; what is not written whole is none. So nothing of it will ever be there.
            self.rollback()
            raise StorageFull("the disk is full", retry_after_ms=5_000) from None
        except apsw.Error as error:
            raise CommitUnknown(str(error)) from error

    def rollback(self) -> None:
        """Also where SQLite has already rolled back by itself, as it does on a full disk."""
        if self.db.in_transaction:
            self.db.execute("rollback")

    def _many(self, statement: str, rows: Iterable[Any]) -> None:
        try:
            self.db.executemany(statement, rows)
        except apsw.FullError:
            raise StorageFull("the disk is full", retry_after_ms=5_000) from None

    def _run(self, statement: str, bindings: Sequence[Any]) -> None:
        self._many(statement, (bindings,))

    # The store as a whole

    def save_meta(self, meta: Meta) -> None:
        self._run(
            "insert or replace into meta(only_one, incarnation, secret, change, now_us, totals)"
            " values(1, ?, ?, ?, ?, ?)",
            meta,
        )

    def add_channel(self, name: str) -> int:
        self._run("insert into channel(name) values(?)", (name,))
        return self.db.last_insert_rowid()

    def add_error(self, text: str) -> int:
        self._run("insert into error(text) values(?)", (text,))
        return self.db.last_insert_rowid()

    def import_known(self, digest: str) -> bool:
        statement = "select 1 from imported where digest = ?"
        return self.db.execute(statement, (digest,)).get is not None

    def add_import(self, digest: str) -> None:
        self._run("insert or ignore into imported values(?)", (digest,))

    def free_bytes(self) -> int:
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize

    def disk_bytes(self) -> int:
        log = self._path.with_name(DATABASE + "-wal")
        return sum(path.stat().st_size for path in (self._path, log) if path.exists())

    def checkpoint(self) -> None:
        """Starts the log again from its beginning once it is long; `Checkpointer` did most of the
        work. Where a reader is in the way, later: the writer waits for nobody."""
        if self._log_pages < self._restart_at_pages:
            return
        self.db.set_busy_timeout(RESTART_BUSY_MS)
        try:
            ((busy, _, _),) = self.db.execute("pragma wal_checkpoint(restart)")
        except (apsw.BusyError, apsw.FullError):
            busy = 1
        self.db.set_busy_timeout(BUSY_MS)
        if busy:
            self._restart_at_pages = self._log_pages + LOG_PAGES_MAX // 4
        else:
            self._log_pages, self._restart_at_pages = 0, LOG_PAGES_MAX

    def _note_log_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """Called by SQLite after each commit."""
        self._log_pages = pages
        return apsw.SQLITE_OK

    # People

    def last_user(self) -> int:
        number: int = self.db.execute("select coalesce(max(number), 0) from user").get
        return number

    def add_users(self, users: Iterable[tuple[int, str]]) -> None:
        self._many("insert into user(number, id) values(?, ?)", users)

    def save_authors(self, rows: Iterable[AuthorRow]) -> None:
        self._many("insert or replace into author values(?, ?, ?, ?, ?, ?, ?)", rows)

    def add_author_blocks(self, rows: Iterable[tuple[int, int, bytes]]) -> None:
        self._many("insert into author_block values(?, ?, ?)", rows)

    def save_muted_by(self, author: int, members: bytes | None) -> None:
        if members is None:
            self._run("delete from muted_by where author = ?", (author,))
        else:
            self._run("insert or replace into muted_by values(?, ?)", (author, members))

    def save_read_up_to(self, user: int, change: int) -> None:
        self._run("insert or replace into read_up_to values(?, ?)", (user, change))

    def save_flipped(self, user: int, author: int, ordinals: bytes | None) -> None:
        if ordinals is None:
            self._run("delete from read_mark where user = ? and author = ?", (user, author))
        else:
            self._run("insert or replace into read_mark values(?, ?, ?)", (user, author, ordinals))

    def retract(self, post: int, change: int, stopped: int, hidden: int) -> None:
        self._run("update post set retracted = ? where seq = ?", (change, post))
        self._run("insert into retraction values(?, ?, ?)", (post, stopped, hidden))

    def save_retracted_of(self, author: int, ordinals: bytes) -> None:
        self._run("insert or replace into retracted_of values(?, ?)", (author, ordinals))

    def save_dead_groups(self, rows: Iterable[DeadGroupRow]) -> None:
        self._many("insert or replace into dead_group values(?, ?, ?, ?, ?)", rows)

    def add_relations(self, rows: Iterable[RelationRow]) -> None:
        self._many(
            "insert into relation(user, author, kind, since, until, base) values(?, ?, ?, ?, ?, ?)",
            rows,
        )

    def close_relation(self, row: RelationRow, until: int) -> None:
        self._run(
            "update relation set until = ?"
            " where user = ? and kind = ? and author = ? and since = ?",
            (until, row.user, row.kind, row.author, row.since),
        )

    def add_segment(self, row: SegmentRow, members: bytes) -> int:
        self._run(
            "insert into segment(author, lower, since, until, size, members)"
            " values(?, ?, ?, ?, ?, ?)",
            (*row[1:], members),
        )
        return self.db.last_insert_rowid()

    def rewrite_segment(self, segment: int, size: int, members: bytes) -> None:
        self._run("update segment set size = ?, members = ? where id = ?", (size, members, segment))

    def close_segment(self, segment: int, until: int) -> None:
        self._run("update segment set until = ? where id = ?", (until, segment))

    def drop_segment(self, segment: int) -> None:
        self._run("delete from segment where id = ?", (segment,))

    # Posts and their batches

    def add_posts(self, rows: Iterable[PostRow]) -> None:
        self._many(
            # The author's name stands in the row only of an author without a number.
            "insert into post values(?1, ?2, ?3, case ?3 when 0 then ?4 end,"
            " ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            rows,
        )

    def save_parts(self, rows: Iterable[PartRow]) -> None:
        self._many("insert or replace into batch values(?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def set_rest(self, rows: Iterable[tuple[int, int, int, int, int]]) -> None:
        self._many(
            "update batch set state = ?, changed = ?"
            " where post = ? and channel = ? and segment = ? and part = 0",
            rows,
        )

    def oldest_posts(self, limit: int) -> list[PostRow]:
        rows = self.db.execute(f"select {_POST} order by seq limit ?", (limit,))
        return [PostRow(*row) for row in rows]

    def is_waiting(self, post: int) -> bool:
        statement = "select 1 from batch where post = ? and state < 2 limit 1"
        return self.db.execute(statement, (post,)).get is not None

    def drop_post(self, seq: int) -> None:
        for statement in (
            "delete from batch where post = ?",
            "delete from retraction where post = ?",
            "delete from post where seq = ?",
        ):
            self._run(statement, (seq,))

    def drop_history(self, author: int, ordinal: int, seq: int) -> None:
        self._run(
            "delete from author_block where number = ? and first <= ?",
            (author, ordinal - BLOCK + 1),
        )
        self._run("delete from segment where author = ? and until between 1 and ?", (author, seq))

    def drop_parts(self, keys: Iterable[PartKey]) -> None:
        self._many(
            "delete from batch where post = ? and channel = ? and segment = ? and part = ?", keys
        )

    def waiting_posts(self, channels: Sequence[int]) -> Iterator[tuple[int, int]]:
        yield from self.db.execute(
            "select post.author, post.seq from post join"
            " (select distinct post as seq from batch where state < 2 and due_us is null"
            "  and channel in carray(?)) as waiting using (seq) order by post.seq",
            (_numbers(channels),),
        )

    def oldest_waiting(self) -> int | None:
        post: int | None = self.db.execute("select min(post) from batch where state < 2").get
        return post

    def ready_parts(self, post: int, channels: Sequence[int]) -> list[tuple[int, int, int]]:
        statement = (
            "select channel, segment, part from batch"
            " where post = ? and state < 2 and due_us is null"
        )
        return [row for row in self.db.execute(statement, (post,)) if row[0] in channels]

    def due_parts(self, now_us: int, limit: int) -> list[PartKey]:
        return list(
            self.db.execute(
                "select post, channel, segment, part from batch where due_us <= ?"
                " order by due_us limit ?",
                (now_us, limit),
            )
        )

    def next_due_us(self) -> int | None:
        due: int | None = self.db.execute(
            "select min(due_us) from batch where due_us is not null"
        ).get
        return due

    # Leases

    def leases(self) -> list[LeaseRow]:
        return [LeaseRow(*row) for row in self.db.execute("select * from lease order by id")]

    def add_leases(self, rows: Iterable[LeaseRow]) -> None:
        self._many("insert or replace into lease values(?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def drop_leases(self, ids: Iterable[int]) -> None:
        self._many("delete from lease where id = ?", ((lease,) for lease in ids))


def _numbers(numbers: Sequence[int]) -> Any:
    return apsw.carray(array.array("q", numbers))


def _take_lock(path: Path) -> int:
    """Holds the lock file for as long as the process lives. Raises `StartError`."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}; choose another --data-dir") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StartError(
            f"{path.parent}: another store has this database open; stop it first"
        ) from None
    return lock


def _prepare(connection: apsw.Connection) -> None:
    if connection.pragma("page_count") == 0:
        _set(connection, "page_size", PAGE_BYTES)
        _set(connection, "application_id", APPLICATION_ID)
    _set(connection, "journal_mode", "wal")
    _set(connection, "synchronous", 2)
    _set(connection, "wal_autocheckpoint", 0)
    _set(connection, "cache_size", -CACHE_KIB)
    _set(connection, "temp_store", 2)


def _migrate(storage: SqliteStorage, *, chance: random.Random, now_us: int) -> None:
    """Makes the tables, whole or not at all; refuses a database newer than this code."""
    version = storage.db.pragma("user_version")
    if version > SCHEMA_VERSION:
        raise StartError(
            f"the database has version {version}, this Hark knows {SCHEMA_VERSION}; install a newer"
        )
    if version == SCHEMA_VERSION:
        return
    storage.begin()
    schema = resources.files("farm.store").joinpath("schema.sql").read_text("utf-8")
    for _ in storage.db.execute(schema):
        pass
    storage.save_meta(Meta(chance.getrandbits(62), chance.randbytes(32), 0, now_us, b"\x80"))
    storage.db.pragma("user_version", SCHEMA_VERSION)
    storage.commit()


class Checkpointer:
    """Copies the log into the database off the commit path, from a thread that holds no GIL."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / DATABASE
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = _connect(self._path, apsw.SQLITE_OPEN_READWRITE)
        while not self._stop.wait(CHECKPOINT_EVERY_S):
            # On a full or failing disk the writer finds out by itself; here it is tried again.
            with contextlib.suppress(apsw.Error):
                connection.execute("pragma wal_checkpoint(passive)").fetchall()
        connection.close()


def unavailable(error: apsw.Error) -> Unavailable:
    """What a reader answers when the database does not."""
    return Unavailable(f"the database cannot be read now ({type(error).__name__}); ask again")
