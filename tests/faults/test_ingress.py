"""Posts in: whatever is sent again, cut off or refused, one key is one post or none."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from gateway.grpc_server import DRAIN_S
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, StartFarm, wait_until, wait_until_async
from tests.gateway.gateway_process import Surroundings
from tests.web.web_process import data

pytestmark = pytest.mark.process
Post = hark_pb2.PublishPostRequest
KEYS = 1_000
ROUNDS = 20  # of 50 calls at once
DEADLINES = 2_000
IN_FLIGHT = 64  # of more, a gateway refuses some where they wait for long, and is right to
MUTATION = """
    mutation { publishPost(postId: "in between", authorId: "user1", content: "Hello") { postId } }
"""
Publish = Callable[[Post], Any]


@asynccontextmanager
async def connections(address: str, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """So many channels, each with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(count)]
    yield channels
    for one in channels:
        await one.close()


def publisher_on(channel: grpc.aio.Channel) -> Publish:
    stub: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    return lambda post: stub.PublishPost(post, timeout=20)


def post_of(key: str, content: str = "Hello") -> Post:
    return Post(post_id=key, author_id="user1", content=content)


async def test_a_thousand_keys_sent_twice_are_a_thousand_posts(hark: FarmProcess) -> None:
    """Fault row 1."""
    async with connections(hark.grpc_address, 1) as (channel,):
        publish = publisher_on(channel)
        inbox = hark_pb2_grpc.InboxServiceStub(channel)
        before = await unread(inbox)
        keys = [f"twice-{number}" for number in range(KEYS)]
        first = await publish_all(publish, map(post_of, keys))
        again = await publish_all(publish, map(post_of, keys))
        assert await unread(inbox) - before == KEYS
    assert not any(answer.duplicate for answer in first)
    assert all(answer.duplicate for answer in again)
    assert answers_of(first) == answers_of(again)


