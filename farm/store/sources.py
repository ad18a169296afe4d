"""Who sees what: the one predicate behind every list and every count.

A person sees an author's posts from when they followed, as long as they follow and do not mute the
author, less what was retracted. Posts carry their ordinal among their author's, so how many are
visible, or unread, is a subtraction less the cardinality of small sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farm.audience import BitMap, count_between, unseal
from farm.store.history import History, among_newest
from farm.store.storage import NO_SEQ, Followed, Snapshot

_NONE = BitMap()  # nearly all sources have no exceptions, and share this


@dataclass(slots=True)
class Source:
    """An author whose posts a person sees: the ordinals above `base`, less those retracted.

    Up to `read_up_to` (an ordinal from `base` on) they are read, above it unread, but for those
    flipped.
    """

    snapshot: Snapshot
    number: int  # this and the next four as in the author's row
    last_seq: int
    last_ordinal: int
    expired: int
    newest: bytes | None
    base: int
    read_up_to: int
    retracted: BitMap = _NONE
    flipped: BitMap = _NONE
    _history: History | None = None

    @property
    def history(self) -> History:
        """Made when it is reached: a page of 20 needs those of at most 21 authors."""
        if self._history is None:
            self._history = History(self.snapshot, self)
        return self._history

    def shows(self, ordinal: int) -> bool:
        return self.base < ordinal <= self.last_ordinal and ordinal not in self.retracted

    def is_read(self, ordinal: int) -> bool:
        return (ordinal <= self.read_up_to) is not (ordinal in self.flipped)

    def newest_shown(self, ordinal: int, *, unread_only: bool) -> int:
        """The newest up to this one that it shows (and that is not read); `base`: none."""
        while ordinal > self.base:
            if self.shows(ordinal) and not (unread_only and self.is_read(ordinal)):
                return ordinal
            ordinal -= 1
            if unread_only and ordinal <= self.read_up_to:
                # Below the mark only those flipped can be unread: however much is read is skipped.
                flipped = self.flipped.rank(ordinal)
                ordinal = self.flipped[flipped - 1] if flipped else 0
        return self.base

    @property
    def visible(self) -> int:
        """How many posts the person sees."""
        hidden = count_between(self.retracted, self.base + 1, self.last_ordinal)
        return self.last_ordinal - self.base - hidden

    @property
    def unread(self) -> int:
        """How many of them are not read."""
        last, mark = self.last_ordinal, self.read_up_to
        unread = last - mark
        if self.retracted:
            unread -= count_between(self.retracted, mark + 1, last)
        if self.flipped:
            shown = self.flipped - self.retracted
            unread += count_between(shown, self.base + 1, mark)
            unread -= count_between(shown, mark + 1, last)
        return unread


class Seen:
    """Whose posts a person sees now."""

    def __init__(self, snapshot: Snapshot, user: int) -> None:
        self._snapshot = snapshot
        self._user = user
        self._up_to = snapshot.read_up_to(user)
        self._flipped = dict(snapshot.flipped(user))

    def sources(self) -> Iterator[Source]:
        return map(self._source, self._snapshot.seen(self._user, self._reached))

    def by_last_post(self, first: int) -> Iterator[list[Source]]:
        """All, those first whose last post is the newest; so many, and then more at a time."""
        below = NO_SEQ
        while rows := self._snapshot.seen_last(self._user, below, first):
            yield [self._source(row) for row in rows]
            below = rows[-1][1]
            first *= 4

    @property
    def unread(self) -> int:
        """How many posts they are that the person sees and has not read."""
        unread, odd = self._snapshot.unread_plainly(self._user, self._up_to)
        if odd:
            rows = self._snapshot.seen_oddly(self._user, self._up_to, self._reached)
            unread += sum(self._source(row).unread for row in rows)
        return unread

    @property
    def _reached(self) -> int:
        """Of whom it must be known which of their posts were marked."""
        return self._up_to + 1 if self._up_to else NO_SEQ

    def _source(self, row: Followed) -> Source:
        return _source(self._snapshot, row, self._up_to, self._flipped.get(row[0]))


def sources_of(snapshot: Snapshot, user: int) -> Iterator[Source]:
    """Whose posts the person sees now."""
    return Seen(snapshot, user).sources()


def source_of(snapshot: Snapshot, user: int, number: int) -> Source | None:
    """An author's posts with what a person read of them, whether or not they see them."""
    author = snapshot.author(number)
    if author is None:
        return None
    _, _, last_seq, last_ordinal, newest, _, expired = author
    retracted, flipped = snapshot.retracted_of(number), snapshot.flipped_of(user, number)
    row = (number, last_seq, last_ordinal, expired, newest, retracted, 0, 0)
    return _source(snapshot, row, snapshot.read_up_to(user), flipped)


def _source(snapshot: Snapshot, row: Followed, up_to: int, flipped: bytes | None) -> Source:
    """There may be thousands, and most have nothing to them but a few numbers."""
    number, last_seq, last_ordinal, expired, newest, retracted, _, first = row
    base = max(first, expired)
    mark = last_ordinal if up_to >= last_seq else base
    source = Source(snapshot, number, last_seq, last_ordinal, expired, newest, base, mark)
    if 0 < up_to < last_seq:
        read = among_newest(source, up_to + 1)
        source.read_up_to = max(base, source.history.before(up_to + 1) if read is None else read)
    if retracted is not None:
        source.retracted = unseal(retracted, f"retracted posts of author {number}")
    if flipped is not None:
        source.flipped = unseal(flipped, f"what was read of author {number}")
    return source
