"""What a store holds at the end of a run, as the checks want it: sets, by post and channel."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from farm.audience import BitMap, unseal
from farm.lifecycle import REST, Part, State, part_of
from farm.store.check import Check
from farm.store.records import Records
from farm.store.sqlite_records import SqliteRecords
from farm.store.sqlite_snapshot import SqliteSnapshot
from farm.store.storage import PartRow, Snapshot
from farm.store.totals import Totals


class Held(NamedTuple):
    """A set of people of one post on one channel; `error`: the newest, where there is one."""

    channel: str
    part: Part
    error: str
    members: BitMap


class Stored(NamedTuple):
    """A post."""

    seq: int
    id: str
    author: str
    content: str
    queued: int
    retracted: bool
    audience: BitMap
    held: list[Held]


class Dump(NamedTuple):
    """`breaches` is what `hark check` finds: nobody in two sets or in none, counters not below
    them, and all else that is true of a store whatever was done to it."""

    posts: list[Stored]
    users: dict[str, int]
    leases: int
    totals: Totals
    breaches: list[str]


def read(data_dir: Path, after: int = 0) -> Dump:
    """Of a data directory where nothing moves; `after`: only posts of a greater seq."""
    snapshot = SqliteSnapshot.open(data_dir)
    try:
        with SqliteRecords.open(data_dir) as records:
            return dump_of(records, snapshot, after)
    finally:
        snapshot.close()


def dump_of(records: Records, snapshot: Snapshot, after: int = 0) -> Dump:
    numbers = list(records.user_numbers())
    return Dump(
        _posts(records, snapshot, after),
        dict(zip(snapshot.user_ids(numbers), numbers, strict=True)),
        len(records.leases()),
        Totals(records.meta().totals),
        [str(breach) for breach in Check(records, lambda _: None).breaches()],
    )


def _posts(records: Records, snapshot: Snapshot, after: int) -> list[Stored]:
    names = {number: name for name, number in records.channels().items()}
    errors = records.errors()
    segments: dict[int, BitMap] = {}
    batches: dict[int, dict[tuple[str, int], list[PartRow]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in records.parts():
        if row.post <= after:
            continue
        batches[row.post][names[row.channel], row.segment].append(row)
        if row.segment not in segments:
            segments[row.segment] = unseal(records.members(row.segment))
    found = []
    for head in records.posts():
        if head.seq <= after:
            continue
        post = snapshot.post(head.seq)
        assert post is not None
        held: list[Held] = []
        audience = BitMap()
        for (channel, segment), rows in batches[head.seq].items():
            audience |= segments[segment]
            held += _held(channel, rows, segments[segment], errors)
        found.append(
            Stored(
                post.seq, post.id, post.author_id, post.content, post.queued,
                bool(post.retracted), audience, held,
            )
        )  # fmt: skip
    return found


def _held(channel: str, rows: list[PartRow], segment: BitMap, errors: dict[int, str]) -> list[Held]:
    """The sets of a batch; the rest is whom no other set has."""
    found = [
        Held(channel, part_of(row.part), errors.get(row.error, ""), unseal(row.members or b""))
        for row in rows
        if row.part != REST
    ]
    rest = segment.difference(*(held.members for held in found))
    state = next(State(row.state) for row in rows if row.part == REST)
    if rest:
        found.append(Held(channel, Part(state, int(state is State.DELIVERED)), "", rest))
    return found
