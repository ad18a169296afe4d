"""Posts while people follow and unfollow their author as fast as they can."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any, NamedTuple

import grpc
import pytest

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.gateway.conftest import NewId

pytestmark = pytest.mark.process

POSTS = 100
PEOPLE = 8


class Call(NamedTuple):
    """It took effect at some moment between the two. `then`: whether they follow from then on."""

    began_s: float
    ended_s: float
    then: bool = False


def test_an_audience_is_who_followed_at_that_moment(channel: grpc.Channel, new_id: NewId) -> None:
    """Fault row 53: who surely followed is in it, who surely did not is not, and all numbers that
    are told of it are the same."""
    author, people = new_id(), [new_id() for _ in range(PEOPLE)]
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
    graph.Follow(hark_pb2.FollowRequest(follower_id=new_id(), author_id=author))
    stop = Event()
    with ThreadPoolExecutor(PEOPLE) as pool:
        storms = [pool.submit(come_and_go, graph, person, author, stop) for person in people]
        try:
            posts = publish(channel, author, storms)
        finally:
            stop.set()
        histories = {person: storm.result(10) for person, storm in zip(people, storms, strict=True)}
    surely, surely_not, either = compare(channel, posts, histories)
    assert min(surely, surely_not, either) > 0, "it was no storm"


def come_and_go(graph: Any, person: str, author: str, stop: Event) -> list[Call]:
    edge = {"follower_id": person, "author_id": author}
    calls: list[Call] = []
    while not stop.is_set():
        began_s, follows = time.monotonic(), not (calls and calls[-1].then)
        if follows:
            answer = graph.Follow(hark_pb2.FollowRequest(**edge))
        else:
            answer = graph.Unfollow(hark_pb2.UnfollowRequest(**edge))
        assert answer.changed
        calls.append(Call(began_s, time.monotonic(), follows))
        # Some stay for as long as a few such calls take, however fast this machine is now.
        stop.wait((calls[-1].ended_s - began_s) * (len(calls) % 5) * 2)
    return calls


def publish(
    channel: grpc.Channel, author: str, storms: list[Future[list[Call]]]
) -> list[tuple[hark_pb2.PublishPostResponse, Call]]:
    publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
    posts = []
    for number in range(POSTS):
        assert not any(storm.done() for storm in storms)
        began_s = time.monotonic()
        post = hark_pb2.PublishPostRequest(author_id=author, content=f"{number}")
        posts.append((publisher.PublishPost(post), Call(began_s, time.monotonic())))
    return posts


def compare(
    channel: grpc.Channel,
    posts: list[tuple[hark_pb2.PublishPostResponse, Call]],
    histories: dict[str, list[Call]],
) -> tuple[int, int, int]:
    """How often somebody surely was of the audience, surely was not, and may have been either."""
    operations: Any = hark_pb2_grpc.OperationsServiceStub(channel)
    counts = [0, 0, 0]
    for post, published in posts:
        asked = {
            person: operations.Explain.future(
                hark_pb2.ExplainRequest(post_id=post.post_id, user_id=person)
            )
            for person in histories
        }
        told = {person: answer.result(10).in_audience for person, answer in asked.items()}
        for person, calls in histories.items():
            may = possible(calls, published)
            assert told[person] in may, (person, published, calls)
            counts[2 if len(may) == 2 else 1 - (True in may)] += 1
        ledger = operations.GetLedger(hark_pb2.GetLedgerRequest(post_id=post.post_id))
        assert ledger.audience == post.notifications_queued == 1 + sum(told.values())
        assert ledger.channels["simulated"].unaccounted == 0
    return counts[0], counts[1], counts[2]


def possible(calls: list[Call], published: Call) -> set[bool]:
    """Whether a person may have followed, or not, at a moment while the post was published."""
    before = [call.then for call in calls if call.ended_s < published.began_s]
    during = [
        call.then
        for call in calls
        if call.ended_s >= published.began_s and call.began_s <= published.ended_s
    ]
    return {before[-1] if before else False, *during}
