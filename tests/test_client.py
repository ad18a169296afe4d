"""How what is asked of the store travels: how much in one request, what not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from farm import wire
from farm.client import BATCH_BYTES_MAX, StoreClient
from farm.clock import SystemClock
from farm.errors import InvalidArgument
from farm.limits import MARKS_PER_CALL_MAX, NOTIFICATION_ID_CHARACTERS_MAX, TOKEN_CHARACTERS_MAX
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets
from farm.wire import Kind, Op

CALL_BYTES_MAX = 4 * 1024 * 1024
WITHIN_S = 20


class StoreByHand:
    """Answers whatever it is asked; keeps the requests to write."""

    def __init__(self, sockets: Sockets, addresses: Addresses) -> None:
        self.requests: list[list[Any]] = []
        servers = [sockets.async_server(at) for at in (addresses.store, addresses.reader(1))]
        self._serving = [asyncio.create_task(server.serve(self._answer)) for server in servers]

    async def _answer(self, kind: Kind, body: list[Any]) -> bytes:
        _, request, operations = body
        if kind is Kind.READ:
            return wire.pack_answers(request, [wire.ok(0)] * len(operations))
        self.requests.append(operations)
        return wire.pack(Kind.ANSWERS, request, [wire.ok(0)] * len(operations))

    def close(self) -> None:
        for task in self._serving:
            task.cancel()


@pytest.fixture
async def sockets() -> AsyncIterator[Sockets]:
    made = Sockets()
    yield made
    await asyncio.sleep(0)
    made.close()


@pytest.fixture
async def store(sockets: Sockets, tmp_path: Path) -> AsyncIterator[StoreByHand]:
    made = StoreByHand(sockets, Addresses(tmp_path))
    yield made
    made.close()


@pytest.fixture
async def client(
    sockets: Sockets, store: StoreByHand, tmp_path: Path
) -> AsyncIterator[StoreClient]:
    made = StoreClient(
        sockets, Addresses(tmp_path), name="caller", readers=1, clock=SystemClock(),
        metrics=ProcessMetrics(),
    )  # fmt: skip
    yield made
    made.close()


async def test_a_request_is_no_larger_than_it_may_be(
    store: StoreByHand, client: StoreClient
) -> None:
    """Also of operations whose lists weigh more than all else in them."""
    ids = [f"{n:0{NOTIFICATION_ID_CHARACTERS_MAX}x}" for n in range(MARKS_PER_CALL_MAX)]
    calls = 2 * BATCH_BYTES_MAX // len("".join(ids))
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*(client.mark("ann", ids, read=True) for _ in range(calls)))
    assert sum(map(len, store.requests)) == calls
    sizes = [len(wire.pack(Kind.WRITE, one)) for one in store.requests]
    assert max(sizes) < BATCH_BYTES_MAX + CALL_BYTES_MAX


async def test_what_is_no_notification_id_does_not_travel(
    store: StoreByHand, client: StoreClient
) -> None:
    longest = "f" * NOTIFICATION_ID_CHARACTERS_MAX
    await client.mark("ann", ["1f.3", "f" * 4_000, longest, longest + "f"], read=True)
    await client.mark("ann", ["f" * 4_000], read=False)  # who is nobody is told so by the store
    assert store.requests == [
        [[Op.MARK, "ann", ["1f.3", longest], True]],
        [[Op.MARK, "ann", [], False]],
    ]


async def test_a_cursor_that_is_too_long_does_not_travel(
    store: StoreByHand, client: StoreClient
) -> None:
    longest = "A" * TOKEN_CHARACTERS_MAX
    await client.mark_up_to("ann", longest)
    for field, asked in {
        "up_to": client.mark_up_to("ann", longest + "A"),
        "after": client.inbox("ann", 20, longest + "A"),
        "page_token": client.followers("ann", 20, longest + "A"),
    }.items():
        with pytest.raises(InvalidArgument) as refusal:
            await asked
        assert refusal.value.message == f"{field}: was not given out here for this; leave it out"
    assert store.requests == [[[Op.MARK_UP_TO, "ann", longest]]]
