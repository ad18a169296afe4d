"""What drives the farm by gRPC. Runs in a process of its own, see `drivers.py`.

Every load ends by itself: after so many calls or so many seconds, whichever comes first. Requests
are encoded before the clock starts, and carry no post id, so that none repeats another.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import uvloop

from gateway.pb.hark.v1 import hark_pb2

PUBLISHER = "/hark.v1.PublisherService"
SOCIAL_GRAPH = "/hark.v1.SocialGraphService"
OPERATIONS = "/hark.v1.OperationsService"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
LOOK_EVERY_S = 0.01
JOB_S_MAX = 180.0
CONTENT = "A post of about the usual length, which says a thing or two and then it ends."

T = TypeVar("T")
Call = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Load:
    """What was done in how long, and how much of a processor the driver itself took."""

    count: int
    seconds: float
    driver_cpu_s: float
    latencies_ms: list[float] = field(default_factory=list)
    notifications: int = 0
    post_ids: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def driver_cores(self) -> float:
        return self.driver_cpu_s / self.seconds


# Each of these is a whole job for a driver.


def unary(address: str, authors: Sequence[str], in_flight: int, seconds: float, most: int) -> Load:
    """PublishPost, so many at a time."""
    return _run(_unary(address, authors, in_flight, seconds, most))


def batches(
    address: str,
    authors: Sequence[str],
    size: int,
    in_flight: int,
    seconds: float,
    most: int,
    per_second: float | None = None,
) -> Load:
    """PublishPosts with `size` posts each, so many calls at a time; counted in posts. With
    `per_second` no more posts than that."""
    gap_s = size / per_second if per_second else 0.0
    return _run(_batches(address, authors, size, in_flight, seconds, most, gap_s))


def follows(address: str, author: str, people: Sequence[str], size: int, in_flight: int) -> Load:
    """Lets these people follow the author, `size` a call, each call durable when it is answered;
    counted in people."""
    return _run(_follows(address, author, people, size, in_flight))


def deliver(address: str, authors: Sequence[str], posts: int, deadline_s: float) -> Load:
    """Publishes so many posts and waits until nothing waits any more; counted in notifications."""
    return _run(_deliver(address, authors, posts, deadline_s))


def taken(address: str) -> int:
    """How many posts the empty server was asked to publish."""
    return _run(_taken(address))


def until_idle(address: str, deadline_s: float) -> float:
    """Seconds until nothing waits any more."""
    return _run(_until_idle(address, deadline_s))


def publish_to_delivered(address: str, author: str, times: int, rest_s: float) -> Load:
    """The latency from the call to the last of the audience delivered, one post at a time, and
    after each a rest."""
    return _run(_publish_to_delivered(address, author, times, rest_s))


def one_at_a_time(address: str, author: str, times: int, rest_s: float) -> Load:
    """PublishPost, the next one a rest after the answer."""
    return _run(_one_at_a_time(address, author, times, rest_s))


def ledgers(address: str, post_ids: Sequence[str]) -> dict[str, int]:
    """The sums over the ledgers of these posts, and how many posts' sums are not their audience."""
    return _run(_ledgers(address, post_ids))


def followers(address: str, author: str, most: int) -> list[str]:
    """The ids of people who follow the author."""
    return _run(_followers(address, author, most))


# How they are done


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop()


def _run(job: Coroutine[Any, Any, T]) -> T:
    """On the one loop of this process: gRPC does not like to change loops."""
    asyncio.set_event_loop(_loop())
    return _loop().run_until_complete(asyncio.wait_for(job, JOB_S_MAX))


@asynccontextmanager
async def _channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    options = (
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    )
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        await channel.channel_ready()
        yield channel


def _call(channel: grpc.aio.Channel, method: str) -> Call:
    """Bytes to bytes: encoding is not what is measured."""
    call: Any = channel.unary_unary(method)
    return call  # type: ignore[no-any-return]


def post(author: str) -> hark_pb2.PublishPostRequest:
    return hark_pb2.PublishPostRequest(author_id=author, content=CONTENT)


