"""GraphQL over server-sent events, one connection for each operation.

After PROTOCOL.md of the npm package graphql-sse ("distinct connections mode") and the standard of
HTML: `next` for each payload, then `complete`. A `next` of a subscription has the event's cursor as
its id, so that a browser that lost the connection goes on from there by itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

from sanic import Request
from sanic.exceptions import InvalidHeader
from sanic.http import Http
from sanic.response import HTTPResponse

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


class EventStreams:
    """Every stream of events."""

    def __init__(self, running: Running, heart: Heart) -> None:
        self._running = running
        self._heart = heart

    def wanted(self, request: Request) -> bool:
        """Whether whoever asks names event streams and likes nothing else better.

        Who likes JSON as much gets events for a subscription, which has no one answer.
        """
        if MEDIA_TYPE not in request.headers.get("accept", "").lower():
            return False
        events = _quality(request, MEDIA_TYPE, wildcards=False)
        other = _quality(request, JSON, GRAPHQL_JSON, wildcards=True)
        if events != other:
            return events > other
        asked = _asked(request)
        return events > 0 and isinstance(asked, Question) and self._running.subscribes(asked)

    async def answer(self, request: Request) -> None:
        """Raises `HttpRefusal` where the request is no question, before anything is told."""
        asked = _asked(request)
        if isinstance(asked, list):
            raise HttpRefusal(400, "INVALID_ARGUMENT", "a batch cannot be answered by events")
        self._heart.admit()
        resume_after = request.headers.get("last-event-id", "")
        async with aclosing(self._events(asked, request.method, resume_after)) as events:
            first = await anext(events, "")
            await self._tell(request, first, events)

    async def _tell(self, request: Request, first: str, events: AsyncIterator[str]) -> None:
        connection = request.transport.get_protocol()
        assert isinstance(connection, Connection)
        assert isinstance(request.stream, Http)
        request.stream.keep_alive = False
        chunked = request.version != "1.0"
        if not chunked:
            request.stream.head_only = (
                True  # all that Sanic sends; it would send the rest in chunks
            )
        kind = HTTPResponse if chunked else UntilClosed
        response = await request.respond(kind(headers=_HEADERS, content_type=MEDIA_TYPE))
        await response.send("")
        stream = EventStream(connection, self._heart, chunked=chunked)
        try:
            if first:
                await stream.send(first)
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


class UntilClosed(HTTPResponse):
    """A response that ends with its connection, for HTTP/1.0 has no chunks (RFC 9112, 6.1)."""

    __slots__ = ()

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        self.headers.pop("transfer-encoding", None)
        return super().processed_headers


class EventStream(Held):
    """The connection of one stream, in the chunks of HTTP/1.1 or without."""

    stays = False

    def __init__(self, connection: Connection, heart: Heart, *, chunked: bool) -> None:
        super().__init__(connection, heart)
        self._framed = _chunk if chunked else bytes
        self._done = False
        connection.hold(self)

    async def send(self, event: str) -> None:
        """Returns when there is room for another. Raises `ConnectionResetError`."""
        self.write(self._framed(event.encode()))
        await self._connection.room()

    def beat(self) -> None:
        if self._stuck():
            self._transport.abort()
        elif not self._waiting and not self._done:
            self.write(self._framed(b":\n\n"))

    def leave(self) -> None:
        """What is followed ends by itself, for this process is the one that ends it."""

    def done(self) -> None:
        """What comes after this ends the response, and with it the connection."""
        self._done = True


def _asked(request: Request) -> Question | list[Question]:
    return from_body(request) if request.method == "POST" else from_url(request)


def _quality(request: Request, *media_types: str, wildcards: bool) -> float:
    """How much any of these is liked, from 0 to 1."""
    try:
        best = request.accept.match(*media_types, accept_wildcards=wildcards).header
    except InvalidHeader:
        return 0
    return 0 if best is None else best.q


def _next(payload: Payload) -> str:
    """JSON as it is made here has no line breaks."""
    head = f"id: {payload.cursor}\n" if payload.cursor else ""
    return f"{head}event: next\ndata: {payload.text}\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
