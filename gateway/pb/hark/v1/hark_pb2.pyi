import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NotificationStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOTIFICATION_STATUS_UNSPECIFIED: _ClassVar[NotificationStatus]
    NOTIFICATION_STATUS_QUEUED: _ClassVar[NotificationStatus]
    NOTIFICATION_STATUS_DELIVERED: _ClassVar[NotificationStatus]
    NOTIFICATION_STATUS_FAILED: _ClassVar[NotificationStatus]
    NOTIFICATION_STATUS_RETRYING: _ClassVar[NotificationStatus]
    NOTIFICATION_STATUS_SUPPRESSED: _ClassVar[NotificationStatus]
    NOTIFICATION_STATUS_RETRACTED: _ClassVar[NotificationStatus]

class ExplainCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPLAIN_CODE_UNSPECIFIED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_NOTIFIED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_NEVER_FOLLOWED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_FOLLOWED_LATER: _ClassVar[ExplainCode]
    EXPLAIN_CODE_UNFOLLOWED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_MUTED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_RETRACTED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_POST_UNKNOWN: _ClassVar[ExplainCode]
    EXPLAIN_CODE_POST_EXPIRED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_USER_UNKNOWN: _ClassVar[ExplainCode]
NOTIFICATION_STATUS_UNSPECIFIED: NotificationStatus
NOTIFICATION_STATUS_QUEUED: NotificationStatus
NOTIFICATION_STATUS_DELIVERED: NotificationStatus
NOTIFICATION_STATUS_FAILED: NotificationStatus
NOTIFICATION_STATUS_RETRYING: NotificationStatus
NOTIFICATION_STATUS_SUPPRESSED: NotificationStatus
NOTIFICATION_STATUS_RETRACTED: NotificationStatus
EXPLAIN_CODE_UNSPECIFIED: ExplainCode
EXPLAIN_CODE_NOTIFIED: ExplainCode
EXPLAIN_CODE_NEVER_FOLLOWED: ExplainCode
EXPLAIN_CODE_FOLLOWED_LATER: ExplainCode
EXPLAIN_CODE_UNFOLLOWED: ExplainCode
EXPLAIN_CODE_MUTED: ExplainCode
EXPLAIN_CODE_RETRACTED: ExplainCode
EXPLAIN_CODE_POST_UNKNOWN: ExplainCode
EXPLAIN_CODE_POST_EXPIRED: ExplainCode
EXPLAIN_CODE_USER_UNKNOWN: ExplainCode

class PublishPostRequest(_message.Message):
    __slots__ = ("post_id", "author_id", "content", "created_at")
    POST_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    post_id: str
    author_id: str
    content: str
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, post_id: _Optional[str] = ..., author_id: _Optional[str] = ..., content: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PublishPostResponse(_message.Message):
    __slots__ = ("post_id", "notifications_queued", "duplicate")
    POST_ID_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATIONS_QUEUED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    post_id: str
    notifications_queued: int
    duplicate: bool
    def __init__(self, post_id: _Optional[str] = ..., notifications_queued: _Optional[int] = ..., duplicate: _Optional[bool] = ...) -> None: ...

class PublishPostsRequest(_message.Message):
    __slots__ = ("posts",)
    POSTS_FIELD_NUMBER: _ClassVar[int]
    posts: _containers.RepeatedCompositeFieldContainer[PublishPostRequest]
    def __init__(self, posts: _Optional[_Iterable[_Union[PublishPostRequest, _Mapping]]] = ...) -> None: ...

class PublishPostsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[PublishPostResult]
    def __init__(self, results: _Optional[_Iterable[_Union[PublishPostResult, _Mapping]]] = ...) -> None: ...

