"""Stands between the store and those who speak with it, on the sockets in the farm's directory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.web.relay import Relay

SOCKETS = ("store", "outcomes")  # what is asked of the store, and what workers tell it


class SocketRelay(Relay):
    """In the place of a socket in the file system, which goes on beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._behind = path.with_name(f"{path.name}.behind")
        super().__init__(str(self._behind))

    async def _listen(self) -> asyncio.Server:
        self._path.rename(self._behind)
        return await asyncio.start_unix_server(self._accept, self._path)

    def step_aside(self) -> None:
        """Whoever connects from now on finds the socket itself."""
        self._behind.rename(self._path)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.target)


@asynccontextmanager
async def between(sockets: Path) -> AsyncIterator[list[SocketRelay]]:
    """Whoever connects from now on does so through one of these. The store must not start anew
    meanwhile, for it would take its place again."""
    async with contextlib.AsyncExitStack() as stack:
        relays = [SocketRelay(sockets / name) for name in SOCKETS]
        for relay in relays:
            await stack.enter_async_context(relay.running())
        yield relays
        for relay in relays:
            relay.step_aside()
