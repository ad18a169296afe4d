"""What happened in an inbox after a place in it: the reader's side of live events.

For each change after the place, in order: a post was *added* where it became visible by the change,
*removed* where it ceased to be, *updated* where it stayed and its set or its read mark changed. Who
sees what, `sources.py` says here as well. Posts come from their authors' histories, everything else
from what the writer notes with each change.

What is told of a post is its newest state, and what nobody may see any more, since it was
retracted, has expired or is of somebody unfollowed, is not added first to be removed then. A mute
can end, so what a mute hid and showed is told as it happened: else a person who stops listening in
between would never hear of it.
"""

from __future__ import annotations

import array
import heapq
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from farm.audience import BitMap, unseal
from farm.cursor import END
from farm.store.inbox import Reading
from farm.store.sources import Source, source_of, sources_of
from farm.store.storage import (
    DEEDS_KEPT_MAX,
    EVENTS_PER_CHANGE_MAX,
    FOLLOW,
    MUTE,
    Deed,
    DeedRow,
    ExpiryRow,
    RelationRow,
    Snapshot,
)
from farm.wire import EventKind, Events, Happened

TOUCHES_AT_A_TIME = 300
NO_LIMIT = 2**62

_Touched = dict[int, list[int]]  # by post, the changes that moved anybody of it, in order


class _TooMany(Exception):
    """A change moved so many of the person's notifications that it is told as a whole."""


class _Event(NamedTuple):
    """Sorts by its place."""

    change: int
    position: int
    kind: EventKind
    post: int
    source: Source
    reason: str = ""


def events_after(
    snapshot: Snapshot, reading: Reading, user_id: str, change: int, position: int, size: int
) -> Events:
    """Up to `size` events after a place, oldest first."""
    number, newest = snapshot.number_of(user_id), snapshot.meta().change
    if number is None:
        return Events([], 0, newest, more=False)
    told: list[Happened] = []
    if change > newest:
        told.append(Happened(EventKind.RESET, newest, END, 0, "other_store", None))
        return Events(told, number, newest, more=False)
    expiries = snapshot.expiries(change)
    horizon = expiries[-1].horizon if expiries else 0
    if change < horizon:
        told.append(Happened(EventKind.GAP, horizon, END, horizon, "", None))
        change, position = horizon, END
    try:
        found, told_to = _Inbox(snapshot, reading, number, change, position).events(size + 1)
    except _TooMany:
        told.append(Happened(EventKind.RESET, newest, END, 0, "many_changed", None))
        return Events(told, number, newest, more=False)
    for event in found[:size]:
        told += _shown(snapshot, reading, user_id, number, event)
    if len(found) > size:
        return Events(told, number, 0, more=True)
    return Events(told, number, told_to, more=told_to < newest)


def _shown(
    snapshot: Snapshot, reading: Reading, user_id: str, number: int, event: _Event
) -> Iterator[Happened]:
    """An event with the notification that it shows."""
    change, position, kind, seq, source, reason = event
    if kind is EventKind.REMOVED:
        yield Happened(kind, change, position, seq, reason, None)
    elif (post := snapshot.post(seq)) is not None:
        notification = reading.notification(user_id, number, post, source)
        yield Happened(kind, change, position, seq, "", notification)


