"""A connection is cut between any two events: nothing is missed, and nothing comes twice.

One cursor is good on every transport and at every process, so whoever goes on does so anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from farm.store.storage import EVENTS_PER_CHANGE_MAX
from tests.farm_process import FarmProcess
from tests.live.life import Life
from tests.live.watching import TRANSPORTS, Addresses, Picture

pytestmark = pytest.mark.process

STEPS = 100  # of the stream that is cut at each event
AT_A_TIME = 6
CUTS = 1_000
SUBSCRIBERS = 9
PAUSE_S = 0.05  # for somebody to be cut, between two things that happen
WITHIN_S = 60


@pytest.fixture
async def life(hark: FarmProcess) -> AsyncIterator[Life]:
    made = Life(hark.grpc_address, random.Random(119))
    yield made
    await made.close()


@pytest.fixture
def addresses(hark: FarmProcess) -> Addresses:
    return Addresses(hark.grpc_address, hark.http_address)


async def listen(life: Life, addresses: Addresses, picture: Picture, transport: str) -> None:
    """Until the end."""
    async with aclosing(TRANSPORTS[transport](addresses, life.user, picture.cursor)) as events:
        async for event in events:
            await picture.take(event)
            if life.has_ended(picture):
                return


async def test_cut_behind_each_event_in_turn(life: Life, addresses: Addresses) -> None:
    """Fault rows 119 and 120, live."""
    picture = await life.begin()
    pictures, kinds = [picture.copy()], set[str]()

    async def record() -> None:
        transport = TRANSPORTS["events"](addresses, life.user, picture.cursor)
        async with aclosing(transport) as events:
            async for event in events:
                await picture.take(event)
                kinds.add(event.kind)
                pictures.append(picture.copy())
                if life.has_ended(picture):
                    return

    recording = asyncio.create_task(record())
    for _ in range(STEPS):
        await life.step()
    await life.finish()
    await asyncio.wait_for(recording, WITHIN_S)
    await life.check(picture)
    assert len(pictures) > STEPS / 2
    assert kinds >= {"added", "updated", "removed"}
    free = asyncio.Semaphore(AT_A_TIME)

    async def go_on(number: int, known: Picture) -> None:
        async with free:
            if not life.has_ended(known):
                transport = [*TRANSPORTS][number % len(TRANSPORTS)]
                await asyncio.wait_for(listen(life, addresses, known, transport), WITHIN_S)

    await asyncio.gather(*(go_on(*one) for one in enumerate(pictures)))
    await life.check(*pictures)


async def test_cut_a_thousand_times_while_things_happen(life: Life, addresses: Addresses) -> None:
    begin = await life.begin(2 * EVENTS_PER_CHANGE_MAX + 1)
    pictures = [begin.copy() for _ in range(SUBSCRIBERS)]
    cuts, cut = dict.fromkeys(TRANSPORTS, 0), asyncio.Event()

    async def stumble(picture: Picture, chance: random.Random) -> None:
        while not life.has_ended(picture):
            name = chance.choice([*TRANSPORTS])
            left = chance.randrange(5)  # events until it is cut; none: behind the first, `live`
            transport = TRANSPORTS[name](addresses, life.user, picture.cursor)
            async with aclosing(transport) as events:
                async for event in events:
                    await picture.take(event)
                    left -= event.kind != "live"
                    if left <= 0 or life.has_ended(picture):
                        break
            cuts[name] += 1
            cut.set()

    async def live() -> None:
        await life.mark_up_to()  # more than one change tells of, so they are to be loaded anew
        while sum(cuts.values()) < CUTS:
            await life.step()
            # Whoever is far behind reads much and is cut after little of it, again and again.
            cut.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S):
                    await cut.wait()
        await life.finish()

    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        for number, picture in enumerate(pictures):
            group.create_task(stumble(picture, random.Random(number)))
        group.create_task(live())
    await life.check(*pictures)
    assert all(picture.resets == ["many_changed"] * len(picture.resets) for picture in pictures)
    assert any(picture.resets for picture in pictures)
    assert min(cuts.values()) > CUTS / 5, cuts
