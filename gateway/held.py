"""Connections that stay open: who on the other side still lives, and how much waits, both ways.

Sanic makes a `Connection` for each client and answers its requests. What a request wants to keep
open becomes `Held`: Sanic's time-outs end, and the heart beats for all of them together. A peer
that is gone without a word, and one that takes nothing any more, is let go within two beats. What
comes faster than it can be heard waits for its turn.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from sanic.server import HttpProtocol

from gateway.refusals import HttpRefusal

SLOTS = 40  # parts of a beat: to hear thousands at once would keep everybody else waiting
UNSENT_IN_KERNEL_BYTES_MAX = 128 * 1024
HEARD_BYTES_MAX = 2 * 1024  # at once: 340 frames at most

_INT = struct.Struct("i")


class Terms(NamedTuple):
    """On which terms connections stay open."""

    heartbeat_s: float = 10.0
    init_within_s: float = 10.0  # until the client says hello, where a protocol wants that
    connections_max: int = 25_000


USUAL = Terms()


class Connection(HttpProtocol):
    """One client's connection: HTTP, and then perhaps something that stays."""

    __slots__ = ("_waits", "held")

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.held: Held | None = None
        self._waits = False  # for its turn to hear

    def hold(self, held: Held) -> None:
        self.held = held
        timer: asyncio.TimerHandle | None = self._callback_check_timeouts
        if timer is not None:
            timer.cancel()
        self._go_on()

    async def room(self) -> None:
        """Returns when little enough waits to be sent. Raises `ConnectionResetError`."""
        await self._can_write.wait()
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError

    def _hear(self) -> None:
        self._waits = False
        if self.held is not None and not self.held.closing():
            part = self.recv_buffer[:HEARD_BYTES_MAX]
            del self.recv_buffer[:HEARD_BYTES_MAX]
            self.held.received(part)
            self._go_on()

    def _go_on(self) -> None:
        """Hears what has come, and only then reads more.

        Neither while much waits to be sent: whoever takes nothing cannot make us answer more.
        """
        if self.held is None or self.transport is None:
            return
        can_write = self._can_write.is_set()
        if can_write and not self.recv_buffer:
            self.transport.resume_reading()
            return
        self.transport.pause_reading()
        if can_write and not self._waits:
            self._waits = True
            self.held.turns.wait(self._hear)

    # What asyncio and Sanic call; Sanic leaves these without types

    def data_received(self, data: bytes) -> None:
        if self.held is None:
            super().data_received(data)
        else:
            self.recv_buffer += data
            if self.held.turns.anybody_waits():
                self._go_on()
            else:
                self._hear()

    async def send(self, data: bytes) -> None:
        await super().send(data)  # type: ignore[no-untyped-call]
        if self.held is None and self.recv_buffer:
            await asyncio.sleep(0)  # or requests that came together would be answered in one turn

    def connection_lost(self, exc: Exception | None) -> None:
        if self.held is not None:
            self.held.lost()
        super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[no-untyped-call]
        self._go_on()

    def resume_writing(self) -> None:
        super().resume_writing()  # type: ignore[no-untyped-call]
        self._go_on()

    def check_timeouts(self) -> None:
        if self.held is None:
            super().check_timeouts()  # type: ignore[no-untyped-call]

    def close(self, timeout: float | None = None) -> None:
        """The end of a request, and of the connection unless something of it stays."""
        if self.held is None or not self.held.stays:
            super().close(timeout)

    def close_if_idle(self) -> bool:
        if self.held is None:
            return super().close_if_idle()
        self.held.leave()
        return False


class Turns:
    """Connections that have more to hear: in each turn of the loop one of them hears a part."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def anybody_waits(self) -> bool:
        return bool(self._waiting)

    def wait(self, hear: Callable[[], None]) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        self._waiting.append(hear)

    def _next(self) -> None:
        hear = self._waiting.popleft()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        hear()


class Held:
    """A connection that stays open, and what of it is under way."""

    stays = True  # after the request that began it

    def __init__(self, connection: Connection, heart: Heart) -> None:
        transport = connection.transport
        assert transport is not None
        self._connection = connection
        self._transport = transport
        self._heart = heart
        self.turns = heart.turns
        self._written = 0
        self._arrived = -1
        self._waiting = 0
        self._socket = transport.get_extra_info("socket")
        _bound(self._socket)
        heart.add(self)

    def write(self, data: bytes) -> None:
        """Where the connection is gone, nothing: whoever waits for room hears of it."""
        if not self._transport.is_closing():
            self._transport.write(data)
            self._written += len(data)

    def _stuck(self) -> bool:
        """Whether the other side took nothing since the last beat though something waited."""
        self._waiting = self._transport.get_write_buffer_size() + _in_kernel(self._socket)
        before, self._arrived = self._arrived, self._written - self._waiting
        return self._waiting > 0 and self._arrived == before

    def closing(self) -> bool:
        return self._transport.is_closing()

    def lost(self) -> None:
        """The connection is gone."""
        self._heart.remove(self)

    def received(self, data: bytearray) -> None:
        """Nothing is expected but the end."""

    def beat(self) -> None:
        """Another heartbeat is over."""
        raise NotImplementedError

    def leave(self) -> None:
        """This process is about to end."""
        raise NotImplementedError


class Heart:
    """Beats for all held connections, for one part of them after the other."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.turns = Turns()
        self._tick_s = terms.heartbeat_s / SLOTS
        self._slots: list[set[Held]] = [set() for _ in range(SLOTS)]
        self._slot_of: dict[Held, set[Held]] = {}
        self._next = itertools.cycle(self._slots)

    def admit(self) -> None:
        """Raises `HttpRefusal` where as many connections stay open as may."""
        if len(self._slot_of) >= self.terms.connections_max:
            message = f"{self.terms.connections_max:,} connections stay open here, as many as may"
            raise HttpRefusal(503, "RESOURCE_EXHAUSTED", message, {"Retry-After": "1"})

    def add(self, held: Held) -> None:
        slot = min(self._slots, key=len)
        slot.add(held)
        self._slot_of[held] = slot

    def remove(self, held: Held) -> None:
        slot = self._slot_of.pop(held, None)
        if slot is not None:
            slot.discard(held)

    async def beat(self) -> None:
        """Until cancelled."""
        for slot in self._next:
            await asyncio.sleep(self._tick_s)
            for held in list(slot):
                if not held.closing():
                    held.beat()


def _bound(held: Any) -> None:
    """Lets the kernel keep little: by itself it takes megabytes for a reader that is slow."""
    held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_IN_KERNEL_BYTES_MAX)


def _in_kernel(held: Any) -> int:
    """Bytes that the other side has not acknowledged."""
    waiting: int = _INT.unpack(fcntl.ioctl(held.fileno(), termios.TIOCOUTQ, _INT.pack(0)))[0]
    return waiting
