"""The two older interfaces, word for word, so that those who call them today need no change."""

from __future__ import annotations

from farm.client import StoreClient
from gateway.calls import Service
from gateway.pb.notification import notification_pb2
from gateway.pb.post import post_pb2
from gateway.values import PostIds

_INT32_MAX = 2**31 - 1
_NOTIFICATION_FIELDS = ("id", "author_id", "content", "created_at")
_POST_FIELDS = ("postId", "authorId", "content", "created_at")


class NotificationService:
    """notification.NotificationService, the first of the two."""

    def __init__(self, store: StoreClient, post_ids: PostIds) -> None:
        self._store = store
        self._post_ids = post_ids

    def service(self) -> Service:
        descriptor = notification_pb2.DESCRIPTOR.services_by_name["NotificationService"]
        return Service(descriptor, {"PublishPost": self.publish_post})

    async def publish_post(
        self, post: notification_pb2.Post
    ) -> notification_pb2.NotificationResponse:
        published = await self._store.publish(
            post.id or self._post_ids.make(),
            post.author_id,
            post.content,
            post.created_at * 1_000_000 or None,
            fields=_NOTIFICATION_FIELDS,
        )
        return notification_pb2.NotificationResponse(
            post_id=published.post_id,
            notifications_queued=min(published.queued, _INT32_MAX),
            success=True,
        )


class PostService:
    """post.PostService, the second. It knows no unknown author, only one without followers."""

    def __init__(self, store: StoreClient, post_ids: PostIds) -> None:
        self._store = store
        self._post_ids = post_ids

    def service(self) -> Service:
        descriptor = post_pb2.DESCRIPTOR.services_by_name["PostService"]
        return Service(descriptor, {"PublishPost": self.publish_post})

    async def publish_post(self, post: post_pb2.Post) -> post_pb2.NotificationResponse:
        published = await self._store.publish(
            post.postId or self._post_ids.make(),
            post.authorId,
            post.content,
            None,
            must_be_known=False,
            fields=_POST_FIELDS,
        )
        if published.audience == 0:
            message = f"Post received, but no followers for user: {post.authorId}"
        else:
            message = f"Post from {post.authorId} sent to {published.queued} followers"
        return post_pb2.NotificationResponse(message=message)
