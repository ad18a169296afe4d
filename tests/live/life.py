"""A person's life with Hark: random things happen, and a naive model says what is to be seen."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import wait_until_async
from tests.live.watching import OWN_CONNECTION, Picture, Shown, of_grpc
from tests.store.model import Model

_lives = itertools.count(1)
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
AGAIN |= {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}
PATIENCE_S = 30.0
WAITING = {"QUEUED", "RETRYING"}


class Life:
    """One person and four authors. The first two are always followed and never muted, so their
    posts come in order; with the others anything may happen."""

    def __init__(self, address: str, chance: random.Random) -> None:
        self._chance = chance
        name = next(_lives)
        self.user = f"ann{name}"
        self.authors = [f"{author}{name}" for author in ("bob", "cat", "dan", "eve")]
        self.model = Model(("simulated",), 3, 0)
        self.end = f"end{name}"  # the id of the last post, read when all is done
        self._numbers = itertools.count()
        # Two connections: what one does the other sees, whichever process each has reached.
        self._channels = [grpc.aio.insecure_channel(address, OWN_CONNECTION) for _ in range(2)]

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def begin(self, posts: int = 0) -> Picture:
        """Everybody is followed, and there are some posts of one author; what is known of the
        inbox then, and where it is live from."""
        for author in self.authors:
            await self.follow(author)
        await self._publish([(self._new_id(), self.authors[2]) for _ in range(posts)])
        await wait_until_async(self._is_settled, PATIENCE_S)
        request = hark_pb2.ListNotificationsRequest(user_id=self.user)
        page = await self._call("Inbox", "ListNotifications", request)
        picture = Picture(self.inbox, page.live_cursor)
        await picture.load()
        return picture

    async def step(self) -> None:
        happens: Callable[[], Awaitable[None]] = self._chance.choices(
            (self.publish, self.publish_some, self.mark, self.mark_up_to, self.retract,
             self.replay, self._mute, self._unmute, self._follow, self._unfollow),
            (40, 5, 15, 2, 6, 2, 6, 8, 8, 5),
        )[0]  # fmt: skip
        await happens()

    # What happens

    async def publish(self) -> None:
        await self._publish([(self._new_id(), self._chance.choice(self.authors))])

    async def publish_some(self) -> None:
        """In one call, as is a burst that is too much for one change to tell of."""
        many = self._chance.choice((3, 3, 3, 40))
        await self._publish(
            [(self._new_id(), self._chance.choice(self.authors)) for _ in range(many)]
        )

    async def mark(self) -> None:
        posts = {one.post_id: one.id for one in await self.inbox(20)}
        read = self._chance.random() < 0.7
        chosen = [name for name in posts if self._chance.random() < 0.15]
        if chosen:
            request = hark_pb2.MarkReadRequest(
                user_id=self.user, notification_ids=[posts[name] for name in chosen]
            )
            request.unread = not read
            await self._call("Inbox", "MarkRead", request)
            self.model.mark(self.user, chosen, read=read)

    async def mark_up_to(self) -> None:
        request = hark_pb2.ListNotificationsRequest(user_id=self.user, page_size=100)
        page = (await self._call("Inbox", "ListNotifications", request)).notifications
        if page:
            last = self._chance.choice(page)
            up_to = hark_pb2.MarkReadRequest(user_id=self.user, up_to=last.cursor)
            await self._call("Inbox", "MarkRead", up_to)
            self.model.mark_up_to(self.user, last.post_id)

    async def retract(self) -> None:
        names = [*self.model.posts][-20:]
        if names:
            name = self._chance.choice(names)
            request = hark_pb2.RetractPostRequest(post_id=name)
            await self._call("Publisher", "RetractPost", request)
            self.model.retract(name)

    async def replay(self) -> None:
        """Whatever is dead, of whomever, gets another try."""
        asked = hark_pb2.ListDeadLettersRequest()
        for group in (await self._call("Operations", "ListDeadLetters", asked)).groups:
            request = hark_pb2.ReplayDeadLettersRequest(group_id=group.id)
            await self._call("Operations", "ReplayDeadLetters", request)

    async def follow(self, author: str) -> None:
        request = hark_pb2.FollowRequest(follower_id=self.user, author_id=author)
        await self._call("SocialGraph", "Follow", request)
        self.model.follow(self.user, author)

    async def _follow(self) -> None:
        await self.follow(self._changing())

    async def _unfollow(self) -> None:
        author = self._changing()
        request = hark_pb2.UnfollowRequest(follower_id=self.user, author_id=author)
        await self._call("SocialGraph", "Unfollow", request)
        self.model.unfollow(self.user, author)

    async def _mute(self) -> None:
        author = self._changing()
        request = hark_pb2.MuteRequest(user_id=self.user, author_id=author)
        await self._call("SocialGraph", "Mute", request)
        self.model.mute(self.user, author)

    async def _unmute(self) -> None:
        author = self._changing()
        request = hark_pb2.UnmuteRequest(user_id=self.user, author_id=author)
        await self._call("SocialGraph", "Unmute", request)
        self.model.unmute(self.user, author)

    async def finish(self) -> None:
        """When nothing changes by itself any more, a last post comes, and is read."""
        await wait_until_async(self._is_settled, PATIENCE_S)
        await self._publish([(self.end, self.authors[0])])
        await wait_until_async(self._is_settled, PATIENCE_S)
        (last,) = [one for one in await self.inbox(20) if one.post_id == self.end]
        request = hark_pb2.MarkReadRequest(user_id=self.user, notification_ids=[last.id])
        await self._call("Inbox", "MarkRead", request)
        self.model.mark(self.user, [self.end], read=True)

    # What is to be seen

    def has_ended(self, picture: Picture) -> bool:
        return any(one.post_id == self.end and one.read for one in picture.shown.values())

    async def check(self, *pictures: Picture) -> None:
        """The inbox is what the model says, and every picture what the inbox is."""
        inbox = await self.inbox()
        expected = [(name, (self.user, name) in self.model.read) for name in
                    self.model.inbox(self.user)]  # fmt: skip
        assert [(one.post_id, one.read) for one in inbox] == expected
        in_order = {name for name, post in self.model.posts.items()
                    if post.author in self.authors[:2]}  # fmt: skip
        for picture in pictures:
            assert picture.shown == {one.id: one for one in inbox}
            came = [name for name in picture.order if name in in_order]
            assert came == [name for name in self.model.posts if name in set(came)]
            assert in_order - set(came) <= self.model.retracted

    async def inbox(self, most: int = 10**6) -> list[Shown]:
        found: list[Shown] = []
        cursor = ""
        while True:
            request = hark_pb2.ListNotificationsRequest(
                user_id=self.user, page_size=min(most, 100), after=cursor
            )
            page = await self._call("Inbox", "ListNotifications", request)
            found += map(of_grpc, page.notifications)
            cursor = page.next_cursor
            if not cursor or len(found) >= most:
                return found

    async def _is_settled(self) -> bool:
        """Also of those that are not seen now, and of everybody else."""
        capacity = await self._call("Operations", "GetCapacity", hark_pb2.GetCapacityRequest())
        return bool(capacity.backlog == 0)

    def _new_id(self) -> str:
        return f"{self.user}-{next(self._numbers)}"

    def _changing(self) -> str:
        return self._chance.choice(self.authors[2:])

    async def _publish(self, posts: list[tuple[str, str]]) -> None:
        asked = [
            hark_pb2.PublishPostRequest(post_id=name, author_id=author, content=name)
            for name, author in posts
        ]
        request = hark_pb2.PublishPostsRequest(posts=asked)
        answer = await self._call("Publisher", "PublishPosts", request)
        assert all(one.HasField("ok") for one in answer.results), answer
        for name, author in posts:
            self.model.publish(name, author)

    async def _call(self, service: str, method: str, request: Any) -> Any:
        """Over one of the connections; whatever is not known to be done is asked again."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + PATIENCE_S
        while True:
            channel = self._chance.choice(self._channels)
            stub = getattr(hark_pb2_grpc, f"{service}ServiceStub")(channel)
            try:
                return await getattr(stub, method)(request, timeout=5, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in AGAIN or loop.time() > end_s:
                    raise
