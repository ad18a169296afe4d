"""One batch in memory: the recipients of one segment of one post on one channel, by part.

A batch is loaded when somebody is to work on it, and forgotten when nothing of it is leased.
Everything here is set algebra; what changed is collected by `changes_of` for the store to write.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from farm.audience import BitMap, between, seal, take, unseal
from farm.errors import Corrupt
from farm.lifecycle import READY, REST, Part, State, check_move, part_of
from farm.store.storage import BatchKey, PartKey, PartRow, PostRow

DONE = Part(State.DELIVERED, 1).key  # those done while others of the rest still wait


@dataclass(slots=True, eq=False)
class Lease:
    """What a session holds of one part; `members` None: all of an untouched rest.

    A lease without a session is work suspected of killing its workers.
    """

    id: int
    session: str
    batch: Batch
    part: int
    low: int
    high: int
    members: BitMap | None
    deaths: int = 0

    def __hash__(self) -> int:
        """By its number, so that sets are walked alike in each run, wherever in memory it lies."""
        return self.id

    def left(self) -> BitMap:
        """Its members who are still in the part."""
        return self.batch.members_of(self.part) & self.all()

    def all(self) -> BitMap:
        return self.batch.audience if self.members is None else self.members


@dataclass(slots=True, eq=False)
class Batch:
    """The parts of a batch. `parts` has those with members of their own."""

    key: BatchKey
    post: PostRow
    size: int
    blob: bytes  # of the segment
    rest: State
    parts: dict[int, BitMap] = field(default_factory=dict)
    due: dict[int, int] = field(default_factory=dict)
    errors: dict[int, int] = field(default_factory=dict)
    leases: set[Lease] = field(default_factory=set)
    dirty: set[int] = field(default_factory=set)
    moved: list[BitMap] = field(default_factory=list)  # who, since it was stored
    rest_moved: bool = False  # and whoever is in no part
    changed: int = 0
    _audience: BitMap | None = None
    _free: dict[int, BitMap] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.key)

    @classmethod
    def load(
        cls, key: BatchKey, post: PostRow, size: int, blob: Callable[[], bytes], rows: list[PartRow]
    ) -> Batch:
        """From its rows. The blob is only fetched where somebody of the rest waits."""
        states = [row.state for row in rows if row.part == REST]
        if len(states) != 1 or states[0] not in {*State}:
            raise Corrupt(f"batch {key}: its rest has no state; restore from a backup")
        rest = State(states[0])
        batch = cls(key, post, size, blob() if rest is State.QUEUED else b"", rest)
        for row in rows:
            if row.part != REST:
                members = row.members or b""  # where it is damaged
                batch.parts[row.part] = unseal(members, f"batch {key} part {row.part}")
                batch.errors[row.part] = row.error
                if row.due_us is not None:
                    batch.due[row.part] = row.due_us
        return batch

    @property
    def audience(self) -> BitMap:
        """Everybody of the segment."""
        if self._audience is None:
            self._audience = unseal(self.blob, f"segment {self.key[2]}")
        return self._audience

    @property
    def untouched(self) -> bool:
        """Nobody has left the rest and nobody is leased."""
        return self.rest is State.QUEUED and not self.parts and not self.leases

    def members_of(self, part: int) -> BitMap:
        """The members of a part; of the rest only while it is queued."""
        if part != REST:
            return self.parts.get(part, BitMap())
        if self.rest is not State.QUEUED:
            return BitMap()
        members = self.audience
        if self.parts:
            members = members.difference(*self.parts.values())
        return members

    def rest_size(self) -> int:
        return self.size - sum(map(len, self.parts.values()))

    # Leasing

    def ready(self) -> Iterator[int]:
        """The parts that could be leased now, were it not for leases."""
        if self.rest is State.QUEUED:
            yield REST
        for part in self.parts:
            if part_of(part).ready:
                yield part

    def free_size(self, part: int) -> int:
        """How many of a part nobody holds."""
        if part == REST and self.untouched:
            return self.size
        return len(self.free_members(part))

    def reserve(self, part: int, count: int) -> tuple[int, int, BitMap | None, bytes]:
        """Takes at most `count` free members out: (low, high, members, sealed members)."""
        if part == REST and count >= self.size and self.untouched:
            self._free[REST] = BitMap()
            return 0, 2**32 - 1, None, self.blob
        free = self.free_members(part)
        taken = take(free, count)
        low, high = taken.min(), taken.max()
        starts = [lease.low for lease in self.leases if lease.part == part and lease.low > low]
        if starts and min(starts) <= high:
            # A lease is stored as a range, so it must not reach over another's.
            high = min(starts) - 1
            taken = between(taken, low, high)
        self._free[part] = free - taken
        return low, high, taken, seal(taken)

    def hold_back(self, part: int, members: BitMap) -> None:
        """Members who are about to be leased are not free."""
        if part in self._free:
            self._free[part] -= members

    def give_back(self, lease: Lease) -> None:
        """The lease is over: who of it is still in the part is free again."""
        self.leases.discard(lease)
        if not self.leases:
            self._free.clear()
        elif lease.part in self._free:
            self._free[lease.part] |= lease.left()

    def free_members(self, part: int) -> BitMap:
        free = self._free.get(part)
        if free is None:
            held = [lease.all() for lease in self.leases if lease.part == part]
            free = self.members_of(part).difference(*held) if held else self.members_of(part).copy()
            self._free[part] = free
        return free

    # Moving

    def move(self, before: int, after: int, members: BitMap, error: int = 0) -> None:
        """Moves members of one part to another, where they are OR-ed in."""
        if not members:
            return
        state = State.QUEUED if before == REST else part_of(before).state
        check_move(state, part_of(after).state)
        if before != REST:
            self._shrink(before, members)
        if before in self._free:
            self._free[before] -= members
        self.moved.append(members)
        self.parts[after] = self.parts.get(after, BitMap()) | members
        self.errors[after] = error or self.errors.get(after, 0)
        self.dirty.add(after)

    def promote(self, part: int) -> None:
        """A retry's time has come: its members join those that could be leased."""
        members = self.parts.pop(part)
        error = self.errors.pop(part, 0)
        self.due.pop(part, None)
        self.dirty.add(part)
        ready = self._growing(part_of(part).attempt)
        self.parts[ready] = self.parts.get(ready, BitMap()) | members
        if ready in self._free:
            self._free[ready] |= members
        self.errors[ready] = error
        self.dirty.add(ready)

    def _growing(self, attempt: int) -> int:
        """The part for those who are ready. A lease is stored as a range of its part, so a part
        that is leased must not grow: what came into the range would be the lease's after a restart.
        """
        leased = {lease.part for lease in self.leases}
        parts = (Part(State.RETRYING, attempt, detail).key for detail in itertools.count(READY, -1))
        return next(part for part in parts if part not in leased)

    def settle_rest(self) -> None:
        """When nobody of the rest waits any more, the rest becomes those delivered at once."""
        if self.rest is State.QUEUED and self.rest_size() == 0:
            self.finish_rest()
            self.parts.pop(DONE, None)
            self.dirty.add(DONE)

    def deliver_rest(self) -> None:
        """Everybody of the rest, who waited until now, is delivered."""
        self.finish_rest()
        self.rest_moved = True

    def finish_rest(self) -> None:
        """Everybody of the rest is delivered."""
        self.rest = State.DELIVERED
        self._free.pop(REST, None)
        self.dirty.add(REST)

    def _shrink(self, part: int, members: BitMap) -> None:
        left = self.parts[part] - members
        self.dirty.add(part)
        if left:
            self.parts[part] = left
        else:
            del self.parts[part]
            self.due.pop(part, None)
            self.errors.pop(part, None)

    def retract(self, change: int) -> list[tuple[int, int]]:
        """The post is retracted with this change, and nobody who waits will be sent anything:
        (part, how many) of each that waited."""
        self.post = self.post._replace(retracted=change)
        stopped = []
        if self.rest is State.QUEUED:
            stopped.append((REST, self.rest_size()))
            self.rest = State.RETRACTED
            self.dirty.add(REST)
        for part, members in list(self.parts.items()):
            name = part_of(part)
            if name.state is State.RETRYING:
                stopped.append((part, len(members)))
                self.move(part, Part(State.RETRACTED, name.attempt).key, members)
        self._free.clear()
        return stopped

    def revive(self, part: int, members: BitMap) -> None:
        """Dead letters get another try, at once; the tries they had still count."""
        self.move(part, self._growing(part_of(part).attempt), members, self.errors.get(part, 0))

    # Counting

    def delivered_size(self) -> int:
        done = self.rest_size() if self.rest is State.DELIVERED else 0
        return done + sum(
            len(members)
            for part, members in self.parts.items()
            if part_of(part).state is State.DELIVERED
        )

    def members_in(self, *states: State) -> BitMap:
        """Everybody in one of these states. Needs the blob."""
        found = [members for part, members in self.parts.items() if part_of(part).state in states]
        if self.rest in states:
            found.append(self.audience.difference(*self.parts.values()))
        return BitMap.union(*found) if found else BitMap()

    def who_moved(self, among: BitMap) -> BitMap:
        """Those of some people whose set may have changed since it was stored. Needs the blob where
        the rest moved."""
        found = BitMap.union(*self.moved) & among if self.moved else BitMap()
        if self.rest_moved:
            found |= (among & self.audience).difference(*self.parts.values())
        return found

    # Storing

    def part_rows(self) -> Iterator[PartRow]:
        """The changed parts that have members."""
        for part in self.dirty:
            members = self.parts.get(part)
            if members is not None:
                yield PartRow(
                    *self.key, part, part_of(part).state, self.due.get(part),
                    self.errors.get(part, 0), self.changed, seal(members),
                )  # fmt: skip

    def gone_parts(self) -> Iterator[PartKey]:
        """The changed parts that have none left."""
        for part in self.dirty:
            if part != REST and part not in self.parts:
                yield (*self.key, part)
