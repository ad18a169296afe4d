"""The live inbox in GraphQL: what can happen in it, and the subscription to it.

The subscription passes the events on as they come from the farm. Whoever shows them makes one of
these types of each, or shows many at once: see rendering.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry
from strawberry import UNSET

from farm.wire import Event, EventKind
from gateway.context import Asked
from gateway.nodes import Notification, checked_id


@strawberry.interface
class InboxEvent:
    # Each kind names its cursor again, and so does not inherit this sentence.
    cursor: Annotated[str, strawberry.field(description="Resume after this event.")]


@strawberry.type
class InboxLive(InboxEvent):
    cursor: str


@strawberry.type
class NotificationAdded(InboxEvent):
    cursor: str
    notification: Notification


@strawberry.type(description="Newest state, not history.")
class NotificationUpdated(InboxEvent):
    cursor: str
    notification: Notification


@strawberry.type
class NotificationRemoved(InboxEvent):
    cursor: str
    id: strawberry.ID
    reason: str


@strawberry.type(description="What happened between these live cursors is no longer to be had.")
class InboxGap(InboxEvent):
    cursor: str
    from_cursor: str
    to_cursor: str


@strawberry.type(
    description="Load the inbox anew, then go on from this cursor. Reasons: many_changed, "
    "other_store, too_slow."
)
class InboxReset(InboxEvent):
    cursor: str
    reason: str


# A schema finds these only where it is told: no field names them.
EVENTS = (
    InboxLive,
    NotificationAdded,
    NotificationUpdated,
    NotificationRemoved,
    InboxGap,
    InboxReset,
)


def shown(event: Event) -> InboxEvent:
    """The event as GraphQL has it."""
    cursor = event.cursor
    match event.kind:
        case EventKind.LIVE:
            return InboxLive(cursor=cursor)
        case EventKind.ADDED:
            return NotificationAdded(cursor=cursor, notification=_notification(event))
        case EventKind.UPDATED:
            return NotificationUpdated(cursor=cursor, notification=_notification(event))
        case EventKind.REMOVED:
            return NotificationRemoved(
                cursor=cursor, id=strawberry.ID(event.id), reason=event.reason
            )
        case EventKind.GAP:
            return InboxGap(cursor=cursor, from_cursor=event.from_cursor, to_cursor=event.to_cursor)
        case EventKind.RESET:
            return InboxReset(cursor=cursor, reason=event.reason)


def _notification(event: Event) -> Notification:
    assert event.notification is not None
    return Notification.of(event.notification)


@strawberry.type
class Subscription:
    @strawberry.subscription(  # type: ignore[untyped-decorator]
        graphql_type=InboxEvent,
        description="Live and resumable: starts after the live cursor, and says so when it cannot. "
        "The first event is InboxLive.",
    )
    async def inbox_events(
        self, info: Asked, user_id: strawberry.ID, since: str | None = UNSET
    ) -> AsyncIterator[Event]:
        user = checked_id("userId", user_id)
        live, after = info.context.live, info.context.resume_after or since or ""
        del info  # this may go on for days, and needs no more of what was asked
        async with live.watch(user, after) as events:
            async for event in events:
                yield event
