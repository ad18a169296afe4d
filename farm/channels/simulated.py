"""The simulated channel: sends nothing, takes a while, and fails at times.

Latency and failure are drawn for each recipient from a Random seeded with the batch's seed. With
`--seed` every recipient's draws come from the batch and the recipient alone, so that they are the
same however a batch was cut into leases, and whoever works on it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import log1p

from farm.audience import BitMap
from farm.channels.channel import Slots, Work
from farm.clock import Clock
from farm.lifecycle import State

TICK_S = 0.001  # sends that end within the same tick are looked at together
ERROR = "simulated failure"


Send = tuple[int, bool, float]  # number, whether it fails, latency in seconds


class _Flight:
    """Sends that have begun and not ended, by the tick in which they end."""

    def __init__(self, works: Sequence[Work], draws: Callable[[Work], Iterator[Send]]) -> None:
        self.unstarted = sum(work.grant.recipients for work in works)
        self.size = 0
        self._waiting = deque((work, draws(work)) for work in works)
        self._left = {work: work.grant.recipients for work in works}
        self._ends: dict[int, list[tuple[Work, bool, list[int]]]] = {}
        self._ticks: list[int] = []  # a heap of the keys of `_ends`

    def start(self, count: int, now_s: float) -> int:
        """Begins so many; returns how many of them are not tried, for their lease holds no
        longer."""
        skipped = 0
        self.unstarted -= count
        while count:
            work, draws = self._waiting[0]
            sends = list(itertools.islice(draws, count))
            count -= len(sends)
            if not sends:
                self._waiting.popleft()
            elif work.may_send(now_s):
                self._fly(work, sends, now_s)
            else:
                skipped += len(sends)
                self._count_off(work, len(sends))
        return skipped

    def _fly(self, work: Work, sends: Sequence[Send], now_s: float) -> None:
        ends: dict[tuple[int, bool], list[int]] = {}
        for number, fails, latency_s in sends:
            end = (int((now_s + latency_s) / TICK_S) + 1, fails)
            if end in ends:
                ends[end].append(number)
            else:
                ends[end] = [number]
        for (tick, fails), numbers in ends.items():
            if tick not in self._ends:
                self._ends[tick] = []
                heapq.heappush(self._ticks, tick)
            self._ends[tick].append((work, fails, numbers))
            work.durations.add(tick * TICK_S - now_s, len(numbers))
        self.size += len(sends)

    def next_end_s(self) -> float:
        return self._ticks[0] * TICK_S

    def land(self, now_s: float) -> int:
        """Records what has ended by now; returns how many that were."""
        landed: dict[tuple[Work, bool], list[int]] = {}
        while self._ticks and self._ticks[0] * TICK_S <= now_s:
            for work, fails, numbers in self._ends.pop(heapq.heappop(self._ticks)):
                landed.setdefault((work, fails), []).extend(numbers)
        for (work, fails), numbers in landed.items():
            state, error = (State.RETRYING, ERROR) if fails else (State.DELIVERED, "")
            work.record(state, error, BitMap(numbers))
            self._count_off(work, len(numbers))
        count = sum(map(len, landed.values()))
        self.size -= count
        return count

    def _count_off(self, work: Work, count: int) -> None:
        self._left[work] -= count
        if not self._left[work]:
            work.finish()


class Simulated:
    """See the module. `latency_ms` is a range, drawn from uniformly."""

    name = "simulated"

    def __init__(
        self,
        *,
        failure_rate: float,
        latency_ms: tuple[float, float],
        repeatable: bool,
        clock: Clock,
    ) -> None:
        self._failure_rate = failure_rate
        self._low_s, self._high_s = latency_ms[0] / 1000, latency_ms[1] / 1000
        self._repeatable = repeatable
        self._clock = clock

    async def deliver(self, works: Sequence[Work], slots: Slots) -> None:
        if self._high_s == 0:
            await self._deliver_at_once(works)
        else:
            await self._deliver_slowly(works, slots)

    async def _deliver_at_once(self, works: Sequence[Work]) -> None:
        """Lets the others of this process have a turn once a tick."""
        turn_s = self._clock.monotonic_s()
        for work in works:
            now_s = self._clock.monotonic_s()
            if work.may_send(now_s):
                failed = self._failing(work)
                work.record(State.RETRYING, ERROR, failed)
                work.record(State.DELIVERED, "", work.members - failed if failed else work.members)
                work.durations.add(0.0, work.grant.recipients)
            work.finish()
            if now_s - turn_s > TICK_S:
                await asyncio.sleep(0)
                turn_s = self._clock.monotonic_s()

    async def _deliver_slowly(self, works: Sequence[Work], slots: Slots) -> None:
        """Keeps as many in flight as slots allow, and wakes once a tick for those that end."""
        flight = _Flight(works, self._draws)
        while flight.unstarted or flight.size:
            want = flight.unstarted
            taken = slots.take_now(want) if flight.size else await slots.take(want)
            slots.give(flight.start(taken, self._clock.monotonic_s()))
            if flight.size:
                await asyncio.sleep(flight.next_end_s() - self._clock.monotonic_s())
                slots.give(flight.land(self._clock.monotonic_s()))

    def _failing(self, work: Work) -> BitMap:
        """Who of them fails. Unless the same draws may be asked for again, only those who do are
        drawn: how many stand between two of them is geometric (Devroye, Non-Uniform Random Variate
        Generation, X.2), and nothing is done for the others."""
        if self._repeatable:
            return BitMap([number for number, fails, _ in self._draws(work) if fails])
        if not 0 < self._failure_rate < 1:
            return work.members if self._failure_rate else BitMap()
        draw, log_succeeds = random.Random(work.grant.seed).random, log1p(-self._failure_rate)
        numbers, failed, place = work.members.to_array(), [], -1
        while (place := place + 1 + int(log1p(-draw()) / log_succeeds)) < len(numbers):
            failed.append(numbers[place])
        return BitMap(failed)

    def _draws(self, work: Work) -> Iterator[Send]:
        rate, low, span = self._failure_rate, self._low_s, self._high_s - self._low_s
        if self._repeatable:
            for number in work.members:
                chance = random.Random(work.grant.seed ^ number)
                yield number, chance.random() < rate, low + span * chance.random()
        else:
            draw = random.Random(work.grant.seed).random
            for number in work.members:
                yield number, draw() < rate, low + span * draw()
