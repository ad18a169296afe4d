"""How what is asked of the store travels: how much in one request, what not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from farm import wire
from farm.client import BATCH_BYTES_MAX, MANY_POSTS, STEP_ASIDE_S, NewPost, StoreClient
from farm.errors import InvalidArgument, ResourceExhausted, Unavailable
from farm.limits import MARKS_PER_CALL_MAX, NOTIFICATION_ID_CHARACTERS_MAX, TOKEN_CHARACTERS_MAX
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets
from farm.wire import Kind, Op
from tests.store.harness import MovedClock

CALL_BYTES_MAX = 4 * 1024 * 1024
WITHIN_S = 20


FULL = wire.failed(ResourceExhausted("no room", retry_after_ms=1_000))


class StoreByHand:
    """Answers each write with the same, and keeps its request; nothing is unread."""

    def __init__(self, sockets: Sockets, addresses: Addresses) -> None:
        self.requests: list[list[Any]] = []
        self.answer: Sequence[Any] = wire.ok(0)
        servers = [sockets.async_server(at) for at in (addresses.store, addresses.reader(1))]
        self._serving = [asyncio.create_task(server.serve(self._answer)) for server in servers]

    async def _answer(self, kind: Kind, body: list[Any]) -> bytes:
        _, request, operations = body
        if kind is Kind.READ:
            return wire.pack_answers(request, [wire.ok(0)] * len(operations))
        self.requests.append(operations)
        return wire.pack(Kind.ANSWERS, request, [self.answer] * len(operations))

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
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def metrics() -> ProcessMetrics:
    return ProcessMetrics()


@pytest.fixture
async def client(
    sockets: Sockets, store: StoreByHand, tmp_path: Path, clock: MovedClock, metrics: ProcessMetrics
) -> AsyncIterator[StoreClient]:
    made = StoreClient(
        sockets, Addresses(tmp_path), name="caller", readers=1, clock=clock, metrics=metrics
    )
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


def posts(count: int, *, author_id: str = "ann") -> list[NewPost]:
    return [NewPost(f"p{n}", author_id, "Hello", None) for n in range(count)]


async def steps_aside(client: StoreClient) -> bool:
    """Whether many posts are refused while others are on their way."""
    trying = asyncio.create_task(client.publish_many(posts(1)))
    await asyncio.sleep(0)
    try:
        client.check_room()
    except ResourceExhausted:
        return True
    finally:
        await trying
    return False


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ([], FULL),
        (posts(MANY_POSTS, author_id=""), FULL),
        (posts(1), FULL),
        (posts(1), wire.ok(wire.Published("p0", 1, 1, duplicate=True))),
    ],
    ids=["none", "invalid", "few and refused", "known"],
)
async def test_many_posts_step_aside_until_one_was_taken(
    store: StoreByHand, client: StoreClient, clock: MovedClock,
    call: list[NewPost], answer: Sequence[Any],
) -> None:  # fmt: skip
    store.answer = FULL
    await client.publish_many(posts(MANY_POSTS))
    store.answer = answer
    await client.publish_many(call)
    with pytest.raises(ResourceExhausted):
        client.check_room()
    clock.ahead_s += STEP_ASIDE_S
    client.check_room()  # from now on one call at a time may try
    assert await steps_aside(client)
    await client.publish_many(call)
    assert await steps_aside(client)
    store.answer = wire.ok(wire.Published("p0", 1, 1, duplicate=False))
    await client.publish_many(posts(1))
    assert not await steps_aside(client)


def told_by(metrics: ProcessMetrics) -> dict[str, float]:
    """How many posts were told what."""
    (counted,) = metrics.posts_published.collect()
    return {
        one.labels["outcome"]: one.value for one in counted.samples if one.name.endswith("_total")
    }


async def test_each_post_is_counted_by_what_it_was_told(
    store: StoreByHand, client: StoreClient, metrics: ProcessMetrics
) -> None:
    """Also by those who were told all together, or were not there to be told."""
    store.answer = wire.ok(wire.Published("p0", 1, 1, duplicate=False))
    await client.publish_many([*posts(2), *posts(1, author_id="")])
    expected = {"ok": 2, "invalid_argument": 1}
    assert told_by(metrics) == expected
    store.answer = wire.failed(Unavailable("no answer"))
    with pytest.raises(Unavailable):
        await client.publish_many([*posts(3), *posts(1, author_id="")])
    expected["unavailable"] = 4
    assert told_by(metrics) == expected
    gone = asyncio.create_task(client.publish_many(posts(5)))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    expected["cancelled"] = 5
    assert told_by(metrics) == expected
    store.answer = FULL
    await client.publish_many(posts(MANY_POSTS))
    with pytest.raises(ResourceExhausted):
        client.admit(7)
    expected["resource_exhausted"] = MANY_POSTS + 7
    assert told_by(metrics) == expected
