"""Messages that are lost, late, early or never sent: who asked goes on, with its own answer."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farm import wire
from farm.client import StoreClient
from farm.clock import SystemClock
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets
from farm.wire import Kind
from tests.test_worker import StoreByHand, start_process

AGAIN_S = 3.0  # within which a caller goes on
SOON_S = 1.0  # within which what was said too early arrives
END_S = 5.0


class Silent(StoreByHand):
    """A store that answers what a test tells it to, when it tells it to."""

    async def request(self) -> tuple[list[bytes], int]:
        """The next request's envelope and number."""
        *envelope, payload = await self._requests.recv_multipart()
        kind, (_, number, _) = wire.unpack(payload)
        assert kind is Kind.WRITE
        return envelope, number

    async def say(self, envelope: list[bytes], number: int, *, new: bool) -> None:
        answer = wire.pack(Kind.ANSWERS, number, [wire.ok(new)])
        await self._requests.send_multipart([*envelope, answer])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Silent]:
    made = Silent(Addresses(tmp_path))
    yield made
    made.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[StoreClient]:
    sockets = Sockets()
    made = StoreClient(
        sockets, Addresses(tmp_path), name="caller", readers=1, clock=SystemClock(),
        metrics=ProcessMetrics(),
    )  # fmt: skip
    yield made
    made.close()
    await asyncio.sleep(0)
    sockets.close()


async def test_a_lost_answer_is_asked_for_again_on_the_same_socket(
    store: Silent, client: StoreClient
) -> None:
    """Fault row 41."""
    asked_s = time.monotonic()
    following = asyncio.create_task(client.follow("ann", "star"))
    _, first = await store.request()  # and nothing is said
    envelope, again = await store.request()
    assert again == first
    await store.say(envelope, again, new=True)
    assert await following is True
    assert time.monotonic() - asked_s < AGAIN_S
    following = asyncio.create_task(client.follow("bob", "star"))
    await store.say(*await store.request(), new=False)
    assert await following is False


async def test_a_late_answer_is_nobodys(store: Silent, client: StoreClient) -> None:
    """Not even the next caller's, who asks on the same socket. Fault row 42."""
    following = asyncio.create_task(client.follow("ann", "star"))
    late = await store.request()
    await store.say(*await store.request(), new=True)
    assert await following is True
    following = asyncio.create_task(client.follow("bob", "star"))
    asked = await store.request()
    await store.say(*late, new=True)
    await store.say(late[0], asked[1], new=True)  # by its number it could be the answer
    await store.say(*asked, new=False)
    assert await following is False


async def test_what_is_said_before_anybody_listens_arrives(tmp_path: Path) -> None:
    """Questions, outcomes and frames alike. Fault row 50."""
    addresses, early, late = Addresses(tmp_path), Sockets(), Sockets()
    asker, pusher = early.asker(addresses.store), early.pusher(addresses.outcomes)
    teller = early.teller(addresses.live("here"))
    asking = asyncio.create_task(asker.ask(wire.pack(Kind.PING), 20))
    assert await pusher.push(wire.pack(Kind.PING), SOON_S)
    assert teller.tell(b"frame")
    await asyncio.sleep(0)
    requests = late.async_server(addresses.store)
    outcomes, frames = (
        late.async_puller(addresses.outcomes),
        late.async_puller(addresses.live("here")),
    )
    serving = asyncio.create_task(requests.serve(pong))
    async with asyncio.timeout(SOON_S):
        assert await frames.receive() == [b"frame"]
        assert await outcomes.receive() == [wire.pack(Kind.PING)]
        assert (await asking)[0] is Kind.PONG
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    early.close()
    late.close()


async def pong(_kind: Kind, _body: list[object]) -> bytes:
    return wire.pack(Kind.PONG, {"serving": True})


def test_sockets_close_with_messages_that_nobody_takes(tmp_path: Path) -> None:
    """Fault row 51."""
    sockets = Sockets()
    teller = sockets.teller(Addresses(tmp_path).live("nowhere"))
    assert teller.tell(b"x" * 1_000_000)
    begun_s = time.monotonic()
    sockets.close()
    assert time.monotonic() - begun_s < END_S


@pytest.mark.process
async def test_a_worker_ends_though_nobody_takes_its_outcomes(tmp_path: Path) -> None:
    """Fault row 51."""
    store = StoreByHand(Addresses(tmp_path))
    process = start_process(tmp_path)
    try:
        asked = await store.asked()
        await store.answer(*asked, store.grant(2_000))
        await store.told()
    finally:
        store.close()
    process.send_signal(signal.SIGTERM)
    begun_s = time.monotonic()
    try:
        assert await asyncio.to_thread(process.wait, END_S) == 0
        print(f"ended in {time.monotonic() - begun_s:.1f} s")
    finally:
        process.kill()
