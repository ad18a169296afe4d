"""Whatever dies or stands still under an open subscription: nobody misses or gets twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import aclosing
from functools import partial

import pytest

from tests.farm_process import FarmProcess, wait_until_async
from tests.live.life import Life
from tests.live.watching import TRANSPORTS, Addresses, Lost, Picture

pytestmark = pytest.mark.process

STEPS = 12  # around each death
STEPS_STOPPED = 4
WITHIN_S = 90


async def follow(life: Life, addresses: Addresses, picture: Picture, transport: str) -> int:
    """Until the end, on one transport; how often it had to connect again."""
    again = 0
    while True:
        stream = TRANSPORTS[transport](addresses, life.user, picture.cursor)
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    await picture.take(event)
                    if life.has_ended(picture):
                        return again
        except Lost:
            again += 1
            address = addresses.grpc if transport == "grpc" else addresses.http
            await wait_until_async(partial(_is_served, address), 20)


async def _is_served(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.transport.abort()
    return True


async def test_nobody_misses_anything_whoever_dies(hark: FarmProcess) -> None:
    """Fault row 121. Each web process, gateway, reader and the store are killed under open
    subscriptions, and the store stands still for a while."""
    life = Life(hark.grpc_address, random.Random(121))
    addresses = Addresses(hark.grpc_address, hark.http_address)
    begin = await life.begin()
    pictures = {name: [begin.copy(), begin.copy()] for name in TRANSPORTS}

    async def live() -> None:
        for role in ("web", "gateway", "store", "reader"):
            for number in range(len(hark.pids(role))):
                await _steps(life, STEPS)
                await _kill(hark, role, number, life)
        await _stop_for_a_while(hark, "store", life)
        await _steps(life, STEPS)
        await life.finish()

    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        following = [
            group.create_task(follow(life, addresses, picture, name))
            for name, some in pictures.items()
            for picture in some
        ]
        group.create_task(live())
    await life.check(*(picture for some in pictures.values() for picture in some))
    assert all(one.result() for one in following), "each was at a process that was killed"
    await life.close()


async def _steps(life: Life, count: int) -> None:
    for _ in range(count):
        await life.step()


async def _kill(hark: FarmProcess, role: str, number: int, life: Life) -> None:
    """One of them, while something happens; until it has been replaced."""
    pids = hark.pids(role)
    happening = asyncio.create_task(_steps(life, STEPS))
    os.kill(pids[number], signal.SIGKILL)
    await happening
    left = {*pids} - {pids[number]}
    await wait_until_async(lambda: len({*hark.pids(role)} - {pids[number]}) > len(left), 20)


async def _stop_for_a_while(hark: FarmProcess, role: str, life: Life) -> None:
    """Until something that was asked meanwhile has waited."""
    (pid,) = hark.pids(role)
    os.kill(pid, signal.SIGSTOP)
    happening = asyncio.create_task(_steps(life, STEPS_STOPPED))
    done, _ = await asyncio.wait([happening], timeout=0.5)
    os.kill(pid, signal.SIGCONT)
    assert not done
    await happening