async def publish_all(publish: Publish, posts: Iterable[Post]) -> list[Any]:
    """The answers, in order."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(post: Post) -> Any:
        async with gate:
            return await publish(post)

    return await asyncio.gather(*map(one, posts))


def answers_of(found: Sequence[Any]) -> list[tuple[str, int]]:
    """Less the mark of those that came again."""
    return [(answer.post_id, answer.notifications_queued) for answer in found]


async def unread(inbox: Any) -> int:
    page = await inbox.ListNotifications(hark_pb2.ListNotificationsRequest(user_id="user2"))
    return int(page.unread)


async def test_fifty_at_once_on_three_connections_are_one_post(hark: FarmProcess) -> None:
    """Fault row 2."""
    async with connections(hark.grpc_address, 3) as channels:
        publish = [publisher_on(channel) for channel in channels]
        for number in range(ROUNDS):
            post = post_of(f"at-once-{number}")
            answers = await asyncio.gather(*(publish[n % 3](post) for n in range(50)))
            assert set(answers_of(answers)) == {(post.post_id, 6)}
            assert [answer.duplicate for answer in answers].count(False) == 1


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"content": "Another"}, "published before with other content"),
        ({"content": "Hello "}, "published before with other content"),
        ({"author_id": "user2"}, "published before by another author"),
        ({"author_id": "user2", "content": "Another"}, "published before by another author"),
        ({"author_id": "nobody"}, "published before by another author"),
    ],
)
async def test_a_key_with_another_body_is_refused_and_changes_nothing(
    hark: FarmProcess, other: dict[str, Any], told: str
) -> None:
    """Fault row 3: in one group with the first, and after it."""
    key = f"other {' '.join(other.values())}"
    first = Post(post_id=key, author_id="user1", content="Hello")
    second = Post()
    second.CopyFrom(first)
    second.MergeFrom(Post(**other))
    async with connections(hark.grpc_address, 1) as (channel,):
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
        together = hark_pb2.PublishPostsRequest(posts=[first, second, first])
        taken, refused, again = (await publisher.PublishPosts(together)).results
        assert (taken.ok.notifications_queued, taken.ok.duplicate) == (6, False)
        assert refused.rejected.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
        assert again.ok.duplicate
        later = await refusal(publisher.PublishPost(second))
        assert later.code() is grpc.StatusCode.ALREADY_EXISTS
        assert told in (later.details() or "")
        for user in ("user1", "user2"):  # who follow the one author and the other
            page = await inbox.ListNotifications(hark_pb2.ListNotificationsRequest(user_id=user))
            found = [n.content for n in page.notifications if n.post_id == key]
            assert found == (["New post from user1: Hello"] if user == "user2" else [])


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


@pytest.mark.parametrize(("name", "by_http"), [("gateway.reply", False), ("web.reply", True)])
def test_a_process_killed_before_its_answer_has_published_once(
    farm: StartFarm, name: str, by_http: bool
) -> None:
    """The post is stored and nobody was told; asked again, the same answer comes. Fault row 6."""
    hark = farm("--workers", "1", environment={"HARK_FAILPOINTS": f"{name}:kill:1:1"})
    post = post_of("in between")
    with grpc.insecure_channel(hark.grpc_address) as channel:
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        if by_http:
            with pytest.raises(OSError, match=r"without response|reset"):
                data(hark.http_address, MUTATION)
        else:
            with pytest.raises(grpc.RpcError) as cut:
                publisher.PublishPost(post, timeout=10)
            assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
        again = wait_until(lambda: answer_of(publisher, post), 20)
    assert (again.post_id, again.notifications_queued, again.duplicate) == ("in between", 6, True)
    assert f"failpoint name={name} action=kill count=1" in hark.log()


def answer_of(publisher: Any, post: Post) -> Any:
    """None where the connection still leads to who is dead."""
    try:
        return publisher.PublishPost(post, timeout=10, wait_for_ready=True)
    except grpc.RpcError:
        return None


async def test_calls_with_short_deadlines_leave_nothing_behind(alone: Surroundings) -> None:
    """Deadlines of 1 to 50 ms under load: whoever was told nothing learns the truth by asking
    again, and no call is left in the gateway. Fault row 7."""
    chance = random.Random(seed := random.randrange(2**32))
    print(f"seed {seed}")
    alone.store()
    gateway = alone.gateway().wait_for_line("serving")
    async with connections(alone.address, 4) as channels:
        publish = publisher_on(channels[0])
        follows: Any = hark_pb2_grpc.SocialGraphServiceStub(channels[0])
        await follows.Follow(hark_pb2.FollowRequest(follower_id="ann", author_id="somebody"))
        stubs: list[Any] = [hark_pb2_grpc.PublisherServiceStub(channel) for channel in channels]
        told: dict[str, str] = {}
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(number: int) -> None:
            key = f"hasty-{number}"
            async with gate:
                try:
                    await stubs[number % 4].PublishPost(
                        hasty(key), timeout=chance.uniform(0.001, 0.05)
                    )
                    told[key] = "OK"
                except grpc.aio.AioRpcError as error:
                    told[key] = error.code().name

        await asyncio.gather(*(one(number) for number in range(DEADLINES)))
        answers = await publish_all(publish, map(hasty, told))
        late = sum(answer.duplicate for answer in answers if told[answer.post_id] != "OK")
    counted = Counter(told.values())
    print(counted, "of them stored all the same:", late)
    assert {"DEADLINE_EXCEEDED"} <= set(counted) <= {"OK", "DEADLINE_EXCEEDED"}
    assert all(a.duplicate for a in answers if told[a.post_id] == "OK")
    gateway.process.terminate()
    assert gateway.process.wait(DRAIN_S / 2) == 0, "some call is taken for one in flight"


async def test_who_never_rests_is_sent_elsewhere_and_never_cut_off(alone: Surroundings) -> None:
    """A gateway ends under callers who ask again at once, whatever they are told: each hears
    UNAVAILABLE, which says so, until there is nobody to ask. Fault row 12."""
    alone.store()
    gateway = alone.gateway().wait_for_line("serving")
    told = Counter[str]()

    async def ask_on(stub: Any, caller: int) -> None:
        for number in itertools.count():
            try:
                await stub.PublishPost(hasty(f"{caller}-{number}"), timeout=20)
                told["OK"] += 1
            except grpc.aio.AioRpcError as error:
                told[error.code().name] += 1
                if gateway.process.poll() is not None:
                    return

    async with connections(alone.address, 8) as channels:
        stubs: list[Any] = [hark_pb2_grpc.PublisherServiceStub(channel) for channel in channels]
        follows: Any = hark_pb2_grpc.SocialGraphServiceStub(channels[0])
        await follows.Follow(hark_pb2.FollowRequest(follower_id="ann", author_id="somebody"))
        asking = asyncio.gather(*(ask_on(stubs[caller % 8], caller) for caller in range(64)))
        await wait_until_async(lambda: told["OK"] > 300)
        gateway.process.terminate()
        await asyncio.wait_for(asking, 10)
    assert gateway.process.returncode == 0
    assert set(told) == {"OK", "UNAVAILABLE"}


def hasty(key: str) -> Post:
    return Post(post_id=key, author_id="somebody", content="Hello")
