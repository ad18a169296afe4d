"""How long calls wait before they are handed over, found out by calls of our own."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import grpc
import pytest

from farm.clock import SystemClock
from gateway.calls import WAITED_MAX_S, Calls
from gateway.queue_delay import EVERY_S, UNDER_WAY_MAX, QueueDelay
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


async def test_only_so_many_are_under_way_and_one_in_so_long() -> None:
    queue, clock = Queue(), ManualClock()
    delay = QueueDelay(queue.enter, clock)
    for _ in range(UNDER_WAY_MAX + 5):
        delay.at_least_s(busy=True)
        delay.at_least_s(busy=True)
        await settled()
        clock.pass_s(1.5 * EVERY_S)
    assert len(queue.waiting) == UNDER_WAY_MAX


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