class _Inbox:
    """One person's inbox since a place."""

    def __init__(
        self, snapshot: Snapshot, reading: Reading, user: int, change: int, position: int
    ) -> None:
        self._snapshot = snapshot
        self._reading = reading
        self._user = user
        self._place = (change, position)
        self._after = change  # posts up to it have been told of
        self._first = change if position < END else change + 1  # that may have anything to tell
        self._sources = {source.number: source for source in sources_of(snapshot, user)}
        self._changed: dict[int, Source] = {}  # shown or hidden meanwhile, with all their posts
        steps = snapshot.expiries(self._first)
        self._gone_before = steps[0].horizon if steps and steps[0].change < self._first else 0
        self._steps = [step for step in steps if step.change >= self._first]

    def events(self, count: int) -> tuple[list[_Event], int]:
        """At most the first `count` of them, in order, and the change up to which there are no
        others if they are fewer. Raises `_TooMany`."""
        deeds = self._snapshot.deeds(self._user, self._first)
        if len(deeds) >= DEEDS_KEPT_MAX:
            raise _TooMany  # older ones may be forgotten
        by_author = self._by_author(deeds)
        for author in by_author:
            source = source_of(self._snapshot, self._user, author)
            if source is not None:
                self._changed[author] = source
        streams = [
            self._added(source)
            for author, source in self._sources.items()
            if source.last_seq > self._after and author not in by_author
        ]
        added = list(islice(heapq.merge(*streams, key=_place), count))
        # Other events are only looked for as far as these reach. What a mute hid may have been
        # retracted any time later, so with such deeds all is looked at.
        reaches = len(added) == count and not by_author
        until = added[-1].change if reaches else self._snapshot.meta().change + 1
        touched, until = self._touched(until, NO_LIMIT if by_author else TOUCHES_AT_A_TIME)
        found = [one for one in self._others(deeds, by_author, touched) if one.change < until]
        changes = Counter(event.change for event in found)
        if changes and max(changes.values()) > EVENTS_PER_CHANGE_MAX:
            raise _TooMany
        in_order = sorted([*found, *(one for one in added if one.change < until)], key=_place)
        return [event for event in in_order if _place(event) > self._place][:count], until - 1

    def _by_author(self, deeds: list[DeedRow]) -> dict[int, list[DeedRow]]:
        """What was done to authors; those whom the person never followed can be muted too, and
        nothing is to be told of them."""
        found: dict[int, list[DeedRow]] = {}
        for deed in deeds:
            if deed.kind != Deed.MARKED:
                found.setdefault(deed.author, []).append(deed)
        return {
            author: deeds
            for author, deeds in found.items()
            if self._snapshot.relations(self._user, author, FOLLOW)
        }

    def _others(
        self, deeds: list[DeedRow], by_author: dict[int, list[DeedRow]], touched: _Touched
    ) -> Iterator[_Event]:
        """All but what authors published who were neither muted, unmuted nor unfollowed."""
        for event in (*self._of_touched(touched), *self._of_expiries(touched)):
            if not _hidden(event, by_author):
                yield event
        for deed in deeds:
            if deed.kind == Deed.MARKED:
                yield from (one for one in self._of_marks(deed) if not _hidden(one, by_author))
        for author, of_author in by_author.items():
            one = _Author(self._snapshot, self._user, author, self._after, self._gone_before)
            yield from one.events(of_author, touched)

    def _added(self, source: Source) -> Iterator[_Event]:
        """What the author published."""
        first = max(source.base, source.history.before(self._after + 1)) + 1
        for ordinal in range(first, source.last_ordinal + 1):
            if source.shows(ordinal):
                seq = source.history.seq(ordinal)
                yield _Event(seq, 0, EventKind.ADDED, seq, source)

    def _touched(self, until: int, limit: int) -> tuple[_Touched, int]:
        """Older posts that were touched, and below which change these are all."""
        authors = BitMap([*self._sources, *self._changed])
        rows = self._snapshot.touched(self._first, until, authors, limit)
        if len(rows) == limit:
            until = rows[-1][0]
        touched: _Touched = {}
        for at, post in rows:
            if post <= self._after and at < until:
                touched.setdefault(post, []).append(at)
        return touched, until

    def _of_touched(self, touched: _Touched) -> Iterator[_Event]:
        for seq, changes in touched.items():
            post = self._snapshot.post(seq)
            if post is None:
                continue
            source = self._sources.get(post.author)
            if post.retracted:
                source = self._changed.get(post.author) or self._sources[post.author]
                if post.retracted >= self._first and post.ordinal > source.base:
                    yield _Event(post.retracted, 0, EventKind.REMOVED, seq, source, "retracted")
            elif source is not None and post.ordinal > source.base:
                # Others of the post may have moved since the person did.
                at = bisect_right(changes, self._reading.moved_at(self._user, post))
                if at:
                    yield _Event(changes[at - 1], 0, EventKind.UPDATED, seq, source)

    def _of_expiries(self, touched: _Touched) -> Iterator[_Event]:
        """What the retention removed of what had been told of, also what was retracted before."""
        horizons = [step.horizon for step in self._steps]
        authors = BitMap.union(*map(_authors, self._steps)) if self._steps else BitMap()
        for author in authors & BitMap([*self._sources, *self._changed]):
            source = self._changed.get(author) or self._sources[author]
            follow = self._snapshot.relations(self._user, author, FOLLOW)[0]
            for ordinal, seq in _gone(source, max(self._gone_before, follow.since)):
                if seq > self._after:
                    continue
                if ordinal not in source.retracted:
                    change = self._steps[bisect_left(horizons, seq)].change
                    yield _Event(change, seq, EventKind.REMOVED, seq, source, "expired")
                elif seq in touched:
                    yield _Event(touched[seq][-1], 0, EventKind.REMOVED, seq, source, "retracted")

    def _of_marks(self, deed: DeedRow) -> Iterator[_Event]:
        """What was marked as read or unread."""
        if deed.seqs is None:
            raise _TooMany
        marked: dict[int, Source] = {}
        for seq in array.array("Q", deed.seqs):
            post = self._snapshot.post(seq)
            source = None if post is None else self._sources.get(post.author)
            if post is not None and source is not None and source.shows(post.ordinal):
                marked[seq] = source
        for source in self._sources.values():
            if deed.low < deed.high and source.last_seq > deed.low:
                for ordinal in _between(source, deed.low, min(deed.high, self._after)):
                    marked[source.history.seq(ordinal)] = source
                    if len(marked) > EVENTS_PER_CHANGE_MAX:
                        raise _TooMany
        for seq, source in marked.items():
            if seq <= self._after:
                yield _Event(deed.change, seq, EventKind.UPDATED, seq, source)


