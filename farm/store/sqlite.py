"""The SQLite engine's writing side: one file, one writer, fsync on every commit."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import random
import resource
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from farm.audience import HIGHEST, unseal
from farm.errors import Corrupt, NotFound, Refused, ResourceExhausted, StartError
from farm.failpoints import Point, passing
from farm.store import sqlite_sums
from farm.store.history import seqs_of
from farm.store.sqlite_backup import RESTORED, Backup
from farm.store.sqlite_schema import (
    APPLICATION_ID,
    LOG,
    SCHEMA,
    SCHEMA_VERSION,
    check_log,
    check_schema,
    statements_of,
)
from farm.store.sqlite_snapshot import (
    BUSY_MS,
    DATABASE,
    LOG_BYTES_LONG,
    POST,
    SqliteSnapshot,
    array_of,
    connect,
    set_pragma,
)
from farm.store.storage import (
    DEEDS_KEPT_MAX,
    FOLLOW,
    AuthorRow,
    CommitUnknown,
    DeadGroupRow,
    DeedRow,
    ExpiryRow,
    LeaseRow,
    Meta,
    PartKey,
    PartRow,
    PostRow,
    RelationRow,
    SegmentRow,
    StorageFull,
)

PAGE_BYTES = 4096
CACHE_KIB = 64 * 1024
LOG_PAGES_MAX = 64 * 1024 * 1024 // PAGE_BYTES
LOG_STEP_BYTES = 64 * 1024  # SQLite moves less than 128 KiB at a time
# More than the original gives out before anybody restores a copy; and how many times as much is
# drawn, so that two that were restored from one copy do not meet either.
RESTORED_CHANGES = 2**40
RESTORED_DRAW_BITS = 16
RESTART_BUSY_MS = 50
CHECKPOINT_EVERY_S = 0.5


class SqliteStorage(SqliteSnapshot):
    """The one writer of a data directory."""

    def __init__(self, connection: apsw.Connection, path: Path, lock: int) -> None:
        super().__init__(connection)
        self._path = path
        self._lock = lock
        self._log_pages, self._restart_at_pages = self._log_bytes() // PAGE_BYTES, LOG_PAGES_MAX
        self._backup: Backup | None = None
        self._backup_failed: Refused | None = None
        connection.set_wal_hook(self._note_log_pages)

    @classmethod
    def create_or_open(
        cls, data_dir: Path, *, chance: random.Random, now_us: int, vfs: str | None = None
    ) -> SqliteStorage:
        """Opens the database of a data directory, making it where there is none.

        Raises `StartError`: in use by another, newer than this code, or not readable. `vfs` is as
        in `connect`.
        """
        lock = _take_lock(data_dir / "store.lock")
        path = data_dir / DATABASE
        try:
            check_log(path)
            _look_first(path, vfs)
            _write_log_anew(path, vfs)
            connection = connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs)
            try:
                check_schema(connection, path)
                _prepare(connection)
                storage = cls(connection, path, lock)
                _migrate(storage, chance=chance, now_us=now_us)
            except BaseException:
                with contextlib.suppress(apsw.Error):
                    connection.close()
                raise
        except (apsw.Error, StorageFull, CommitUnknown) as error:
            os.close(lock)
            raise _start_error(path, error) from None
        except BaseException:
            os.close(lock)
            raise
        return storage

    def close(self) -> None:
        if self._backup is not None and not self._backup.done:
            self._backup.abandon()
        super().close()
        os.close(self._lock)

    # Transactions

    def begin(self) -> None:
        self.db.execute("begin immediate")

    def commit(self) -> None:
        passing(Point.STORE_COMMIT)
        try:
            self.db.execute("commit")
        except apsw.FullError:
            # Only a write to the log says so, and the record that makes a commit valid is the last
            # one written; what is not written whole is none. So nothing of it will ever be there.
            self.rollback()
            raise StorageFull("the disk is full", retry_after_ms=5_000) from None
        except apsw.Error as error:
            raise CommitUnknown(str(error)) from error
        passing(Point.STORE_COMMITTED)

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
            sqlite_sums.row_of(meta),
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
        free = found.f_bavail * found.f_frsize
        largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if largest == resource.RLIM_INFINITY:
            return free
        return min(free, max(largest - max(self._sizes()), 0))

    def disk_bytes(self) -> int:
        return sum(self._sizes())

    def _sizes(self) -> list[int]:
        return [self._path.stat().st_size, self._log_bytes()]

    def _log_bytes(self) -> int:
        log = self._path.with_name(DATABASE + LOG)
        return log.stat().st_size if log.exists() else 0

    def checkpoint(self) -> None:
        """Starts the log again from its beginning once it is long; `Checkpointer` did most of the
        work. Where a reader is in the way, later: the writer waits for nobody. Readers give way
        when it gets too long, so then it is tried each time, and the file made short, which is how
        they know."""
        if self._log_pages < self._restart_at_pages:
            return
        passing(Point.STORE_CHECKPOINT)
        too_long = self._log_pages >= LOG_BYTES_LONG // PAGE_BYTES
        self.db.set_busy_timeout(0 if too_long else RESTART_BUSY_MS)
        how = "truncate" if too_long else "restart"
        try:
            ((busy, _, _),) = self.db.execute(f"pragma wal_checkpoint({how})")
        except (apsw.BusyError, apsw.FullError):
            busy = 1
        self.db.set_busy_timeout(BUSY_MS)
        if busy:
            later = self._log_pages + LOG_PAGES_MAX // 4
            self._restart_at_pages = min(later, LOG_BYTES_LONG // PAGE_BYTES)
        else:
            self._log_pages, self._restart_at_pages = 0, LOG_PAGES_MAX

    def _note_log_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """Called by SQLite after each commit."""
        self._log_pages = pages
        return apsw.SQLITE_OK

    def begin_backup(self, target: Path) -> None:
        if self._backup is not None and not self._backup.done:
            if self._backup.target == target:
                return  # asked once more by who had no answer
            raise ResourceExhausted(
                f"{self._backup.target} is being written; wait until it is there",
                retry_after_ms=1_000,
            )
        self._backup, self._backup_failed = Backup(self.db, target), None

    def backup_progress(self) -> tuple[int, int]:
        if self._backup is None:
            raise self._backup_failed or NotFound("no backup was begun here")
        return self._backup.progress()

    def step_backup(self) -> bool:
        if self._backup is None or self._backup.done:
            return False
        try:
            return self._backup.step()
        except Refused as error:
            self._backup, self._backup_failed = None, error
            return False

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

    def add_deed(self, row: DeedRow) -> None:
        self._run("insert into deed values(?, ?, ?, ?, ?, ?, ?)", row)
        self._run(
            "delete from deed where user = ?1 and change <="
            " (select change from deed where user = ?1 order by change desc limit 1 offset ?2)",
            (row.user, DEEDS_KEPT_MAX),
        )

    def save_dead_groups(self, rows: Iterable[DeadGroupRow]) -> None:
        self._many("insert or replace into dead_group values(?, ?, ?, ?, ?)", rows)

    def add_relations(self, rows: Iterable[RelationRow]) -> None:
        self._many(
            "insert into relation(user, author, kind, since, until, base) values(?, ?, ?, ?, ?, ?)",
            rows,
        )

    def add_follows(self, edges: array.array[int], change: int) -> None:
        # SQLite's numbers are signed, so the half in front may seem to be below 0.
        if edges:
            self._run(
                "insert into relation(user, author, kind, since, until, base)"
                " select value >> 32 & ?1, value & ?1, ?2, ?3, 0, 0 from carray(?4)",
                (HIGHEST, FOLLOW, change, apsw.carray(array.array("q", edges.tobytes()))),
            )

    def close_relation(self, row: RelationRow, until: int) -> None:
        self._run(
            "update relation set until = ?"
            " where user = ? and kind = ? and author = ? and since = ?",
            (until, row.user, row.kind, row.author, row.since),
        )

    def add_segment(self, row: SegmentRow, members: bytes) -> int:
        self.add_segments([(row, members)])
        return self.db.last_insert_rowid()

    def add_segments(self, rows: Iterable[tuple[SegmentRow, bytes]]) -> None:
        self._many(
            "insert into segment(author, lower, since, until, size, members)"
            " values(?, ?, ?, ?, ?, ?)",
            ((*row[1:], members) for row, members in rows),
        )

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
            " ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            ((*row, sqlite_sums.sum_of(row)) for row in rows),
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
        rows = self.db.execute(f"select {POST} order by seq limit ?", (limit,))
        # What is to go need not be whole.
        return [PostRow(*row[:-1]) for row in rows]

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

    def drop_versions(self, author: int, seq: int) -> None:
        self._run("delete from segment where author = ? and until between 1 and ?", (author, seq))

    def add_expiry(self, row: ExpiryRow) -> None:
        self._run("insert into expiry values(?, ?, ?)", row)

    def drop_before(self, change: int) -> None:
        # The newest step at or before the change says what was gone by then, so it stays.
        kept = self.db.execute(
            "select change, horizon from expiry where change <= ? order by change desc limit 1",
            (change,),
        ).fetchone()
        if kept is not None:
            older: list[Any] = self.db.execute(
                "select change, authors from expiry where change < ?", kept[:1]
            ).fetchall()
            for step, sealed in older:
                try:
                    authors = unseal(sealed, "authors of expired posts")
                except Corrupt:
                    continue  # it stays, for the check to name it
                for author in authors:
                    self._drop_blocks(author, kept[1])
                self._run("delete from expiry where change = ?", (step,))
        self._run("delete from touched where change < ?", (change,))

    def _drop_blocks(self, author: int, horizon: int) -> None:
        """Side blocks that have no post above the horizon."""
        oldest = "select first, seqs from author_block where number = ? order by first limit 1"
        while (block := self.db.execute(oldest, (author,)).get) is not None:
            first, seqs = block
            try:
                last = seqs_of(seqs, author)[-1]
            except Corrupt:
                break  # it stays, for the check to name it
            if last > horizon:
                break
            self._run("delete from author_block where number = ? and first = ?", (author, first))

    def add_touched(self, rows: Iterable[tuple[int, int, int]]) -> None:
        self._many("insert into touched values(?, ?, ?)", rows)

    def drop_parts(self, keys: Iterable[PartKey]) -> None:
        self._many(
            "delete from batch where post = ? and channel = ? and segment = ? and part = ?", keys
        )

    def waiting_posts(self, channels: Sequence[int]) -> Iterator[tuple[int, int]]:
        yield from self.db.execute(
            "select post.author, post.seq from post join"
            " (select distinct post as seq from batch where state < 2 and due_us is null"
            "  and channel in carray(?)) as waiting using (seq) order by post.seq",
            (array_of(channels),),
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


def _start_error(path: Path, error: Exception) -> StartError:
    """What to do about a database that cannot be opened."""
    match error:
        case apsw.CorruptError() | apsw.NotADBError():
            why = f"{error}; nothing was changed. Restore a backup or move the file away"
        case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            why = f"cannot be written ({error}); check its owner"
        case apsw.FullError() | StorageFull():
            why = "the disk is full; make room and start again"
        case _:
            why = f"{error}; nothing is lost. Look whether the disk works, and start again"
    return StartError(f"{path}: {why}")


def _look_first(path: Path, vfs: str | None) -> None:
    """Raises `StartError` where the database is not for this code, before anything is written."""
    if not path.exists():
        return
    try:
        connection = connect(path, apsw.SQLITE_OPEN_READONLY, vfs)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            check_schema(connection, path)
            _check_whose_log(connection, path, vfs)
        finally:
            connection.close()
    except (apsw.ReadOnlyError, apsw.CantOpenError):
        pass  # something is to be written before it can be read; then it is looked at again


def _check_whose_log(connection: apsw.Connection, path: Path, vfs: str | None) -> None:
    """Raises `StartError` where the log is that of another store, which SQLite would read as if it
    were this one's: what was here would be the other store from then on."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    bare = apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags, vfs=vfs)
    try:
        before = _vouched_incarnation(bare)
    finally:
        bare.close()
    now = _vouched_incarnation(connection)
    if None not in (before, now) and before not in (RESTORED, now):
        raise StartError(
            f"{path.with_name(path.name + LOG)}: is of another store than {path.name}; nothing "
            "was changed. Move it away, or put its own database back"
        )


