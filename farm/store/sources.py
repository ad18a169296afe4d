"""Who sees what: the one predicate behind every list and every count.

A person sees an author's posts from when they followed, as long as they follow and do not mute the
author, less what was retracted. Posts carry their ordinal among their author's, so how many are
visible, or unread, is a subtraction less the cardinality of small sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from farm.audience import BitMap, between, unseal
from farm.store.history import History
from farm.store.storage import AuthorRow, Snapshot


@dataclass(slots=True)
class Source:
    """An author whose posts a person sees: the ordinals above `base`, less those retracted.

    Up to `read_up_to` (an ordinal) they are read, above it unread, but for those flipped.
    """

    author: AuthorRow
    base: int
    history: History
    read_up_to: int
    retracted: BitMap = field(default_factory=BitMap)
    flipped: BitMap = field(default_factory=BitMap)

    def shows(self, ordinal: int) -> bool:
        return self.base < ordinal <= self.author.last_ordinal and ordinal not in self.retracted

    def is_read(self, ordinal: int) -> bool:
        return (ordinal <= self.read_up_to) is not (ordinal in self.flipped)

    @property
    def visible(self) -> int:
        """How many posts the person sees."""
        last = self.author.last_ordinal
        return last - self.base - len(between(self.retracted, self.base + 1, last))

    @property
    def unread(self) -> int:
        """How many of them are not read."""
        last, mark = self.author.last_ordinal, max(self.read_up_to, self.base)
        unread = last - mark - len(between(self.retracted, mark + 1, last))
        if self.flipped:
            shown = self.flipped - self.retracted
            unread += len(between(shown, self.base + 1, mark))
            unread -= len(between(shown, mark + 1, last))
        return unread


def sources_of(snapshot: Snapshot, user: int) -> Iterator[Source]:
    """Whose posts the person sees now."""
    muted, up_to = snapshot.mutes(user), snapshot.read_up_to(user)
    for relation, author, retracted, flipped in snapshot.following(user):
        if author is None or author.last_seq <= relation.since or author.number in muted:
            continue
        history = History(snapshot, author)
        what = f"author {author.number}"
        yield Source(
            author,
            max(relation.base, author.expired),
            history,
            history.before(up_to + 1) if up_to else 0,
            BitMap() if retracted is None else unseal(retracted, f"retracted posts of {what}"),
            BitMap() if flipped is None else unseal(flipped, f"what user {user} read of {what}"),
        )
