"""Leases out, outcomes in: the life of a notification between its publishing and its last state.

Work is leased, not thrown: a worker asks for so many recipients and gets them until an end, under
a lease that is durable before the answer leaves. What came of them moves members between the parts
of a batch; whoever is not in the part any more stays where they are, so outcomes that are partial,
late, doubled or reordered do no harm. Who gets the next turn is `turns.py`'s business.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from farm.audience import BitMap, between, checked, seal, spread, take, unseal
from farm.errors import Corrupt
from farm.lifecycle import REST, Part, State, part_of
from farm.observe import log
from farm.schedule import SLOTS, Backoff, LeaseTerms
from farm.store import totals
from farm.store.batches import DONE, Batch, Lease
from farm.store.graph import Changes, Graph
from farm.store.intake import Fresh
from farm.store.presence import Presence
from farm.store.storage import BatchKey, DeadGroupRow, LeaseRow, PartKey, PartRow, PostRow, Storage
from farm.store.totals import Totals
from farm.store.turns import Turns
from farm.wire import Concern, Grant, LeaseOutcome, LeaseRequest, Outcome

A_SLOT = 64  # retries; of fewer, all of a batch are due at once, each batch's at its own time
PROMOTED_PER_TURN_MAX = 200  # parts; 2,000 held up a turn for 125 to 200 ms
BROKEN_AGAIN_US = 1_000_000  # retries that cannot be read are due for ever; no need to hurry
SUSPECTS_TOGETHER_MAX = 32  # after one death; after two singly
DEATHS_MAX = 3
FRESH_MAX = 20_000  # posts just published whose batches need not be read
BLOB_BYTES_MAX = 32 * 1024 * 1024  # of segments kept sealed in memory
FINGERPRINTS_MAX = 10_000
OTHER_ERROR = "other errors"
POISON = "poison: three workers died sending this"


@dataclass(frozen=True, slots=True)
class Terms:
    """What delivering is bound to."""

    backoff: Backoff
    max_attempts: int
    lease: LeaseTerms
    seed: int | None


class Dispatch:
    """Who is to be sent what, and by whom. Make a new one after a rollback."""

    def __init__(
        self,
        storage: Storage,
        graph: Graph,
        changes: Changes,
        kept: Totals,
        presence: Presence,
        *,
        channels: dict[str, int],
        enabled: Sequence[str],
        terms: Terms,
        chance: random.Random,
        now_s: float,
    ) -> None:
        self._storage = storage
        self._graph = graph
        self._changes = changes
        self._totals = kept
        self._presence = presence
        self._names = {number: name for name, number in channels.items()}
        self._terms = terms
        self._chance = chance
        self._errors = {text: number for number, text in storage.errors().items()}
        self._batches: dict[BatchKey, Batch] = {}
        self._touched: set[Batch] = set()
        self._enabled = [channels[name] for name in enabled]
        self._turns = Turns(storage, self._enabled)
        self._fresh: dict[int, tuple[PostRow | None, Fresh]] = {}  # posts, by seq
        self._broken: set[PartKey] = set()  # due, and passed over: they would stay the first
        self._blobs: dict[int, bytes] = {}
        self._blob_bytes = 0
        self.leases: dict[int, Lease] = {}
        self.by_session: dict[str, set[Lease]] = {}
        self._session_ends_s: dict[str, float] = {}  # until when each session's leases hold
        self._suspects: dict[int, Lease] = {}
        self._quarantined: str | None = None  # the session that is to be free for them
        self._unsaved: dict[int, LeaseRow] = {}
        self._dropped: list[int] = []
        self._dead_groups: dict[tuple[int, int], DeadGroupRow] = {}  # not stored yet
        self.next_due_us = storage.next_due_us()
        self._restore_leases(now_s)

    def _restore_leases(self, now_s: float) -> None:
        """After a restart every lease holds for one more term, unless its session is known gone, or
        what it is on cannot be read: that is leased to nobody."""
        for row in self._storage.leases():
            try:
                lease = self._restored(row)
            except Corrupt as error:
                _tell_of_broken((row.post, row.channel, row.segment), error)
                self._dropped.append(row.id)
                continue
            self._hold(lease)
            if row.session:
                self._session_ends_s[row.session] = now_s + self._terms.lease.lease_ms / 1000

    def _restored(self, row: LeaseRow) -> Lease:
        batch = self._batch((row.post, row.channel, row.segment))
        members = between(batch.members_of(row.part), row.low, row.high)
        for other in batch.leases:
            if other.part == row.part:
                members = members - other.all()
        return Lease(row.id, row.session, batch, row.part, row.low, row.high, members, row.deaths)

    # Posts

    def add_posts(self, posts: Iterable[PostRow], fresh: dict[int, Fresh]) -> None:
        """New posts have batches to send. `fresh` has, by seq, those that nobody has left."""
        for post in posts:
            if not post.audience:
                continue
            batches = fresh.get(post.seq)
            if batches is None or len(self._fresh) >= FRESH_MAX:
                self._turns.add(post.author, post.seq)
            elif batches:
                ready = [(channel, segment, REST) for channel, segment in batches]
                self._turns.add(post.author, post.seq, ready)
                self._fresh[post.seq] = (post, batches)

    def promote(self, now_us: int) -> None:
        """Makes ready what waited for its time, at most so much a turn."""
        if self.next_due_us is None or self.next_due_us > now_us:
            return
        most = PROMOTED_PER_TURN_MAX + len(self._broken)
        due = self._storage.due_parts(now_us, most)
        for key in due:
            post, channel, segment, part = key
            if key in self._broken:
                continue
            batch = self._sound_batch((post, channel, segment))
            if batch is None:
                self._broken.add(key)
            elif part in batch.parts:
                batch.promote(part)
                self._touched.add(batch)
                self._turns.add(batch.post.author, post)
        self.flush()
        self.next_due_us = self._storage.next_due_us()
        if self._broken and self.next_due_us is not None and len(due) < most:
            self.next_due_us = max(self.next_due_us, now_us + BROKEN_AGAIN_US)

    def oldest_seconds(self, now_us: int) -> float:
        """Age of the oldest post with somebody queued or retrying; 0 where there is none."""
        seq = self._storage.oldest_waiting()
        try:
            post = None if seq is None else self._storage.post(seq)
        except Corrupt:
            post = None  # which is told where it is to be sent
        return 0.0 if post is None else max(now_us - post.received_at_us, 0) / 1e6

    # Leases

    def grant(self, session: str, want: int) -> list[Grant]:
        """Leases up to `want` recipients to a session; empty where nothing may be had."""
        held = self.by_session.get(session, ())
        if any(lease.deaths for lease in held):
            return []
        if self._suspects:
            # What is suspected of killing workers goes to one that holds nothing else: to any that
            # happens to, and to one that gets nothing more until it does.
            if not held:
                return self._grant_suspects(session)
            if self._quarantined in (None, session):
                self._quarantined = session
                return []
        granted = []
        for batch, part, picked in self._turns.take(want, self._sound_batch):
            try:
                granted += self._grant_of(batch, part, picked, session)
            except Corrupt as error:
                _tell_of_broken(batch.key, error)
        return granted

    def _grant_of(self, batch: Batch, part: int, count: int, session: str) -> list[Grant]:
        """Up to so many of one part. Raises `Corrupt` before it has changed anything."""
        self._suppress_lost(batch, part)
        granted = []
        while count > 0 and batch.free_size(part):
            low, high, members, blob = batch.reserve(part, count)
            lease = self._new_lease(session, batch, part, low, high, members, 0)
            size = batch.size if members is None else len(members)
            granted.append(self._granted(lease, size, blob))
            count -= size
        return granted

    def renew(self, request: LeaseRequest, now_s: float) -> list[int]:
        """The session asks on: its leases hold on. Returns those that it holds no longer.

        Leases of the session that it does not name were in an answer that never reached it; they
        come back untried.
        """
        session = request.session
        named = {*request.held, *request.ended}
        own = self.by_session.get(session, set())
        for lease in [lease for lease in own if lease.id not in named]:
            self._end(lease)
        self._session_ends_s[session] = now_s + self._terms.lease.lease_ms / 1000
        return [lease for lease in request.held if self.leases.get(lease) not in own]

    def is_heard(self, session: str) -> bool:
        """Whether it is known when its leases end. Of who held none when memory was read anew it
        is not, until it asks again."""
        return session in self._session_ends_s

    def expire(self, now_s: float) -> list[str]:
        """Takes back the leases of sessions that have not asked on in time. Returns those."""
        expired = [s for s, end_s in self._session_ends_s.items() if end_s < now_s]
        for session in expired:
            self._totals.add(len(self.by_session.get(session, ())), totals.EXPIRED)
            self._end_session(session)
        return expired

    def next_end_s(self) -> float | None:
        return min(self._session_ends_s.values(), default=None)

    def keep_sessions(self, living: Sequence[str]) -> None:
        """Leases of sessions that live no longer come back, and no death is counted."""
        for session in [session for session in self._session_ends_s if session not in living]:
            self._end_session(session)

    def session_died(self, session: str, now_us: int) -> None:
        """A worker died: what it held is suspected, tried apart from others, and after the third
        death of a single recipient dead."""
        for lease in list(self.by_session.get(session, ())):
            self._totals.add(1, totals.EXPIRED)
            left = lease.left()
            if lease.deaths + 1 >= DEATHS_MAX and len(left) == 1:
                self._fail(lease.batch, lease.part, left, POISON, now_us, dead=True)
            elif left:
                self._suspect(lease, left, lease.deaths + 1)
        self._end_session(session)

    # What operators ask for

    def open(self, key: BatchKey) -> Batch:
        """A batch to look at or to change; raises `Corrupt`."""
        return self._batch(key)

    def stop(self, batch: Batch, change: int) -> int:
        """Nobody of the batch who waits is sent anything any more, since this change retracts its
        post; workers who hold some hear of it when they ask next. Returns how many waited."""
        stopped = 0
        for lease in list(batch.leases):
            self._end(lease)
        for part, count in batch.retract(change):
            self._count_waiting(part, -count)
            stopped += count
        batch.moved.clear()  # whoever looks at an inbox hears of the retraction instead
        self._touched.add(batch)
        return stopped

    def revive(self, batch: Batch, part: int, members: BitMap) -> None:
        """Dead letters of a part get another try."""
        batch.revive(part, members)
        self._totals.add(len(members), totals.RETRYING)
        self._count_dead(batch.key[1], part_of(part).detail, -len(members))
        self._touched.add(batch)
        self._turns.add(batch.post.author, batch.post.seq)

    def forget(self, keys: Iterable[BatchKey]) -> None:
        """Batches of which nobody waits go with their post; a lease that still is on one ends."""
        for key in keys:
            batch = self._batches.get(key)
            for lease in () if batch is None else tuple(batch.leases):
                self._end(lease)

    def forget_dead(self, channel: int, error: int, count: int) -> None:
        """Dead letters that go with their post."""
        self._count_dead(channel, error, -count)

    # Outcomes

    def apply(self, session: str, outcome: LeaseOutcome, now_us: int) -> bool:
        """Moves those of a lease that something came of. A stale lease is counted and dropped:
        False."""
        lease = self.leases.get(outcome.lease)
        if lease is None or lease.session != session:
            self._totals.add(1, totals.STALE)
            return False
        batch = lease.batch
        # Delivered before dead before retry, and what is said of all others at the very end.
        order = (State.DELIVERED, State.DEAD, State.RETRYING)
        for said in sorted(
            outcome.outcomes, key=lambda o: (o.members is None, order.index(o.state))
        ):
            if said.members is None:
                self._all_others(lease, said, now_us)
            else:
                members = unseal(said.members, "outcome") & lease.left()
                self._settle(lease, said, members, now_us)
        if batch.rest is State.QUEUED:
            batch.settle_rest()
        if outcome.final:
            self._end(lease)
        self._touched.add(batch)
        return True

    def _all_others(self, lease: Lease, said: Outcome, now_us: int) -> None:
        """One outcome for all of the lease that are still in its part."""
        batch = lease.batch
        whole = lease.part == REST and lease.members is None and len(batch.leases) == 1
        if (
            whole
            and said.state == State.DELIVERED
            and batch.rest is State.QUEUED
            and DONE not in batch.parts
        ):
            count = batch.rest_size()
            batch.deliver_rest()
            self._count_delivered(batch, REST, count, now_us)
        else:
            self._settle(lease, said, lease.left(), now_us)

    def _settle(self, lease: Lease, said: Outcome, members: BitMap, now_us: int) -> None:
        if not members:
            return
        batch, part = lease.batch, lease.part
        if said.state == State.DELIVERED:
            attempt = part_of(part).attempt + 1
            batch.move(part, Part(State.DELIVERED, attempt).key, members)
            self._count_delivered(batch, part, len(members), now_us)
        elif said.state == State.DEAD or part_of(part).attempt + 1 >= self._terms.max_attempts:
            self._fail(batch, part, members, said.error, now_us, dead=True)
        else:
            self._fail(batch, part, members, said.error, now_us, dead=False)

    def _fail(
        self, batch: Batch, part: int, members: BitMap, error: str, now_us: int, *, dead: bool
    ) -> None:
        """A try failed: once more later, or never again."""
        attempt = part_of(part).attempt + 1
        number = self._error_number(error)
        name = self._names[batch.key[1]]
        count = len(members)
        self._count_waiting(part, -count)
        self._count_attempts(name, part, count, "failed")
        if dead:
            batch.move(part, Part(State.DEAD, attempt, number).key, members, number)
            self._count_dead(batch.key[1], number, count, now_us)
            self._totals.add(count, totals.DEAD, name)
            self._totals.add(count, totals.FAILED)
        else:
            self._retry_later(batch, part, members, number, now_us)
            self._totals.add(count, totals.RETRYING)
        if batch.rest is State.QUEUED:
            batch.settle_rest()
        self._touched.add(batch)

    def _retry_later(
        self, batch: Batch, part: int, members: BitMap, error: int, now_us: int
    ) -> None:
        """Spreads the members over slots of the window in which they are due again: few over few,
        since each slot is a set to store and a lease to hand out."""
        attempt = part_of(part).attempt + 1
        first = self._chance_of(batch, attempt).randrange(SLOTS)
        slots = min(-(-len(members) // A_SLOT), SLOTS)
        for choice, some in enumerate(spread(members, slots), first):
            slot, due_us = self._terms.backoff.slot(now_us, attempt, choice % SLOTS)
            later = Part(State.RETRYING, attempt, slot).key
            if batch.due.get(later, now_us + 1) <= now_us:
                batch.promote(later)  # an older retry of the same slot, due but not yet ready
                self._turns.add(batch.post.author, batch.post.seq)
            batch.move(part, later, some, error)
            batch.due[later] = max(due_us, batch.due.get(later, 0))
            if self.next_due_us is None or due_us < self.next_due_us:
                self.next_due_us = due_us

    def _chance_of(self, batch: Batch, attempt: int) -> random.Random:
        """With a seed, chance is the same for a batch whoever works on it, whenever."""
        if self._terms.seed is None:
            return self._chance
        return random.Random(f"{self._terms.seed} {batch.post.id} {batch.key[1:]} {attempt}")

    # Leasing, in detail

    def _new_lease(  # noqa: PLR0917
        self, session: str, batch: Batch, part: int, low: int, high: int,
        members: BitMap | None, deaths: int,
    ) -> Lease:  # fmt: skip
        # A lease's number is a change's: never used twice, so that what a worker says late of an
        # old lease cannot be taken for a new one, not even after a restart.
        number = self._changes.next()
        lease = Lease(number, session, batch, part, low, high, members, deaths)
        self._hold(lease)
        self._store(lease)
        return lease

    def _granted(self, lease: Lease, size: int, blob: bytes) -> Grant:
        post, attempt = lease.batch.post, part_of(lease.part).attempt
        return Grant(
            lease.id, self._names[lease.batch.key[1]], post.seq, post.id, post.author_id,
            post.content, post.created_at_us, attempt, size, blob,
            self._chance_of(lease.batch, attempt).getrandbits(62),
        )  # fmt: skip

    def _suppress_lost(self, batch: Batch, part: int) -> None:
        """Takes those out who muted or unfollowed the author since the post."""
        if self._graph.lost_any(batch.post.author, batch.post.seq):
            self._suppress(batch, part, batch.free_members(part))

    def _suppress(self, batch: Batch, part: int, members: BitMap) -> BitMap:
        """Suppresses those of the members who are not to be told; returns the others."""
        author = self._graph.numbered(batch.post.author)
        channel = self._names[batch.key[1]]
        for reason, lost in self._graph.lost(author, batch.post.seq, members):
            if lost:
                attempt = part_of(part).attempt
                batch.move(part, Part(State.SUPPRESSED, attempt, reason).key, lost)
                self._count_waiting(part, -len(lost))
                self._totals.add(len(lost), totals.SUPPRESSED, channel, reason.name.lower())
                members = members - lost
        batch.settle_rest()
        self._touched.add(batch)
        return members

    def _grant_suspects(self, session: str) -> list[Grant]:
        """Some of the suspected work, and nothing beside it: together as many as may be after one
        death, else a single one."""
        granted: list[Grant] = []
        room = SUSPECTS_TOGETHER_MAX
        for suspect in list(self._suspects.values()):
            if suspect.batch.key[1] not in self._enabled or (suspect.deaths > 1 and granted):
                continue
            most = room if suspect.deaths == 1 else 1
            try:
                members = self._take_suspected(suspect, most)
            except Corrupt as error:
                _tell_of_broken(suspect.batch.key, error)
                continue
            if members:
                batch, part = suspect.batch, suspect.part
                batch.hold_back(part, members)
                lease = self._new_lease(
                    session, batch, part, members.min(), members.max(), members, suspect.deaths
                )
                granted.append(self._granted(lease, len(members), seal(members)))
                room -= len(members)
            if room <= 0 or (granted and suspect.deaths > 1):
                break
        return granted

    def _take_suspected(self, suspect: Lease, most: int) -> BitMap:
        """Up to so many out of a suspect, less those who are not to be told any more."""
        everybody = suspect.left()
        members = take(everybody, most)
        left = everybody - members
        if left:
            suspect.members, suspect.low = left, left.min()
            self._store(suspect)
        else:
            self._end(suspect)
        return self._suppress(suspect.batch, suspect.part, members)

    def _suspect(self, lease: Lease, left: BitMap, deaths: int) -> None:
        """The lease stays, without a holder, until somebody tries it apart from others."""
        self.by_session[lease.session].discard(lease)
        lease.session = ""
        lease.deaths = deaths
        lease.members, lease.low, lease.high = left, left.min(), left.max()
        self._suspects[lease.id] = lease
        self._store(lease)

    def _end_session(self, session: str) -> None:
        """Whatever it still holds comes back. What was suspected stays so: perhaps its holder died
        of it, and nobody was there to tell."""
        for lease in list(self.by_session.get(session, ())):
            if lease.deaths and (left := lease.left()):
                self._suspect(lease, left, lease.deaths)
            else:
                self._end(lease)
        self.by_session.pop(session, None)
        self._session_ends_s.pop(session, None)
        if self._quarantined == session:
            self._quarantined = None

    def _hold(self, lease: Lease) -> None:
        self.leases[lease.id] = lease
        lease.batch.leases.add(lease)
        if lease.session:
            self.by_session.setdefault(lease.session, set()).add(lease)
        else:
            self._suspects[lease.id] = lease

    def _store(self, lease: Lease) -> None:
        self._unsaved[lease.id] = LeaseRow(
            lease.id, lease.session, *lease.batch.key, lease.part, lease.low, lease.high,
            lease.deaths,
        )  # fmt: skip

    def _end(self, lease: Lease) -> None:
        """The lease is over; who is still in its part may be leased again."""
        del self.leases[lease.id]
        self._suspects.pop(lease.id, None)
        held = self.by_session.get(lease.session)
        if held is not None:
            held.discard(lease)
            if not held:
                del self.by_session[lease.session]
        if not self._suspects:
            self._quarantined = None
        lease.batch.give_back(lease)
        self._touched.add(lease.batch)
        post = lease.batch.post
        if any(lease.batch.free_size(part) for part in lease.batch.ready()):
            self._turns.add(post.author, post.seq)
        self._unsaved.pop(lease.id, None)
        self._dropped.append(lease.id)

    # Batches in memory, and their storing

    def _sound_batch(self, key: BatchKey) -> Batch | None:
        """None where its bytes are not what was written."""
        try:
            return self._batch(key)
        except Corrupt as error:
            _tell_of_broken(key, error)
            return None

    def _batch(self, key: BatchKey) -> Batch:
        batch = self._batches.get(key)
        if batch is None:
            batch = self._fresh_batch(key) or self._load(key)
            self._batches[key] = batch
            self._touched.add(batch)
        return batch

    def _fresh_batch(self, key: BatchKey) -> Batch | None:
        """A batch that was just published, without reading it; only once."""
        seq, channel, segment = key
        post, batches = self._fresh.get(seq, (None, {}))
        size = batches.pop((channel, segment), 0)
        if post is None or not size:
            return None
        if not batches:
            del self._fresh[seq]
        return Batch(key, post, size, self._blob(segment), State.QUEUED)

    def _load(self, key: BatchKey) -> Batch:
        post, _, segment = key
        row = self._storage.post(post)
        if row is None:
            raise Corrupt(f"post {post} is missing though it has batches")
        size = self._storage.segment(segment).size
        return Batch.load(key, row, size, lambda: self._blob(segment), self._storage.parts(key))

    def _blob(self, segment: int) -> bytes:
        """The sealed members of a segment that a post refers to, so that it never changes."""
        blob = self._blobs.get(segment)
        if blob is None:
            blob = checked(self._storage.members(segment), f"segment {segment}")
            if self._blob_bytes > BLOB_BYTES_MAX:
                self._blobs.clear()
                self._blob_bytes = 0
            self._blobs[segment] = blob
            self._blob_bytes += len(blob)
        return blob

    def flush(self) -> None:
        """Writes what has changed, and forgets the batches that nobody works on."""
        changes: dict[int, int] = {}
        parts: list[PartRow] = []
        gone: list[PartKey] = []
        rests = []
        moved: list[Batch] = []
        for batch in self._touched:
            if batch.dirty:
                post = batch.key[0]
                change = changes.get(post) or changes.setdefault(post, self._changes.next())
                batch.changed = change
                parts += batch.part_rows()
                gone += batch.gone_parts()
                if REST in batch.dirty:
                    rests.append((batch.rest, change, *batch.key))
                batch.dirty.clear()
                if batch.moved or batch.rest_moved:
                    moved.append(batch)
            if not batch.leases:
                self._batches.pop(batch.key, None)
        self._touched.clear()
        if parts:
            self._storage.save_parts(parts)
        if gone:
            self._storage.drop_parts(gone)
        if rests:
            self._storage.set_rest(rests)
        if moved:
            self._tell_of_moves(moved)
        self._flush_leases()

    def _tell_of_moves(self, moved: list[Batch]) -> None:
        """Keeps which posts changed when, and tells those who look at an inbox."""
        posts = {batch.changed: (batch.key[0], batch.post.author) for batch in moved}
        self._storage.add_touched((change, *post) for change, post in posts.items())
        if self._presence.numbers:
            for batch in moved:
                online = self._graph.online(self._graph.numbered(batch.post.author))
                if online:
                    users = batch.who_moved(online)
                    self._presence.tell(Concern.UPDATED, batch.changed, batch.post, users)
        for batch in moved:
            batch.moved.clear()
            batch.rest_moved = False

    def _flush_leases(self) -> None:
        if self._unsaved:
            self._storage.add_leases(self._unsaved.values())
            self._unsaved.clear()
        if self._dead_groups:
            self._storage.save_dead_groups(self._dead_groups.values())
            self._dead_groups.clear()
        if self._dropped:
            self._storage.drop_leases(self._dropped)
            self._dropped.clear()

    # Counting

    def _error_number(self, text: str) -> int:
        """The number of an error's fingerprint, made where it is new."""
        if text not in self._errors and len(self._errors) >= FINGERPRINTS_MAX:
            text = OTHER_ERROR
        number = self._errors.get(text)
        if number is None:
            number = self._errors[text] = self._storage.add_error(text)
        return number

    def _count_waiting(self, part: int, count: int) -> None:
        self._totals.add(count, totals.QUEUED if part == REST else totals.RETRYING)

    def _count_attempts(self, channel: str, part: int, count: int, outcome: str) -> None:
        self._totals.add(count, totals.ATTEMPTS, channel, outcome)
        if part != REST:
            self._totals.add(count, totals.RETRIES, channel)

    def _count_dead(self, channel: int, error: int, count: int, now_us: int = 0) -> None:
        """Keeps how many are dead of each error, so that listing them scans nothing."""
        key = (channel, error)
        row = self._dead_groups.get(key) or self._storage.dead_group(*key)
        row = row or DeadGroupRow(*key, 0, now_us, now_us)
        self._dead_groups[key] = row._replace(
            dead=row.dead + count,
            first_us=row.first_us if row.dead else now_us,
            last_us=max(row.last_us, now_us),
        )

    def _count_delivered(self, batch: Batch, part: int, count: int, now_us: int) -> None:
        self._count_waiting(part, -count)
        self._count_attempts(self._names[batch.key[1]], part, count, "delivered")
        self._totals.add(count, totals.SENT)
        age_s = max(now_us - batch.post.received_at_us, 0) / 1e6
        self._totals.observe(totals.END_TO_END, age_s, count)


def _tell_of_broken(key: BatchKey, error: Corrupt) -> None:
    """Nobody of such a batch is told, rather than others; what is sound goes on."""
    log(logging.ERROR, "a batch cannot be sent", post=key[0], why=error)
