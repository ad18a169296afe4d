"""Checks of what stands beside the sets: what was retracted and read, and what live events are
read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from farm.audience import BitMap
from farm.store.findings import Breach, Facts, Findings, example
from farm.store.records import Records, Stream, keys
from farm.store.storage import EVENTS_PER_CHANGE_MAX, Deed, DeedRow

SEQ_BYTES = 8


class InboxCheck:
    """Goes once through each of these tables."""

    def __init__(
        self, records: Records, facts: Facts, findings: Findings, advance: Callable[[int], object]
    ) -> None:
        self._records = records
        self._facts = facts
        self._findings = findings
        self._advance = advance

    def breaches(self) -> Iterator[Breach]:
        for look in (self._retracted, self._marks, self._deeds, self._expiries, self._touched):
            look()
            yield from self._findings.take()

    def _retracted(self) -> None:
        """Posts that say they were retracted are those that inboxes leave out."""
        authors = Stream(self._records.authors())
        posts = Stream(self._records.retracted_posts())
        sets = Stream(self._records.retracted_of())
        streams: tuple[Stream[Any], ...] = (authors, posts, sets)
        for number in keys(*streams):
            row = next(authors.of(number), None)
            retracted = BitMap(ordinal for _, ordinal in posts.of(number))
            hidden = BitMap()
            for _, blob in sets.of(number):
                hidden = self._findings.unseal(blob, "retracted_of", author=number) or hidden
            expired = row.expired if row is not None else 0
            kept = BitMap(hidden)
            kept.remove_range(0, expired + 1)
            if kept != retracted:
                self._findings.add(
                    "retracted_of",
                    f"does not hide the posts that were retracted: missing "
                    f"{len(retracted - kept)}, too many {len(kept - retracted)}",
                    author=number,
                )

    def _marks(self) -> None:
        for user, change in self._records.read_up_to():
            if not self._facts.knows(user) or not 0 < change <= self._facts.change:
                self._findings.add("read_up_to", "is of nobody, or of no change", user=user)
        for user, author, blob in self._records.read_marks():
            where = {"user": user, "author": author}
            flipped = self._findings.unseal(blob, "read_mark", **where)
            if flipped is not None and not flipped:
                self._findings.add("read_mark", "has no post", **where)
            if not self._facts.knows(user) or not self._facts.knows(author):
                self._findings.add("read_mark", "is of nobody", **where)

    # Live events

    def _deeds(self) -> None:
        for deed in self._records.deeds():
            if what := self._wrong_with(deed):
                self._findings.add("deed", what, user=deed.user, change=deed.change)

    def _wrong_with(self, deed: DeedRow) -> str:
        marked = deed.kind == Deed.MARKED
        if deed.kind not in {*Deed} or not 0 < deed.change <= self._facts.change:
            return "is none that there is, or of no change"
        if not self._facts.knows(deed.user) or marked is self._facts.knows(deed.author):
            return "is of nobody"
        seqs = len(deed.seqs or b"")
        if seqs % SEQ_BYTES or seqs // SEQ_BYTES > EVENTS_PER_CHANGE_MAX or deed.low > deed.high:
            return "does not name posts"
        return ""

    def _expiries(self) -> None:
        """Each step goes on where the one before it ended."""
        before = 0
        for step in self._records.expiries():
            authors = self._findings.unseal(step.authors, "expiry", change=step.change)
            if not before < step.horizon < step.change <= self._facts.change:
                self._findings.add(
                    "expiry", "does not go on from the one before it", change=step.change
                )
            if authors is not None and (unknown := authors - self._facts.users):
                what = f"nobody has these numbers: {example(unknown)}"
                self._findings.add("expiry", what, change=step.change)
            before = step.horizon

    def _touched(self) -> None:
        count = 0
        for change, post, author in self._records.touched():
            count += 1
            if not 0 < post < change <= self._facts.change or not self._facts.knows(author):
                self._findings.add("touched", "is of no post before it", change=change)
        self._advance(count)
