"""How long calls wait before they are handed over, found out by calls of our own."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import grpc
import pytest

from farm.clock import SystemClock
from gateway.calls import WAITED_MAX_S, Calls
from gateway.queue_delay import EVERY_S, QueueDelay
from tests.gateway.test_calls import Held, publish
from tests.store.harness import ManualClock


class Queue:
    """One behind the other, until somebody is let in."""

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]

    async def let_in(self) -> None:
        self.waiting.popleft().set_result(None)
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_whoever_comes_now_waited_as_long_as_the_oldest_that_is_not_back() -> None:
    queue, clock = Queue(), ManualClock()
    delay = QueueDelay(queue.enter, clock)
    assert delay.at_least_s(busy=True) == 0
    await settled()
    clock.pass_s(0.03)
    assert delay.at_least_s(busy=True) == pytest.approx(0.03)
    await settled()
    clock.pass_s(0.1)
    assert delay.at_least_s(busy=False) == pytest.approx(0.13), "it goes on looking"
    await settled()
    assert len(queue.waiting) == 3
    await queue.let_in()
    assert delay.at_least_s(busy=False) == pytest.approx(0.1)
    await queue.let_in()
    await queue.let_in()
    clock.pass_s(1.0)
    assert delay.at_least_s(busy=False) == 0
    assert not queue.waiting, "who is not busy need not look"


@pytest.mark.parametrize("long_s", [0.2, 0.5, 2.0, 25.0])
async def test_a_queue_is_known_to_a_part_of_its_length_and_by_few_calls(long_s: float) -> None:
    """However long each waits in it, while one after the other comes back."""
    queue, clock = Queue(), ManualClock()
    delay = QueueDelay(queue.enter, clock)
    sent_s: deque[float] = deque()
    begun_s, most = clock.monotonic_s(), 0
    for _ in range(4_000):
        now_s = clock.monotonic_s()
        while sent_s and now_s - sent_s[0] >= long_s:
            sent_s.popleft()
            await queue.let_in()
        before = len(queue.waiting)
        told_s = delay.at_least_s(busy=True)
        await settled()
        sent_s.extend([now_s] * (len(queue.waiting) - before))
        most = max(most, len(queue.waiting))
        if now_s - begun_s > long_s:
            assert long_s * 0.85 - 2 * EVERY_S <= told_s <= long_s
        clock.pass_s(max(EVERY_S, long_s / 100) / 3)
    assert most < 100


async def test_one_that_fails_is_back_too() -> None:
    async def fail() -> None:
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()
        )

    clock = ManualClock()
    delay = QueueDelay(fail, clock)
    delay.at_least_s(busy=True)
    await settled()
    clock.pass_s(1.0)
    assert delay.at_least_s(busy=False) == 0


async def test_who_waited_too_long_is_refused_and_told_when_to_come_again() -> None:
    """However few are in flight by then. Fault row 11."""
    waited_s = 0.0
    held = Held(Calls(random.Random(1), SystemClock(), lambda busy: waited_s))
    held.let_go.set()
    async with held.serve() as channel:
        assert await publish(channel) is None
        waited_s = WAITED_MAX_S + 0.01
        error = await publish(channel)
    assert error is not None
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "more calls come here than can be answered soon" in (error.details() or "")
    assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) >= 1_000