def _vouched_incarnation(db: apsw.Connection) -> int | None:
    """Whose database it is; None where its row is not one that was written whole.

    Without its log a sound database need not make sense: where the power went in the middle of a
    checkpoint, any page of it may be half of one.
    """
    try:
        row = db.execute("select incarnation, secret, change, now_us, totals from meta").fetchone()
        return None if row is None else sqlite_sums.meta_of(row).incarnation
    except (apsw.Error, Corrupt, TypeError, ValueError):
        return None


def _write_log_anew(path: Path, vfs: str | None) -> None:
    """Makes durable what is to be read from the log.

    After an fsync that failed, Linux takes the pages for written though they are not: the next
    process would find that commit in the log, answer "stored already" to whoever asks again, and
    lose it with the power. A page that is written once more is one that the next fsync writes.
    """
    log = path.with_name(path.name + LOG)
    if not log.exists():
        return
    file = apsw.VFSFile(vfs or "", str(log), [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL, 0])
    try:
        size = file.xFileSize()
        for first in range(0, size, LOG_STEP_BYTES):
            passing(Point.STORE_RECOVER)
            file.xWrite(file.xRead(min(LOG_STEP_BYTES, size - first), first), first)
        file.xSync(apsw.SQLITE_SYNC_FULL)
    finally:
        file.xClose()


