"""hark.v1.PublisherService: posts in."""

from __future__ import annotations

from farm.client import NewPost, StoreClient
from farm.errors import HarkError, InvalidArgument
from farm.limits import POSTS_PER_CALL_MAX
from farm.wire import Published
from gateway.calls import Service
from gateway.pb.hark.v1 import hark_pb2
from gateway.status import rejection
from gateway.values import PostIds, microseconds, time_for


class PublisherService:
    def __init__(self, store: StoreClient, post_ids: PostIds) -> None:
        self._store = store
        self._post_ids = post_ids

    def service(self) -> Service:
        return Service(
            hark_pb2.DESCRIPTOR.services_by_name["PublisherService"],
            {
                "PublishPost": self.publish_post,
                "PublishPosts": self.publish_posts,
                "RetractPost": self.retract_post,
                "PreviewPost": self.preview_post,
            },
        )

    async def publish_post(
        self, request: hark_pb2.PublishPostRequest
    ) -> hark_pb2.PublishPostResponse:
        return _response(await self._store.publish(*self._post(request)))

    async def publish_posts(
        self, request: hark_pb2.PublishPostsRequest
    ) -> hark_pb2.PublishPostsResponse:
        """All that can be sent travel together, in one commit."""
        if len(request.posts) > POSTS_PER_CALL_MAX:
            raise InvalidArgument(
                f"posts: are {len(request.posts):,}; must be at most {POSTS_PER_CALL_MAX:,} a call"
            )
        self._store.admit(len(request.posts))
        posts = [self._post_or_refusal(post) for post in request.posts]
        outcomes = iter(
            await self._store.publish_many([p for p in posts if not isinstance(p, HarkError)])
        )
        results = [_result(p if isinstance(p, HarkError) else next(outcomes)) for p in posts]
        return hark_pb2.PublishPostsResponse(results=results)

    async def retract_post(
        self, request: hark_pb2.RetractPostRequest
    ) -> hark_pb2.RetractPostResponse:
        retracted = await self._store.retract(request.post_id)
        return hark_pb2.RetractPostResponse(stopped=retracted.stopped, hidden=retracted.hidden)

    async def preview_post(
        self, request: hark_pb2.PreviewPostRequest
    ) -> hark_pb2.PreviewPostResponse:
        """It would be the last in the queue."""
        preview = await self._store.preview(request.author_id)
        stats = await self._store.stats()
        waiting = stats.backlog + sum(preview.queued.values())
        return hark_pb2.PreviewPostResponse(
            audience=preview.audience,
            suppressed=preview.suppressed,
            queued=preview.queued,
            estimate=time_for(waiting, stats.deliveries_per_second),
        )

    def _post(self, request: hark_pb2.PublishPostRequest) -> NewPost:
        return NewPost(
            request.post_id or self._post_ids.make(),
            request.author_id,
            request.content,
            microseconds("created_at", request.created_at)
            if request.HasField("created_at")
            else None,
        )

    def _post_or_refusal(self, request: hark_pb2.PublishPostRequest) -> NewPost | HarkError:
        try:
            return self._post(request)
        except InvalidArgument as refusal:
            return refusal


def _response(published: Published) -> hark_pb2.PublishPostResponse:
    return hark_pb2.PublishPostResponse(
        post_id=published.post_id,
        notifications_queued=published.queued,
        duplicate=published.duplicate,
    )


def _result(outcome: Published | HarkError) -> hark_pb2.PublishPostResult:
    if isinstance(outcome, HarkError):
        return hark_pb2.PublishPostResult(rejected=rejection(outcome))
    return hark_pb2.PublishPostResult(ok=_response(outcome))
