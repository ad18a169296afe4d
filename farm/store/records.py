"""Everything that a store holds, for those who look through all of it: what each table has, in an
order in which it can be gone through once without keeping it.

`Snapshot` answers questions; `Records` is asked none. An engine says how it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from farm.store.storage import (
    AuthorRow,
    DeadGroupRow,
    DeedRow,
    ExpiryRow,
    LeaseRow,
    Meta,
    PartRow,
    SegmentRow,
)

Row = TypeVar("Row")


class PostHead(NamedTuple):
    """A post without its content."""

    seq: int
    id: str
    author: int
    author_name: str | None  # of one that Hark does not know
    ordinal: int
    received_at_us: int
    audience: int
    queued: int
    retracted: int
    whole: bool  # as it was stored, its content too


class Damage(NamedTuple):
    """What an engine finds wrong with its own files."""

    table: str
    what: str


class Records(Protocol):
    """The tables at one moment. Anything may raise `Corrupt`."""

    def count(self) -> int:
        """Roughly how many rows the iterators below give in all."""

    def damage(self) -> Iterator[Damage]:
        """Where there is any, the rest need not make sense."""

    def meta(self) -> Meta: ...
    def channels(self) -> dict[str, int]: ...
    def errors(self) -> dict[int, str]: ...
    def user_numbers(self) -> Iterator[int]: ...
    def dead_groups(self) -> Iterator[DeadGroupRow]: ...
    def leases(self) -> list[LeaseRow]: ...

    # By author, ascending; the author is the first of each row.

    def authors(self) -> Iterator[AuthorRow]: ...
    def author_blocks(self) -> Iterator[tuple[int, int, bytes]]:
        """(author, first ordinal, seqs), by first ordinal."""

    def author_posts(self) -> Iterator[tuple[int, int, int, int]]:
        """(author, seq, ordinal, audience), by seq; without those of unknown authors."""

    def muted_by(self) -> Iterator[tuple[int, bytes]]: ...
    def author_relations(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        """(author, kind, user, since, until, base), by kind, user and since."""

    def author_segments(self) -> Iterator[tuple[int, SegmentRow]]: ...

    def retracted_posts(self) -> Iterator[tuple[int, int]]:
        """(author, ordinal), by ordinal."""

    def retracted_of(self) -> Iterator[tuple[int, bytes]]: ...

    # What people read, and what live events are read from.

    def read_up_to(self) -> Iterator[tuple[int, int]]: ...
    def read_marks(self) -> Iterator[tuple[int, int, bytes]]: ...
    def deeds(self) -> Iterator[DeedRow]: ...
    def expiries(self) -> Iterator[ExpiryRow]:
        """By change, as the next."""

    def touched(self) -> Iterator[tuple[int, int, int]]: ...

    # By post, ascending.

    def posts(self) -> Iterator[PostHead]: ...
    def parts(self) -> Iterator[PartRow]:
        """By channel, segment and part."""

    def segment(self, segment: int) -> SegmentRow | None: ...
    def members(self, segment: int) -> bytes: ...


class Stream(Generic[Row]):
    """Rows whose first column ascends, taken key by key along with other streams."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    @property
    def key(self) -> int | None:
        """Of the next row; None at the end."""
        return None if self._next is None else self._next[0]  # type: ignore[index]

    def of(self, key: int) -> Iterator[Row]:
        """The rows with this key, which come next if there are any."""
        rows = self._rows
        row = self._next
        while row is not None and row[0] == key:  # type: ignore[index]
            yield row
            row = self._next = next(rows, None)


def keys(*streams: Stream[Row]) -> Iterator[int]:
    """Each key that any of the streams has, ascending. What is left of one is passed over."""
    while (key := min((s.key for s in streams if s.key is not None), default=None)) is not None:
        yield key
        for stream in streams:
            for _ in stream.of(key):
                pass
