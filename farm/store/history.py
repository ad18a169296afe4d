"""An author's posts in order: the newest seqs stand in the author's row, older ones in blocks.

Ordinals count an author's posts from 1, so how many lie in a range is a subtraction.
"""

from __future__ import annotations

import array
from bisect import bisect_left
from typing import Protocol

from farm.audience import checked, summed
from farm.errors import Corrupt
from farm.store.storage import BLOCK, Snapshot


class Listed(Protocol):
    """An author and their newest posts, as in the author's row."""

    @property
    def number(self) -> int: ...
    @property
    def last_seq(self) -> int: ...
    @property
    def last_ordinal(self) -> int: ...
    @property
    def expired(self) -> int: ...
    @property
    def newest(self) -> bytes | None:
        """The sealed list; None: not looked at yet."""


def sealed_seqs(seqs: array.array[int]) -> bytes:
    """The blob of a list, with a checksum as that of a set has."""
    return summed(seqs.tobytes())


def seqs_of(blob: bytes | None, author: int) -> array.array[int]:
    """The list of a blob. Raises `Corrupt` where a bit has changed since it was sealed."""
    if not blob:
        return array.array("Q")
    return array.array("Q", checked(blob, f"posts of author {author}")[4:])


def among_newest(author: Listed, seq: int) -> int | None:
    """What `History.before` answers, where the newest seqs alone say it: for whoever asks thousands
    of authors, as a History costs more than this."""
    seqs = seqs_of(author.newest, author.number)
    if not seqs or seqs[0] >= seq:
        return None
    return author.last_ordinal - len(seqs) + bisect_left(seqs, seq)


class History:
    """Looks up one author's seqs; reads a block only when it is reached."""

    def __init__(self, snapshot: Snapshot, author: Listed) -> None:
        self._snapshot = snapshot
        self._author = author
        newest = author.newest
        if newest is None:
            row = snapshot.author(author.number)
            newest = None if row is None else row.newest
        self._newest = seqs_of(newest, author.number)
        self._newest_first = author.last_ordinal - len(self._newest) + 1
        self._seqs, self._first = self._newest, self._newest_first  # those looked at last

    def seq(self, ordinal: int) -> int:
        """The seq of a post by its ordinal; 0 where there is none."""
        if not self._author.expired < ordinal <= self._author.last_ordinal:
            return 0
        if not self._first <= ordinal < self._first + len(self._seqs) and not self._load(ordinal):
            who = f"author {self._author.number}"
            raise Corrupt(f"{who}: post {ordinal} is not listed; restore from a backup")
        return self._seqs[ordinal - self._first]

    def known_seq(self, ordinal: int) -> int:
        """The same also of a post that is gone, while that is known."""
        if ordinal > self._author.expired:
            return self.seq(ordinal)
        if not self._first <= ordinal < self._first + len(self._seqs) and not self._load(ordinal):
            return 0
        return self._seqs[ordinal - self._first]

    def before(self, seq: int) -> int:
        """The ordinal of the newest post below a seq; where none is kept, at most `expired`."""
        if seq > self._author.last_seq:
            return self._author.last_ordinal
        if self._newest and self._newest[0] < seq:
            return self._newest_first + bisect_left(self._newest, seq) - 1
        low, high = self._author.expired, self._newest_first - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.seq(middle) < seq:
                low = middle
            else:
                high = middle - 1
        return low

    def _load(self, ordinal: int) -> bool:
        """False where its block is gone."""
        if ordinal >= self._newest_first:
            self._seqs, self._first = self._newest, self._newest_first
            return True
        block = self._snapshot.author_block(self._author.number, ordinal)
        if block is None:
            return False
        self._seqs = seqs_of(block, self._author.number)
        self._first = (ordinal - 1) // BLOCK * BLOCK + 1
        return True
