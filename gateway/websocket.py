"""A WebSocket over a connection that Sanic accepted: messages in, messages out, and its end.

Sanic's own keeps three tasks, four locks and the whole request for each connection and makes a task
of each packet that comes. This one has none: what comes is read in the callback that brings it.
Frames are read by the `websockets` library. Nothing is compressed.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextvars import Context
from typing import Protocol as Shape

from sanic import Request
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.server import ServerProtocol

from gateway.held import Connection, Heart, Held
from gateway.refusals import HttpRefusal, Incidents

MESSAGE_BYTES_MAX = 64 * 1024
REASON_BYTES_MAX = 123  # what a close frame has room for
CLOSE_WITHIN_S = 2.0

GOING_AWAY = 1001
INTERNAL_ERROR = 1011
TOO_SLOW = 4008


class Talk(Shape):
    """Who speaks over a WebSocket."""

    def hear(self, text: str) -> None:
        """A message has come."""

    def binary(self) -> None:
        """A message has come that is no text."""

    def leave(self) -> None:
        """The process ends: close when nothing is left to say."""

    def end(self) -> None:
        """The connection is closed or closing; nothing can be said any more."""


async def accept(
    request: Request,
    heart: Heart,
    incidents: Incidents,
    protocol: str,
    begin: Callable[[WebSocket], Talk],
) -> None:
    """Makes a WebSocket of the request's connection. Raises `HttpRefusal`."""
    heart.admit()
    connection = request.transport.get_protocol()
    assert isinstance(connection, Connection)
    handshake = ServerProtocol(
        subprotocols=[],
        # The other protocols are told by the code of a close frame, so they are let in first.
        select_subprotocol=lambda _, offered: next(
            (one for one in offered if one == protocol), None
        ),
    )
    response = handshake.accept(
        Handshake(
            path=request.path,
            headers=Headers(request.headers.items()),
            method=request.method,
            protocol=f"HTTP/{request.version}",
        )
    )
    if response.status_code != 101:
        raise _refusal(response, handshake.handshake_exc)
    await connection.send(response.serialize())
    socket = WebSocket(connection, heart, incidents, handshake.subprotocol)
    # What begins here must not keep the request for as long as it lasts.
    Context().run(socket.open, begin)


def _refusal(response: Response, reason: Exception | None) -> HttpRefusal:
    """With the headers that say how to come instead."""
    status, headers = response.status_code, response.headers
    told = {name: headers[name] for name in ("Allow", "Upgrade") if name in headers}
    if isinstance(reason, InvalidHeader) and reason.name == "Sec-WebSocket-Version":
        # RFC 6455, 4.2.2; the library leaves it out.
        status, told = 426, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    return HttpRefusal(status, "INVALID_ARGUMENT", response.body.decode().strip(), told)


class WebSocket(Held):
    """One WebSocket. `subprotocol` is None where the client knows none of ours."""

    def __init__(
        self, connection: Connection, heart: Heart, incidents: Incidents, subprotocol: str | None
    ) -> None:
        super().__init__(connection, heart)
        self._incidents = incidents
        self.subprotocol = subprotocol
        self._frames = Protocol(SERVER, max_size=MESSAGE_BYTES_MAX)
        self._message = bytearray()  # as much of it as has come
        self._answered = True
        self._talk: Talk | None = None

    def open(self, begin: Callable[[WebSocket], Talk]) -> None:
        self._talk = begin(self)
        self._connection.hold(self)

    # Out

    async def send(self, text: str) -> None:
        """Sends once there is room for it, and returns when there is for more. Raises
        `ConnectionResetError`."""
        await self._connection.room()
        self.say(text)
        await self._connection.room()

    def say(self, text: str) -> None:
        """Sends at once what is short, and an answer to what the client sent."""
        if self._frames.state is OPEN:
            self.write(_text_frame(text.encode()))

    def close(self, code: int, reason: str) -> None:
        if self._frames.state is OPEN:
            self._frames.send_close(code, _cut(reason))
            self._flush()
            self._closing()

    def _closing(self) -> None:
        """Throws away what still comes, but not for long."""
        if self._talk is not None:
            self._talk.end()
            self._talk = None
            asyncio.get_running_loop().call_later(CLOSE_WITHIN_S, self._transport.abort)

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if data:
                self.write(data)
            elif self._frames.close_rcvd is not None:
                self._transport.close()
            else:
                # To close now would reset the connection while the client still sends, and it
                # would never see why.
                self._transport.write_eof()

    # In

    def received(self, data: bytearray) -> None:
        self._frames.receive_data(data)
        self._flush()
        for event in self._frames.events_received():
            if isinstance(event, Frame) and self._talk is not None:
                self._hear(self._talk, event)
        if self._frames.state is not OPEN:
            self._closing()

    def _hear(self, talk: Talk, frame: Frame) -> None:
        self._answered = True
        if frame.opcode is Opcode.BINARY:
            talk.binary()
        elif frame.opcode in {Opcode.TEXT, Opcode.CONT}:
            self._message += frame.data
            if frame.fin:
                message, self._message = self._message, bytearray()
                self._understand(talk, message)

    def _understand(self, talk: Talk, message: bytearray) -> None:
        try:
            text = message.decode()
        except UnicodeDecodeError:
            self.close(1007, "the message is not UTF-8")
            return
        try:
            talk.hear(text)
        except Exception as error:  # noqa: BLE001  whatever it is, its text stays here
            self.close(INTERNAL_ERROR, self._incidents.report(error))

    # Life and death

    def beat(self) -> None:
        if self._stuck():
            self.close(TOO_SLOW, "nothing was read for too long")
            self._transport.abort()
        elif self._waiting or self._frames.state is not OPEN:
            pass  # slow, and yet alive; or closing
        elif not self._answered:
            self.close(TOO_SLOW, "the last ping was not answered")
        else:
            self._answered = False
            self._frames.send_ping(b"")
            self._flush()

    def leave(self) -> None:
        if self._talk is not None:
            self._talk.leave()

    def lost(self) -> None:
        super().lost()
        if self._talk is not None:
            self._talk.end()
            self._talk = None


def _text_frame(payload: bytes) -> bytes:
    """One unmasked text frame (RFC 6455, 5.2). As the library's, at a fifth of the time."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (struct.pack("!H", size), payload)
    return b"\x81\x7f%b%b" % (struct.pack("!Q", size), payload)


def _cut(reason: str) -> str:
    """As much as fits; half a surrogate pair, which an id may have, becomes a question mark."""
    return reason.encode(errors="replace")[:REASON_BYTES_MAX].decode(errors="ignore")
