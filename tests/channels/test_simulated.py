"""The simulated channel: how often it fails, how long it takes, and how many it sends at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from farm.audience import BitMap, seal, unseal
from farm.channels.channel import Durations, Slots, Work
from farm.channels.simulated import ERROR, Simulated
from farm.clock import SystemClock
from farm.lifecycle import State
from farm.wire import Grant

FOR_EVER_S = 1e9


class CountingSlots(Slots):
    """Slots that remember how many were taken at most."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.taken = self.most = 0

    def take_now(self, want: int) -> int:
        return self._note(super().take_now(want))

    async def take(self, want: int) -> int:
        return self._note(await super().take(want))

    def give(self, count: int) -> None:
        self.taken -= count
        super().give(count)

    def _note(self, taken: int) -> int:
        self.taken += taken
        self.most = max(self.most, self.taken)
        return taken


def work(members: BitMap, *, seed: int = 42, lease: int = 1, end_s: float = FOR_EVER_S) -> Work:
    grant = Grant(
        lease, "simulated", 1, "p", "a", "x", 0, 0, len(members), seal(members), seed
    )  # fmt: skip
    return Work(
        grant,
        end_s=end_s,
        durations=Durations(),
        on_attempts=lambda *_: None,
        on_finish=lambda _: None,
    )


def channel(
    rate: float, latency_ms: tuple[float, float] = (0, 0), *, repeatable: bool = True
) -> Simulated:
    return Simulated(
        failure_rate=rate, latency_ms=latency_ms, repeatable=repeatable, clock=SystemClock()
    )


def failures(works: Sequence[Work]) -> BitMap:
    found = BitMap()
    for one in works:
        outcome = one.take_outcome()
        assert outcome is not None
        for said in outcome.outcomes:
            if said.state == State.RETRYING:
                assert (said.error, said.members is None) == (ERROR, False)
                found |= unseal(said.members or b"")
    return found


@pytest.mark.parametrize("latency_ms", [(0, 0), (1, 3)])
@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.7, 1.0])
async def test_as_many_fail_as_the_rate_says(
    rate: float, repeatable: bool, latency_ms: tuple[int, int]
) -> None:
    people = 4_000
    one = work(BitMap(range(people)))
    await channel(rate, latency_ms, repeatable=repeatable).deliver([one], Slots(people))
    assert one.finished
    assert one.delivered + one.failed == people
    spread = 4 * (rate * (1 - rate) / people) ** 0.5
    assert abs(one.failed / people - rate) <= spread
    assert len(failures([one])) == one.failed


@pytest.mark.parametrize("latency_ms", [(0, 0), (1, 3)])
async def test_with_a_seed_the_same_people_fail_however_a_batch_is_cut(
    latency_ms: tuple[int, int],
) -> None:
    everybody = BitMap(range(100, 700))
    whole = [work(everybody)]
    pieces = [
        work(everybody & BitMap(range(a, b)), lease=a)
        for a, b in ((100, 101), (101, 350), (350, 700))
    ]
    await channel(0.3, latency_ms).deliver(whole, Slots(1_000))
    for piece in reversed(pieces):
        await channel(0.3, latency_ms).deliver([piece], Slots(7))
    assert failures(whole) == failures(pieces)
    other = [work(everybody, seed=43)]
    await channel(0.3, latency_ms).deliver(other, Slots(1_000))
    assert failures(other) != failures(pieces)


async def test_attempts_take_as_long_as_they_are_said_to() -> None:
    """Drawn uniformly, and rounded up to a tick of 1 ms: none ends earlier than its latency."""
    one, clock = work(BitMap(range(2_000))), SystemClock()
    started_s = clock.monotonic_s()
    await channel(0.0, (10, 30)).deliver([one], Slots(2_000))
    assert clock.monotonic_s() - started_s >= 0.029
    counts, sum_s = one.durations.take()
    assert sum(counts) == 2_000
    assert 0.02 <= sum_s / 2_000 <= 0.021


async def test_never_more_in_flight_than_there_are_slots() -> None:
    slots = CountingSlots(50)
    works = [work(BitMap(range(120)), lease=lease) for lease in range(6)]
    together = (channel(0.1, (1, 4)).deliver([one], slots) for one in works)
    await asyncio.gather(*together)
    assert all(one.finished for one in works)
    assert (slots.most, slots.taken) == (50, 0)
    assert slots.take_now(100) == 50  # all came back


async def test_works_of_one_answer_share_the_slots() -> None:
    slots = CountingSlots(10)
    works = [work(BitMap(range(size)), lease=size) for size in (1, 25, 7)]
    await channel(0.0, (1, 2)).deliver(works, slots)
    assert [one.delivered for one in works] == [1, 25, 7]
    assert (slots.most, slots.taken) == (10, 0)


@pytest.mark.parametrize("latency_ms", [(0, 0), (1, 3)])
async def test_after_the_lease_s_end_nothing_is_sent(latency_ms: tuple[int, int]) -> None:
    one, other = work(BitMap(range(100)), end_s=0.0), work(BitMap(range(100)), lease=2)
    slots = CountingSlots(30)
    await channel(0.5, latency_ms).deliver([one, other], slots)
    assert (one.finished, one.delivered + one.failed) == (True, 0)
    outcome = one.take_outcome()
    assert outcome is not None
    assert (outcome.final, outcome.outcomes) == (True, [])
    assert other.delivered + other.failed == 100
    assert slots.taken == 0


async def test_those_who_wait_for_slots_are_served_in_turn() -> None:
    slots, served = Slots(1), []
    assert await slots.take(1) == 1

    async def wait(name: str) -> None:
        await slots.take(1)
        served.append(name)
        slots.give(1)

    waiting = [asyncio.create_task(wait(name)) for name in "abc"]
    for _ in range(3):
        await asyncio.sleep(0)
    assert slots.take_now(1) == 0
    waiting[1].cancel()
    slots.give(1)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert served == ["a", "c"]
    assert slots.take_now(5) == 1
