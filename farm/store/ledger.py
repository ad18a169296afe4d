"""Who of a post's audience is in which set: the ledger, and the proof that it is whole.

The segments that a post refers to are the independent witness: everybody in them is in exactly one
part of their batch, and nobody else is in any.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from farm.audience import BitMap, unseal
from farm.lifecycle import REST, Part, Reason, State, part_of
from farm.store.storage import PartRow, PostRow, Snapshot
from farm.wire import ChannelLedger


def ledger_of(
    snapshot: Snapshot, post: PostRow, segment_members: Callable[[int], BitMap]
) -> Iterator[ChannelLedger]:
    """The ledger of a post, channel by channel. Raises `Corrupt`."""
    names = {number: name for name, number in snapshot.channels().items()}
    by_channel: dict[int, dict[int, list[PartRow]]] = defaultdict(lambda: defaultdict(list))
    for row in snapshot.parts_of_post(post.seq):
        by_channel[row.channel][row.segment].append(row)
    for channel, segments in by_channel.items():
        counts: Counter[Part] = Counter()
        unaccounted, audience = 0, 0
        for segment, rows in segments.items():
            size = snapshot.segment(segment).size
            audience += size
            unaccounted += _count_batch(rows, size, segment, segment_members, counts)
        unaccounted += abs(post.audience - audience)
        yield _ledger(names[channel], counts, unaccounted)


def _count_batch(
    rows: list[PartRow],
    size: int,
    segment: int,
    segment_members: Callable[[int], BitMap],
    counts: Counter[Part],
) -> int:
    """Adds a batch's parts to the counts; returns how many people are in none or in several."""
    parts = {
        row.part: unseal(row.members, f"post {row.post} segment {segment} part {row.part}")
        for row in rows
        if row.members is not None
    }
    rests = [row for row in rows if row.part == REST]
    if len(rests) != 1:
        return size
    together = BitMap.union(*parts.values()) if parts else BitMap()
    for key, members in parts.items():
        counts[part_of(key)] += len(members)
    state = State(rests[0].state)
    rest = Part(state, 1 if state is State.DELIVERED else 0)
    counts[rest] += size - len(together)
    if not parts:
        return 0
    overlaps = sum(map(len, parts.values())) - len(together)
    return overlaps + len(together - segment_members(segment))


def _ledger(channel: str, counts: Counter[Part], unaccounted: int) -> ChannelLedger:
    by_state: Counter[State] = Counter()
    suppressed: Counter[str] = Counter()
    for part, count in counts.items():
        by_state[part.state] += count
        if part.state is State.SUPPRESSED:
            suppressed[Reason(part.detail).name.lower()] += count
    return ChannelLedger(
        channel,
        by_state[State.QUEUED],
        by_state[State.RETRYING],
        by_state[State.DELIVERED],
        by_state[State.DEAD],
        by_state[State.RETRACTED],
        dict(suppressed),
        unaccounted,
    )
