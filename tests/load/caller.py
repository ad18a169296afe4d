"""Calls by gRPC for next to nothing, so that who makes them is not what is measured.

The client of the library costs as much as the server. This one speaks as much of HTTP/2 as one call
after the other needs: fixed headers, one message, and of the answer its status, its message and
when to come again. It asks the server for a header table of no size, so that headers come as text.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
FRAME_BYTES = 16_384
WINDOW = 65_535  # of a stream and of a connection, until the other side says otherwise
OURS = 2**30  # of what may come to us: it is small, and read at once

OK, NOT_FOUND, RESOURCE_EXHAUSTED = 0, 5, 8
NO_STATUS = -1  # the stream was reset, or the connection ended


class Answer(NamedTuple):
    """What came of a call. `retry_after_ms` None: nothing was said of it."""

    status: int
    body: bytes
    retry_after_ms: int | None
    seconds: float
    message: bytes = b""


class _Call:
    """One in flight."""

    def __init__(
        self, done: asyncio.Future[Answer], on_message: Callable[[bytes], None] | None
    ) -> None:
        self.done = done
        self.on_message = on_message
        self.begun_s = time.perf_counter()
        self.body = b""
        self.trailers: dict[bytes, bytes] = {}
        self.window = 0
        self.unsent = memoryview(b"")


class Connection(asyncio.Protocol):
    """One connection; as many calls at a time as the server lets there be."""

    def __init__(self) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self._next = 1
        self._calls: dict[int, _Call] = {}
        self._blocked: deque[int] = deque()  # streams with something left to send
        self._window = self._initial_window = WINDOW
        self._received = bytearray()
        self._heads: dict[str, bytes] = {}

    def call(
        self, path: str, message: bytes, *, on_message: Callable[[bytes], None] | None = None
    ) -> asyncio.Future[Answer]:
        """Begins a call. With `on_message` the answer is a stream, each message of which goes
        there as it comes."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            future.set_result(Answer(NO_STATUS, b"", None, 0.0))
            return future
        number, self._next = self._next, self._next + 2
        call = self._calls[number] = _Call(future, on_message)
        call.window = self._initial_window
        head = _frame(HEADERS, END_HEADERS, number, self._heads.get(path) or self._head(path))
        body = b"\0" + len(message).to_bytes(4) + message
        if len(body) <= min(FRAME_BYTES, call.window, self._window) and not self._blocked:
            self._window -= len(body)
            self._transport.write(head + _frame(DATA, END_STREAM, number, body))
        else:
            call.unsent = memoryview(body)
            self._blocked.append(number)
            self._transport.write(head)
            self._send_more()
        return future

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    def close(self) -> None:
        self._transport.close()

    def _head(self, path: str) -> bytes:
        """The headers, as names of the static table and text."""
        head = b"\x83\x86\x04" + _text(path.encode()) + b"\x01" + _text(b"localhost")
        head += b"\x0f\x10" + _text(b"application/grpc") + b"\x00" + _text(b"te")
        head += _text(b"trailers")
        self._heads[path] = head
        return head

    # What the other side sends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        ours = _setting(HEADER_TABLE_SIZE, 0) + _setting(INITIAL_WINDOW_SIZE, OURS)
        self._transport.write(PREFACE + _frame(SETTINGS, 0, 0, ours))
        self._transport.write(_frame(WINDOW_UPDATE, 0, 0, OURS.to_bytes(4)))

    def connection_lost(self, error: Exception | None) -> None:
        for number in list(self._calls):
            self._end(number, NO_STATUS)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        while len(received) - start >= 9:
            size = int.from_bytes(received[start : start + 3])
            if len(received) - start < 9 + size:
                break
            number = int.from_bytes(received[start + 5 : start + 9]) & 0x7FFF_FFFF
            payload = bytes(received[start + 9 : start + 9 + size])
            self._take(received[start + 3], received[start + 4], number, payload)
            start += 9 + size
        del received[:start]

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == DATA and number in self._calls:
            self._read(self._calls[number], payload)
        elif kind == HEADERS and number in self._calls:
            call = self._calls[number]
            call.trailers = _headers(payload)
            if flags & END_STREAM:
                self._end(number, int(call.trailers[b"grpc-status"]))
        elif kind == RST_STREAM:
            self._end(number, NO_STATUS)
        elif kind == WINDOW_UPDATE:
            self._widen(number, int.from_bytes(payload))
        elif kind == SETTINGS and not flags & ACK:
            self._set(payload)
        elif kind == PING and not flags & ACK:
            self._transport.write(_frame(PING, ACK, 0, payload))

    def _read(self, call: _Call, payload: bytes) -> None:
        call.body += payload
        if call.on_message is None:
            return
        while len(call.body) >= 5 and len(call.body) >= (end := 5 + int.from_bytes(call.body[1:5])):
            message, call.body = call.body[5:end], call.body[end:]
            call.on_message(message)

    def _end(self, number: int, status: int) -> None:
        call = self._calls.pop(number, None)
        if call is None or call.done.done():
            return
        told = call.trailers.get(b"grpc-retry-pushback-ms")
        took_s = time.perf_counter() - call.begun_s
        retry_after_ms = None if told is None else int(told)
        message = call.trailers.get(b"grpc-message", b"")
        call.done.set_result(Answer(status, call.body[5:], retry_after_ms, took_s, message))

    def _set(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            if int.from_bytes(payload[at : at + 2]) == INITIAL_WINDOW_SIZE:
                window = int.from_bytes(payload[at + 2 : at + 6])
                for call in self._calls.values():
                    call.window += window - self._initial_window
                self._initial_window = window
        self._transport.write(_frame(SETTINGS, ACK, 0, b""))
        if not self.ready.done():
            self.ready.set_result(None)
        self._send_more()

    def _widen(self, number: int, by: int) -> None:
        if number == 0:
            self._window += by
        elif number in self._calls:
            self._calls[number].window += by
        self._send_more()

    def _send_more(self) -> None:
        """What could not go yet, as far as the other side has room for it."""
        waiting, self._blocked = self._blocked, deque()
        for number in waiting:
            call = self._calls.get(number)
            if call is None:
                continue
            room = min(len(call.unsent), call.window, self._window)
            while room > 0:
                piece = bytes(call.unsent[: min(room, FRAME_BYTES)])
                call.unsent = call.unsent[len(piece) :]
                call.window -= len(piece)
                self._window -= len(piece)
                room -= len(piece)
                flags = 0 if len(call.unsent) else END_STREAM
                self._transport.write(_frame(DATA, flags, number, piece))
            if len(call.unsent):
                self._blocked.append(number)


async def connect(address: str) -> Connection:
    """A connection that the server has greeted."""
    host, _, port = address.rpartition(":")
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, int(port))
    await connection.ready
    return connection


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + number.to_bytes(4) + payload


def _setting(name: int, value: int) -> bytes:
    return name.to_bytes(2) + value.to_bytes(4)


def _text(value: bytes) -> bytes:
    """A string as HPACK has it, for the short ones there are here."""
    assert len(value) < 127
    return bytes((len(value),)) + value


def _headers(block: bytes) -> dict[bytes, bytes]:
    """The headers that are text; what stands in the static table says nothing that is needed."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            _, at = _integer(block, at, 0x7F)
        elif first & 0xE0 == 0x20:
            _, at = _integer(block, at, 0x1F)
        else:
            index, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
            name, at = (b"", at) if index else _string(block, at)
            value, at = _string(block, at)
            found[name] = value
    return found


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    value, at = block[at] & mask, at + 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        value += (block[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not block[at - 1] & 0x80:
            return value, at


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    size, at = _integer(block, at, 0x7F)
    return block[at : at + size], at + size