async def _drive(
    call: Call,
    requests: Sequence[bytes],
    in_flight: int,
    seconds: float,
    most: int,
    gap_s: float = 0.0,
) -> tuple[Load, list[bytes]]:
    """Calls with each request in turn, as many at a time as may be in flight, and none before its
    time."""
    numbers = itertools.count()
    latencies: list[float] = []
    answers: list[bytes] = []
    started_s, spent_s = time.perf_counter(), cpu_s()
    end_s = started_s + seconds

    async def one_after_another() -> None:
        while (number := next(numbers)) < most:
            if gap_s:
                await asyncio.sleep(started_s + number * gap_s - time.perf_counter())
            asked_s = time.perf_counter()
            if asked_s > end_s:
                return
            answers.append(await call(requests[number % len(requests)]))
            latencies.append((time.perf_counter() - asked_s) * 1000)

    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    took_s = time.perf_counter() - started_s
    return Load(len(answers), took_s, cpu_s() - spent_s, latencies), answers


async def _unary(
    address: str, authors: Sequence[str], in_flight: int, seconds: float, most: int
) -> Load:
    async with _channel(address) as channel:
        requests = [post(author).SerializeToString() for author in authors]
        call = _call(channel, f"{PUBLISHER}/PublishPost")
        load, _ = await _drive(call, requests, in_flight, seconds, most)
        return load


