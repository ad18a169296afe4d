"""hark.v1.SocialGraphService: who follows whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

from farm.client import StoreClient
from farm.clock import Clock
from farm.errors import InvalidArgument
from farm.limits import (
    EDGES_PER_MESSAGE_MAX,
    PEOPLE_PAGE_DEFAULT,
    PEOPLE_PAGE_MAX,
    REJECTIONS_SHOWN_MAX,
    check_id,
    check_not_self,
    check_page_size,
)
from gateway.calls import Service
from gateway.pb.hark.v1 import hark_pb2

# Gathered while the store is busy, by all imports of this process together: it sorts what comes in
# one commit, and more of it costs less an edge.
GATHERED_EDGES_MAX = 200_000
GATHERED_BYTES_MAX = 16 * 1024 * 1024
COMMIT_S = 2.0  # as long as one may take: posts and all else that is written wait for it


class SocialGraphService:
    def __init__(self, store: StoreClient, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._imports: set[_Import] = set()

    def service(self) -> Service:
        return Service(
            hark_pb2.DESCRIPTOR.services_by_name["SocialGraphService"],
            {
                "Follow": self.follow,
                "Unfollow": self.unfollow,
                "Mute": self.mute,
                "Unmute": self.unmute,
                "ImportFollows": self.import_follows,
                "ListFollowers": self.list_followers,
                "ListFollowing": self.list_following,
            },
        )

    async def follow(self, request: hark_pb2.FollowRequest) -> hark_pb2.FollowResponse:
        changed = await self._store.follow(request.follower_id, request.author_id)
        return hark_pb2.FollowResponse(changed=changed)

    async def unfollow(self, request: hark_pb2.UnfollowRequest) -> hark_pb2.UnfollowResponse:
        changed = await self._store.unfollow(request.follower_id, request.author_id)
        return hark_pb2.UnfollowResponse(changed=changed)

    async def mute(self, request: hark_pb2.MuteRequest) -> hark_pb2.MuteResponse:
        changed = await self._store.mute(request.user_id, request.author_id)
        return hark_pb2.MuteResponse(changed=changed)

    async def unmute(self, request: hark_pb2.UnmuteRequest) -> hark_pb2.UnmuteResponse:
        changed = await self._store.unmute(request.user_id, request.author_id)
        return hark_pb2.UnmuteResponse(changed=changed)

    async def import_follows(
        self, requests: AsyncIterator[hark_pb2.ImportFollowsRequest]
    ) -> hark_pb2.ImportFollowsResponse:
        """Reads on while the store works on what came before, and so sends small messages on
        together: one commit a message would be slow where each has a single edge."""
        edge_import = _Import(self._store, self._clock, self._imports)
        self._imports.add(edge_import)
        try:
            async for request in requests:
                await edge_import.take(request)
            return await edge_import.finish()
        finally:
            self._imports.remove(edge_import)
            edge_import.close()

    async def list_followers(
        self, request: hark_pb2.ListFollowersRequest
    ) -> hark_pb2.ListFollowersResponse:
        size = _page_size(request.page_size)
        people = await self._store.followers(request.author_id, size, request.page_token)
        return hark_pb2.ListFollowersResponse(
            user_ids=people.ids, next_page_token=people.next_token, total=people.total
        )

    async def list_following(
        self, request: hark_pb2.ListFollowingRequest
    ) -> hark_pb2.ListFollowingResponse:
        size = _page_size(request.page_size)
        people = await self._store.following(request.user_id, size, request.page_token)
        return hark_pb2.ListFollowingResponse(
            user_ids=people.ids, next_page_token=people.next_token, total=people.total
        )


def _page_size(asked: int) -> int:
    return check_page_size("page_size", asked, default=PEOPLE_PAGE_DEFAULT, most=PEOPLE_PAGE_MAX)


@dataclass(slots=True)
class _Group:
    """Edges that go to the store together, as three columns, and the bytes they came in."""

    positions: list[int] = field(default_factory=list)  # in the stream; the first is 1
    followers: list[str] = field(default_factory=list)
    authors: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, position: int, follower: str, author: str) -> None:
        self.positions.append(position)
        self.followers.append(follower)
        self.authors.append(author)


class _Pace:
    """How many edges may go in one commit. It begins with few and doubles while they are quick: an
    edge to somebody whom nobody followed before costs many times one to a star."""

    def __init__(self) -> None:
        self.edges_max = EDGES_PER_MESSAGE_MAX

    def note(self, edges: int, took_s: float) -> None:
        """What so many took."""
        if took_s > COMMIT_S:
            fitting = int(edges * COMMIT_S / took_s)
            self.edges_max = max(min(fitting, self.edges_max), EDGES_PER_MESSAGE_MAX)
        elif 2 * edges >= self.edges_max and 2 * took_s <= COMMIT_S:
            self.edges_max = min(2 * self.edges_max, GATHERED_EDGES_MAX)


class _Import:
    """One stream of edges: what waits, what is under way, and what has come of the rest."""

    def __init__(self, store: StoreClient, clock: Clock, imports: Collection[_Import]) -> None:
        self._store = store
        self._clock = clock
        self._pace = _Pace()
        self._imports = imports  # of this process, this one among them
        self._messages = 0
        self._position = 0  # of the last edge read
        self._waiting = _Group()
        self._under_way: asyncio.Task[None] | None = None
        self._counted = hark_pb2.ImportFollowsResponse()
        self._rejections: list[tuple[int, str]] = []

    async def take(self, request: hark_pb2.ImportFollowsRequest) -> None:
        """One message's edges. Raises what the import of earlier ones was refused with."""
        edges = request.edges
        self._messages += 1
        if len(edges) > EDGES_PER_MESSAGE_MAX:
            raise InvalidArgument(
                f"edges: are {len(edges):,} in message {self._messages}; "
                f"must be at most {EDGES_PER_MESSAGE_MAX:,} a message"
            )
        for edge in edges:
            self._take_edge(edge)
        self._waiting.size += request.ByteSize()
        store_is_free = self._under_way is None or self._under_way.done()
        if store_is_free or self._is_full():
            await self._send()

    def _is_full(self) -> bool:
        """What may be gathered is shared by all who import."""
        edges, sharers = len(self._waiting.positions), len(self._imports)
        return (
            edges >= min(self._pace.edges_max, GATHERED_EDGES_MAX // sharers)
            or self._waiting.size >= GATHERED_BYTES_MAX // sharers
        )

    def _take_edge(self, edge: hark_pb2.FollowRequest) -> None:
        self._position += 1
        follower, author = edge.follower_id, edge.author_id
        try:
            check_id("follower_id", follower)
            check_id("author_id", author)
            check_not_self("follower_id", follower, author)
        except InvalidArgument as refusal:
            self._reject(self._position, refusal.message)
        else:
            self._waiting.add(self._position, follower, author)

    def _reject(self, position: int, why: str) -> None:
        """Keeps the first by position; the store's come later than those found here."""
        self._counted.rejected += 1
        self._rejections.append((position, why))
        if len(self._rejections) > 2 * REJECTIONS_SHOWN_MAX:
            self._rejections = sorted(self._rejections)[:REJECTIONS_SHOWN_MAX]

    async def _send(self) -> None:
        """Waits for what is under way, then sends what waits on its way."""
        if self._under_way is not None:
            await self._under_way
        group, self._waiting = self._waiting, _Group()
        self._under_way = asyncio.create_task(self._store_group(group)) if group.positions else None

    async def _store_group(self, group: _Group) -> None:
        started_s = self._clock.monotonic_s()
        imported = await self._store.import_edges(group.followers, group.authors)
        self._pace.note(len(group.positions), self._clock.monotonic_s() - started_s)
        self._counted.added += imported.added
        self._counted.already_there += imported.already_there
        for at, why in imported.rejections:
            self._reject(group.positions[at], why)

    async def finish(self) -> hark_pb2.ImportFollowsResponse:
        await self._send()  # what still waits
        await self._send()  # and returns when that is durable
        first = sorted(self._rejections)[:REJECTIONS_SHOWN_MAX]
        self._counted.rejections.extend(f"edge {position}: {why}" for position, why in first)
        return self._counted

    def close(self) -> None:
        """Lets go of what is under way; it may still become durable."""
        if self._under_way is not None:
            self._under_way.cancel()
