"""A connection that is cut after any byte: whoever goes on after the last event they had has every
post once, and in order."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from tests.farm_process import FarmProcess
from tests.web.raw_stream import connect
from tests.web.web_process import data

pytestmark = pytest.mark.process

QUIET_S = 0.03  # nothing more comes by itself
FOLLOW = "mutation($a: ID!, $b: ID!) { follow(followerId: $a, authorId: $b) { changed } }"
PUBLISH = "mutation($a: ID!, $c: String!) { publishPost(authorId: $a, content: $c) { postId } }"
EVENTS = """subscription($user: ID!, $since: String) { inboxEvents(userId: $user, since: $since) {
  __typename cursor ... on NotificationAdded { notification { content } } } }"""
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvZg==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)

Event = dict[str, Any]


def ask_by_websocket(variables: dict[str, Any]) -> bytes:
    def text(**message: Any) -> bytes:
        return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)

    payload = {"query": EVENTS, "variables": variables}
    subscribe = text(type="subscribe", id="1", payload=payload)
    return HANDSHAKE + text(type="connection_init") + subscribe


def heard_by_websocket(body: bytes) -> Iterator[Event]:
    frames = Protocol(CLIENT)
    frames.receive_data(body)
    for frame in frames.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode is Opcode.TEXT:
            message = json.loads(bytes(frame.data))
            if message["type"] == "next":
                yield message["payload"]["data"]["inboxEvents"]


def ask_by_events(variables: dict[str, Any]) -> bytes:
    query = urlencode({"query": EVENTS, "variables": json.dumps(variables)})
    return f"GET /graphql?{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n".encode()


def heard_by_events(body: bytes) -> Iterator[Event]:
    """Those whose empty line has come, whatever of their chunk has not."""
    while body:
        size, _, rest = body.partition(b"\r\n")
        chunk = rest[: int(size, 16)] if rest else b""
        body = rest[len(chunk) + 2 :]
        if chunk.startswith(b"id: ") and chunk.endswith(b"\n\n"):
            yield json.loads(chunk.partition(b"data: ")[2])["data"]["inboxEvents"]


TRANSPORTS = {
    "websocket": (ask_by_websocket, heard_by_websocket),
    "events": (ask_by_events, heard_by_events),
}


@pytest.mark.parametrize("cuts", [100, pytest.param(1_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_cut_after_any_byte(hark: FarmProcess, transport: str, cuts: int) -> None:
    ask, heard_in = TRANSPORTS[transport]
    chance = Random(cuts)
    user, author = f"cut {cuts} times by {transport}", f"heard {cuts} times by {transport}"
    data(hark.http_address, FOLLOW, a=user, b=author)
    expected: list[str] = []
    heard: list[str] = []
    since = _follow(hark, ask({"user": user}), heard_in, 10_000)[-1]["cursor"]

    def publish(most: int) -> None:
        for _ in range(chance.randint(0, most)):
            content = f"post {len(expected)}"
            data(hark.http_address, PUBLISH, a=author, c=content)
            expected.append(f"New post from {author}: {content}")

    for number in range(cuts + 1):
        publish(2)
        waiting = len(expected) - len(heard)
        most = 600 + 300 * waiting if number < cuts else 1_000_000
        asked = ask({"user": user, "since": since})
        for event in _follow(hark, asked, heard_in, chance.randint(1, most), publish):
            since = event["cursor"]
            if "notification" in event:
                heard.append(event["notification"]["content"])
    assert heard == expected
    assert len(expected) > cuts


def _follow(
    hark: FarmProcess,
    asked: bytes,
    heard_in: Callable[[bytes], Iterator[Event]],
    most: int,
    meanwhile: Callable[[int], None] | None = None,
) -> list[Event]:
    """What is told in so many bytes; then the connection is reset."""
    received = b""
    with connect(hark.http_address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(asked)
        if meanwhile is not None:
            meanwhile(1)
        try:
            while len(received) < most:
                connection.settimeout(QUIET_S if b"InboxLive" in received else 10)
                piece = connection.recv(most - len(received))
                assert piece, received
                received += piece
        except TimeoutError:
            pass
    return list(heard_in(received.partition(b"\r\n\r\n")[2]))
