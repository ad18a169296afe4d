"""Who follows whom, by hark.v1."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from farm import wire
from farm.client import StoreClient
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets
from farm.wire import Kind
from gateway.graph import SocialGraphService
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import StartFarm
from tests.gateway.conftest import NewId

pytestmark = pytest.mark.process
Edge = hark_pb2.FollowRequest


@pytest.fixture
def graph(channel: grpc.Channel) -> Any:
    return hark_pb2_grpc.SocialGraphServiceStub(channel)


def message(*edges: tuple[str, str]) -> hark_pb2.ImportFollowsRequest:
    made = [Edge(follower_id=follower, author_id=author) for follower, author in edges]
    return hark_pb2.ImportFollowsRequest(edges=made)


def test_follow_and_unfollow_say_what_changed(graph: Any, new_id: NewId) -> None:
    ana, ben = new_id(), new_id()
    edge = {"follower_id": ana, "author_id": ben}
    assert [graph.Follow(Edge(**edge)).changed for _ in range(2)] == [True, False]
    asked = hark_pb2.ListFollowersRequest(author_id=ben)
    assert list(graph.ListFollowers(asked).user_ids) == [ana]
    following = graph.ListFollowing(hark_pb2.ListFollowingRequest(user_id=ana))
    assert (list(following.user_ids), following.total) == ([ben], 1)
    unfollow = hark_pb2.UnfollowRequest(**edge)
    assert [graph.Unfollow(unfollow).changed for _ in range(2)] == [True, False]
    assert graph.ListFollowers(asked).total == 0


def test_mute_and_unmute_say_what_changed(graph: Any, new_id: NewId) -> None:
    ana, ben = new_id(), new_id()
    graph.Follow(Edge(follower_id=ana, author_id=ben))
    mute = hark_pb2.MuteRequest(user_id=ana, author_id=ben)
    unmute = hark_pb2.UnmuteRequest(user_id=ana, author_id=ben)
    assert [graph.Mute(mute).changed for _ in range(2)] == [True, False]
    assert [graph.Unmute(unmute).changed for _ in range(2)] == [True, False]
    with pytest.raises(grpc.RpcError) as refusal:
        graph.Mute(hark_pb2.MuteRequest(user_id="nobody", author_id=ben))
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    assert str(refusal.value.details()).startswith("user_id 'nobody': ")


@pytest.mark.parametrize(
    ("method", "request_", "sentence"),
    [
        ("Follow", Edge(follower_id="a", author_id="a"),
         "follower_id 'a': nobody can follow themselves"),
        ("Follow", Edge(follower_id="a"),
         "author_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
        ("Unfollow", hark_pb2.UnfollowRequest(author_id="a"),
         "follower_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
        ("Mute", hark_pb2.MuteRequest(user_id="a\n", author_id="b"),
         "user_id 'a\\n': must not contain control characters"),
        ("ListFollowers", hark_pb2.ListFollowersRequest(author_id="user1", page_size=10_001),
         "page_size 10001: must be from 1 to 10000"),
        ("ListFollowers", hark_pb2.ListFollowersRequest(),
         "author_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
        ("ListFollowing", hark_pb2.ListFollowingRequest(user_id="user1", page_token="x"),
         "page_token: was not given out here for this; leave it out"),
    ],
)  # fmt: skip
def test_refusals(graph: Any, method: str, request_: Any, sentence: str) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        getattr(graph, method)(request_)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == sentence


def test_an_import_counts_and_pages(graph: Any, new_id: NewId) -> None:
    author = new_id()
    followers = [f"{author}-{n:05d}" for n in range(2_500)]
    small = [message((follower, author)) for follower in followers[:300]]  # one edge a message
    large = message(*((follower, author) for follower in followers[200:]))
    answer = graph.ImportFollows(iter([*small, large]))
    assert (answer.added, answer.already_there, answer.rejected) == (2_500, 100, 0)
    listed, token = [], ""
    for size in (0, 2, 10_000):  # 0 is 1,000
        page = graph.ListFollowers(
            hark_pb2.ListFollowersRequest(author_id=author, page_size=size, page_token=token)
        )
        listed.append(list(page.user_ids))
        token = page.next_page_token
        assert page.total == 2_500
    assert [len(page) for page in listed] == [1_000, 2, 1_498]
    assert sorted(itertools.chain(*listed)) == followers
    assert token == ""


class StoreByHand:
    """Answers imports over a store's socket; notes how large each was, and lets time pass."""

    def __init__(self, clock: StoppedClock, *seconds: float) -> None:
        self.sizes: list[int] = []
        self._clock = clock
        self._seconds = itertools.chain(seconds, itertools.repeat(0.0))

    async def answer(self, _kind: Kind, body: list[Any]) -> bytes:
        _, request, ((_, followers, _),) = body
        self.sizes.append(len(followers))
        self._clock.now_s += next(self._seconds)
        answer = wire.Imported(len(followers), 0, [])
        return wire.pack(Kind.ANSWERS, request, [wire.ok(answer)])


class StoppedClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def wall_us(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        ((), [10, 10, 20, 40, 80, 120]),
        ((3, 3, 3), [10, 10, 10, 10, 10, 20, 40, 80, 90]),
        # What was slow is known of when the next group is gathered already.
        ((0, 0, 0, 8), [10, 10, 20, 40, 80, 10, 20, 40, 50]),
    ],
    ids=["quick", "slow to begin with", "slow then"],
)
async def test_an_import_gathers_as_long_as_the_store_is_quick(
    tmp_path: Path, seconds: tuple[float, ...], sizes: list[int]
) -> None:
    """In groups of so many thousand edges."""
    sockets, addresses, clock = Sockets(), Addresses(str(tmp_path)), StoppedClock()
    by_hand = StoreByHand(clock, *seconds)
    serving = asyncio.create_task(sockets.async_server(addresses.store).serve(by_hand.answer))
    store = StoreClient(
        sockets, addresses, name="test", readers=0, clock=clock, metrics=ProcessMetrics()
    )
    every = message(*((f"fan-{n}", "star") for n in range(10_000)))

    async def sent() -> AsyncIterator[hark_pb2.ImportFollowsRequest]:
        for _ in range(28):
            yield every

    try:
        answer = await SocialGraphService(store, clock).import_follows(sent())
    finally:
        serving.cancel()
        store.close()
        sockets.close()
    assert answer.added == 280_000
    assert [size // 1_000 for size in by_hand.sizes] == sizes


def test_an_import_goes_on_past_bad_edges_and_names_the_first(graph: Any, new_id: NewId) -> None:
    author = new_id()
    first = message(("a", author), ("b", "b"), ("", author))
    rest = message(*[("c", "")] * 30, ("d", author), ("x" * 129, author))
    answer = graph.ImportFollows(iter([first, rest]))
    assert (answer.added, answer.rejected) == (2, 33)
    assert len(answer.rejections) == 20
    assert list(answer.rejections[:3]) == [
        "edge 2: follower_id 'b': nobody can follow themselves",
        "edge 3: follower_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8",
        "edge 4: author_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8",
    ]


def test_an_import_says_where_the_store_took_no_more(farm: StartFarm) -> None:
    hark = farm("--following-max", "2", "--workers", "1")
    with grpc.insecure_channel(hark.grpc_address) as channel:
        graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
        edges = [("a", "user1"), ("a", "a"), ("a", "user2"), ("a", "user3"), ("b", "user3")]
        answer = graph.ImportFollows(iter([message(*edges[:2]), message(*edges[2:])]))
    assert (answer.added, answer.rejected) == (3, 2)
    assert [one.partition(": ")[0] for one in answer.rejections] == [
        "edge 2",
        "edge 4",
    ]


def test_a_hundred_thousand_follows_of_one_person(graph: Any, new_id: NewId) -> None:
    """Fault row 14: too many for one message; in ten, they end where the most one may follow is."""
    ana, author = new_id(), new_id()
    edges = [(ana, f"{author}-{n}") for n in range(100_000)]
    with pytest.raises(grpc.RpcError) as refusal:
        graph.ImportFollows(iter([message(*edges)]))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "edges: are 100,000 in message 1; " in str(refusal.value.details())
    asked = hark_pb2.ListFollowingRequest(user_id=ana, page_size=1)
    assert graph.ListFollowing(asked).total == 0
    answer = graph.ImportFollows(message(*edges[n : n + 10_000]) for n in range(0, 100_000, 10_000))
    assert (answer.added, answer.already_there, answer.rejected) == (10_000, 0, 90_000)
    assert len(answer.rejections) == 20
    assert answer.rejections[0].startswith("edge 10001: ")
    assert graph.ListFollowing(asked).total == 10_000
    with pytest.raises(grpc.RpcError) as refusal:
        graph.Follow(Edge(follower_id=ana, author_id=author))
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_oneself_and_strangers(graph: Any, channel: grpc.Channel, new_id: NewId) -> None:
    """Fault row 14: nobody follows themselves, and asking of strangers makes nobody known."""
    ana, ben = new_id(), new_id()
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    assert graph.ImportFollows(iter([message((ana, ana))])).rejected == 1
    assert not graph.Unfollow(hark_pb2.UnfollowRequest(follower_id=ana, author_id=ben)).changed
    assert not graph.Unmute(hark_pb2.UnmuteRequest(user_id=ana, author_id=ben)).changed
    for call, request, code in (
        (graph.Follow, Edge(follower_id=ana, author_id=ana), "INVALID_ARGUMENT"),
        (graph.Mute, hark_pb2.MuteRequest(user_id=ana, author_id=ben), "NOT_FOUND"),
        (publisher.PreviewPost, hark_pb2.PreviewPostRequest(author_id=ana), "NOT_FOUND"),
        (publisher.PreviewPost, hark_pb2.PreviewPostRequest(author_id=ben), "NOT_FOUND"),
    ):
        with pytest.raises(grpc.RpcError) as refusal:
            call(request)
        assert refusal.value.code().name == code
    assert graph.ListFollowers(hark_pb2.ListFollowersRequest(author_id=ben)).total == 0
    assert graph.ListFollowing(hark_pb2.ListFollowingRequest(user_id=ana)).total == 0


def test_an_import_without_edges_is_nothing(graph: Any) -> None:
    assert graph.ImportFollows(iter([])) == hark_pb2.ImportFollowsResponse()
    assert graph.ImportFollows(iter([message()])) == hark_pb2.ImportFollowsResponse()


def test_a_message_with_too_many_edges_is_refused(graph: Any, new_id: NewId) -> None:
    author = new_id()
    with pytest.raises(grpc.RpcError) as refusal:
        graph.ImportFollows(iter([message(("a", author)), message(*[("b", author)] * 10_001)]))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == (
        "edges: are 10,001 in message 2; must be at most 10,000 a message"
    )
