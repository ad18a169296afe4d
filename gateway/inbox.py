"""hark.v1.InboxService: notifications out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from farm import wire
from farm.client import StoreClient
from farm.clock import Clock
from farm.errors import InvalidArgument, ResourceExhausted
from farm.limits import (
    INBOX_PAGE_DEFAULT,
    INBOX_PAGE_MAX,
    MARKS_PER_CALL_MAX,
    check_id,
    check_page_size,
)
from farm.live import Live
from gateway.calls import Service
from gateway.pb.hark.v1 import hark_pb2
from gateway.values import STATUS, timestamp

HEARTBEAT_S = 10.0

Watched = hark_pb2.WatchNotificationsResponse


class InboxService:
    def __init__(
        self, store: StoreClient, live: Live, clock: Clock, *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._store = store
        self._live = live
        self._clock = clock
        self._heartbeat_s = heartbeat_s

    def service(self) -> Service:
        return Service(
            hark_pb2.DESCRIPTOR.services_by_name["InboxService"],
            {
                "ListNotifications": self.list_notifications,
                "MarkRead": self.mark_read,
                "WatchNotifications": self.watch_notifications,
            },
        )

    async def list_notifications(
        self, request: hark_pb2.ListNotificationsRequest
    ) -> hark_pb2.ListNotificationsResponse:
        size = check_page_size(
            "page_size", request.page_size, default=INBOX_PAGE_DEFAULT, most=INBOX_PAGE_MAX
        )
        page = await self._store.inbox(
            check_id("user_id", request.user_id),
            size,
            request.after,
            unread_only=request.unread_only,
        )
        return hark_pb2.ListNotificationsResponse(
            notifications=map(_notification, page.notifications),
            next_cursor=page.notifications[-1].cursor if page.has_more else "",
            unread=page.unread,
            live_cursor=page.live_cursor,
        )

    async def mark_read(self, request: hark_pb2.MarkReadRequest) -> hark_pb2.MarkReadResponse:
        """What may be refused comes first, so that a refusal has marked nothing."""
        ids, up_to = request.notification_ids, request.up_to
        if up_to and request.unread:
            raise InvalidArgument(
                "up_to: cannot be given with unread; only notification_ids can be marked as unread"
            )
        if not ids and not up_to:
            raise InvalidArgument(
                "notification_ids: are none, and up_to is empty; one of them must say what to mark"
            )
        if len(ids) > MARKS_PER_CALL_MAX:
            raise InvalidArgument(
                f"notification_ids: are {len(ids):,}; must be at most {MARKS_PER_CALL_MAX:,} a call"
            )
        unread = 0
        if up_to:
            unread = await self._store.mark_up_to(request.user_id, up_to)
        if ids:
            unread = await self._store.mark(request.user_id, list(ids), read=not request.unread)
        return hark_pb2.MarkReadResponse(unread=unread)

    async def watch_notifications(
        self, request: hark_pb2.WatchNotificationsRequest
    ) -> AsyncGenerator[Watched]:
        """What happens in an inbox, and after each silence that there was nothing."""
        user_id = check_id("user_id", request.user_id)
        async with (
            self._live.watch(user_id, request.since) as events,
            # Closed before what it asks is closed, or that would be closed while it is asked.
            contextlib.aclosing(_or_silence(events, self._heartbeat_s)) as coming,
        ):
            cursor = request.since
            async for event in coming:
                if event is None:
                    now = timestamp(self._clock.wall_us())
                    yield Watched(heartbeat=now, cursor=cursor)
                else:
                    cursor = event.cursor
                    yield watched(event)
        raise ResourceExhausted(
            "more happened than was read here; load the inbox anew, and watch since its cursor"
        )


async def _or_silence(
    events: AsyncIterator[wire.Event], silence_s: float
) -> AsyncGenerator[wire.Event | None]:
    """The events, and None whenever none came for so long."""
    while True:
        upcoming = asyncio.ensure_future(anext(events, None))
        try:
            while not (await asyncio.wait((upcoming,), timeout=silence_s))[0]:
                yield None
            event = upcoming.result()
        finally:
            # Nothing may be under way in `events` when whoever made it closes it.
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
        if event is None:
            return
        yield event


def watched(event: wire.Event) -> Watched:
    match event.kind:
        case wire.EventKind.LIVE:
            return Watched(live=hark_pb2.Live(), cursor=event.cursor)
        case wire.EventKind.ADDED:
            assert event.notification is not None
            return Watched(added=_notification(event.notification), cursor=event.cursor)
        case wire.EventKind.UPDATED:
            assert event.notification is not None
            return Watched(updated=_notification(event.notification), cursor=event.cursor)
        case wire.EventKind.REMOVED:
            removed = hark_pb2.Removed(id=event.id, reason=event.reason)
            return Watched(removed=removed, cursor=event.cursor)
        case wire.EventKind.GAP:
            gap = hark_pb2.Gap(from_cursor=event.from_cursor, to_cursor=event.to_cursor)
            return Watched(gap=gap, cursor=event.cursor)
        case wire.EventKind.RESET:
            return Watched(reset=hark_pb2.Reset(reason=event.reason), cursor=event.cursor)


def _notification(one: wire.Notification) -> hark_pb2.Notification:
    return hark_pb2.Notification(
        id=one.id,
        user_id=one.user_id,
        post_id=one.post_id,
        author_id=one.author_id,
        content=one.text,
        created_at=timestamp(one.created_at_us),
        read=one.read,
        status=STATUS[one.state.name],
        attempts=one.attempts,
        cursor=one.cursor,
    )
