"""hark.v1.InboxService: notifications out."""

from __future__ import annotations

from farm import wire
from farm.client import StoreClient
from farm.limits import INBOX_PAGE_DEFAULT, INBOX_PAGE_MAX, check_id, check_page_size
from gateway.calls import Service
from gateway.pb.hark.v1 import hark_pb2
from gateway.values import timestamp

# By the name of the state: what is dead inside is called failed outside.
_STATUS = {
    "QUEUED": hark_pb2.NOTIFICATION_STATUS_QUEUED,
    "RETRYING": hark_pb2.NOTIFICATION_STATUS_RETRYING,
    "DELIVERED": hark_pb2.NOTIFICATION_STATUS_DELIVERED,
    "DEAD": hark_pb2.NOTIFICATION_STATUS_FAILED,
    "SUPPRESSED": hark_pb2.NOTIFICATION_STATUS_SUPPRESSED,
    "RETRACTED": hark_pb2.NOTIFICATION_STATUS_RETRACTED,
}


class InboxService:
    def __init__(self, store: StoreClient) -> None:
        self._store = store

    def service(self) -> Service:
        return Service(
            hark_pb2.DESCRIPTOR.services_by_name["InboxService"],
            {"ListNotifications": self.list_notifications},
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


def _notification(one: wire.Notification) -> hark_pb2.Notification:
    return hark_pb2.Notification(
        id=one.id,
        user_id=one.user_id,
        post_id=one.post_id,
        author_id=one.author_id,
        content=one.text,
        created_at=timestamp(one.created_at_us),
        read=one.read,
        status=_STATUS[one.state.name],
        attempts=one.attempts,
        cursor=one.cursor,
    )
