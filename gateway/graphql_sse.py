"""GraphQL over server-sent events, one connection for each operation.

After PROTOCOL.md of the npm package graphql-sse ("distinct connections mode") and the standard of
HTML: `next` for each payload, then `complete`. A `next` of a subscription has the event's cursor as
its id, so that a browser that lost the connection goes on from there by itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from sanic import Request
from sanic.http import Http

from farm.errors import Unavailable
from gateway.graphql_http import Question, from_body, from_url
from gateway.held import Connection, Heart, Held
from gateway.refusals import GRAPHQL_JSON, JSON, HttpRefusal, encoded
from gateway.running import Failed, Payload, Running

MEDIA_TYPE = "text/event-stream"
_COMPLETE = "event: complete\ndata:\n\n"
_HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would keep the events until it has a page of them
}


def wanted(request: Request) -> bool:
    """Whether whoever asks names event streams, and likes nothing else better."""
    accept = request.headers.get("accept", "")
    if MEDIA_TYPE not in accept:
        return False
    best = request.accept.match(MEDIA_TYPE, GRAPHQL_JSON, JSON, accept_wildcards=False)
    return bool(best.mime == MEDIA_TYPE and best.header and best.header.q)


class EventStreams:
    """Every stream of events."""

    def __init__(self, running: Running, heart: Heart) -> None:
        self._running = running
        self._heart = heart

    async def answer(self, request: Request) -> None:
        """Raises `HttpRefusal` where the request is no question, before anything is told."""
        asked = from_body(request) if request.method == "POST" else from_url(request)
        if isinstance(asked, list):
            raise HttpRefusal(400, "INVALID_ARGUMENT", "a batch cannot be answered by events")
        resume_after = request.headers.get("last-event-id", "")
        async with aclosing(self._events(asked, request.method, resume_after)) as events:
            first = await anext(events)
            await self._tell(request, first, events)

    async def _tell(self, request: Request, first: str, events: AsyncIterator[str]) -> None:
        connection = request.transport.get_protocol()
        assert isinstance(connection, Connection)
        assert isinstance(request.stream, Http)
        request.stream.keep_alive = False
        response = await request.respond(content_type=MEDIA_TYPE, headers=_HEADERS)
        await response.send(first)
        stream = EventStream(connection, self._heart)
        try:
            async for event in events:
                await stream.send(event)
        except ConnectionResetError:
            pass
        finally:
            stream.done()

    async def _events(
        self, question: Question, method: str, resume_after: str
    ) -> AsyncGenerator[str, None]:
        """The text of each event. Without `complete` at the end where this process goes away."""
        try:
            async with aclosing(self._running.run(question, method, resume_after)) as payloads:
                async for payload in payloads:
                    yield _next(payload)
        except Failed as failed:
            yield _next(Payload(encoded({"errors": failed.errors}).decode()))
        except Unavailable:
            return
        yield _COMPLETE


class EventStream(Held):
    """The connection of one stream, in the chunks of HTTP/1.1."""

    stays = False

    def __init__(self, connection: Connection, heart: Heart) -> None:
        super().__init__(connection, heart)
        self._done = False
        connection.hold(self)

    async def send(self, event: str) -> None:
        """Sends once there is room for it. Raises `ConnectionResetError`."""
        await self._connection.room()
        self.write(_chunk(event.encode()))

    def beat(self) -> None:
        if self._stuck():
            self._transport.abort()
        elif not self._done and self._transport.get_write_buffer_size() == 0:
            self.write(_chunk(b":\n\n"))

    def leave(self) -> None:
        """Its source ends it."""

    def done(self) -> None:
        """What comes after this ends the response, and with it the connection."""
        self._done = True


def _next(payload: Payload) -> str:
    """JSON as it is made here has no line breaks."""
    head = f"id: {payload.cursor}\n" if payload.cursor else ""
    return f"{head}event: next\ndata: {payload.text}\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
