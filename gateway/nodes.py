"""The types of the GraphQL interface, each made from what the store or the supervisor answered.

They are made whole and at once: a field read from an object costs a tenth of one that is computed
by a resolver.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Annotated, NewType, cast

import strawberry
from strawberry.types.scalar import ScalarDefinition

from farm import wire
from farm.clock import rfc3339
from farm.errors import InvalidArgument
from farm.limits import check_id

INT_MAX = 2_147_483_647
LONG_MAX = 2**53
TIMES_KEPT_MAX = 4_096

# Microseconds since 1970 inside, text outside.
DateTime = NewType("DateTime", int)
Long = NewType("Long", int)


def _no_input(_value: object) -> int:
    raise InvalidArgument("this type is never an argument")


SCALARS: dict[object, ScalarDefinition] = {
    # The time of a post is shown to all who read it.
    DateTime: strawberry.scalar(
        name="DateTime", serialize=lru_cache(TIMES_KEPT_MAX)(rfc3339), parse_value=_no_input
    ),
    Long: strawberry.scalar(
        name="Long", serialize=lambda value: min(value, LONG_MAX), parse_value=_no_input
    ),
}


def checked_id(field: str, value: strawberry.ID | str) -> str:
    """An id from a query, as the limits allow it. Raises `InvalidArgument`."""
    return check_id(field, str(value))


def page_size(value: int | None, *, default: int, most: int) -> int:
    """How many to answer with; null is the default. Raises `InvalidArgument`."""
    if value is None:
        return default
    if not 1 <= value <= most:
        raise InvalidArgument(f"first {value}: must be from 1 to {most}")
    return value


@strawberry.enum
class NotificationStatus(enum.Enum):
    """Each with the state that is shown as it: what is dead inside is called failed outside."""

    UNKNOWN = -1
    QUEUED = wire.State.QUEUED
    DELIVERED = wire.State.DELIVERED
    FAILED = wire.State.DEAD
    RETRYING = wire.State.RETRYING
    SUPPRESSED = wire.State.SUPPRESSED
    RETRACTED = wire.State.RETRACTED


# The next two only say how rows of the store are shown. No object is made of them: the rows
# themselves are read, by the attributes named here, because they are nearly all that is ever read.


@strawberry.type
class Delivery:
    channel: str
    state: NotificationStatus = strawberry.field(name="status")
    attempts: int
    last_error: str | None
    next_attempt_us: DateTime | None = strawberry.field(name="nextAttemptAt")

    @staticmethod
    def all_of(rows: list[wire.Delivery]) -> list[Delivery]:
        return cast(list[Delivery], rows)


@strawberry.type
class Notification:
    id: Annotated[
        strawberry.ID,
        strawberry.field(
            description="Of the post and the person, the same for ever and on every channel."
        ),
    ]
    user_id: strawberry.ID
    post_id: strawberry.ID
    author_id: strawberry.ID
    text: str = strawberry.field(name="content")
    created_at_us: DateTime = strawberry.field(name="createdAt")
    read: bool
    state: NotificationStatus = strawberry.field(name="status")
    attempts: int
    deliveries: list[Delivery]

    @staticmethod
    def of(row: wire.Notification) -> Notification:
        return cast(Notification, row)

    @staticmethod
    def all_of(rows: list[wire.Notification]) -> list[Notification]:
        return cast(list[Notification], rows)


# What of it is the same for all to whom a post looks alike.
OF_LOOK = frozenset(Notification.__annotations__) - {"id", "user_id"}


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class NotificationEdge:
    cursor: str
    node: Notification


@strawberry.type
class NotificationConnection:
    edges: list[NotificationEdge]
    page_info: PageInfo
    unread_count: Long
    live_cursor: Annotated[
        str,
        strawberry.field(
            description="Subscribe since this, and nothing between this page and the stream is "
            "missed."
        ),
    ]

    @staticmethod
    def of(page: wire.InboxPage) -> NotificationConnection:
        rows = page.notifications
        return NotificationConnection(
            edges=[NotificationEdge(cursor=row.cursor, node=Notification.of(row)) for row in rows],
            page_info=PageInfo(
                has_next_page=page.has_more, end_cursor=rows[-1].cursor if rows else None
            ),
            unread_count=Long(page.unread),
            live_cursor=page.live_cursor,
        )


@strawberry.type
class Metrics:
    total_sent: int
    failed_attempts: int
    total_retries: int
    avg_delivery_time: str
    queue_size: int
    worker_count: int

    @staticmethod
    def of(stats: wire.Stats, farm: wire.FarmState) -> Metrics:
        return Metrics(
            total_sent=min(stats.sent, INT_MAX),
            failed_attempts=min(stats.failed_attempts, INT_MAX),
            total_retries=min(stats.retries, INT_MAX),
            avg_delivery_time=milliseconds(stats.attempt_mean_seconds),
            queue_size=min(stats.backlog, INT_MAX),
            worker_count=farm.workers,
        )


def milliseconds(seconds: float) -> str:
    """A duration as the seed systems show it: `31.2ms`."""
    return f"{seconds * 1000:.1f}ms"


@strawberry.type
class Suppression:
    reason: str
    count: int


def suppressions(by_reason: dict[str, int]) -> list[Suppression]:
    return [
        Suppression(reason=reason, count=min(count, INT_MAX))
        for reason, count in sorted(by_reason.items())
    ]


@strawberry.type
class ChannelLedger:
    channel: str
    queued: int
    retrying: int
    delivered: int
    dead: int
    retracted: int
    suppressed: list[Suppression]
    unaccounted: int

    @staticmethod
    def of(row: wire.ChannelLedger) -> ChannelLedger:
        return ChannelLedger(
            channel=row.channel,
            queued=row.queued,
            retrying=row.retrying,
            delivered=row.delivered,
            dead=row.dead,
            retracted=row.retracted,
            suppressed=suppressions(row.suppressed),
            unaccounted=row.unaccounted,
        )


@strawberry.type
class Post:
    id: strawberry.ID
    author_id: strawberry.ID
    content: str
    created_at: DateTime
    retracted: bool
    audience: int
    ledger: list[ChannelLedger]

    @staticmethod
    def of(row: wire.Post) -> Post:
        return Post(
            id=strawberry.ID(row.id),
            author_id=strawberry.ID(row.author_id),
            content=row.content,
            created_at=DateTime(row.created_at_us),
            retracted=row.retracted,
            audience=row.audience,
            ledger=[ChannelLedger.of(channel) for channel in row.ledger],
        )


@strawberry.enum
class ExplainCode(enum.Enum):
    NOTIFIED = "NOTIFIED"
    NEVER_FOLLOWED = "NEVER_FOLLOWED"
    FOLLOWED_LATER = "FOLLOWED_LATER"
    UNFOLLOWED = "UNFOLLOWED"
    MUTED = "MUTED"
    RETRACTED = "RETRACTED"
    POST_UNKNOWN = "POST_UNKNOWN"
    POST_EXPIRED = "POST_EXPIRED"
    USER_UNKNOWN = "USER_UNKNOWN"


@strawberry.type
class Explanation:
    in_audience: bool
    code: ExplainCode
    reason: str
    deliveries: list[Delivery]

    @staticmethod
    def of(row: wire.Explanation) -> Explanation:
        return Explanation(
            in_audience=row.in_audience,
            code=ExplainCode(row.code),
            reason=row.reason,
            deliveries=Delivery.all_of(row.deliveries),
        )


@strawberry.type
class DeadLetterGroup:
    id: strawberry.ID
    channel: str
    error: str
    count: Long
    first_at: DateTime
    last_at: DateTime
    sample_user_ids: list[strawberry.ID]
    sample_post_ids: list[strawberry.ID]

    @staticmethod
    def of(row: wire.DeadLetterGroup) -> DeadLetterGroup:
        return DeadLetterGroup(
            id=strawberry.ID(row.id),
            channel=row.channel,
            error=row.error,
            count=Long(row.dead),
            first_at=DateTime(row.first_us),
            last_at=DateTime(row.last_us),
            sample_user_ids=[strawberry.ID(user_id) for user_id in row.sample_user_ids],
            sample_post_ids=[strawberry.ID(post_id) for post_id in row.sample_post_ids],
        )


@strawberry.type
class DeadLetterConnection:
    groups: list[DeadLetterGroup]
    page_info: PageInfo

    @staticmethod
    def of(page: wire.DeadLetters) -> DeadLetterConnection:
        return DeadLetterConnection(
            groups=[DeadLetterGroup.of(group) for group in page.groups],
            page_info=PageInfo(
                has_next_page=bool(page.next_token), end_cursor=page.next_token or None
            ),
        )


@strawberry.type
class UserConnection:
    ids: list[strawberry.ID]
    page_info: PageInfo
    total_count: Long

    @staticmethod
    def of(page: wire.People) -> UserConnection:
        return UserConnection(
            ids=[strawberry.ID(user_id) for user_id in page.ids],
            page_info=PageInfo(
                has_next_page=bool(page.next_token), end_cursor=page.next_token or None
            ),
            total_count=Long(page.total),
        )


@strawberry.type
class Capacity:
    backlog: Long
    oldest_queued_seconds: float
    deliveries_per_second: float
    backlog_seconds: float | None
    workers: int
    accepting: bool
    refusing_because: str | None

    @staticmethod
    def of(stats: wire.Stats, farm: wire.FarmState) -> Capacity:
        return Capacity(
            backlog=Long(stats.backlog),
            oldest_queued_seconds=stats.oldest_seconds,
            deliveries_per_second=stats.deliveries_per_second,
            backlog_seconds=_backlog_seconds(stats),
            workers=farm.workers,
            accepting=not stats.refusing_because,
            refusing_because=stats.refusing_because or None,
        )


def _backlog_seconds(stats: wire.Stats) -> float | None:
    """Until nothing waits any more at the present rate; None where nothing moves."""
    if stats.backlog == 0:
        return 0.0
    return stats.backlog / stats.deliveries_per_second if stats.deliveries_per_second else None


@strawberry.type
class Process:
    role: str
    pid: int
    started_at: DateTime
    restarts: int

    @staticmethod
    def of(row: wire.Process) -> Process:
        return Process(
            role=row.role,
            pid=row.pid,
            started_at=DateTime(row.started_at_us),
            restarts=row.restarts,
        )
