"""Author by author: who follows, the segments that say the same, and the list of the posts."""

from __future__ import annotations

import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any

from farm.audience import HIGHEST, BitMap
from farm.store.findings import Breach, Facts, Findings, example
from farm.store.graph import SEGMENT_MAX, TAIL_MAX
from farm.store.records import Records, Stream, keys
from farm.store.storage import BLOCK, FOLLOW, MUTE, TAIL, AuthorRow, SegmentRow

FOREVER = 2**64


def _users() -> array.array[int]:
    return array.array("I")


def _changes() -> array.array[int]:
    return array.array("Q")


@dataclass(slots=True)
class Posts:
    """An author's, in order, those above ordinal `expired`."""

    expired: int
    seqs: array.array[int] = field(default_factory=_changes)
    audiences: array.array[int] = field(default_factory=_changes)


@dataclass(slots=True)
class Relations:
    """What an author's relations come to."""

    following: array.array[int] = field(default_factory=_users)  # now
    muting: array.array[int] = field(default_factory=_users)
    begins: array.array[int] = field(default_factory=_changes)  # of followings
    ends: array.array[int] = field(default_factory=_changes)
    last_loss: int = 0


@dataclass(slots=True)
class Alive:
    """A segment at the moment that is looked at."""

    row: SegmentRow
    members: BitMap