def _prepare(connection: apsw.Connection) -> None:
    if connection.pragma("page_count") == 0:
        set_pragma(connection, "page_size", PAGE_BYTES)
        set_pragma(connection, "application_id", APPLICATION_ID)
    set_pragma(connection, "journal_mode", "wal")
    set_pragma(connection, "synchronous", 2)
    set_pragma(connection, "wal_autocheckpoint", 0)
    set_pragma(connection, "cache_size", -CACHE_KIB)
    set_pragma(connection, "temp_store", 2)


def _migrate(storage: SqliteStorage, *, chance: random.Random, now_us: int) -> None:
    """Makes the tables that are missing, whole or not at all."""
    version = storage.db.pragma("user_version")
    if version < SCHEMA_VERSION:
        storage.begin()
        storage.db.exec_trace = _before_each_statement
        sqlite_sums.teach(storage.db)
        for name in SCHEMA[version:]:
            for _ in storage.db.execute(statements_of(name)):
                pass
        if version == 0:
            storage.save_meta(
                Meta(chance.getrandbits(62), chance.randbytes(32), 0, now_us, b"\x80")
            )
        storage.db.pragma("user_version", SCHEMA_VERSION)
        storage.db.exec_trace = None
        storage.commit()
    _take_incarnation(storage, chance)


def _before_each_statement(*_: object) -> bool:
    passing(Point.STORE_SCHEMA)
    return True


def _take_incarnation(storage: SqliteStorage, chance: random.Random) -> None:
    """At the first start of a restored copy: the original may have gone on from the same number."""
    meta = storage.meta()
    if meta.incarnation == RESTORED:
        storage.begin()
        apart = RESTORED_CHANGES * (1 + chance.getrandbits(RESTORED_DRAW_BITS))
        storage.save_meta(
            meta._replace(incarnation=chance.getrandbits(62), change=meta.change + apart)
        )
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
        connection = connect(self._path, apsw.SQLITE_OPEN_READWRITE)
        while not self._stop.wait(CHECKPOINT_EVERY_S):
            passing(Point.STORE_COPY)
            # On a full or failing disk the writer finds out by itself; here it is tried again.
            with contextlib.suppress(apsw.Error):
                connection.execute("pragma wal_checkpoint(passive)").fetchall()
        connection.close()
