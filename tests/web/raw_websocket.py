"""A WebSocket client that does only what it is told: no pong, no close of its own."""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from tests.web.raw_stream import connect
from tests.web.web_process import Reply

PROTOCOL = "graphql-transport-ws"


class Closed(NamedTuple):
    """How the other side closed."""

    code: int
    reason: str


class RawWebSocket:
    """Blocking; everything fails after a deadline."""

    def __init__(
        self,
        address: str,
        path: str = "/graphql",
        *,
        protocol: str | None = PROTOCOL,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        version: str = "1.1",
        receive_buffer_bytes: int = 0,
    ) -> None:
        self.socket = connect(address, receive_buffer_bytes)
        asked = {
            "host": address,
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": base64.b64encode(b"sixteen bytes of").decode(),
        }
        if protocol is not None:
            asked["sec-websocket-protocol"] = protocol
        lines = [
            f"{method} {path} HTTP/{version}",
            *(f"{k}: {v}" for k, v in (asked | {**(headers or {})}).items()),
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._frames = Protocol(CLIENT)
        self._events: deque[Frame] = deque()
        self.response = self._response()

    def _response(self) -> Reply:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self.socket.recv(65_536)
            assert piece, received
            received += piece
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        if (status := int(first.split()[1])) == 101:
            self._take(rest)
            rest = b""
        return Reply(status, headers, rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # Out

    def frame(self, opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> None:
        self.socket.sendall(Frame(opcode, data, fin).serialize(mask=True))

    def text(self, text: str) -> None:
        self.frame(Opcode.TEXT, text.encode())

    def say(self, **message: Any) -> None:
        self.text(json.dumps(message))

    def init(self) -> RawWebSocket:
        self.say(type="connection_init")
        assert self.hear() == {"type": "connection_ack"}
        return self

    def subscribe(self, name: str, query: str, **variables: Any) -> None:
        self.say(id=name, type="subscribe", payload={"query": query, "variables": variables})

    # In

    def hear(self) -> Any:
        """The next message."""
        return json.loads(bytes(self.next(Opcode.TEXT).data))

    def added(self) -> Any:
        """The next event of a post that is new."""
        while (event := self.event())["__typename"] != "NotificationAdded":
            pass
        return event

    def event(self) -> Any:
        """The next event of an inbox."""
        return self.hear()["payload"]["data"]["inboxEvents"]

    def closed(self) -> Closed:
        """How it is closed; what comes before that is dropped."""
        close = Close.parse(bytes(self.next(Opcode.CLOSE, dropping=True).data))
        return Closed(close.code, close.reason)

    def next(self, opcode: Opcode, *, dropping: bool = False) -> Frame:
        """The next frame that is no ping; or the next of this kind."""
        while True:
            try:
                frame = self.any()
            except EOFError:
                raise AssertionError("the connection ended without a close frame") from None
            if frame.opcode is opcode:
                return frame
            assert dropping or frame.opcode is Opcode.PING, frame

    def any(self) -> Frame:
        """The next frame, whatever it is. Raises `EOFError` where there is none to come."""
        while not self._events:
            piece = self.socket.recv(65_536)
            if not piece:
                raise EOFError
            self._take(piece)
        return self._events.popleft()

    def _take(self, data: bytes) -> None:
        self._frames.receive_data(data)
        self._events.extend(e for e in self._frames.events_received() if isinstance(e, Frame))

    def gone(self) -> bool:
        """Whether the other side let go of the connection; waits for it until the deadline."""
        try:
            while self.socket.recv(65_536):
                pass
        except ConnectionResetError:
            pass
        return True
