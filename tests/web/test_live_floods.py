"""Clients that send faster than they can be heard."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Iterator

import pytest
from websockets.frames import Frame, Opcode

from tests.web.raw_stream import connect
from tests.web.raw_websocket import RawWebSocket
from tests.web.test_live_cuts import HANDSHAKE
from tests.web.web_process import WebProcess

pytestmark = pytest.mark.process

READ_BYTES = 60_000  # not more than comes at once
TOGETHER = 250
PINGS = 40_000
EMPTIES = 300_000
EMPTY = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
PING = Frame(Opcode.TEXT, b'{"type":"ping"}').serialize(mask=True)
PONG = b'{"type":"pong"}'
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("frame", [Frame(Opcode.TEXT, PONG), Frame(Opcode.PONG, b"")])
def test_a_flood_has_turns_like_everybody_else(web: WebProcess, frame: Frame) -> None:
    with RawWebSocket(web.address) as flooding, connect(web.address) as asking:
        with _stopped(web):
            flooding.socket.sendall(_many(frame, READ_BYTES) + PING)
            asking.sendall(HEALTH)
        answered, _, _ = select.select([flooding.socket, asking], [], [], 10)
        assert answered == [asking]
        assert flooding.hear() == {"type": "pong"}
        flooding.say(type="ping")
        assert flooding.hear() == {"type": "pong"}


def test_requests_that_come_together_have_turns_like_everybody_else(web: WebProcess) -> None:
    with connect(web.address) as flooding, connect(web.address) as asking:
        with _stopped(web):
            flooding.sendall(b"".join(_question(number) for number in range(TOGETHER)))
            asking.sendall(HEALTH)
        assert asking.recv(65_536).startswith(b"HTTP/1.1 200 ")
        last = b'{"data":{"a%d":"Query"}}' % (TOGETHER - 1)
        assert last not in flooding.recv(65_536, socket.MSG_DONTWAIT)
        _read_up_to(flooding, last)


def test_much_that_comes_with_the_handshake(web: WebProcess) -> None:
    with connect(web.address) as one:
        with _stopped(web):
            one.sendall(HANDSHAKE + _many(Frame(Opcode.PONG, b""), 2 * READ_BYTES) + PING)
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
        before = web.memory_bytes()
        ws.socket.sendall(EMPTY * EMPTIES)
        ws.frame(Opcode.PING)
        ws.next(Opcode.PONG)
        assert web.memory_bytes() - before < EMPTIES
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
    """Each is another, and so costs more than an answer that is known."""
    body = b'{"query":"{ a%d: __typename }"}' % number
    head = b"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def _many(frame: Frame, size_bytes: int) -> bytes:
    one = frame.serialize(mask=True)
    return one * (size_bytes // len(one))


def _read_up_to(one: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        piece = one.recv(65_536)
        assert piece
        received += piece
