"""A TCP relay between clients and a process, which cuts or holds up its connections on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PIECE_BYTES = 65_536


class Relay:
    """Listens on a free port; what is on its way at a cut is lost."""

    def __init__(self, target: str) -> None:
        self.target = target  # of those who connect from now on
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.connections = 0  # so far
        self.back_bytes_max: int | None = None  # to each client from now on; then it is cut
        self.flowing = asyncio.Event()  # cleared: what is on its way stays there
        self.flowing.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        server = await self._listen()
        try:
            yield self
        finally:
            server.close()
            self.flowing.set()
            self.cut()
            await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        """Ends every connection at once, without a word."""
        for writer in self._open:
            writer.transport.abort()

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
        return server

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, back}
        self._open |= pair
        most = self.back_bytes_max
        await asyncio.gather(self._pump(reader, back, None), self._pump(there, writer, most))
        self._open -= pair

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.target.partition(":")
        return await asyncio.open_connection(host, int(port))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None
    ) -> None:
        """Until one side ends, or so many bytes have gone through; then the other ends, too."""
        with contextlib.suppress(OSError):
            while most is None or most > 0:
                piece = await reader.read(PIECE_BYTES if most is None else most)
                if not piece:
                    break
                await self.flowing.wait()
                writer.write(piece)
                await writer.drain()
                most = None if most is None else most - len(piece)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
