"""Loads upon a farm, each a whole job for a process of its own; see `benchmarks/drivers.py`.

Every one ends by itself after so many seconds. What was answered is kept by post id, so that each
can be looked up afterwards.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop

from benchmarks.load import cpu_s
from gateway.pb.hark.v1 import hark_pb2
from tests.load.caller import NOT_FOUND, OK, RESOURCE_EXHAUSTED, Answer, Connection, connect

PUBLISH_POST = "/hark.v1.PublisherService/PublishPost"
GET_LEDGER = "/hark.v1.OperationsService/GetLedger"
PUBLISH_POSTS = "/hark.v1.PublisherService/PublishPosts"
CALLERS_A_CONNECTION = 500
# Where a machine has no core to spare, thousands take long to begin; whoever was answered before
# the last of them had begun would seem to have waited until then.
BEGUN_AT_A_TIME = 50
FLOODING = 8  # connections
UNDER_WAY_MAX = 4  # calls of a flood on each connection: more would only wait in its buffers
CONTENT = "Hello from a crowd"
KEPT_MAX = 200  # ids of refused posts
JOB_S_MAX = 120.0
_MARK = "########"  # stands in a post's id for the number of its call

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """What came of a load: answers by code, and of posts what each was told."""

    codes: Counter[int] = field(default_factory=Counter)
    undelayed: int = 0  # refusals that did not say when to come again
    ok_s: list[float] = field(default_factory=list)  # how long the calls took that did something
    acknowledged: list[tuple[str, str]] = field(default_factory=list)  # posts: author and id
    refused: list[str] = field(default_factory=list)  # some of the posts
    refused_posts: int = 0
    held_back: int = 0  # calls not made because too many were under way
    seconds: float = 0.0
    cores: float = 0.0  # that the load itself kept busy
    late_s: list[float] = field(default_factory=list)  # by which it did what it was to do later

    def take(self, answer: Answer) -> None:
        self.codes[answer.status] += 1
        if answer.status == RESOURCE_EXHAUSTED and not answer.retry_after_ms:
            self.undelayed += 1

    def refuse(self, post_ids: Sequence[str]) -> None:
        self.refused_posts += len(post_ids)
        self.refused += post_ids[: KEPT_MAX - len(self.refused)]


def callers(address: str, authors: Sequence[str], count: int, seconds: float, name: str) -> Tally:
    """So many callers at once, each with one post after the other; who is refused comes again when
    it was told to."""
    return run(_callers(address, authors, count, seconds, name))


def flood(
    address: str, authors: Sequence[str], size: int, per_second: float, seconds: float, name: str
) -> Tally:
    """PublishPosts of `size` posts, so many posts a second whatever becomes of those before."""
    return run(_flood(address, authors, size, per_second, seconds, name))


def burst(address: str, authors: Sequence[str], count: int, name: str) -> list[Answer]:
    """So many posts at once, each by a call of its own, and the answers."""
    return run(_burst(address, authors, count, name))


def publish_again(address: str, posts: Sequence[tuple[str, str]], size: int = 1_000) -> int:
    """Publishes these posts once more; how many of them are not known as duplicates."""
    return run(_publish_again(address, posts, size))


def count_stored(address: str, post_ids: Sequence[str]) -> int:
    """How many of these posts there are."""
    return run(_count_stored(address, post_ids))


def run(job: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(job, JOB_S_MAX))


def at(moment_s: float) -> asyncio.Future[None]:
    """Done at this moment of `time.perf_counter`, or at once where that is past."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_later(moment_s - time.perf_counter(), _done_if_wanted, future)
    return future


