from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Post(_message.Message):
    __slots__ = ("id", "author_id", "content", "created_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    author_id: str
    content: str
    created_at: int
    def __init__(self, id: _Optional[str] = ..., author_id: _Optional[str] = ..., content: _Optional[str] = ..., created_at: _Optional[int] = ...) -> None: ...

class NotificationResponse(_message.Message):
    __slots__ = ("post_id", "notifications_queued", "success")
    POST_ID_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATIONS_QUEUED_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    post_id: str
    notifications_queued: int
    success: bool
    def __init__(self, post_id: _Optional[str] = ..., notifications_queued: _Optional[int] = ..., success: _Optional[bool] = ...) -> None: ...
