"""Clients that send faster than they can be heard."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import select
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from websockets.frames import Frame, Opcode

from gateway.held import Turns
from tests.web.raw_stream import connect
from tests.web.raw_websocket import RawWebSocket
from tests.web.test_live_cuts import HANDSHAKE
from tests.web.web_process import WebProcess

pytestmark = pytest.mark.process

FLOODING = 20
READ_BYTES = 60_000  # not more than comes at once
TOGETHER = 80
PINGS = 40_000
EMPTY_PONG = Frame(Opcode.PONG, b"").serialize(mask=True)
FRAGMENTS = 300_000
EMPTY_FRAGMENT = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
PING = Frame(Opcode.TEXT, b'{"type":"ping"}').serialize(mask=True)
PONG = b'{"type":"pong"}'
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


def test_floods_have_turns_like_everybody_else(web: WebProcess) -> None:
    with contextlib.ExitStack() as held:
        flooding = [held.enter_context(RawWebSocket(web.address)) for _ in range(FLOODING)]
        asking = held.enter_context(connect(web.address))
        with _stopped(web):
            for ws in flooding:
                ws.socket.sendall(_many(EMPTY_PONG, READ_BYTES) + PING)
            asking.sendall(HEALTH)
        answered, _, _ = select.select([*(ws.socket for ws in flooding), asking], [], [], 10)
        assert answered == [asking]
        for ws in flooding:
            assert ws.hear() == {"type": "pong"}
            ws.say(type="ping")
            assert ws.hear() == {"type": "pong"}


async def test_one_of_those_that_wait_hears_in_a_turn() -> None:
    turns, heard = Turns(), []

    def hear_twice(name: str) -> None:
        heard.append(name)
        if heard.count(name) < 2:
            turns.wait(partial(hear_twice, name))

    turns.wait(partial(hear_twice, "a"))
    turns.wait(partial(hear_twice, "b"))
    for _ in range(4):
        before = len(heard)
        assert turns.anybody_waits()
        await asyncio.sleep(0)
        assert len(heard) == before + 1
    assert heard == ["a", "b", "a", "b"]
    assert not turns.anybody_waits()


def test_requests_that_come_together_have_turns_like_everybody_else(web: WebProcess) -> None:
    with connect(web.address) as flooding, connect(web.address) as asking:
        with _stopped(web):
            flooding.sendall(b"".join(_question(number) for number in range(TOGETHER)))
            asking.sendall(HEALTH)
        assert asking.recv(65_536).startswith(b"HTTP/1.1 200 ")
        last = b'{"data":{"a%d":"Query","__typename":"Query"}}' % (TOGETHER - 1)
        assert last not in flooding.recv(65_536, socket.MSG_DONTWAIT)
        _read_up_to(flooding, last)


def test_much_that_comes_with_the_handshake(web: WebProcess) -> None:
    with connect(web.address) as one:
        with _stopped(web):
            one.sendall(HANDSHAKE + _many(EMPTY_PONG, 2 * READ_BYTES) + PING)
        _read_up_to(one, PONG)
        one.sendall(PING)
        _read_up_to(one, PONG)


def test_a_flood_whose_answers_are_read_late(web: WebProcess) -> None:
    """They are more than wait for a reader, so that less is heard meanwhile, and yet all."""
    with RawWebSocket(web.address, receive_buffer_bytes=4_096) as ws:
        ws.socket.sendall(PING * PINGS)
        for _ in range(PINGS):
            assert ws.hear() == {"type": "pong"}


def test_empty_fragments_are_not_kept(web: WebProcess) -> None:
    with RawWebSocket(web.address) as ws:
        ws.frame(Opcode.TEXT, PONG, fin=False)
        before = _resident_bytes(web)
        ws.socket.sendall(EMPTY_FRAGMENT * FRAGMENTS)
        ws.frame(Opcode.PING)
        ws.next(Opcode.PONG)
        assert _resident_bytes(web) - before < FRAGMENTS
        ws.frame(Opcode.CONT)
        ws.say(type="ping")
        assert ws.hear() == {"type": "pong"}


@contextlib.contextmanager
def _stopped(web: WebProcess) -> Iterator[None]:
    """All that is sent meanwhile has come when the process goes on."""
    web.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        web.process.send_signal(signal.SIGCONT)


def _question(number: int) -> bytes:
    """Each is another, and long, so that it costs more than one that is known."""
    body = b'{"query":"{ a%d: __typename%b }"}' % (number, b" __typename" * 50)
    head = b"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def _many(frame: bytes, size_bytes: int) -> bytes:
    return frame * (size_bytes // len(frame))


def _resident_bytes(web: WebProcess) -> int:
    pages = Path(f"/proc/{web.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def _read_up_to(one: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        piece = one.recv(65_536)
        assert piece
        received += piece