def _done_if_wanted(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _callers(
    address: str, authors: Sequence[str], count: int, seconds: float, name: str
) -> Tally:
    tally, begun_s, spent_s = Tally(), time.perf_counter(), cpu_s()
    connections = [await connect(address) for _ in range(-(-count // CALLERS_A_CONNECTION))]
    lines = itertools.cycle(connections)
    end_s = begun_s + seconds

    async def call_on(connection: Connection, caller: int) -> None:
        for number in itertools.count():
            author, post_id = authors[caller % len(authors)], f"{name}-{caller}-{number}"
            answer = await connection.call(PUBLISH_POST, post(author, post_id))
            tally.take(answer)
            if answer.status == OK:
                tally.ok_s.append(answer.seconds)
                tally.acknowledged.append((author, post_id))
            else:
                tally.refuse([post_id])
                again_s = time.perf_counter() + (answer.retry_after_ms or 0) / 1000
                await at(min(again_s, end_s))
                tally.late_s.append(time.perf_counter() - min(again_s, end_s))
            if time.perf_counter() >= end_s:
                return

    async with asyncio.timeout_at(asyncio.get_running_loop().time() + seconds + 15):
        calling: list[asyncio.Task[None]] = []
        for first in range(0, count, BEGUN_AT_A_TIME):
            some = range(first, min(first + BEGUN_AT_A_TIME, count))
            calling += [asyncio.create_task(call_on(next(lines), caller)) for caller in some]
            await asyncio.sleep(0)  # what was answered meanwhile is read
        await asyncio.gather(*calling)
    return _done(tally, connections, begun_s, spent_s)


async def _burst(address: str, authors: Sequence[str], count: int, name: str) -> list[Answer]:
    connections = [await connect(address) for _ in range(-(-count // CALLERS_A_CONNECTION))]
    lines = zip(range(count), itertools.cycle(connections), itertools.cycle(authors))
    answers = await asyncio.gather(
        *(line.call(PUBLISH_POST, post(by, f"{name}-{number}")) for number, line, by in lines)
    )
    for connection in connections:
        connection.close()
    return answers


async def _flood(
    address: str, authors: Sequence[str], size: int, per_second: float, seconds: float, name: str
) -> Tally:
    tally, begun_s, spent_s = Tally(), time.perf_counter(), cpu_s()
    connections = [await connect(address) for _ in range(FLOODING)]
    posts = [
        (author, f"{name}-{_MARK}-{number}")
        for number, author in zip(range(size), itertools.cycle(authors))
    ]
    template = _encoded(posts)
    under_way: set[asyncio.Task[None]] = set()

    async def call(connection: Connection, number: int) -> None:
        mark = f"{number:08d}"
        message = template.replace(_MARK.encode(), mark.encode())
        answer = await connection.call(PUBLISH_POSTS, message)
        _count(tally, answer, [(author, one.replace(_MARK, mark)) for author, one in posts])

    for number in itertools.count():
        due_s = begun_s + number * size / per_second
        if due_s > begun_s + seconds:
            break
        await at(due_s)
        tally.late_s.append(time.perf_counter() - due_s)
        connection = connections[number % FLOODING]
        if connection.in_flight >= UNDER_WAY_MAX:
            tally.held_back += 1
            continue
        task = asyncio.create_task(call(connection, number))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return _done(tally, connections, begun_s, spent_s)


def _count(tally: Tally, answer: Answer, posts: Sequence[tuple[str, str]]) -> None:
    """What became of a call of many posts."""
    tally.take(answer)
    if answer.status != OK:
        tally.refuse([post_id for _, post_id in posts])
        return
    stored = 0
    results = hark_pb2.PublishPostsResponse.FromString(answer.body).results
    for post, result in zip(posts, results, strict=True):
        if result.HasField("ok"):
            stored += 1
            tally.acknowledged.append(post)
        else:
            refusal = result.rejected
            tally.codes[refusal.code] += refusal.code != RESOURCE_EXHAUSTED
            tally.undelayed += not refusal.HasField("retry_after")
            tally.refuse([post[1]])
    if stored:
        tally.ok_s.append(answer.seconds)


async def _publish_again(address: str, posts: Sequence[tuple[str, str]], size: int) -> int:
    connection = await connect(address)
    missing = 0
    for first in range(0, len(posts), size):
        some = posts[first : first + size]
        answer = await _taken(connection, _encoded(some))
        assert answer.status == OK, answer
        results = hark_pb2.PublishPostsResponse.FromString(answer.body).results
        missing += sum(not result.ok.duplicate for result in results)
    connection.close()
    return missing


async def _taken(connection: Connection, message: bytes) -> Answer:
    """What came of a call of many posts, asked again once where the farm takes many posts at a time
    only a moment after it had refused most."""
    answer = await connection.call(PUBLISH_POSTS, message)
    if answer.status == RESOURCE_EXHAUSTED and answer.retry_after_ms:
        await at(time.perf_counter() + answer.retry_after_ms / 1000)
        answer = await connection.call(PUBLISH_POSTS, message)
    return answer


async def _count_stored(address: str, post_ids: Sequence[str]) -> int:
    connection = await connect(address)
    stored = 0
    for post_id in post_ids:
        request = hark_pb2.GetLedgerRequest(post_id=post_id).SerializeToString()
        answer = await connection.call(GET_LEDGER, request)
        assert answer.status in {OK, NOT_FOUND}, answer
        stored += answer.status == OK
    connection.close()
    return stored


def _done(tally: Tally, connections: Sequence[Connection], begun_s: float, spent_s: float) -> Tally:
    tally.seconds = time.perf_counter() - begun_s
    tally.cores = (cpu_s() - spent_s) / tally.seconds
    for connection in connections:
        connection.close()
    return tally


def post(author: str, post_id: str) -> bytes:
    return _request(author, post_id).SerializeToString()


def _encoded(posts: Sequence[tuple[str, str]]) -> bytes:
    requests = [_request(author, post_id) for author, post_id in posts]
    return hark_pb2.PublishPostsRequest(posts=requests).SerializeToString()


def _request(author: str, post_id: str) -> hark_pb2.PublishPostRequest:
    return hark_pb2.PublishPostRequest(post_id=post_id, author_id=author, content=CONTENT)
