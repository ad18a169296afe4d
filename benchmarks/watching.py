"""The row about people who are online: one post to 1,000 subscribers of one web process."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import grpc
import uvloop

from benchmarks import crowd, load
from benchmarks.bench import NOTHING_SENT, Bench
from benchmarks.farm import running
from benchmarks.figures import Figure, Row, at_most, percentile

FOLLOWERS = 1_000
POSTS = 5  # a round
WITHIN_S = 60.0
SETTLE_S = 0.3  # between posts
PROTOCOL = "graphql-transport-ws"
KEY = base64.b64encode(b"sixteen bytes of").decode()
PING, PONG = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"  # frames of RFC 6455
ADDED, LIVE = b"NotificationAdded", b"InboxLive"
QUERY = """subscription Events($user: ID!) { inboxEvents(userId: $user) { __typename
  ... on NotificationAdded { cursor notification { id authorId content createdAt } } } }"""


class Took(NamedTuple):
    """Milliseconds from the call that published."""

    answered: float
    last: float
    driver: float  # on a processor, to hear all of them


def live(bench: Bench) -> Iterator[Row]:
    """From the call that publishes until the last of them has the event."""
    author = crowd.authors_of(FOLLOWERS)[0]
    with bench.data_dir() as data_dir, running(data_dir, *NOTHING_SENT) as farm:
        people = bench.driver.run(load.followers, farm.grpc, author, FOLLOWERS)
        posts = POSTS * (bench.rounds + 1)
        taken = bench.driver.run(watch, farm.http, farm.grpc, author, people, posts)[POSTS:]
        memory = farm.memory_mib()
    rounds = [taken[first : first + POSTS] for first in range(0, len(taken), POSTS)]
    figure = Figure.of("ms", [percentile([one.last for one in some], 0.5) for some in rounds])
    answered_ms = percentile([one.answered for one in taken], 0.5)
    driver_ms = percentile([one.driver for one in taken], 0.5)
    yield Row(
        name="live",
        what=f"live: one post to {len(people):,} subscribers on one web process, the last one",
        figure=figure,
        marks=[at_most("ms", figure.median, 100)],
        notes=[
            f"from the call, which was answered after {answered_ms:.1f} ms",
            f"the driver took {driver_ms:.1f} ms of a processor to hear all of them",
        ],
        memory_mib=memory,
    )


def watch(http: str, address: str, author: str, people: Sequence[str], posts: int) -> list[Took]:
    """A whole job for a driver: so many posts of the author, one after the other."""
    return uvloop.run(asyncio.wait_for(_watch(http, address, author, people, posts), WITHIN_S))


async def _watch(
    http: str, address: str, author: str, people: Sequence[str], posts: int
) -> list[Took]:
    heard = _Heard(len(people))
    host, _, port = http.rpartition(":")
    loop = asyncio.get_running_loop()
    for person in people:
        subscriber = _Subscriber(http, person, heard)
        await loop.create_connection(lambda one=subscriber: one, host, int(port))  # type: ignore[misc]
    await heard.all()
    async with grpc.aio.insecure_channel(address) as channel:
        publish: Any = channel.unary_unary(f"{load.PUBLISHER}/PublishPost")
        await channel.channel_ready()
        return [await _post(publish, author, heard) for _ in range(posts)]


async def _post(publish: load.Call, author: str, heard: _Heard) -> Took:
    request = load.post(author).SerializeToString()
    await asyncio.sleep(SETTLE_S)
    heard.again()
    spent_s, begun_s = load.cpu_s(), time.perf_counter()
    await publish(request)
    answered_s = time.perf_counter()
    await heard.all()
    seconds = (answered_s - begun_s, heard.last_s - begun_s, load.cpu_s() - spent_s)
    return Took(*(one * 1000 for one in seconds))


class _Heard:
    """How many have yet to hear of what happened, and when the last of them did."""

    def __init__(self, people: int) -> None:
        self._people = people
        self.again()

    def again(self) -> None:
        self._missing = self._people
        self._everybody = asyncio.Event()
        self.last_s = 0.0

    def one(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.last_s = time.perf_counter()
            self._everybody.set()

    async def all(self) -> None:
        await self._everybody.wait()


class _Subscriber(asyncio.Protocol):
    """One person's socket. It looks for words in what comes instead of reading it, so that who
    listens takes as little as it can."""

    def __init__(self, http: str, person: str, heard: _Heard) -> None:
        self._http = http
        self._person = person
        self._heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        hello = [
            "GET /graphql HTTP/1.1", f"Host: {self._http}", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}",
            f"Sec-WebSocket-Protocol: {PROTOCOL}",
        ]  # fmt: skip
        self._transport.write("\r\n".join([*hello, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        if PING in data:
            self._transport.write(PONG)  # else it would be sent away after a while
        if ADDED in data or LIVE in data:
            self._heard.one()
        elif data.startswith(b"HTTP/1.1 101"):
            self._say({"type": "connection_init"})
            payload = {"query": QUERY, "variables": {"user": self._person}}
            self._say({"id": "1", "type": "subscribe", "payload": payload})

    def _say(self, message: object) -> None:
        """A frame of text, masked with zeros: the rules ask for a mask, not for which."""
        text = json.dumps(message).encode()
        size = len(text)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self._transport.write(b"\x81" + length + bytes(4) + text)
