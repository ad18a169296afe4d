"""Reading from SQLite: read-only connections, or the writer's own, and the questions they answer.

SQLite comes with apsw, because the one of the operating system may have the WAL-reset race of 3.7.0
to 3.51.2, which can lose commits when a second connection is open.
"""

from __future__ import annotations

import array
import threading
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any, Self

import apsw

from farm.audience import BitMap
from farm.clock import Clock
from farm.errors import Corrupt, StartError, Unavailable
from farm.store.sqlite_schema import check_schema
from farm.store.sqlite_sums import meta_of, post_of
from farm.store.storage import (
    FOLLOW,
    MUTE,
    NO_SEQ,
    TAIL,
    AuthorRow,
    BatchKey,
    DeadGroupRow,
    DeedRow,
    ExpiryRow,
    Followed,
    Meta,
    PartKey,
    PartRow,
    PostRow,
    RelationRow,
    SegmentRow,
)

DATABASE = "hark.db"
OLDEST_SQLITE = (3, 51, 3)
READER_CACHE_KIB = 32 * 1024
BUSY_MS = 10_000
READ_S_MAX = 5.0
# The log can begin anew only at a moment when nobody reads what is in it, and readers that are busy
# leave no such moment. Once it is as long as this, they begin to read no more until it is short.
# Where it stays long for longer than a reader may read, something else is in the way, as a check of
# the whole store is: then they do so only now and then, and at the same time, for the clock of all
# of them is one.
LOG_BYTES_LONG = 128 * 1024 * 1024
GIVE_WAY_S_MAX = 2.0  # less than three heartbeats
GIVE_WAY_EVERY_S = 30.0
LOOK_AT_LOG_S = 0.005

POST = (
    "post.seq, post.id, post.author,"
    " coalesce(post.author_name, (select user.id from user where user.number = post.author)),"
    " post.ordinal, post.created_at_us, post.received_at_us, post.audience, post.queued,"
    " post.retracted, post.content, post.sum from post"
)
_PART = "post, channel, segment, part, state, due_us, error, changed, members from batch"
# One statement for a page: for each post the version of the tail, and of the range in which the
# number lies, that was there when it was published.
_PARTS_NEAR = (
    "select batch.post, channel, segment, part, state, due_us, error, changed, batch.members"
    " from post"
    " cross join batch on batch.post = post.seq and channel in (select number from channel)"
    " and segment in ("
    "(select iif(until = 0 or until > post.seq, id, null) from segment"
    " where author = post.author and lower = ?3 and since <= post.seq"
    " order by since desc limit 1), "
    "(select id from segment where author = post.author and lower between 0 and ?1"
    " and since <= post.seq and (until = 0 or until > post.seq)"
    " order by lower desc, since desc limit 1))"
    " where post.seq in carray(?2)"
)
_SEGMENT = "id, author, lower, since, until, size from segment"
_RELATION = "user, author, kind, since, until, base from relation"
_FOLLOWED = (
    "select relation.author, last_seq, last_ordinal, expired, iif(last_seq >= ?2, newest, null),"
    " (select ordinals from retracted_of where retracted_of.author = relation.author), since, base"
)
# Who sees what begins here, for lists and for counts.
_SEEN = (
    " from relation cross join author on author.number = relation.author"  # noqa: S608
    f" where relation.user = ?1 and kind = {FOLLOW} and until = 0 and last_seq > since"
    " and relation.author not in"
    f" (select author from relation where user = ?1 and kind = {MUTE} and until = 0)"
)
_ODD = (
    "(exists (select 1 from retracted_of where retracted_of.author = relation.author)"
    " or relation.author in (select author from read_mark where user = ?1)"
    " or (?3 > 0 and ?3 < last_seq))"
)
_SEEN_LAST = f"{_FOLLOWED}{_SEEN} and last_seq < ?3 order by last_seq desc limit ?4"
_SEEN_ODDLY = f"{_FOLLOWED}{_SEEN} and {_ODD}"
# The sum of both numbers: a second one would look at everything once more.
_ODD_UNIT = 2**44
_UNREAD = (
    f"select sum(iif({_ODD}, {_ODD_UNIT},"
    f" iif(?3 >= last_seq, 0, last_ordinal - max(base, expired)))){_SEEN}"
)


