"""A WebSocket by itself, in a server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sanic import Request, Sanic

from gateway.held import USUAL, Connection, Heart
from gateway.refusals import Incidents
from gateway.web import listen
from gateway.websocket import accept
from tests.web.raw_websocket import Closed, RawWebSocket


class Broken:
    """Who speaks there has a bug."""

    def hear(self, text: str) -> None:
        raise ZeroDivisionError("a secret of ours")

    def binary(self) -> None: ...

    def leave(self) -> None: ...

    def end(self) -> None: ...


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Its address."""
    heart, incidents = Heart(USUAL), Incidents("web-test")

    async def answer(request: Request) -> None:
        await accept(request, heart, incidents, "any", lambda _: Broken())

    answer.is_websocket = True  # type: ignore[attr-defined]
    site = Sanic("websocket", configure_logging=False)
    site.add_route(answer, "/graphql")
    listener = listen("127.0.0.1", 0)
    server = await site.create_server(
        sock=listener, protocol=Connection, return_asyncio_server=True
    )
    assert server is not None
    await server.startup()  # type: ignore[no-untyped-call]
    await server.start_serving()  # type: ignore[no-untyped-call]
    try:
        host, port = listener.getsockname()
        yield f"{host}:{port}"
    finally:
        server.close()  # type: ignore[no-untyped-call]


async def test_a_bug_of_ours_is_a_number_outside_and_a_trace_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def closed(address: str) -> Closed:
        with RawWebSocket(address) as ws:
            ws.text("hello")
            return ws.closed()

    async with serving() as address:
        code, reason = await asyncio.to_thread(closed, address)
    assert code == 1011
    (record,) = [one for one in caplog.records if one.name == "hark"]
    assert record.fields["incident"] in reason  # type: ignore[attr-defined]
    assert "secret" not in reason
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a secret of ours"
