"""Asking over a real socket: what comes late, what is asked again, and who stops waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from farm.errors import Unavailable
from farm.sockets import Addresses, Asker, Server, Sockets
from farm.wire import Kind, pack

LONG_S = 10.0
SHORT_S = 0.3


@asynccontextmanager
async def _both(directory: Path) -> AsyncIterator[tuple[Server, Asker]]:
    sockets, addresses = Sockets(), Addresses(directory)
    try:
        yield sockets.server(addresses.store), sockets.asker(addresses.store)
    finally:
        sockets.close()


async def _received(server: Server) -> tuple[list[bytes], bytes]:
    async with asyncio.timeout(LONG_S):
        while (request := server.receive()) is None:  # noqa: ASYNC110 (it tells only when asked)
            await asyncio.sleep(0)
    return request


async def _answered(server: Server, asker: Asker, text: str) -> list[object]:
    asking = asyncio.create_task(asker.ask(pack(Kind.PING, text), LONG_S))
    envelope, payload = await _received(server)
    assert payload == pack(Kind.PING, text)
    server.reply(envelope, pack(Kind.PONG, text))
    kind, body = await asking
    assert kind is Kind.PONG
    return body


def test_each_question_gets_its_own_answer(tmp_path: Path) -> None:
    async def ask() -> None:
        async with _both(tmp_path) as (server, asker):
            for number in range(200):
                assert await _answered(server, asker, str(number)) == [str(number)]

    asyncio.run(ask())


def test_an_answer_that_comes_late_reaches_nobody(tmp_path: Path) -> None:
    """Neither where the caller gave up, nor where the time was over; the next question is asked and
    answered as if it had never come."""

    async def ask() -> None:
        async with _both(tmp_path) as (server, asker):
            cancelled = asyncio.create_task(asker.ask(pack(Kind.PING, "first"), LONG_S))
            first, _ = await _received(server)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            server.reply(first, pack(Kind.PONG, "first"))
            overdue = asyncio.create_task(asker.ask(pack(Kind.PING, "second"), SHORT_S))
            second, _ = await _received(server)
            with pytest.raises(Unavailable, match=r"no answer within 0\.3 s"):
                await overdue
            server.reply(second, pack(Kind.PONG, "second"))
            assert await _answered(server, asker, "third") == ["third"]

    asyncio.run(ask())


def test_a_question_waits_for_who_listens_later(tmp_path: Path) -> None:
    async def ask() -> None:
        sockets, addresses = Sockets(), Addresses(tmp_path)
        try:
            asker = sockets.asker(addresses.store)
            with pytest.raises(Unavailable):
                await asker.ask(pack(Kind.PING, "nobody"), SHORT_S)
            asking = asyncio.create_task(asker.ask(pack(Kind.PING, "somebody"), LONG_S))
            await asyncio.sleep(0)
            server = sockets.server(addresses.store)
            envelope, payload = await _received(server)
            while payload != pack(Kind.PING, "somebody"):
                envelope, payload = await _received(server)
            server.reply(envelope, pack(Kind.PONG, "here"))
            assert await asking == (Kind.PONG, ["here"])
        finally:
            sockets.close()

    asyncio.run(ask())


def test_who_asks_nothing_takes_no_time(tmp_path: Path) -> None:
    """The descriptor tells that an answer has come as long as nobody takes notice, so somebody must
    where nobody waits for it; or the loop goes round and round."""

    async def ask() -> None:
        async with _both(tmp_path) as (server, asker):
            with pytest.raises(Unavailable):
                await asker.ask(pack(Kind.PING), 0.05)
            late, _ = await _received(server)
            server.reply(late, pack(Kind.PONG))
            spent_s = -time.thread_time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT_S):
                    await asyncio.Event().wait()
            spent_s += time.thread_time()
            assert spent_s < SHORT_S / 3

    asyncio.run(ask())
