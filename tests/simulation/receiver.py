"""Whom the workers tell: a receiver that writes down what reached it before it answers.

It refuses some, once or for good, takes its time, and has people the thought of whom kills the
worker.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from farm.audience import BitMap
from farm.channels.channel import Channel, Slots, Work
from farm.clock import Clock
from farm.lifecycle import State
from tests.checker.history import Recorder
from tests.simulation.loop import Process

BURST_MAX = 3  # people who are told together


class Receiver:
    """`deadly`: (post, number) of those on whom a worker dies."""

    def __init__(self, history: Recorder, chance: random.Random, clock: Clock) -> None:
        self.refused = chance.choice([0.0, 0.1, 0.5])
        self.refused_for_good = chance.choice([0.0, 0.05])
        self.deadly_odds = chance.choice([0.0, 0.0, 0.0, 0.004])
        self.slow_s = chance.choice([0.01, 0.1, 0.3])
        self.history = history
        self.chance = chance
        self.clock = clock
        self.deadly = dict[tuple[str, int], bool]()

    def channel_of(self, process: Process) -> Channel:
        return _Sending(self, process)

    def kills(self, work: Work, number: int) -> bool:
        """Whether a worker dies of this person, each time."""
        key = work.grant.post_id, number
        if key not in self.deadly:
            self.deadly[key] = self.chance.random() < self.deadly_odds
        return self.deadly[key]


class _Sending:
    """A channel of one worker."""

    name = "simulated"

    def __init__(self, receiver: Receiver, process: Process) -> None:
        self._receiver = receiver
        self._process = process

    async def deliver(self, works: Sequence[Work], slots: Slots) -> None:
        await asyncio.gather(*(self._deliver(work, slots) for work in works))

    async def _deliver(self, work: Work, slots: Slots) -> None:
        people = list(work.members)
        while people:
            taken = await slots.take(min(len(people), BURST_MAX))
            burst, people = people[:taken], people[taken:]
            if work.may_send(self._receiver.clock.monotonic_s()):
                await self._send(work, burst)
            slots.give(taken)
        work.finish()

    async def _send(self, work: Work, people: Sequence[int]) -> None:
        receiver = self._receiver
        latency_s = receiver.chance.expovariate(1 / receiver.slow_s)
        if any(receiver.kills(work, number) for number in people):
            self._process.kill()
            return
        outcomes = [self._outcome() for _ in people]
        for state in sorted(set(outcomes)):
            some = [who for who, its in zip(people, outcomes, strict=True) if its is state]
            receiver.history.received(
                self._process.name,
                post=work.grant.post_id,
                channel=self.name,
                users=some,
                attempt=work.grant.attempt + 1,
                delivered=state is State.DELIVERED,
            )
        await asyncio.sleep(latency_s)
        for state in sorted(set(outcomes)):
            some = [who for who, its in zip(people, outcomes, strict=True) if its is state]
            work.record(state, "" if state is State.DELIVERED else "refused", BitMap(some))

    def _outcome(self) -> State:
        draw = self._receiver.chance.random()
        if draw < self._receiver.refused_for_good:
            return State.DEAD
        return State.RETRYING if draw < self._receiver.refused else State.DELIVERED