class _Author:
    """An author whom the person muted, unmuted or unfollowed meanwhile."""

    def __init__(
        self, snapshot: Snapshot, user: int, author: int, after: int, gone_before: int
    ) -> None:
        self._snapshot = snapshot
        self._after = after
        self._gone_before = gone_before
        self._follows = snapshot.relations(user, author, FOLLOW)
        self._mutes = snapshot.relations(user, author, MUTE)
        self._source = source_of(snapshot, user, author)

    def events(self, deeds: list[DeedRow], touched: _Touched) -> Iterator[_Event]:
        """Those of what the deeds did, and what the author published."""
        source = self._source
        if source is None:
            return
        for deed in deeds:
            follow = _open_before(self._follows, deed.change)
            if follow is None:
                continue
            if deed.kind == Deed.UNMUTED:
                if not follow.until:
                    posts = _between(source, follow.since, deed.change - 1)
                    yield from _at(deed.change, EventKind.ADDED, source, posts)
            elif _open_before(self._mutes, deed.change) is None:
                yield from self._hidden(source, deed, follow.since, touched)
        if not self._follows[-1].until:
            yield from self._added(source, max(self._after, self._follows[-1].since))

    def _hidden(
        self, source: Source, deed: DeedRow, since: int, touched: _Touched
    ) -> Iterator[_Event]:
        """What the person saw until they muted or unfollowed. It is removed by that, also what was
        retracted or expired since: who goes on from behind it is told no more of the author."""
        reason = "muted" if deed.kind == Deed.MUTED else "unfollowed"
        shown = _between(source, since, deed.change - 1)
        yield from _at(deed.change, EventKind.REMOVED, source, shown, reason)
        gone = {seq for _, seq in _gone(source, max(self._gone_before, since))}
        since_then = {seq for seq, changes in touched.items() if changes[-1] > deed.change}
        for seq in gone | {seq for seq in since_then if self._is_retracted(source, seq)}:
            if since < seq < deed.change:
                yield _Event(deed.change, seq, EventKind.REMOVED, seq, source, reason)

    def _is_retracted(self, source: Source, seq: int) -> bool:
        ordinal = source.history.before(seq + 1)
        return ordinal in source.retracted and source.history.known_seq(ordinal) == seq

    def _added(self, source: Source, after: int) -> Iterator[_Event]:
        for ordinal in _between(source, after, source.last_seq):
            seq = source.history.seq(ordinal)
            if not any(m.since < seq and (not m.until or m.until > seq) for m in self._mutes):
                yield _Event(seq, 0, EventKind.ADDED, seq, source)


def _at(
    change: int, kind: EventKind, source: Source, ordinals: Iterator[int], reason: str = ""
) -> Iterator[_Event]:
    """Events of one change, a post each."""
    for count, ordinal in enumerate(ordinals):
        if count == EVENTS_PER_CHANGE_MAX:
            raise _TooMany
        seq = source.history.seq(ordinal)
        yield _Event(change, seq, kind, seq, source, reason)


def _between(source: Source, low: int, high: int) -> Iterator[int]:
    """The ordinals that the source shows of posts above one seq and up to another."""
    first = max(source.base, source.history.before(low + 1)) + 1
    for ordinal in range(first, source.history.before(high + 1) + 1):
        if source.shows(ordinal):
            yield ordinal


def _gone(source: Source, low: int) -> Iterator[tuple[int, int]]:
    """(ordinal, seq) of the author's posts above a seq that are no longer kept, the newest first;
    as far back as it is known."""
    for ordinal in range(source.expired, 0, -1):
        seq = source.history.known_seq(ordinal)
        if seq <= low:
            return
        yield ordinal, seq


def _open_before(relations: list[RelationRow], change: int) -> RelationRow | None:
    """The relation that was open just before a change."""
    for relation in relations:
        if relation.since < change and (not relation.until or relation.until >= change):
            return relation
    return None


def _hidden(event: _Event, deeds: dict[int, list[DeedRow]]) -> bool:
    """Whether it was updated while the author was muted; that it was added afterwards says all."""
    return event.kind == EventKind.UPDATED and any(
        deed.kind == Deed.UNMUTED and deed.change > event.change
        for deed in deeds.get(event.source.number, ())
    )


def _authors(step: ExpiryRow) -> BitMap:
    return unseal(step.authors, "authors of expired posts")


def _place(event: _Event) -> tuple[int, int]:
    return event.change, event.position
