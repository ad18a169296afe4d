"""A client of server-sent events that does only what it is told."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from tests.web.web_process import JSON

ACCEPT = {"accept": "text/event-stream"}


def connect(address: str, receive_buffer_bytes: int = 0) -> socket.socket:
    """A connection; what is done with it fails after ten seconds."""
    one = socket.socket()
    one.settimeout(10)
    if receive_buffer_bytes:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    host, _, port = address.partition(":")
    one.connect((host, int(port)))
    return one


class Sent(NamedTuple):
    """One event; the cursor is empty where it has none."""

    name: str
    id: str
    body: Any


class RawStream:
    """What one request is answered with, event by event."""

    def __init__(
        self, address: str, query: str, *, method: str = "POST", path: str = "/graphql",
        headers: Mapping[str, str] | None = None, receive_buffer_bytes: int = 0, **variables: Any,
    ) -> None:  # fmt: skip
        self.socket = connect(address, receive_buffer_bytes)
        body = b""
        if method == "POST":
            body = json.dumps({"query": query, "variables": variables}).encode()
        else:
            path += "?" + urlencode({"query": query, "variables": json.dumps(variables)})
        asked = {"host": address, "content-length": str(len(body)), **JSON, **ACCEPT}
        lines = [f"{k}: {v}" for k, v in (asked | {**(headers or {})}).items()]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
        self.socket.sendall(head.encode() + body)
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = {}
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def next(self) -> Sent | None:
        """None at the end of the answer. Comments are dropped."""
        while (event := self._chunk()) and event.startswith(":"):
            pass
        if not event:
            return None
        assert event.endswith("\n\n")
        fields = dict(line.split(":", 1) for line in event[:-2].split("\n"))
        body = fields["data"].strip()
        return Sent(
            fields["event"].strip(),
            fields.get("id", "").strip(),
            json.loads(body) if body else None,
        )

    def _chunk(self) -> str:
        """Each event comes as a chunk of its own; the last one is empty."""
        size = int(self._file.readline(), 16)
        chunk = self._file.read(size).decode()
        assert self._file.readline() == b"\r\n"
        return chunk

    def event(self) -> Any:
        sent = self.next()
        assert sent is not None
        assert sent.name == "next"
        event = sent.body["data"]["inboxEvents"]
        assert sent.id == event["cursor"]
        return event

    def added(self) -> Any:
        """The next event of a post that is new."""
        while (event := self.event())["__typename"] != "NotificationAdded":
            pass
        return event
