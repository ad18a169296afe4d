"""How long calls wait before this process is handed them.

gRPC reads calls off the connections by itself, keeps them in the order they came and hands them
over one at a time; it tells neither how many it keeps nor since when. So while many are in flight a
call of our own goes the same way every few milliseconds. As long as that is not back, whoever is
handed over came before it, and has waited for longer. Once it is back the next one tells, so the
last must never have been sent long ago; the longer the queue, the less exactly it need be known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import grpc

from farm.clock import Clock
from gateway.standard import HEALTH_CHECK

EVERY_S = 0.02
OF_THE_WAIT = 1 / 16  # so exactly: 90 calls are under way in a queue of half a minute
PATIENCE_S = 30.0
_NEVER_MS = 2**31 - 1

_CHANNEL_OPTIONS = (
    ("grpc.client_idle_timeout_ms", _NEVER_MS),
    ("grpc.enable_retries", 0),
)


class QueueDelay:
    """Sends calls of our own while there is reason to, and tells what they show."""

    def __init__(self, send: Callable[[], Awaitable[object]], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._under_way: dict[asyncio.Task[None], float] = {}  # since when; the oldest stands first
        self._sent_s = 0.0

    def at_least_s(self, *, busy: bool) -> float:
        """How long whoever is handed over now has waited, at least. Once `busy` it goes on looking
        until nobody waits any more; else it costs nothing."""
        if not busy and not self._under_way:
            return 0.0
        now_s = self._clock.monotonic_s()
        waited_s = now_s - next(iter(self._under_way.values()), now_s)
        if now_s - self._sent_s >= max(EVERY_S, waited_s * OF_THE_WAIT):
            self._sent_s = now_s
            task = asyncio.create_task(self._go())
            self._under_way[task] = now_s
            task.add_done_callback(self._under_way.pop)
        return waited_s

    async def _go(self) -> None:
        # That it failed is no news: it was on its way for as long as it was.
        with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._send()


def health_check_of(address: str) -> Callable[[], Awaitable[object]]:
    """What asks a server for its health, over a connection that is made now and stays."""
    channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
    channel.get_state(try_to_connect=True)
    check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(HEALTH_CHECK)
    return lambda: check(b"")
