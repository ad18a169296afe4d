"""Everybody who uses Hark in a run: they publish, follow, mute, retract and read, and go on about
it until they get a definite answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import aiohttp
import grpc

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.chaos.world import World, elapse
from tests.checker.history import Kind, Recorder

USERS, AUTHORS = 60, 12
STRANGER = "stranger"  # nobody has ever followed them
FOLLOWED_AT_FIRST = 3
CALL_S = 3.0
HTTP_S = 5.0
PATIENCE_S = 40.0  # after the end, for an answer
PAGES_MAX = 3
READ_WHOLE = 20  # inboxes, at the end
PUBLISHERS, FOLLOWERS, READERS = 6, 3, 2
BATCH = (5, 30)  # posts in a call
CONNECTION = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)
DEFINITE = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
DEFINITE_NUMBERS = {code.value[0]: code.name for code in DEFINITE}
INBOX = """query ($user: ID!, $after: String) {
  inbox(userId: $user, first: 100, after: $after) {
    edges { node { postId } } pageInfo { hasNextPage endCursor }
  }
}"""


class Cast:
    """Who there is; with another prefix there are others."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.users = [f"{prefix}user{number}" for number in range(USERS)]
        self.authors = [f"{prefix}author{number}" for number in range(AUTHORS)]

    def author(self, chance: random.Random) -> str:
        """Some publish far more than others, and are followed by more."""
        return self.authors[int(chance.paretovariate(0.8) - 1) % len(self.authors)]


class Place(NamedTuple):
    """Where they meet, and what they draw from."""

    world: World
    history: Recorder
    seed: int
    cast: Cast = Cast()
    leisure: float = 1.0  # how much longer than usual everybody waits between two calls


