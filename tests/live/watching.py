"""A live inbox on each transport, by clients of a few lines, and what somebody knows by them.

    async with aclosing(TRANSPORTS["websocket"](addresses, "ann", picture.cursor)) as events:
        async for event in events:
            await picture.take(event)

Leaving an iterator cuts its connection, there and then. `Lost` is raised where the other side
did that, or told the client to go elsewhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

import grpc
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc

QUERY = """subscription($user: ID!, $since: String) { inboxEvents(userId: $user, since: $since) {
  __typename cursor
  ... on NotificationAdded { notification { id postId content read status attempts } }
  ... on NotificationUpdated { notification { id postId content read status attempts } }
  ... on NotificationRemoved { id reason }
  ... on InboxReset { reason } } }"""
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvZg==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
KINDS = {
    "InboxLive": "live",
    "NotificationAdded": "added",
    "NotificationUpdated": "updated",
    "NotificationRemoved": "removed",
    "InboxGap": "gap",
    "InboxReset": "reset",
}
STATUS = "NOTIFICATION_STATUS_"
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


class Lost(Exception):
    """The connection has ended by itself."""


class Shown(NamedTuple):
    """A notification as any transport shows it."""

    id: str
    post_id: str
    content: str
    read: bool
    status: str
    attempts: int


class Told(NamedTuple):
    """An event."""

    kind: str
    cursor: str
    id: str = ""
    reason: str = ""
    shown: Shown | None = None


class Addresses(NamedTuple):
    grpc: str
    http: str


Events = AsyncGenerator[Told]


async def by_grpc(addresses: Addresses, user: str, since: str) -> Events:
    request = hark_pb2.WatchNotificationsRequest(user_id=user, since=since)
    async with grpc.aio.insecure_channel(addresses.grpc, OWN_CONNECTION) as channel:
        inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
        try:
            async for event in inbox.WatchNotifications(request):
                if (kind := event.WhichOneof("event")) != "heartbeat":
                    yield _of_message(kind, event)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise
            raise Lost(error.details()) from None


def _of_message(kind: str, event: Any) -> Told:
    match kind:
        case "added" | "updated":
            shown = of_grpc(getattr(event, kind))
            return Told(kind, event.cursor, shown.id, shown=shown)
        case "removed":
            return Told(kind, event.cursor, event.removed.id, event.removed.reason)
        case "reset":
            return Told(kind, event.cursor, reason=event.reset.reason)
        case _:
            return Told(kind, event.cursor)


def of_grpc(one: hark_pb2.Notification) -> Shown:
    status = hark_pb2.NotificationStatus.Name(one.status).removeprefix(STATUS)
    return Shown(one.id, one.post_id, one.content, one.read, status, one.attempts)


async def by_websocket(addresses: Addresses, user: str, since: str) -> Events:
    def text(**message: Any) -> bytes:
        return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)

    variables = {"user": user, "since": since}
    payload = {"query": QUERY, "variables": variables}
    reader, writer = await _connect(addresses.http)
    try:
        subscribe = text(type="subscribe", id="1", payload=payload)
        writer.write(HANDSHAKE + text(type="connection_init") + subscribe)
        frames = Protocol(CLIENT)
        await reader.readuntil(b"\r\n\r\n")
        while piece := await reader.read(65_536):
            frames.receive_data(piece)
            for frame in frames.events_received():
                assert isinstance(frame, Frame)
                message = json.loads(bytes(frame.data)) if frame.opcode is Opcode.TEXT else {}
                if message.get("type") == "next":
                    yield _of_answer(message["payload"])
                assert message.get("type") != "error", message
            writer.writelines(frames.data_to_send())  # what pings are answered with
        raise Lost
    except (OSError, asyncio.IncompleteReadError):
        raise Lost from None
    finally:
        writer.transport.abort()


async def by_events(addresses: Addresses, user: str, since: str) -> Events:
    variables = {"user": user, "since": since}
    query = urlencode({"query": QUERY, "variables": json.dumps(variables)})
    reader, writer = await _connect(addresses.http)
    try:
        ask = f"GET /graphql?{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
        writer.write(ask.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")), head
        while size := int(await reader.readuntil(b"\r\n"), 16):
            chunk = (await reader.readexactly(size + 2)).decode()
            if chunk.startswith("id: "):
                yield _of_answer(json.loads(chunk.partition("data: ")[2]))
        raise Lost
    except (OSError, ValueError, asyncio.IncompleteReadError):
        raise Lost from None
    finally:
        writer.transport.abort()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.partition(":")
    try:
        return await asyncio.open_connection(host, int(port))
    except OSError:
        raise Lost from None


def _of_answer(answer: Any) -> Told:
    if any(e["extensions"]["code"] == "UNAVAILABLE" for e in answer.get("errors", ())):
        raise Lost
    event = answer["data"]["inboxEvents"]
    kind, cursor = KINDS[event["__typename"]], event["cursor"]
    if "notification" not in event:
        return Told(kind, cursor, event.get("id", ""), event.get("reason", ""))
    one = event["notification"]
    shown = Shown(
        one["id"], one["postId"], one["content"], one["read"], one["status"], one["attempts"]
    )
    return Told(kind, cursor, shown.id, shown=shown)


TRANSPORTS: dict[str, Callable[[Addresses, str, str], Events]] = {
    "grpc": by_grpc,
    "websocket": by_websocket,
    "events": by_events,
}


class Picture:
    """What somebody knows of an inbox, who handles events as the schema says, and no other way."""

    def __init__(self, load: Callable[[], Awaitable[list[Shown]]], cursor: str) -> None:
        self._load = load
        self.cursor = cursor
        self.shown: dict[str, Shown] = {}
        self.order: list[str] = []  # the ids of posts as they first came to be known
        self.resets: list[str] = []
        self._known: set[str] = set()  # also what is shown no more
        self._loaded: set[str] = set()  # anew, and not told of since
        self._cursors: set[str] = set()

    def copy(self) -> Picture:
        made = Picture(self._load, self.cursor)
        made.shown, made.order = dict(self.shown), list(self.order)
        made._known, made._loaded = set(self._known), set(self._loaded)
        made._cursors = set(self._cursors)
        return made

    async def load(self) -> None:
        page = await self._load()
        self.shown = {one.id: one for one in page}
        self._loaded = set(self.shown)
        for one in reversed(page):
            self._note(one)

    async def take(self, event: Told) -> None:
        assert event.cursor not in self._cursors or event.kind == "live", f"{event} came before"
        self._cursors.add(event.cursor)
        one = event.shown
        match event.kind:
            case "live":
                assert event.cursor == self.cursor or not self.cursor
            case "added":
                assert one is not None
                # What was loaded anew may be newer than where it goes on from.
                assert one.id not in self.shown or one.id in self._loaded, f"{one} is added twice"
                self._loaded.discard(one.id)
                self.shown[one.id] = one
                self._note(one)
            case "updated":
                assert one is not None
                assert one.id in self.shown or self.resets, f"{one} was never added"
                if one.id in self.shown:
                    self.shown[one.id] = one
            case "removed":
                self.shown.pop(event.id, None)
            case "reset":
                self.resets.append(event.reason)
                await self.load()
            case _:
                raise AssertionError(f"{event}: nothing was lost")
        self.cursor = event.cursor

    def _note(self, one: Shown) -> None:
        if one.id not in self._known:
            self._known.add(one.id)
            self.order.append(one.post_id)
