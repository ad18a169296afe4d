"""HTTP: GraphQL questions, their JSON, whole requests and event streams, all nearly right."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.fuzz import mutate
from tests.fuzz.place import Place
from tests.fuzz.tally import Tally
from tests.web.test_bad_input import OPERATIONS

CLIENTS = 32
ANSWER_S = 40.0  # a web process itself gives up after 30
HALF_S = 0.05  # then half a request has had its time
NAMES = ("fuzz-a", "fuzz-b", "fuzz-c", "nobody")
STATUSES = {
    200,
    204,
    301,
    302,
    303,
    304,
    400,
    403,
    404,
    405,
    408,
    411,
    413,
    414,
    415,
    417,
    426,
    431,
}
STREAM = "subscription($a: ID!, $b: String) { inboxEvents(userId: $a, since: $b) { cursor } }"
QUESTIONS = (
    *(one for one in OPERATIONS if "setWorkers" not in one),
    "{ getMetrics { totalSent avgDeliveryTime } capacity { backlog accepting } }",
    "query($a: ID!) { getNotifications(userId: $a) { id content createdAt status } }",
    "query($a: ID!) { user(id: $a) { following { ids } unreadCount } }",
    STREAM,
)
PATHS = (
    "/graphql",
    "/query",
    "/metrics",
    "/metrics.json",
    "/health",
    "/ready",
    "/inbox/fuzz-a",
    "/",
)

_HEADS = (
    b"POST /graphql HTTP/1.1\r\nHost: hark\r\nContent-Type: application/json\r\n"
    b"Content-Length: 26\r\n\r\n" + b'{"query":"{ __typename }"}',
    b"GET /graphql?query=%7B__typename%7D HTTP/1.1\r\nHost: hark\r\nAccept: */*\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: hark\r\nAccept: application/json\r\n\r\n",
    b"POST /query HTTP/1.1\r\nHost: hark\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/json\r\n\r\n1a\r\n" + b'{"query":"{ __typename }"}\r\n0\r\n\r\n',
    b"GET /inbox/user1 HTTP/1.1\r\nHost: hark\r\nIf-None-Match: x\r\nRange: bytes=0-9\r\n\r\n",
    b"OPTIONS /graphql HTTP/1.1\r\nHost: hark\r\nOrigin: http://hark\r\n" + b"\r\n",
)


class Answer(NamedTuple):
    status: int
    body: bytes


Client = Callable[["Connection", Tally, Random], Awaitable[None]]


def questions(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """GraphQL documents and what comes with them, in JSON that is JSON."""
    asyncio.run(_share(place, tally, count, chance, _ask))


def requests(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """Requests whose bytes are changed anywhere."""
    asyncio.run(_share(place, tally, count, chance, _send_bytes))


def streams(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """What is asked with a liking for events; the beginning of each answer is looked at."""
    asyncio.run(_share(place, tally, count, chance, _ask_for_events))


async def _share(place: Place, tally: Tally, count: int, chance: Random, what: Client) -> None:
    async def one(chance: Random) -> None:
        connection = Connection(place.farm.http_address)
        while left:
            left.pop()
            await what(connection, tally, chance)
        await connection.close()

    left = [None] * count
    await asyncio.gather(*(one(Random(chance.random())) for _ in range(CLIENTS)))


class Connection:
    """One that is opened again whenever the other side closed it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes, within_s: float = ANSWER_S) -> Answer | None:
        """The answer; None where the other side closed without one, or waits for more."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        try:
            async with asyncio.timeout(within_s):
                writer.write(request)
                await writer.drain()
                return await self._answer(reader)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self.close()
            return None

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split()[1])
        _, found, length = head.partition("\r\ncontent-length:")
        if found:
            return Answer(status, await reader.readexactly(int(length.split()[0])))
        if "transfer-encoding: chunked" in head:
            size = int(await reader.readuntil(b"\r\n"), 16)
            answer = Answer(status, await reader.readexactly(size))
            await self.close()  # a stream goes on for ever
            return answer
        return Answer(status, b"")

    async def close(self) -> None:
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _look_at(tally: Tally, answer: Answer | None, request: bytes) -> None:
    if answer is None:
        tally.answered("closed")
        return
    tally.answered(str(answer.status))
    if answer.status not in STATUSES:
        tally.blame(f"answers {answer.status} {answer.body[:200]!r} to", request)
    tally.told(answer.body[:4_096].decode(errors="replace"), request)
    if b'"INTERNAL"' in answer.body or b'"UNKNOWN"' in answer.body:
        tally.blame(f"answers {answer.body[:300]!r} to", request)


# Inputs


async def _ask(connection: Connection, tally: Tally, chance: Random) -> None:
    body = _body(chance)
    request = _request("POST", "/graphql", body, {"content-type": "application/json"})
    answer = await connection.exchange(request)
    _look_at(tally, answer, request)
    if answer is None:
        tally.blame("does not answer", request)


def _body(chance: Random) -> bytes:
    whole: Any = question(chance)
    match chance.randrange(6):
        case 0:
            whole = mutate.bent(chance, whole, binary=False)
        case 1:
            whole = [whole] * chance.randrange(12)
        case 2:
            return mutate.damaged(chance, json.dumps(whole).encode())
        case _:
            pass
    return json.dumps(whole).encode()


def question(chance: Random) -> dict[str, Any]:
    """A question with variables that are nearly what it takes, or a document that is nearly one."""
    asked = chance.choice(QUESTIONS)
    if chance.random() < 0.4:
        asked = mutate.damaged(chance, asked.encode(), _DOCUMENTS).decode(errors="ignore")
    variables = {name: _variable(chance, name) for name in "abilnf"}
    return {"query": asked, "variables": variables}


_DOCUMENTS = tuple(one.encode() for one in QUESTIONS)


def _variable(chance: Random, name: str) -> Any:
    if chance.random() < 0.2:
        return mutate.value(chance, binary=False)
    if name == "l":
        return [mutate.text(chance) for _ in range(3)]
    if name == "n":
        return mutate.number(chance)
    return chance.choice(NAMES) if chance.random() < 0.6 else mutate.text(chance)


def _request(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: hark", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode(errors="replace") + body


async def _send_bytes(connection: Connection, tally: Tally, chance: Random) -> None:
    request = chance.choice(_HEADS)
    if chance.random() < 0.2:
        request = request.replace(b"/graphql", chance.choice(PATHS).encode())
    if chance.random() < 0.9:
        request = mutate.damaged(chance, request, _HEADS)
    # It may be the half of one, or more than one: what else comes belongs to nobody.
    answer = await connection.exchange(request, HALF_S)
    await connection.close()
    _look_at(tally, answer, request)


async def _ask_for_events(connection: Connection, tally: Tally, chance: Random) -> None:
    asked = question(chance) if chance.random() < 0.6 else _stream(chance)
    headers = {"accept": chance.choice(("text/event-stream", "text/event-stream, */*;q=0.1"))}
    if chance.random() < 0.5:
        headers["last-event-id"] = quote(mutate.text(chance), safe=" ")
    if chance.random() < 0.5:
        body = json.dumps(asked).encode()
        headers["content-type"] = "application/json"
        request = _request("POST", "/graphql", body, headers)
    else:
        given = "&".join(
            f"{name}={quote(value if isinstance(value, str) else json.dumps(value))}"
            for name, value in asked.items()
        )
        request = _request("GET", f"/graphql?{given}", b"", headers)
    answer = await connection.exchange(request)
    await connection.close()
    _look_at(tally, answer, request)


def _stream(chance: Random) -> dict[str, Any]:
    since = mutate.text(chance) if chance.random() < 0.5 else None
    return {"query": STREAM, "variables": {"a": chance.choice(NAMES), "b": since}}