async def _batches(
    address: str,
    authors: Sequence[str],
    size: int,
    in_flight: int,
    seconds: float,
    most: int,
    gap_s: float,
) -> Load:
    async with _channel(address) as channel:
        call = _call(channel, f"{PUBLISHER}/PublishPosts")
        requests = _encoded_batches(authors, size)
        calls = -(-most // size)
        load, answers = await _drive(call, requests, in_flight, seconds, calls, gap_s)
    post_ids, notifications = _check(answers)
    return Load(
        len(post_ids), load.seconds, load.driver_cpu_s, load.latencies_ms, notifications, post_ids
    )


def _encoded_batches(authors: Sequence[str], size: int) -> list[bytes]:
    """Calls of `size` posts, whose authors take turns from call to call."""
    turns = itertools.cycle(authors)
    calls = max(1, -(-len(authors) // size))
    return [
        hark_pb2.PublishPostsRequest(
            posts=[post(author) for author in itertools.islice(turns, size)]
        ).SerializeToString()
        for _ in range(calls)
    ]


def _check(answers: Sequence[bytes]) -> tuple[list[str], int]:
    """The ids of the posts and how many notifications they make. Raises where one was refused."""
    post_ids: list[str] = []
    notifications = 0
    for answer in answers:
        for result in hark_pb2.PublishPostsResponse.FromString(answer).results:
            if not result.HasField("ok"):
                raise RuntimeError(f"a post was refused: {result.rejected.message}")
            post_ids.append(result.ok.post_id)
            notifications += result.ok.notifications_queued
    return post_ids, notifications


async def _follows(
    address: str, author: str, people: Sequence[str], size: int, in_flight: int
) -> Load:
    async with _channel(address) as channel:
        stream: Any = channel.stream_unary(f"{SOCIAL_GRAPH}/ImportFollows")
        requests = [
            _edges(people[first : first + size], author) for first in range(0, len(people), size)
        ]

        async def call(request: bytes) -> bytes:
            answer: bytes = await stream(iter([request]))
            return answer

        load, answers = await _drive(call, requests, in_flight, JOB_S_MAX, len(requests))
    added = sum(hark_pb2.ImportFollowsResponse.FromString(answer).added for answer in answers)
    if added != len(people):
        raise RuntimeError(f"of {len(people):,} follows only {added:,} are new")
    return Load(added, load.seconds, load.driver_cpu_s, load.latencies_ms)


def _edges(people: Sequence[str], author: str) -> bytes:
    return hark_pb2.ImportFollowsRequest(
        edges=[hark_pb2.FollowRequest(follower_id=one, author_id=author) for one in people]
    ).SerializeToString()


async def _deliver(address: str, authors: Sequence[str], posts: int, deadline_s: float) -> Load:
    async with _channel(address) as channel:
        publish = _call(channel, f"{PUBLISHER}/PublishPosts")
        size = min(posts, 500)
        requests = _encoded_batches(authors, size)
        started_s, spent_s = time.perf_counter(), cpu_s()
        _, answers = await _drive(publish, requests, 2, deadline_s, -(-posts // size))
        await _idle(channel, deadline_s)
        took_s, spent_s = time.perf_counter() - started_s, cpu_s() - spent_s
    post_ids, notifications = _check(answers)
    return Load(notifications, took_s, spent_s, [], notifications, post_ids)


async def _taken(address: str) -> int:
    async with _channel(address) as channel:
        return int(await _call(channel, f"{PUBLISHER}/Taken")(b""))


async def _until_idle(address: str, deadline_s: float) -> float:
    async with _channel(address) as channel:
        return await _idle(channel, deadline_s)


async def _idle(channel: grpc.aio.Channel, deadline_s: float) -> float:
    ask = _call(channel, f"{OPERATIONS}/GetCapacity")
    started_s = time.perf_counter()
    while True:
        state = hark_pb2.GetCapacityResponse.FromString(await ask(b""))
        took_s = time.perf_counter() - started_s
        if not state.backlog:
            return took_s
        if took_s > deadline_s:
            raise RuntimeError(f"after {deadline_s:g} s there still wait {state.backlog:,}")
        await asyncio.sleep(LOOK_EVERY_S)


async def _one_at_a_time(address: str, author: str, times: int, rest_s: float) -> Load:
    async with _channel(address) as channel:
        publish = _call(channel, f"{PUBLISHER}/PublishPost")
        request = post(author).SerializeToString()
        return await _timed(lambda: publish(request), times, rest_s)


async def _publish_to_delivered(address: str, author: str, times: int, rest_s: float) -> Load:
    async with _channel(address) as channel:
        publish = _call(channel, f"{PUBLISHER}/PublishPost")
        ask = _call(channel, f"{OPERATIONS}/GetLedger")
        request = post(author).SerializeToString()

        async def until_delivered() -> None:
            done = hark_pb2.PublishPostResponse.FromString(await publish(request))
            asking = hark_pb2.GetLedgerRequest(post_id=done.post_id).SerializeToString()
            while not _all_delivered(await ask(asking)):
                pass

        return await _timed(until_delivered, times, rest_s)


async def _timed(deed: Callable[[], Awaitable[object]], times: int, rest_s: float) -> Load:
    """How long each took, one after the other with a rest between them."""
    latencies = []
    started_s, spent_s = time.perf_counter(), cpu_s()
    for _ in range(times):
        asked_s = time.perf_counter()
        await deed()
        latencies.append((time.perf_counter() - asked_s) * 1000)
        await asyncio.sleep(rest_s)
    took_s = time.perf_counter() - started_s
    return Load(times, took_s, cpu_s() - spent_s, latencies)


def _all_delivered(answer: bytes) -> bool:
    ledger = hark_pb2.GetLedgerResponse.FromString(answer)
    return all(c.delivered == ledger.audience for c in ledger.channels.values())


async def _ledgers(address: str, post_ids: Sequence[str]) -> dict[str, int]:
    sums = {"audience": 0, "delivered": 0, "dead": 0, "unaccounted": 0, "posts not even": 0}
    async with _channel(address) as channel:
        ask = _call(channel, f"{OPERATIONS}/GetLedger")
        for post_id in post_ids:
            request = hark_pb2.GetLedgerRequest(post_id=post_id).SerializeToString()
            ledger = hark_pb2.GetLedgerResponse.FromString(await ask(request))
            sums["audience"] += ledger.audience
            for counts in ledger.channels.values():
                sums["delivered"] += counts.delivered
                sums["dead"] += counts.dead
                sums["unaccounted"] += counts.unaccounted
                sums["posts not even"] += counts.delivered + counts.dead != ledger.audience
    return sums


async def _followers(address: str, author: str, most: int) -> list[str]:
    async with _channel(address) as channel:
        ask = _call(channel, f"{SOCIAL_GRAPH}/ListFollowers")
        request = hark_pb2.ListFollowersRequest(author_id=author, page_size=most)
        page = hark_pb2.ListFollowersResponse.FromString(await ask(request.SerializeToString()))
        return list(page.user_ids)


def cpu_s() -> float:
    """What this process has spent on a processor until now."""
    spent = os.times()
    return spent.user + spent.system
