"""What drives the farm by HTTP: as little as a client can do, so that it is not what is measured.

It sends requests that are encoded before the clock starts over connections that stay open, and of
the answers reads no more than the status and the length.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any, cast

import uvloop

from benchmarks.load import Load, cpu_s

ANSWERS_WITHIN_S = 30.0

Requests = Iterator[bytes]


def query(
    address: str, document: str, users: Sequence[str], in_flight: int, seconds: float
) -> Load:
    """The GraphQL document for each user in turn, so many at a time."""
    return uvloop.run(_query(address, document, users, in_flight, seconds))


def answer(address: str, document: str, user: str) -> dict[str, Any]:
    """One answer, looked at: errors raise."""
    request = urllib.request.Request(
        f"http://{address}/graphql", _body(document, user), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        found: dict[str, Any] = json.load(response)
    if "errors" in found:
        raise RuntimeError(f"GraphQL: {found['errors']}")
    return found


def _body(document: str, user: str) -> bytes:
    return json.dumps({"query": document, "variables": {"user": user}}).encode()


async def _query(
    address: str, document: str, users: Sequence[str], in_flight: int, seconds: float
) -> Load:
    requests = itertools.cycle([_encoded(address, _body(document, user)) for user in users])
    host, _, port = address.rpartition(":")
    started_s, spent_s = time.perf_counter(), cpu_s()
    clients = [_Client(requests, started_s + seconds) for _ in range(in_flight)]
    loop = asyncio.get_running_loop()
    for client in clients:
        await loop.create_connection(lambda client=client: client, host, int(port))  # type: ignore[misc]
    async with asyncio.timeout(seconds + ANSWERS_WITHIN_S):
        await asyncio.gather(*(client.ended for client in clients))
    took_s = time.perf_counter() - started_s
    latencies = [latency for client in clients for latency in client.latencies_ms]
    return Load(len(latencies), took_s, cpu_s() - spent_s, latencies)


def _encoded(address: str, body: bytes) -> bytes:
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Client(asyncio.Protocol):
    """One connection: the next request once the answer to the last is whole."""

    def __init__(self, requests: Requests, end_s: float) -> None:
        self._requests = requests
        self._end_s = end_s
        self._received = b""
        self._asked_s = 0.0
        self.latencies_ms: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._received[:head_end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self._received) < head_end + 4 + length:
            return
        if not head.startswith(b"http/1.1 200"):
            self._end(RuntimeError(f"answered {head[:40]!r}"))
            return
        self.latencies_ms.append((time.perf_counter() - self._asked_s) * 1000)
        self._received = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or RuntimeError("the server closed the connection"))

    def _ask(self) -> None:
        self._asked_s = time.perf_counter()
        if self._asked_s > self._end_s:
            self._end(None)
            self._transport.close()
            return
        self._transport.write(next(self._requests))

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
