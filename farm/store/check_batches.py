"""Post by post: that everybody of the audience is in exactly one set on every channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from farm.audience import BitMap
from farm.lifecycle import REST, WAITING, Part, Reason, State, part_of
from farm.schedule import GRID
from farm.store.batches import DONE
from farm.store.findings import Breach, Facts, Findings, example
from farm.store.records import PostHead, Records, Stream, keys
from farm.store.storage import LeaseRow, PartRow, SegmentRow

SEGMENTS_CACHED_MAX = 256
REST_STATES = (State.QUEUED, State.DELIVERED, State.RETRACTED)


class BatchCheck:
    """Posts, the parts of their batches, and the leases on them."""

    def __init__(
        self, records: Records, facts: Facts, findings: Findings, advance: Callable[[int], object]
    ) -> None:
        self._records = records
        self._facts = facts
        self._findings = findings
        self._advance = advance
        self._posts = Stream(records.posts())
        self._parts = Stream(records.parts())
        self._segments: dict[int, tuple[SegmentRow | None, BitMap | None]] = {}
        self._leases: dict[tuple[int, int, int], list[LeaseRow]] = {}
        for lease in records.leases():
            key = (lease.post, lease.channel, lease.segment)
            self._leases.setdefault(key, []).append(lease)
        self._received_at_us = 0
        self.tally: Counter[tuple[int, Part]] = Counter()  # by channel
        self.posts = 0
        self.batches = 0
        self.leases = sum(map(len, self._leases.values()))

    def breaches(self) -> Iterator[Breach]:
        streams: tuple[Stream[Any], ...] = (self._posts, self._parts)
        for seq in keys(*streams):
            post = next(self._posts.of(seq), None)
            if post is None:
                self._findings.add("post", "is missing, though it has batches", seq=seq)
            else:
                self._post(post)
            yield from self._findings.take()
        for leases in self._leases.values():
            for lease in leases:
                self._lease(lease, "is of a batch that there is not")
        yield from self._findings.take()

    def _post(self, post: PostHead) -> None:
        self.posts += 1
        self._check_head(post)
        audiences: Counter[int] = Counter()
        suppressed: Counter[int] = Counter()
        rows = 1
        for (channel, segment), parts in groupby(
            self._parts.of(post.seq), lambda row: (row.channel, row.segment)
        ):
            batch = list(parts)
            rows += len(batch)
            size, early = self._batch(post, channel, segment, batch)
            audiences[channel] += size
            suppressed[channel] += early
        self._advance(rows)
        for channel, size in audiences.items():
            if size != post.audience:
                what = (
                    f"has an audience of {post.audience}, its segments on channel {channel} "
                    f"have {size} members"
                )
                self._findings.add("post", what, seq=post.seq)
            if not post.retracted and suppressed[channel] < post.audience - post.queued:
                what = (
                    f"says {post.queued} of {post.audience} were queued, but only "
                    f"{suppressed[channel]} are suppressed untried on channel {channel}"
                )
                self._findings.add("post", what, seq=post.seq)
        if post.audience and not audiences:
            self._findings.add(
                "post", f"has an audience of {post.audience} and no batch", seq=post.seq
            )

    def _check_head(self, post: PostHead) -> None:
        add, change = self._findings.add, self._facts.change
        if not post.whole:
            add("post", "its checksum does not match it", seq=post.seq)
        if not 0 < post.seq <= change:
            add("post", f"its seq is not from 1 to change {change}", seq=post.seq)
        if post.retracted and not post.seq < post.retracted <= change:
            add("post", f"was retracted by {post.retracted}, no change since", seq=post.seq)
        if not 0 <= post.queued <= post.audience:
            add("post", f"{post.queued} of {post.audience} were queued", seq=post.seq)
        if not self._received_at_us <= post.received_at_us <= self._facts.meta.now_us:
            add("post", f"was received at {post.received_at_us}, out of order", seq=post.seq)
        self._received_at_us = max(self._received_at_us, post.received_at_us)
        if post.author == 0:
            if post.author_name is None or post.audience or post.ordinal:
                add("post", "is of nobody Hark knows, and yet has followers", seq=post.seq)
        elif post.author_name is not None or not self._facts.knows(post.author):
            add("post", f"its author {post.author} is nobody", seq=post.seq)

    # Batches

    def _batch(
        self, post: PostHead, channel: int, segment: int, rows: Sequence[PartRow]
    ) -> tuple[int, int]:
        """The size of a batch, and how many of it are suppressed or retracted untried."""
        self.batches += 1
        row = self._segment(segment)[0]
        if row is None:
            self._wrong(rows[0], "its segment is missing")
            return 0, 0
        self._check_reference(post, rows[0], row)
        members = [self._members(part) for part in rows if part.part != REST]
        held = sum(map(len, members))
        together = BitMap.union(*members) if members else BitMap()
        if held != len(together):
            self._wrong(rows[0], f"{held - len(together)} times somebody is in a part too many")
        if together:
            audience = self._segment_members(segment)
            if audience is not None and not together <= audience:
                outside = together - audience
                self._wrong(rows[0], f"has people outside its segment: {example(outside)}")
        self._check_rest(post, rows, row.size - len(together))
        for part in rows:
            if post.retracted and part.state in WAITING:
                self._wrong(part, "waits, though its post was retracted")
        self._check_leases((post.seq, channel, segment))
        early = 0
        for part, some in zip((r for r in rows if r.part != REST), members, strict=True):
            name = self._check_part(post, part)
            if name is not None:
                self.tally[channel, name] += len(some)
                early += len(some) * (name.attempt == 0)
        return row.size, early

    def _check_reference(self, post: PostHead, part: PartRow, segment: SegmentRow) -> None:
        if segment.author != post.author:
            self._wrong(part, f"its segment is of author {segment.author}, not {post.author}")
        if not segment.since <= post.seq or (segment.until and segment.until <= post.seq):
            self._wrong(
                part, f"its segment lived in [{segment.since}, {segment.until or 'now'}), not at "
                "the post's time",
            )  # fmt: skip
        if part.channel not in self._facts.channels:
            self._wrong(part, "its channel has no name")

    def _members(self, row: PartRow) -> BitMap:
        members = self._findings.unseal(row.members, "batch", **_key(row))
        if members is not None and not members:
            self._wrong(row, "is empty, and should be gone")
        return members or BitMap()

    def _check_rest(self, post: PostHead, rows: Sequence[PartRow], left: int) -> None:
        rest = next((row for row in rows if row.part == REST), None)
        if rest is None:
            self._wrong(rows[0], "its batch has no rest")
            return
        if rest.members is not None or rest.due_us is not None or rest.error:
            self._wrong(rest, "is the rest, and has what only other parts have")
        self._check_changed(post, rest)
        if rest.state not in REST_STATES or (rest.state == State.RETRACTED and not post.retracted):
            self._wrong(rest, f"is the rest, and in state {rest.state}")
            return
        state = State(rest.state)
        if state is State.QUEUED and left <= 0:
            self._wrong(rest, "is queued, and nobody is left in it")
        if state is State.DELIVERED and any(row.part == DONE for row in rows):
            self._wrong(rest, "is done, and some are kept as done apart from it")
        self.tally[rest.channel, Part(state, int(state is State.DELIVERED))] += max(left, 0)

    def _check_part(self, post: PostHead, row: PartRow) -> Part | None:
        """The name of a part that is not the rest, taken apart; None where it is no name."""
        self._check_changed(post, row)
        if not 0 < row.part < (max(State) + 1) << 40:
            self._wrong(row, "is no part's name")
            return None
        part = part_of(row.part)
        why = ""
        if row.state != part.state:
            why = f"is stored as in state {row.state}, its name says {part.state.value}"
        elif part.state is State.QUEUED or (part.state is State.DELIVERED and part.detail):
            why = "is no part's name"
        elif part.attempt == 0 and part.state not in {State.SUPPRESSED, State.RETRACTED}:
            why = f"{part.state.name} before the first try"
        elif part.state is State.RETRYING and part.detail >= GRID and not part.ready:
            why = f"waits in slot {part.detail}, of {GRID}"
        elif (row.due_us is not None) != (part.state in WAITING and not part.ready):
            why = f"is due at {row.due_us}"
        elif row.error and row.error not in self._facts.errors:
            why = f"error {row.error} has no text"
        elif part.state is State.DEAD and part.detail != row.error:
            why = f"is dead by error {part.detail}, but error {row.error} stands with it"
        elif part.state is State.SUPPRESSED and part.detail not in set(Reason):
            why = f"is suppressed for reason {part.detail}, and there is none"
        if why:
            self._wrong(row, why)
        no_reason = part.state is State.SUPPRESSED and part.detail not in set(Reason)
        return None if no_reason else part

    def _check_changed(self, post: PostHead, row: PartRow) -> None:
        if not post.seq <= row.changed <= self._facts.change:
            what = f"changed at {row.changed}, not from its post to change {self._facts.change}"
            self._wrong(row, what)

    # Leases

    def _check_leases(self, batch: tuple[int, int, int]) -> None:
        """Whoever two leases of a part have would be sent the same twice."""
        leased: dict[int, int] = {}  # up to which user, by part
        for lease in sorted(self._leases.pop(batch, ()), key=lambda lease: lease.low):
            if not 0 <= lease.low <= lease.high:
                self._lease(lease, f"is of users {lease.low} to {lease.high}")
            if lease.low <= leased.get(lease.part, -1):
                self._lease(lease, "is of users who are leased already")
            leased[lease.part] = max(lease.high, leased.get(lease.part, -1))
            retry = lease.part >> 40 == State.RETRYING
            if lease.part != REST and not (retry and part_of(lease.part).ready):
                self._lease(lease, "is of a part that nobody can be sent from")
            if not lease.session and not lease.deaths:
                self._lease(lease, "has no holder, and nothing speaks against it")

    def _lease(self, lease: LeaseRow, what: str) -> None:
        self._findings.add(
            "lease", what, id=lease.id, post=lease.post, channel=lease.channel,
            segment=lease.segment, part=lease.part,
        )  # fmt: skip

    # Looking up

    def _segment(self, segment: int) -> tuple[SegmentRow | None, BitMap | None]:
        """Its row and, once somebody has asked for them, its members."""
        found = self._segments.get(segment)
        if found is None:
            if len(self._segments) >= SEGMENTS_CACHED_MAX:
                self._segments.clear()
            found = self._segments[segment] = (self._records.segment(segment), None)
        return found

    def _segment_members(self, segment: int) -> BitMap | None:
        """None where they cannot be read, which the segment's own check tells."""
        row, members = self._segment(segment)
        if members is None:
            members = Findings().unseal(self._records.members(segment), "segment")
            self._segments[segment] = (row, members)
        return members

    def _wrong(self, row: PartRow, what: str) -> None:
        self._findings.add("batch", what, **_key(row))


def _key(row: PartRow) -> dict[str, int]:
    return {"post": row.post, "channel": row.channel, "segment": row.segment, "part": row.part}
