"""A page, and then what came since: together the whole inbox, however fast it grows meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import aclosing

import grpc
import pytest

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess
from tests.live.watching import OWN_CONNECTION, TRANSPORTS, Addresses, of_grpc

pytestmark = pytest.mark.process

POSTS = 2_000
AT_A_TIME = 10  # posts in a call
PUBLISHERS = 3
AHEAD_MAX = 300  # posts between the moment for a page and the page
AFTER_MIN = 300  # posts behind each page
LISTENERS = 9
WITHIN_S = 60


class Reader:
    """Asks for a page in the middle of it all, and goes on from there."""

    def __init__(self, addresses: Addresses, user: str, transport: str) -> None:
        self._addresses = addresses
        self._user = user
        self._transport = TRANSPORTS[transport]
        self.begun = asyncio.Event()
        self.posts: list[str] = []  # ids in the order they came to be known, the page's first

    async def read(self, inbox: hark_pb2_grpc.InboxServiceStub) -> None:
        request = hark_pb2.ListNotificationsRequest(user_id=self._user, page_size=100)
        page = await inbox.ListNotifications(request)
        self.posts = [one.post_id for one in reversed(page.notifications)]
        self.begun.set()
        stream = self._transport(self._addresses, self._user, page.live_cursor)
        async with aclosing(stream) as events:
            async for event in events:
                assert event.kind in ("live", "added", "updated"), event
                if event.kind == "added" and event.shown is not None:
                    self.posts.append(event.shown.post_id)
                    if event.shown.post_id == "the end":
                        return


async def test_page_then_stream_has_every_post_once_and_in_order(hark: FarmProcess) -> None:
    addresses = Addresses(hark.grpc_address, hark.http_address)
    chance, user, author = random.Random(121), "ann of the page", "bob of the page"
    numbers = itertools.count()
    async with grpc.aio.insecure_channel(hark.grpc_address, OWN_CONNECTION) as channel:
        publisher = hark_pb2_grpc.PublisherServiceStub(channel)
        inbox = hark_pb2_grpc.InboxServiceStub(channel)
        graph = hark_pb2_grpc.SocialGraphServiceStub(channel)
        await graph.Follow(hark_pb2.FollowRequest(follower_id=user, author_id=author))
        begin_at = asyncio.Queue[int]()
        starts = sorted(chance.sample(range(POSTS - AHEAD_MAX - AFTER_MIN), LISTENERS))
        readers = [
            Reader(addresses, user, [*TRANSPORTS][n % len(TRANSPORTS)]) for n in range(LISTENERS)
        ]

        async def publish(*names: str) -> None:
            posts = [
                hark_pb2.PublishPostRequest(post_id=name, author_id=author, content="hello")
                for name in names
            ]
            answer = await publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=posts))
            assert all(one.HasField("ok") for one in answer.results)

        async def publish_on() -> None:
            while (first := next(numbers) * AT_A_TIME) < POSTS:
                await publish(*(f"page-{n}" for n in range(first, first + AT_A_TIME)))
                for number, start in enumerate(starts):
                    if first <= start < first + AT_A_TIME:
                        begin_at.put_nowait(number)
                    if first > start + AHEAD_MAX:
                        await readers[number].begun.wait()

        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
            publishing = [group.create_task(publish_on()) for _ in range(PUBLISHERS)]
            for _ in range(LISTENERS):
                group.create_task(readers[await begin_at.get()].read(inbox))
            await asyncio.gather(*publishing)
            await publish("the end")
        whole = await _whole_inbox(inbox, user)
    assert len(whole) == POSTS + 1
    for reader in readers:
        assert reader.posts == whole[-len(reader.posts) :]
        assert len(reader.posts) > AFTER_MIN - PUBLISHERS * AT_A_TIME


async def _whole_inbox(inbox: hark_pb2_grpc.InboxServiceStub, user: str) -> list[str]:
    """The ids of the posts, oldest first."""
    found: list[str] = []
    cursor = ""
    while True:
        request = hark_pb2.ListNotificationsRequest(user_id=user, page_size=100, after=cursor)
        page = await inbox.ListNotifications(request)
        found += [of_grpc(one).post_id for one in page.notifications]
        cursor = page.next_cursor
        if not cursor:
            return found[::-1]