class Actor:
    """One who asks over a connection of their own, and writes down for what."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = f"{place.cast.prefix}{name}"
        self._cast = place.cast
        self._world = place.world
        self._history = place.history
        self._leisure = place.leisure
        self._chance = random.Random(f"{place.seed} {name}")
        self._channel = grpc.aio.insecure_channel(place.world.grpc.address, CONNECTION)

    async def close(self) -> None:
        await self._channel.close()

    async def run(self, until: asyncio.Event) -> None:
        while not until.is_set():
            await self._act(until)

    async def _act(self, until: asyncio.Event) -> None:
        raise NotImplementedError

    async def _call(self, service: str, method: str, request: Any) -> tuple[Kind, Any]:
        """The answer, or the code that came instead."""
        stub = getattr(hark_pb2_grpc, f"{service}ServiceStub")(self._channel)
        try:
            return Kind.OK, await getattr(stub, method)(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            return (Kind.FAIL if error.code() in DEFINITE else Kind.UNKNOWN), error.code().name

    def _write_down(self, call: str, kind: Kind, answer: Any, **told: Any) -> None:
        match kind:
            case Kind.OK:
                self._history.ok(call, **told)
            case Kind.FAIL:
                self._history.fail(call, code=answer)
            case _:
                self._history.unknown(call, code=answer)

    def _tries(self, until: asyncio.Event) -> Iterator[int]:
        """Again and again, and after the end only for so long."""
        loop = asyncio.get_running_loop()
        end_s = None
        for number in range(1, 10**6):
            yield number
            if until.is_set():
                end_s = end_s or loop.time() + PATIENCE_S
                if loop.time() > end_s:
                    return

    async def _pause(self, mean_s: float) -> None:
        await elapse(min(self._chance.expovariate(1 / mean_s), 5 * mean_s) * self._leisure)


class Publisher(Actor):
    """One post a call. Some give up when they hear nothing, some ask again though they were
    answered, some use an id for something else, some take back what they have said."""

    async def _act(self, until: asyncio.Event) -> None:
        post, author = self._history.name(self.name), self._cast.author(self._chance)
        if self._chance.random() < 0.02:
            author = STRANGER
        kind = Kind.UNKNOWN
        for _ in self._tries(until):
            kind = await self._publish(post, author, post)
            if kind is not Kind.UNKNOWN or self._chance.random() < 0.03:
                break
            await self._pause(0.1)
        if kind is Kind.OK:
            await self._then(post, author)
        await self._pause(0.08)

    async def _then(self, post: str, author: str) -> None:
        """What somebody does who knows that it is published."""
        what = self._chance.random()
        if what < 0.04:
            await self._publish(post, author, post)
        elif what < 0.07:
            await self._publish(post, author, f"{post}, but different")
        elif what < 0.17:
            call = self._history.invoke(self.name, "retract", post=post)
            request = hark_pb2.RetractPostRequest(post_id=post)
            self._write_down(call, *await self._call("Publisher", "RetractPost", request))

    async def _publish(self, post: str, author: str, content: str) -> Kind:
        call = self._history.invoke(self.name, "publish", post=post, author=author, content=content)
        request = hark_pb2.PublishPostRequest(post_id=post, author_id=author, content=content)
        kind, answer = await self._call("Publisher", "PublishPost", request)
        told = _told(answer) if kind is Kind.OK else {}
        self._write_down(call, kind, answer, **told)
        return kind


class BatchPublisher(Actor):
    """Many posts a call; those of which nothing is known are sent again."""

    async def _act(self, until: asyncio.Event) -> None:
        posts = {
            self._history.name(self.name): self._cast.author(self._chance)
            for _ in range(self._chance.randint(*BATCH))
        }
        for _ in self._tries(until):
            posts = await self._publish(posts)
            if not posts:
                break
            await self._pause(0.2)
        await self._pause(1.0)

    async def _publish(self, posts: dict[str, str]) -> dict[str, str]:
        """Those of which nothing is known then."""
        calls = [
            self._history.invoke(self.name, "publish", post=post, author=author, content=post)
            for post, author in posts.items()
        ]
        request = hark_pb2.PublishPostsRequest(
            posts=[
                hark_pb2.PublishPostRequest(post_id=post, author_id=author, content=post)
                for post, author in posts.items()
            ]
        )
        kind, answer = await self._call("Publisher", "PublishPosts", request)
        if kind is not Kind.OK:
            for call in calls:
                self._write_down(call, kind, answer)
            return posts if kind is Kind.UNKNOWN else {}
        unknown = {}
        for call, post, result in zip(calls, posts, answer.results, strict=True):
            if result.HasField("ok"):
                self._history.ok(call, **_told(result.ok))
            elif result.rejected.code in DEFINITE_NUMBERS:
                self._history.fail(call, code=DEFINITE_NUMBERS[result.rejected.code])
            else:
                self._history.unknown(call, code=result.rejected.code)
                unknown[post] = posts[post]
        return unknown


class Follower(Actor):
    """Changes whom some people follow and mute; what is unknown is mostly asked again."""

    def __init__(self, number: int, place: Place) -> None:
        super().__init__(f"follower{number}", place)
        self._users = place.cast.users[number - 1 :: FOLLOWERS]

    async def begin(self) -> None:
        """Everybody follows some, and everybody is followed."""
        for user in self._users:
            authors = {self._cast.author(self._chance) for _ in range(FOLLOWED_AT_FIRST)}
            for author in sorted({*authors, self._chance.choice(self._cast.authors)}):
                while await self._change("follow", user, author) is not Kind.OK:
                    await self._pause(0.2)

    async def _act(self, until: asyncio.Event) -> None:
        operation = self._chance.choices(
            ("follow", "unfollow", "mute", "unmute"), (40, 25, 15, 20)
        )[0]
        user, author = self._chance.choice(self._users), self._cast.author(self._chance)
        for _ in self._tries(until):
            kind = await self._change(operation, user, author)
            if kind is not Kind.UNKNOWN or self._chance.random() < 0.1:
                break
            await self._pause(0.2)
        await self._pause(0.8)

    async def _change(self, operation: str, user: str, author: str) -> Kind:
        call = self._history.invoke(self.name, operation, user=user, author=author)
        who = "follower_id" if "follow" in operation else "user_id"
        request = getattr(hark_pb2, f"{operation.title()}Request")(author_id=author, **{who: user})
        kind, answer = await self._call("SocialGraph", operation.title(), request)
        self._write_down(call, kind, answer, changed=kind is Kind.OK and answer.changed)
        return kind


class Reader(Actor):
    """Looks at inboxes by GraphQL, page by page."""

    def __init__(self, name: str, place: Place) -> None:
        super().__init__(name, place)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(HTTP_S))

    async def close(self) -> None:
        await super().close()
        await self._session.close()

    async def _act(self, _: asyncio.Event) -> None:
        await self.read(self._chance.choice(self._cast.users), PAGES_MAX)
        await self._pause(0.5)

    async def read(self, user: str, pages_max: int) -> Kind:
        call = self._history.invoke(self.name, "inbox", user=user)
        posts: list[str] = []
        after = None
        try:
            for _ in range(pages_max):
                page = await self._page(user, after)
                posts += [edge["node"]["postId"] for edge in page["edges"]]
                after = page["pageInfo"]["endCursor"]
                if not page["pageInfo"]["hasNextPage"]:
                    after = None
                    break
        except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, ValueError) as error:
            self._history.unknown(call, code=repr(error))
            return Kind.UNKNOWN
        self._history.ok(call, posts=posts, whole=after is None)
        return Kind.OK

    async def _page(self, user: str, after: str | None) -> Any:
        """Raises what comes instead; an error of GraphQL's has no data."""
        body = {"query": INBOX, "variables": {"user": user, "after": after}}
        url = f"http://{self._world.http.address}/graphql"
        async with self._session.post(url, json=body) as answer:
            return (await answer.json())["data"]["inbox"]


class Crowd:
    """All of them together."""

    def __init__(self, place: Place) -> None:
        self._chance = random.Random(place.seed)
        self._cast = place.cast
        self._readers = [Reader(f"reader{n}", place) for n in range(1, READERS + 1)]
        self._followers = [Follower(n, place) for n in range(1, FOLLOWERS + 1)]
        self._actors: list[Actor] = [
            *(Publisher(f"publisher{n}", place) for n in range(1, PUBLISHERS + 1)),
            BatchPublisher("batcher", place),
            *self._followers,
            *self._readers,
        ]

    async def begin(self) -> None:
        """Nobody publishes yet, and nothing fails."""
        await asyncio.gather(*(follower.begin() for follower in self._followers))

    async def run(self, until: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for actor in self._actors:
                group.create_task(actor.run(until))

    async def read_whole(self) -> None:
        """Some inboxes, each from its beginning to its end."""
        users = self._chance.sample(self._cast.users, READ_WHOLE)
        reads = (self._readers[at % READERS].read(user, 10**6) for at, user in enumerate(users))
        found = await asyncio.gather(*reads)
        assert set(found) == {Kind.OK}, "an inbox cannot be read though nothing fails"

    async def close(self) -> None:
        for actor in self._actors:
            await actor.close()


def _told(answer: hark_pb2.PublishPostResponse) -> dict[str, Any]:
    return {"queued": answer.notifications_queued, "duplicate": answer.duplicate}