class PublishPostResult(_message.Message):
    __slots__ = ("ok", "rejected")
    OK_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    ok: PublishPostResponse
    rejected: Rejection
    def __init__(self, ok: _Optional[_Union[PublishPostResponse, _Mapping]] = ..., rejected: _Optional[_Union[Rejection, _Mapping]] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("code", "message", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    retry_after: _duration_pb2.Duration
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RetractPostRequest(_message.Message):
    __slots__ = ("post_id",)
    POST_ID_FIELD_NUMBER: _ClassVar[int]
    post_id: str
    def __init__(self, post_id: _Optional[str] = ...) -> None: ...

class RetractPostResponse(_message.Message):
    __slots__ = ("stopped", "hidden")
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    stopped: int
    hidden: int
    def __init__(self, stopped: _Optional[int] = ..., hidden: _Optional[int] = ...) -> None: ...

class PreviewPostRequest(_message.Message):
    __slots__ = ("author_id",)
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    author_id: str
    def __init__(self, author_id: _Optional[str] = ...) -> None: ...

class PreviewPostResponse(_message.Message):
    __slots__ = ("audience", "suppressed", "queued", "estimate")
    class SuppressedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class QueuedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    audience: int
    suppressed: _containers.ScalarMap[str, int]
    queued: _containers.ScalarMap[str, int]
    estimate: _duration_pb2.Duration
    def __init__(self, audience: _Optional[int] = ..., suppressed: _Optional[_Mapping[str, int]] = ..., queued: _Optional[_Mapping[str, int]] = ..., estimate: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class FollowRequest(_message.Message):
    __slots__ = ("follower_id", "author_id")
    FOLLOWER_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    follower_id: str
    author_id: str
    def __init__(self, follower_id: _Optional[str] = ..., author_id: _Optional[str] = ...) -> None: ...

class FollowResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class UnfollowRequest(_message.Message):
    __slots__ = ("follower_id", "author_id")
    FOLLOWER_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    follower_id: str
    author_id: str
    def __init__(self, follower_id: _Optional[str] = ..., author_id: _Optional[str] = ...) -> None: ...

class UnfollowResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class MuteRequest(_message.Message):
    __slots__ = ("user_id", "author_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    author_id: str
    def __init__(self, user_id: _Optional[str] = ..., author_id: _Optional[str] = ...) -> None: ...

class MuteResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class UnmuteRequest(_message.Message):
    __slots__ = ("user_id", "author_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    author_id: str
    def __init__(self, user_id: _Optional[str] = ..., author_id: _Optional[str] = ...) -> None: ...

class UnmuteResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class ImportFollowsRequest(_message.Message):
    __slots__ = ("edges",)
    EDGES_FIELD_NUMBER: _ClassVar[int]
    edges: _containers.RepeatedCompositeFieldContainer[FollowRequest]
    def __init__(self, edges: _Optional[_Iterable[_Union[FollowRequest, _Mapping]]] = ...) -> None: ...

class ImportFollowsResponse(_message.Message):
    __slots__ = ("added", "already_there", "rejected", "rejections")
    ADDED_FIELD_NUMBER: _ClassVar[int]
    ALREADY_THERE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    added: int
    already_there: int
    rejected: int
    rejections: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, added: _Optional[int] = ..., already_there: _Optional[int] = ..., rejected: _Optional[int] = ..., rejections: _Optional[_Iterable[str]] = ...) -> None: ...

class ListFollowersRequest(_message.Message):
    __slots__ = ("author_id", "page_size", "page_token")
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    author_id: str
    page_size: int
    page_token: str
    def __init__(self, author_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFollowersResponse(_message.Message):
    __slots__ = ("user_ids", "next_page_token", "total")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    next_page_token: str
    total: int
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class ListFollowingRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFollowingResponse(_message.Message):
    __slots__ = ("user_ids", "next_page_token", "total")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    next_page_token: str
    total: int
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class Notification(_message.Message):
    __slots__ = ("id", "user_id", "post_id", "author_id", "content", "created_at", "read", "status", "attempts", "cursor")
    ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    POST_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    id: str
    user_id: str
    post_id: str
    author_id: str
    content: str
    created_at: _timestamp_pb2.Timestamp
    read: bool
    status: NotificationStatus
    attempts: int
    cursor: str
    def __init__(self, id: _Optional[str] = ..., user_id: _Optional[str] = ..., post_id: _Optional[str] = ..., author_id: _Optional[str] = ..., content: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., read: _Optional[bool] = ..., status: _Optional[_Union[NotificationStatus, str]] = ..., attempts: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListNotificationsRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "after", "unread_only")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    UNREAD_ONLY_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    after: str
    unread_only: bool
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., after: _Optional[str] = ..., unread_only: _Optional[bool] = ...) -> None: ...

class ListNotificationsResponse(_message.Message):
    __slots__ = ("notifications", "next_cursor", "unread", "live_cursor")
    NOTIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    LIVE_CURSOR_FIELD_NUMBER: _ClassVar[int]
    notifications: _containers.RepeatedCompositeFieldContainer[Notification]
    next_cursor: str
    unread: int
    live_cursor: str
    def __init__(self, notifications: _Optional[_Iterable[_Union[Notification, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., unread: _Optional[int] = ..., live_cursor: _Optional[str] = ...) -> None: ...

class MarkReadRequest(_message.Message):
    __slots__ = ("user_id", "notification_ids", "up_to", "unread")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_IDS_FIELD_NUMBER: _ClassVar[int]
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    notification_ids: _containers.RepeatedScalarFieldContainer[str]
    up_to: str
    unread: bool
    def __init__(self, user_id: _Optional[str] = ..., notification_ids: _Optional[_Iterable[str]] = ..., up_to: _Optional[str] = ..., unread: _Optional[bool] = ...) -> None: ...

class MarkReadResponse(_message.Message):
    __slots__ = ("unread",)
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    unread: int
    def __init__(self, unread: _Optional[int] = ...) -> None: ...

class WatchNotificationsRequest(_message.Message):
    __slots__ = ("user_id", "since")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    since: str
    def __init__(self, user_id: _Optional[str] = ..., since: _Optional[str] = ...) -> None: ...

class WatchNotificationsResponse(_message.Message):
    __slots__ = ("live", "added", "updated", "removed", "gap", "reset", "heartbeat", "cursor")
    LIVE_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    live: Live
    added: Notification
    updated: Notification
    removed: Removed
    gap: Gap
    reset: Reset
    heartbeat: _timestamp_pb2.Timestamp
    cursor: str
    def __init__(self, live: _Optional[_Union[Live, _Mapping]] = ..., added: _Optional[_Union[Notification, _Mapping]] = ..., updated: _Optional[_Union[Notification, _Mapping]] = ..., removed: _Optional[_Union[Removed, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., reset: _Optional[_Union[Reset, _Mapping]] = ..., heartbeat: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cursor: _Optional[str] = ...) -> None: ...

class Live(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Removed(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("from_cursor", "to_cursor")
    FROM_CURSOR_FIELD_NUMBER: _ClassVar[int]
    TO_CURSOR_FIELD_NUMBER: _ClassVar[int]
    from_cursor: str
    to_cursor: str
    def __init__(self, from_cursor: _Optional[str] = ..., to_cursor: _Optional[str] = ...) -> None: ...

class Reset(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class GetLedgerRequest(_message.Message):
    __slots__ = ("post_id",)
    POST_ID_FIELD_NUMBER: _ClassVar[int]
    post_id: str
    def __init__(self, post_id: _Optional[str] = ...) -> None: ...

class GetLedgerResponse(_message.Message):
    __slots__ = ("post_id", "audience", "channels")
    class ChannelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ChannelLedger
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ChannelLedger, _Mapping]] = ...) -> None: ...
    POST_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    post_id: str
    audience: int
    channels: _containers.MessageMap[str, ChannelLedger]
    def __init__(self, post_id: _Optional[str] = ..., audience: _Optional[int] = ..., channels: _Optional[_Mapping[str, ChannelLedger]] = ...) -> None: ...

class ChannelLedger(_message.Message):
    __slots__ = ("queued", "retrying", "delivered", "dead", "retracted", "suppressed", "unaccounted")
    class SuppressedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RETRYING_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    RETRACTED_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    UNACCOUNTED_FIELD_NUMBER: _ClassVar[int]
    queued: int
    retrying: int
    delivered: int
    dead: int
    retracted: int
    suppressed: _containers.ScalarMap[str, int]
    unaccounted: int
    def __init__(self, queued: _Optional[int] = ..., retrying: _Optional[int] = ..., delivered: _Optional[int] = ..., dead: _Optional[int] = ..., retracted: _Optional[int] = ..., suppressed: _Optional[_Mapping[str, int]] = ..., unaccounted: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("post_id", "user_id")
    POST_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    post_id: str
    user_id: str
    def __init__(self, post_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("in_audience", "reason", "deliveries", "code")
    IN_AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    in_audience: bool
    reason: str
    deliveries: _containers.RepeatedCompositeFieldContainer[DeliveryStep]
    code: ExplainCode
    def __init__(self, in_audience: _Optional[bool] = ..., reason: _Optional[str] = ..., deliveries: _Optional[_Iterable[_Union[DeliveryStep, _Mapping]]] = ..., code: _Optional[_Union[ExplainCode, str]] = ...) -> None: ...

class DeliveryStep(_message.Message):
    __slots__ = ("channel", "status", "attempts", "last_error", "next_attempt_at")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_AT_FIELD_NUMBER: _ClassVar[int]
    channel: str
    status: NotificationStatus
    attempts: int
    last_error: str
    next_attempt_at: _timestamp_pb2.Timestamp
    def __init__(self, channel: _Optional[str] = ..., status: _Optional[_Union[NotificationStatus, str]] = ..., attempts: _Optional[int] = ..., last_error: _Optional[str] = ..., next_attempt_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("groups", "next_page_token")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[DeadLetterGroup]
    next_page_token: str
    def __init__(self, groups: _Optional[_Iterable[_Union[DeadLetterGroup, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeadLetterGroup(_message.Message):
    __slots__ = ("id", "channel", "error", "count", "first_at", "last_at", "sample_user_ids", "sample_post_ids")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_AT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_POST_IDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    channel: str
    error: str
    count: int
    first_at: _timestamp_pb2.Timestamp
    last_at: _timestamp_pb2.Timestamp
    sample_user_ids: _containers.RepeatedScalarFieldContainer[str]
    sample_post_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., channel: _Optional[str] = ..., error: _Optional[str] = ..., count: _Optional[int] = ..., first_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sample_user_ids: _Optional[_Iterable[str]] = ..., sample_post_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReplayDeadLettersRequest(_message.Message):
    __slots__ = ("group_id", "dry_run")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    dry_run: bool
    def __init__(self, group_id: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ReplayDeadLettersResponse(_message.Message):
    __slots__ = ("replayed", "skipped")
    class SkippedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    replayed: int
    skipped: _containers.ScalarMap[str, int]
    def __init__(self, replayed: _Optional[int] = ..., skipped: _Optional[_Mapping[str, int]] = ...) -> None: ...

class GetCapacityRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCapacityResponse(_message.Message):
    __slots__ = ("backlog", "oldest_queued", "deliveries_per_second", "backlog_estimate", "workers", "accepting", "refusing_because")
    BACKLOG_FIELD_NUMBER: _ClassVar[int]
    OLDEST_QUEUED_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTING_FIELD_NUMBER: _ClassVar[int]
    REFUSING_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    backlog: int
    oldest_queued: _duration_pb2.Duration
    deliveries_per_second: float
    backlog_estimate: _duration_pb2.Duration
    workers: int
    accepting: bool
    refusing_because: str
    def __init__(self, backlog: _Optional[int] = ..., oldest_queued: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deliveries_per_second: _Optional[float] = ..., backlog_estimate: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., workers: _Optional[int] = ..., accepting: _Optional[bool] = ..., refusing_because: _Optional[str] = ...) -> None: ...

class SetWorkersRequest(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: int
    def __init__(self, workers: _Optional[int] = ...) -> None: ...

class SetWorkersResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: int
    def __init__(self, workers: _Optional[int] = ...) -> None: ...
