"""What can be changed by GraphQL. Each returns once the change is durable."""

from __future__ import annotations

import strawberry

from gateway.context import Asked
from gateway.nodes import INT_MAX, Long, Suppression, suppressions


@strawberry.type
class ReadState:
    unread_count: Long


@strawberry.type
class Change:
    changed: bool


@strawberry.type
class PublishedPost:
    post_id: strawberry.ID
    notifications_queued: int
    duplicate: bool


@strawberry.type
class Retraction:
    stopped: int
    hidden: int


@strawberry.type
class Replay:
    replayed: Long
    skipped: list[Suppression]


@strawberry.type
class WorkerCount:
    workers: int


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def mark_read(
        self, info: Asked, user_id: strawberry.ID, notification_ids: list[strawberry.ID]
    ) -> ReadState:
        return await _mark(info, user_id, notification_ids, read=True)

    @strawberry.mutation
    async def mark_unread(
        self, info: Asked, user_id: strawberry.ID, notification_ids: list[strawberry.ID]
    ) -> ReadState:
        return await _mark(info, user_id, notification_ids, read=False)

    @strawberry.mutation
    async def mark_all_read(self, info: Asked, user_id: strawberry.ID, up_to: str) -> ReadState:
        unread = await info.context.store.mark_up_to(user_id, up_to)
        return ReadState(unread_count=Long(unread))

    @strawberry.mutation
    async def follow(
        self, info: Asked, follower_id: strawberry.ID, author_id: strawberry.ID
    ) -> Change:
        return Change(changed=await info.context.store.follow(follower_id, author_id))

    @strawberry.mutation
    async def unfollow(
        self, info: Asked, follower_id: strawberry.ID, author_id: strawberry.ID
    ) -> Change:
        return Change(changed=await info.context.store.unfollow(follower_id, author_id))

    @strawberry.mutation
    async def mute(self, info: Asked, user_id: strawberry.ID, author_id: strawberry.ID) -> Change:
        return Change(changed=await info.context.store.mute(user_id, author_id))

    @strawberry.mutation
    async def unmute(self, info: Asked, user_id: strawberry.ID, author_id: strawberry.ID) -> Change:
        return Change(changed=await info.context.store.unmute(user_id, author_id))

    @strawberry.mutation
    async def publish_post(
        self,
        info: Asked,
        *,
        post_id: strawberry.ID | None = strawberry.UNSET,
        author_id: strawberry.ID,
        content: str,
    ) -> PublishedPost:
        made_id = post_id or info.context.post_ids.make()
        published = await info.context.store.publish(made_id, author_id, content, None)
        return PublishedPost(
            post_id=strawberry.ID(published.post_id),
            notifications_queued=min(published.queued, INT_MAX),
            duplicate=published.duplicate,
        )

    @strawberry.mutation
    async def retract_post(self, info: Asked, post_id: strawberry.ID) -> Retraction:
        retracted = await info.context.store.retract(post_id)
        return Retraction(
            stopped=min(retracted.stopped, INT_MAX), hidden=min(retracted.hidden, INT_MAX)
        )

    @strawberry.mutation
    async def replay_dead_letters(
        self,
        info: Asked,
        group_id: strawberry.ID,
        *,
        dry_run: bool | None = False,
    ) -> Replay:
        done = await info.context.store.replay(group_id, dry_run=bool(dry_run))
        return Replay(replayed=Long(done.replayed), skipped=suppressions(done.skipped))

    @strawberry.mutation
    async def set_workers(self, info: Asked, workers: int) -> WorkerCount:
        return WorkerCount(workers=(await info.context.farm.set_workers(workers)).workers)


async def _mark(
    info: Asked, user_id: str, notification_ids: list[strawberry.ID], *, read: bool
) -> ReadState:
    unread = await info.context.store.mark(user_id, list(notification_ids), read=read)
    return ReadState(unread_count=Long(unread))