class GraphCheck:
    """Relations, segments, mutes and posts of every author."""

    def __init__(
        self, records: Records, facts: Facts, findings: Findings, advance: Callable[[int], object]
    ) -> None:
        self._records = records
        self._facts = facts
        self._findings = findings
        self._advance = advance
        self._authors = Stream(records.authors())
        self._blocks = Stream(records.author_blocks())
        self._posts = Stream(records.author_posts())
        self._muted = Stream(records.muted_by())
        self._relations = Stream(records.author_relations())
        self._segments = Stream(records.author_segments())
        self.follows = 0
        self.segments = 0

    def breaches(self) -> Iterator[Breach]:
        streams: tuple[Stream[Any], ...] = (
            self._authors, self._blocks, self._posts, self._muted, self._relations, self._segments,
        )  # fmt: skip
        for number in keys(*streams):
            self._author(number)
            yield from self._findings.take()

    def _author(self, number: int) -> None:
        row = next(self._authors.of(number), None)
        posts = self._read_posts(number, row.expired if row is not None else 0)
        relations = self._read_relations(number, posts)
        segments = [segment for _, segment in self._segments.of(number)]
        self.follows += len(relations.following)
        self.segments += len(segments)
        self._advance(1 + len(posts.seqs) + len(relations.begins) + len(segments))
        if not self._facts.knows(number):
            self._findings.add("author", "nobody has this number", number=number)
        if row is None:
            self._findings.add("author", "is missing, though other tables have it", number=number)
            return
        self._check_history(row, posts)
        self._check_mutes(row, relations)
        self._check_segments(row, posts, relations, segments)

    # Posts

    def _read_posts(self, author: int, expired: int) -> Posts:
        posts = Posts(expired)
        before = expired
        for _, seq, ordinal, audience in self._posts.of(author):
            if ordinal != before + 1:
                what = f"ordinal {ordinal} comes after {before} among the posts of author {author}"
                self._findings.add("post", what, seq=seq)
            before = ordinal
            posts.seqs.append(max(seq, 0))
            posts.audiences.append(max(audience, 0))
        return posts

    def _check_history(self, row: AuthorRow, posts: Posts) -> None:
        """The author's own list of posts: the newest in the row, older ones by 32 in blocks."""
        read = self._findings.seqs
        blocks = [(first, read(blob, row.number)) for _, first, blob in self._blocks.of(row.number)]
        seqs, last_ordinal = posts.seqs, posts.expired + len(posts.seqs)
        last = seqs[-1] if seqs else row.last_seq
        if (row.last_ordinal, row.last_seq) != (last_ordinal, last):
            self._wrong(
                row, f"says its last post is number {row.last_ordinal} with seq {row.last_seq}; "
                f"the posts say {last_ordinal} with {last}",
            )  # fmt: skip
        listed = b"".join(block for _, block in blocks) + read(row.newest, row.number)
        if len(listed) < len(seqs) * 8 or listed[len(listed) - len(seqs) * 8 :] != seqs.tobytes():
            self._wrong(row, "lists other posts than there are")
        firsts = [first for first, _ in blocks]
        # Blocks of posts that are gone stay for a while, for cursors from before.
        begin = min([posts.expired // BLOCK * BLOCK + 1, *firsts[:1]])
        if firsts != list(range(begin, max(last_ordinal // BLOCK - 1, 0) * BLOCK + 1, BLOCK)) or (
            any(len(block) != BLOCK * 8 for _, block in blocks)
        ):
            self._wrong(row, f"its older posts stand in blocks from {firsts}, not in every 32nd")

    # Relations

    def _read_relations(self, author: int, posts: Posts) -> Relations:
        """Checks each relation and sums them up."""
        found = Relations()
        seqs, change = posts.seqs, self._facts.change
        last_kind = last_user = last_until = -1
        for _, kind, user, since, until, base in self._relations.of(author):
            why = ""
            if not 0 < since <= change or (until and not since < until <= change):
                why = f"[{since}, {until or 'now'}) is no interval up to change {change}"
            elif user == last_user and kind == last_kind and not 0 < last_until <= since:
                why = "begins before the one before it ended"
            elif kind not in {FOLLOW, MUTE} or user == author or not 0 < user <= HIGHEST:
                why = "is no relation between two people"
            elif not _base_fits(base, bisect_right(seqs, since), posts.expired, kind):
                why = f"says the author had {base} posts when it began"
            if why:
                self._findings.add(
                    "relation", why, user=user, kind=kind, author=author, since=since
                )
            last_kind, last_user, last_until = kind, user, until
            if kind == FOLLOW:
                found.begins.append(max(since, 0))
                if until:
                    found.ends.append(max(until, 0))
                    found.last_loss = max(found.last_loss, until)
                elif 0 < user <= HIGHEST:
                    found.following.append(user)
            elif kind == MUTE:
                found.last_loss = max(found.last_loss, since)
                if not until and 0 < user <= HIGHEST:
                    found.muting.append(user)
        return found

    def _check_mutes(self, row: AuthorRow, relations: Relations) -> None:
        muting = BitMap(relations.muting)
        self._check_known(muting, "relation", author=row.number, kind=MUTE)
        for _, blob in self._muted.of(row.number):
            kept = self._findings.unseal(blob, "muted_by", author=row.number)
            if kept is not None and kept != muting:
                what = f"differs from the open mutes by {example(kept ^ muting)}"
                self._findings.add("muted_by", what, author=row.number)
            break
        else:
            if muting:
                what = f"is missing, though mutes are open: {example(muting)}"
                self._findings.add("muted_by", what, author=row.number)
        if not relations.last_loss <= row.last_loss <= self._facts.change:
            self._wrong(
                row, f"says its last loss was change {row.last_loss}; the relations say "
                f"{relations.last_loss}",
            )  # fmt: skip

    def _check_known(self, members: BitMap, table: str, **row: int) -> None:
        unknown = members - self._facts.users
        if unknown:
            self._findings.add(table, f"nobody has these numbers: {example(unknown)}", **row)

    # Segments

    def _check_segments(
        self, row: AuthorRow, posts: Posts, relations: Relations, segments: list[SegmentRow]
    ) -> None:
        """Goes through the author's versions in time, as posts did, and ends with the current."""
        alive: dict[int, Alive] = {}
        segments.sort(key=attrgetter("since"))
        for since, versions in groupby(segments, attrgetter("since")):
            for lower in [low for low, one in alive.items() if 0 < one.row.until <= since]:
                del alive[lower]
            new = set()
            for segment in versions:
                if segment.lower in alive:
                    other = alive[segment.lower].row.id
                    self._segment(segment, f"lives at the same time as segment {other}")
                alive[segment.lower] = Alive(segment, self._read_members(segment))
                new.add(segment.lower)
            self._check_apart(alive, new, posts)
        current = [one for _, one in sorted(alive.items()) if not one.row.until]
        self._check_current(row, relations, current)
        self._check_audiences(row, posts, relations, segments)

    def _read_members(self, segment: SegmentRow) -> BitMap:
        members = self._findings.unseal(
            self._records.members(segment.id), "segment", id=segment.id, author=segment.author
        )
        if members is None:
            return BitMap()
        if len(members) != segment.size:
            self._segment(segment, f"says {segment.size} members, has {len(members)}")
        if members and members.min() < segment.lower:
            self._segment(segment, f"has user {members.min()}, below its range")
        most = TAIL_MAX if segment.lower == TAIL else SEGMENT_MAX
        if len(members) > most or segment.lower < TAIL:
            self._segment(segment, f"has {len(members)} members of at most {most}")
        if not 0 < segment.since <= self._facts.change or (
            segment.until and not segment.since < segment.until <= self._facts.change
        ):
            self._segment(segment, f"lives in [{segment.since}, {segment.until}), no such interval")
        self._check_known(members, "segment", id=segment.id, author=segment.author)
        return members

    def _check_apart(self, alive: dict[int, Alive], new: set[int], posts: Posts) -> None:
        """Nobody is in two that a post finds alive, or now. A segment that no post refers to is
        changed in place, so it may have members whom another one had until then."""
        lowers = sorted(lower for lower in alive if lower != TAIL)
        for low, high in pairwise(lowers):
            if (low in new or high in new) and _together(alive[low].row, alive[high].row, posts):
                members = alive[low].members
                if members and members.max() >= high:
                    self._segment(
                        alive[low].row,
                        f"has user {members.max()}, of the range of segment {alive[high].row.id}",
                    )
        tail = alive.get(TAIL)
        if tail is None:
            return
        for lower in lowers if TAIL in new else [low for low in lowers if low in new]:
            both = tail.members & alive[lower].members
            if both and _together(tail.row, alive[lower].row, posts):
                what = f"shares members with segment {alive[lower].row.id}: {example(both)}"
                self._segment(tail.row, what)

    def _check_current(self, row: AuthorRow, relations: Relations, current: list[Alive]) -> None:
        """The followers of now, by segments and by relations, are the same people."""
        held = BitMap.union(*(one.members for one in current)) if current else BitMap()
        following = BitMap(relations.following)
        self._check_known(following, "relation", author=row.number, kind=FOLLOW)
        if held != following:
            self._wrong(
                row, "its current segments are not its open followings: "
                f"missing {example(following - held)}, too many {example(held - following)}",
            )  # fmt: skip
        sizes = sum(one.row.size for one in current)
        if row.followers != sizes:
            self._wrong(row, f"says {row.followers} followers, its current segments have {sizes}")
        ranges = [one.row.lower for one in current if one.row.lower != TAIL]
        if ranges and ranges[0] != 0:
            self._wrong(row, f"nobody below {ranges[0]} has a segment to go to")

    def _check_audiences(
        self, row: AuthorRow, posts: Posts, relations: Relations, segments: list[SegmentRow]
    ) -> None:
        """A post's audience is the segments of its time, and the followings of its time."""
        if not posts.seqs:
            return
        events = [(one.since, one.size) for one in segments]
        events += [(one.until, -one.size) for one in segments if one.until]
        events.sort()
        begins, ends = sorted(relations.begins), sorted(relations.ends)
        at = size = wrong = 0
        for seq, audience in zip(posts.seqs, posts.audiences, strict=True):
            while at < len(events) and events[at][0] <= seq:
                size += events[at][1]
                at += 1
            followers = bisect_right(begins, seq) - bisect_right(ends, seq)
            if not audience == size == followers:
                wrong += 1
                if wrong == 1:  # what is wrong once is often wrong in all later ones
                    what = (
                        f"has an audience of {audience}; the segments of its time have {size}, the "
                        f"followings {followers}"
                    )
                    self._findings.add("post", what, seq=seq)
        if wrong > 1:
            self._wrong(row, f"so it is with {wrong} of its posts")

    def _wrong(self, row: AuthorRow, what: str) -> None:
        self._findings.add("author", what, number=row.number)

    def _segment(self, row: SegmentRow, what: str) -> None:
        self._findings.add("segment", what, id=row.id, author=row.author)


def _together(one: SegmentRow, other: SegmentRow, posts: Posts) -> bool:
    """Whether both are alive now, or were when one of the posts was published."""
    since = max(one.since, other.since)
    until = min(one.until or FOREVER, other.until or FOREVER)
    if until == FOREVER:
        return True
    return bisect_left(posts.seqs, since) < bisect_left(posts.seqs, until)


def _base_fits(base: int, posts_before: int, expired: int, kind: int) -> bool:
    """Whether an author can have had `base` posts, of which so many are still kept."""
    if kind != FOLLOW:
        return base == 0
    return base == expired + posts_before or (posts_before == 0 and 0 <= base <= expired)
