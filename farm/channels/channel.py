"""What a channel is: something that takes leased work and tells what came of each recipient.

A channel gets the works of one lease answer together, so that one with cheap sends need not pay for
a task a batch. It asks `work.may_send()` before each send, and records outcomes as they come: to
the store they go at least every 100 ms, and at once when a work is finished.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from farm.audience import BitMap, seal, unseal
from farm.lifecycle import State
from farm.observe import DELIVERY_BUCKETS_S
from farm.wire import Grant, LeaseOutcome, Outcome


class Channel(Protocol):
    """One way to reach people."""

    name: str

    async def deliver(self, works: Sequence[Work], slots: Slots) -> None:
        """Tries every recipient of the works once, unless told not to send any more.

        What it raises is a failed try of all recipients nothing was recorded of.
        """


class Durations:
    """Attempt durations by bucket, to be sent and begun anew."""

    def __init__(self) -> None:
        self.counts = [0] * (len(DELIVERY_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def take(self) -> tuple[list[int], float]:
        """(counts by bucket, sum in seconds), and begins anew."""
        taken = (self.counts, self.sum_s)
        self.counts, self.sum_s = [0] * len(self.counts), 0.0
        return taken

    def add(self, seconds: float, attempts: int = 1) -> None:
        self.counts[bisect_left(DELIVERY_BUCKETS_S, seconds)] += attempts
        self.sum_s += seconds * attempts


class Work:
    """The recipients of one lease, and what has come of them so far."""

    def __init__(
        self,
        grant: Grant,
        *,
        end_s: float,
        durations: Durations,
        on_attempts: Callable[[Work, State, str, BitMap], None],
        on_finish: Callable[[Work], None],
    ) -> None:
        self.grant = grant
        self.members = unseal(grant.members, f"lease {grant.lease}")
        self.end_s = end_s
        self.durations = durations
        self.finished = False
        self.delivered = self.failed = 0
        self._on_attempts = on_attempts
        self._on_finish = on_finish
        self._stopped = False
        self._pending: dict[tuple[int, str], BitMap] = {}  # since the store was last told
        self._told: dict[tuple[int, str], BitMap] = {}
        self._known = BitMap()

    @property
    def unsettled(self) -> int:
        """Recipients of whom nothing is known yet."""
        return 0 if self.finished else self.grant.recipients - self.delivered - self.failed

    def unknown(self) -> BitMap:
        """Those nothing was recorded of."""
        return self.members - self._known

    def may_send(self, now_s: float) -> bool:
        """Whether the lease still holds, on this worker's clock."""
        return not self._stopped and now_s < self.end_s

    def stop(self) -> None:
        """No send may begin any more."""
        self._stopped = True

    def record(self, state: State, error: str, members: BitMap) -> None:
        """What came of some: DELIVERED, RETRYING (the store counts the tries) or DEAD. The set is
        kept, not copied: of a few hundred people among millions a copy takes as long as reading it
        from its bytes did."""
        if not members:
            return
        self._on_attempts(self, state, error, members)
        key = (int(state), error)
        self._pending[key] = self._pending[key] | members if key in self._pending else members
        self._known = self._known | members if self._known else members
        if state is State.DELIVERED:
            self.delivered += len(members)
        else:
            self.failed += len(members)

    def finish(self) -> None:
        """Nothing more will come. Those nothing was recorded of go back untried."""
        if not self.finished:
            self.finished = True
            self._on_finish(self)

    def take_outcome(self) -> LeaseOutcome | None:
        """What the store has not been told yet, or None; at the end all that came of it.

        An earlier message may be lost with the store, and the last one ends the lease: whom it did
        not name would be sent to once more. Whoever is named twice is moved once.
        """
        if not self._pending and not self.finished:
            return None
        news, self._pending = self._pending, {}
        for key, members in news.items():
            self._told[key] = self._told[key] | members if key in self._told else members
        whole = self.finished and self.delivered + self.failed == self.grant.recipients
        outcomes = [
            # Where all are known, those delivered are "all others" and need not be named.
            Outcome(state, error, None if whole and state == State.DELIVERED else seal(members))
            for (state, error), members in (self._told if self.finished else news).items()
        ]
        return LeaseOutcome(self.grant.lease, self.finished, outcomes)


class Slots:
    """How many notifications may be in flight in this worker; first come, first served."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take_now(self, want: int) -> int:
        """Up to `want` slots; 0 where others wait already or none is free."""
        if self._waiting:
            return 0
        taken = min(want, self._free)
        self._free -= taken
        return taken

    async def take(self, want: int) -> int:
        """At least one slot, up to `want`."""
        while not (taken := min(want, self._free)):
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)
        self._free -= taken
        self._wake()
        return taken

    def give(self, count: int) -> None:
        self._free += count
        self._wake()

    def _wake(self) -> None:
        while self._free and self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