def check_version(version: str) -> None:
    """Raises `StartError` where this SQLite could lose commits."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        raise StartError(
            f"SQLite {version} can lose commits (WAL-reset race); install apsw 3.51.3 or later"
        )


def connect(path: Path, flags: int, vfs: str | None = None) -> apsw.Connection:
    """`vfs`: by which of the registered file systems of SQLite, where not by the usual one."""
    check_version(apsw.sqlite_lib_version())
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs)
    connection.set_busy_timeout(BUSY_MS)
    # Otherwise SQLite plans a statement anew whenever a value bound to a range is another one,
    # which takes longer than most of ours run.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


def set_pragma(connection: apsw.Connection, pragma: str, value: int | str) -> None:
    """One pragma a call, read back: a pragma that SQLite does not take raises nothing."""
    connection.pragma(pragma, value)
    found = connection.pragma(pragma)
    if str(found).lower() != str(value).lower():
        raise StartError(f"SQLite did not take pragma {pragma}={value}: it says {found}")


class SqliteSnapshot:
    """Reading. Inside `with`, everything is read at one moment."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.db = connection
        self._long_since_s = inf  # the log, as far as was looked

    @classmethod
    def open(cls, data_dir: Path) -> SqliteSnapshot:
        """Read-only. Raises `StartError` where there is no database yet, or none for this code."""
        path = data_dir / DATABASE
        try:
            connection = connect(path, apsw.SQLITE_OPEN_READONLY)
            set_pragma(connection, "query_only", 1)
            set_pragma(connection, "cache_size", -READER_CACHE_KIB)
            check_schema(connection, path)
        except apsw.CantOpenError:
            if not path.exists():
                raise StartError(f"{path}: there is no database here yet") from None
            raise StartError(
                f"{path}: cannot be opened; SQLite must be able to write beside it even to read: "
                "look at the rights, or use a copy"
            ) from None
        return cls(connection)

    def __enter__(self) -> Self:
        self.db.execute("begin")
        return self

    def __exit__(self, *_: object) -> None:
        # Nothing was written; and a commit would raise once more what a damaged page has raised.
        if self.db.in_transaction:
            self.db.execute("rollback")

    def close(self) -> None:
        self.db.close()

    def give_way(self, clock: Clock) -> None:
        """Lets a long log begin anew before the next reading begins, which is as soon as all others
        are over that have begun."""
        if not self.log_is_long():
            self._long_since_s = inf
            return
        now_s = clock.monotonic_s()
        self._long_since_s = min(self._long_since_s, now_s)
        in_vain = now_s - self._long_since_s > READ_S_MAX
        if in_vain and now_s % GIVE_WAY_EVERY_S > GIVE_WAY_S_MAX:
            return
        while self.log_is_long() and clock.monotonic_s() < now_s + GIVE_WAY_S_MAX:
            threading.Event().wait(LOOK_AT_LOG_S)

    def log_is_long(self) -> bool:
        try:
            return Path(self.db.filename_wal).stat().st_size >= LOG_BYTES_LONG
        except FileNotFoundError:
            return False

    def cut_at(self, seconds_left: Any) -> None:
        """Ends a statement once `seconds_left()` is below 0, so that no snapshot lives for long."""
        self.db.set_progress_handler(lambda: seconds_left() < 0, 10_000)

    def moment(self) -> int:
        """Inside `with`: another number than before where another connection committed since, of
        whatever it wrote. It says nothing of what this connection writes itself."""
        return int(self.db.pragma("data_version"))

    def meta(self) -> Meta:
        row = self.db.execute("select incarnation, secret, change, now_us, totals from meta")
        return meta_of(_one(row))

    def channels(self) -> dict[str, int]:
        return dict(self.db.execute("select name, number from channel"))

    def errors(self) -> dict[int, str]:
        return dict(self.db.execute("select number, text from error"))

    def error(self, number: int) -> str | None:
        text: str | None = self.db.execute("select text from error where number = ?", (number,)).get
        return text

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

    def authors_among(self, numbers: Iterable[int]) -> set[int]:
        statement = "select number from author where number in carray(?)"
        return {number for (number,) in self.db.execute(statement, (array_of(numbers),))}

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

    def seen(self, user: int, reached: int) -> Iterator[Followed]:
        return self.db.execute(_FOLLOWED + _SEEN, (user, reached))

    def seen_last(self, user: int, below: int, limit: int) -> list[Followed]:
        return list(self.db.execute(_SEEN_LAST, (user, 0, below, limit)))

    def seen_oddly(self, user: int, up_to: int, reached: int) -> Iterator[Followed]:
        return self.db.execute(_SEEN_ODDLY, (user, reached, up_to))

    def unread_plainly(self, user: int, up_to: int) -> tuple[int, int]:
        odd, unread = divmod(self.db.execute(_UNREAD, (user, None, up_to)).get or 0, _ODD_UNIT)
        return unread, odd

    def followed_by(self, user: int) -> list[int]:
        statement = "select author from relation where user = ? and kind = ? and until = 0"
        return [author for (author,) in self.db.execute(statement, (user, FOLLOW))]

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

    def following_counts(self, users: Iterable[int]) -> dict[int, int]:
        statement = (
            "select value, (select count(*) from relation"
            " where user = value and kind = ? and until = 0) from carray(?)"
        )
        return dict(self.db.execute(statement, (FOLLOW, array_of(users))))

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

    # What live events are made of

    def deeds(self, user: int, change: int) -> list[DeedRow]:
        statement = "select * from deed where user = ? and change >= ? order by change"
        return [DeedRow(*row) for row in self.db.execute(statement, (user, change))]

    def expiries(self, change: int) -> list[ExpiryRow]:
        rows = self.db.execute(
            "select * from expiry where change >="
            " coalesce((select max(change) from expiry where change < ?1), ?1) order by change",
            (change,),
        )
        return [ExpiryRow(*row) for row in rows]

    def touched(
        self, change: int, until: int, authors: BitMap, limit: int
    ) -> list[tuple[int, int]]:
        run_end = (change >> 14) + 1 << 14
        named = array_of(authors)
        in_run = self.db.execute(
            "select change, post from touched where change >= ?1 and change < ?2 and post <= ?1"
            " and author in carray(?3) order by change limit ?4",
            (change, min(until, run_end), named, limit),
        ).fetchall()
        later = self.db.execute(
            "select change, post from touched where author in carray(?4) and change >= ?3"
            " and change < ?2 and change >> 14 <> post >> 14 and post <= ?1"
            " order by change limit ?5",
            (change, until, run_end, named, limit - len(in_run)),
        )
        return [*in_run, *later]

    def read_marks(self, author: int, users: BitMap) -> list[tuple[int, bytes]]:
        statement = "select user, flipped from read_mark where author = ? and user in carray(?)"
        return list(self.db.execute(statement, (author, array_of(users))))

    def read_beyond(self, users: BitMap, seq: int) -> BitMap:
        statement = "select user from read_up_to where user in carray(?) and change >= ?"
        return BitMap(user for (user,) in self.db.execute(statement, (array_of(users), seq)))

    def following_since(self, author: int, users: BitMap, seq: int, change: int = NO_SEQ) -> BitMap:
        rows = self.db.execute(
            "select user from relation where user in carray(?) and kind = ? and author = ?"
            " and since < ? and (until = 0 or until > ?)",
            (array_of(users), FOLLOW, author, seq, change),
        )
        return BitMap(user for (user,) in rows)

    def post(self, seq: int) -> PostRow | None:
        row = self.db.execute(f"select {POST} where seq = ?", (seq,)).fetchone()
        return None if row is None else post_of(row)

    def posts(self, seqs: Sequence[int]) -> dict[int, PostRow]:
        rows = self.db.execute(f"select {POST} where seq in carray(?)", (array_of(seqs),))
        return {row[0]: post_of(row) for row in rows}

    def post_by_id(self, post_id: str) -> PostRow | None:
        row = self.db.execute(f"select {POST} where post.id = ?", (post_id,)).fetchone()
        return None if row is None else post_of(row)

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

    def parts_near(self, posts: Sequence[int], number: int) -> list[PartRow]:
        rows = self.db.execute(_PARTS_NEAR, (number, array_of(posts), TAIL))
        return [PartRow(*row) for row in rows]

    def parts(self, batch: BatchKey) -> list[PartRow]:
        statement = f"select {_PART} where post = ? and channel = ? and segment = ?"
        return [PartRow(*row) for row in self.db.execute(statement, batch)]


def array_of(numbers: Iterable[int]) -> Any:
    """Numbers as one value to bind: what `carray(?)` takes."""
    # An empty array has no place in memory, which apsw refuses; nothing here is negative.
    return apsw.carray(array.array("q", numbers) or array.array("q", (-1,)))


def _one(rows: Iterable[Any]) -> Any:
    """The row that must be there."""
    for row in rows:
        return row
    raise Corrupt("a row that others refer to is missing; restore from a backup")


def unavailable(error: apsw.Error) -> Unavailable:
    """What a reader answers when the database does not."""
    return Unavailable(f"the database cannot be read now ({type(error).__name__}); ask again")
