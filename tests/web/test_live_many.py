"""Very many who follow at once, and next to nothing happens."""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from pathlib import Path

import pytest
from websockets.frames import Frame, Opcode

from farm.sockets import socket_directory
from gateway.held import Terms
from tests.farm_process import StartFarm, wait_until_async
from tests.web.web_process import WebProcess, data

pytestmark = [pytest.mark.process, pytest.mark.slow]

PEOPLE = 2_000
AT_A_TIME = 100
BYTES_EACH_MAX = 40 * 1024
BEATS = 6
HEARTBEAT_S = 2.0
PUBLISH = 'mutation { publishPost(authorId: "star", content: "now") { postId } }'
EVENTS = """subscription($user: ID!) { inboxEvents(userId: $user) { __typename cursor
  ... on NotificationAdded { notification { id userId content } } } }"""
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvZg==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
LIVE = b'"InboxLive"'
PING, PONG = b"\x89\x00", Frame(Opcode.PONG, b"").serialize(mask=True)
NEW_TO = re.compile(rb'"NotificationAdded".*?"userId":"([^"]+)"')


class Crowd:
    """What its members have in common."""

    def __init__(self) -> None:
        self.live = 0
        self.lost = 0
        self.pings = 0
        self.told: list[str] = []

    def is_live(self, size: int) -> bool:
        return self.live == size


class Member(asyncio.Protocol):
    """One of them: follows, and answers pings."""

    def __init__(self, crowd: Crowd, user: str) -> None:
        self._crowd = crowd
        self._user = user
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        payload = {"query": EVENTS, "variables": {"user": self._user}}
        subscribe = {"type": "subscribe", "id": "1", "payload": payload}
        transport.write(HANDSHAKE + _text({"type": "connection_init"}) + _text(subscribe))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if PING in self._received:
            self._received = self._received.replace(PING, b"")
            self._crowd.pings += 1
            self._transport.write(PONG)
        if LIVE in self._received:
            self._received = self._received.partition(LIVE)[2]
            self._crowd.live += 1
        if new := NEW_TO.search(self._received):
            self._received = self._received[new.end() :]
            self._crowd.told.append(new[1].decode())

    def connection_lost(self, _error: Exception | None) -> None:
        self._crowd.lost += 1


async def test_thousands_are_idle(farm: StartFarm, tmp_path: Path) -> None:
    """Fault row 79: none is let go of, and what they cost is little; then all are told at once."""
    people = [f"fan {number}" for number in range(PEOPLE)]
    follows = tmp_path / "follows.tsv"
    follows.write_text("".join(f"{user}\tstar\n" for user in people))
    hark = farm("--import-follows", str(follows), "--channel", "inbox", "--workers", "1")
    (tmp_path / "sockets").symlink_to(socket_directory(hark.data_dir))
    web = WebProcess(tmp_path, number=2, terms=Terms(HEARTBEAT_S))
    try:
        await _watch(web.wait_serving(), people)
    finally:
        web.close()


async def _watch(web: WebProcess, people: list[str]) -> None:
    crowd = Crowd()
    loop = asyncio.get_running_loop()
    before = web.memory_bytes()
    for number, user in enumerate(people, 1):
        await loop.create_connection(partial(Member, crowd, user), "127.0.0.1", web.port)
        if number % AT_A_TIME == 0:
            await wait_until_async(partial(crowd.is_live, number), 20)
    each = (web.memory_bytes() - before) / PEOPLE
    print(f"{each:,.0f} bytes each")
    assert each < BYTES_EACH_MAX
    await wait_until_async(lambda: crowd.pings >= BEATS * PEOPLE, 2 * BEATS * HEARTBEAT_S)
    assert crowd.lost == 0
    await asyncio.to_thread(data, web.address, PUBLISH)
    await wait_until_async(lambda: len(crowd.told) >= PEOPLE, 5)
    assert sorted(crowd.told) == sorted(people)


def _text(message: object) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)
