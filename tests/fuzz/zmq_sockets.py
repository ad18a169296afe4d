"""The sockets between the farm's processes: messages that are nearly right, and bytes that are no
ZeroMQ at all.

A peer of the same user can reach them, so none may bring a process down or make it grow.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Self

import zmq

from farm import wire
from farm.wire import MESSAGE_BYTES_MAX, Kind
from tests.fuzz import messages, mutate
from tests.fuzz.place import Place
from tests.fuzz.tally import Tally

AT_ONCE = 100
ANSWER_MS = 10_000
_askers = itertools.count(1)
Message = Callable[[Random], Any]
# What a process surely answers, behind all that was sent before it.
ASK_STORE = wire.pack(Kind.WRITE, "fuzz-asks", 0, [[wire.Op.STATS]])
ASK_READER = wire.pack(Kind.READ, "fuzz-asks", 0, [[wire.Query.USER, "user1"]])
ASK_CONTROL = wire.pack(Kind.PING)
ASK_FARM = wire.pack(Kind.FARM, None)


def requests(
    where: Callable[[Place], str], message: Message, question: bytes
) -> Callable[[Place, Tally, int, Random], None]:
    return partial(_requests, where, message, question)


def pushes(
    where: Callable[[Place], str], message: Message
) -> Callable[[Place, Tally, int, Random], None]:
    return partial(_pushes, where, message)


def _requests(
    where: Callable[[Place], str], message: Message, question: bytes,
    place: Place, tally: Tally, count: int, chance: Random,
) -> None:  # fmt: skip
    """Sends some at a time, and then what must be answered."""
    with contextlib.ExitStack() as stack:
        asker = stack.enter_context(_Asker(where(place)))
        for first in range(0, count, AT_ONCE):
            for _ in range(min(AT_ONCE, count - first)):
                asker.send(_frames(chance, message))
            asker.collect(tally, question)


class _Asker:
    """A socket that asks without waiting; answers are told apart by the frame before them."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.SNDHWM, 0)
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.RCVTIMEO, ANSWER_MS)
        self._socket.connect(address)
        self._sent: dict[bytes, bytes] = {}
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()

    def send(self, frames: list[bytes]) -> None:
        self._number += 1
        name = b"%d" % self._number
        self._sent[name] = frames[-1]
        self._socket.send_multipart([name, *frames])

    def collect(self, tally: Tally, question: bytes) -> None:
        """Takes answers until the question, asked last, has its own."""
        unpacked = wire.unpack(question)
        body = [*unpacked[1]]
        if len(body) > 2:
            # By somebody new each time, or it could be taken for one that was answered.
            body[0] = f"asks-{next(_askers)}"
        self._socket.send_multipart([b"?", b"", wire.pack(unpacked[0], *body)])
        while True:
            try:
                name, *_, answer = self._socket.recv_multipart()
            except zmq.Again:
                tally.blame("does not answer any more, after", [*self._sent.values()][-3:])
                break
            if name == b"?":
                break
            if name in self._sent:
                _look_at(tally, self._sent.pop(name), answer)
        # Leases wait for work, and what names no asker is answered to nobody.
        for _ in self._sent:
            tally.answered("waits")
        self._sent.clear()


def _look_at(tally: Tally, raw: bytes, answer: bytes) -> None:
    kind, body = wire.unpack(answer)
    if kind is Kind.FAULT:
        tally.answered("FAULT")
        tally.told(body[0], raw)
    elif kind is Kind.ANSWERS:
        tally.answered("answered")
        for result in body[1]:
            if result[0]:
                tally.told(result[1], raw)
    else:
        tally.answered(kind.name)


def _frames(chance: Random, message: Message) -> list[bytes]:
    """The frames of a request: its payload, mostly behind the empty one that a REQ sends."""
    while not messages.harmless(raw := messages.packed(chance, message(chance))):
        pass
    match chance.randrange(12):
        case 0:
            return [raw]
        case 1:
            return [b"", chance.randbytes(5), raw]
        case 2:
            return [b"", raw, b""]
        case _:
            return [b"", raw]


def _pushes(
    where: Callable[[Place], str], message: Message,
    place: Place, tally: Tally, count: int, chance: Random,
) -> None:  # fmt: skip
    context = zmq.Context()
    pusher = context.socket(zmq.PUSH)
    pusher.set(zmq.SNDTIMEO, ANSWER_MS)
    pusher.connect(where(place))
    try:
        for _ in range(count):
            frames = [messages.packed(chance, message(chance))]
            if chance.random() < 0.05:
                frames.append(chance.randbytes(3))
            pusher.send_multipart(frames)
            tally.answered("taken")
    except zmq.Again:
        tally.blame("takes nothing any more")
    finally:
        pusher.close(ANSWER_MS)
        context.term()


# Below ZeroMQ

GREETING = bytes.fromhex("ff00000000000000017f") + b"\x03\x00NULL" + bytes(48)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
LONG_FRAME = b"\x02" + (MESSAGE_BYTES_MAX + 1).to_bytes(8, "big") + b"x" * 100
ENDLESS_FRAME = b"\x02" + (2**63 - 1).to_bytes(8, "big") + b"x"
HTTP = b"GET / HTTP/1.1\r\nHost: hark\r\n\r\n"
WIRES = (
    HTTP,
    GREETING,
    GREETING[:10],
    GREETING[:40],
    GREETING + READY,
    GREETING + READY + b"\x00\x05hello",
    GREETING + READY + ENDLESS_FRAME,
    GREETING + READY + LONG_FRAME,
    GREETING + READY + b"\x04\x05\x04PING",
    GREETING + b"\x06" + (2**40).to_bytes(8, "big"),
    GREETING.replace(b"NULL", b"PLAI"),
    GREETING.replace(b"\x03\x00NULL", b"\x01\x00NULL"),
    b"\xff" * 64,
)


def raw_bytes(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """Connects to each socket by itself, says something else than ZeroMQ, and goes."""
    paths = sorted(place.sockets())
    for number in range(count):
        said = chance.choice(WIRES)
        if chance.random() < 0.7:
            said = mutate.damaged(chance, said, WIRES)
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(str(paths[number % len(paths)]))  # waits while others are in line
                one.settimeout(ANSWER_MS / 1000)
                one.sendall(said)
            except (BrokenPipeError, ConnectionResetError):
                tally.answered("cut off")
                continue
            except OSError as error:
                tally.blame(f"{paths[number % len(paths)].name} cannot be reached: {error}")
                return
        tally.answered("taken")
