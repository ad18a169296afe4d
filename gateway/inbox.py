"""hark.v1.InboxService: notifications out."""

from __future__ import annotations

from farm import wire
from farm.client import StoreClient
from farm.errors import InvalidArgument
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


class InboxService:
    def __init__(self, store: StoreClient, live: Live) -> None:
        self._store = store
        self._live = live

    def service(self) -> Service:
        return Service(
            hark_pb2.DESCRIPTOR.services_by_name["InboxService"],
            {"ListNotifications": self.list_notifications, "MarkRead": self.mark_read},
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
