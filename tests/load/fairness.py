"""Small authors beside one whom very many follow: how long their posts take to be delivered.

One person follows all small authors, as one of each one's ten followers, and watches: that is seen
from outside, and costs the farm next to nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.load import cpu_s
from gateway.pb.hark.v1 import hark_pb2
from tests.farm_process import wait_until_async
from tests.load.caller import OK, Connection, connect
from tests.load.loads import PUBLISH_POST, at, post, run

WATCH = "/hark.v1.InboxService/WatchNotifications"
GET_CAPACITY = "/hark.v1.OperationsService/GetCapacity"
WITNESS = "witness"
LARGE = "whale"
SMALL = 1_000  # authors
SMALL_FOLLOWERS = 10
LARGE_WAITING = 3  # posts of the large author that wait at least
SETTLE_S = 20.0
DRAIN_S = 120.0


@dataclass(slots=True)
class Delivered:
    """How long posts of small authors took, from the call to the delivery."""

    seconds: list[float] = field(default_factory=list)
    missing: int = 0
    large_posts: int = 0  # published meanwhile by the large author
    cores: float = 0.0  # that the load itself kept busy


def write_edges(path: Path, people: int) -> None:
    """So many follow the large author, ten each of the small ones, one of them the witness."""
    with path.open("w") as file:
        file.writelines(f"p{number}\t{LARGE}\n" for number in range(people))
        for author in range(SMALL):
            chosen = (f"p{(author * 9 + k) * 7 % people}" for k in range(SMALL_FOLLOWERS - 1))
            file.writelines(f"{person}\tsmall{author}\n" for person in (WITNESS, *chosen))


# Each of these is a whole job for a driver.


def steady(address: str, per_second: float, seconds: float, people: int, name: str) -> Delivered:
    """So many posts a second of small authors; with `people`, while the large author whom so many
    follow publishes again and again."""
    return run(_steady(address, per_second, seconds, people, name))


def drain(address: str) -> float:
    """Seconds from one post of the large author until nothing waits."""
    return run(_drain(address))


async def _steady(
    address: str, per_second: float, seconds: float, people: int, name: str
) -> Delivered:
    found, spent_s, begun_s = Delivered(), cpu_s(), time.perf_counter()
    connection, begun = await connect(address), dict[str, float]()

    def saw(post_id: str) -> None:
        if post_id in begun:
            found.seconds.append(time.perf_counter() - begun.pop(post_id))

    async with _watching(connection, saw), _publishing_again(connection, people, found):
        calls = []
        for number in range(int(per_second * seconds)):
            due_s = begun_s + number / per_second
            await at(due_s)
            post_id = f"{name}-{number}"
            begun[post_id] = time.perf_counter()
            calls.append(connection.call(PUBLISH_POST, post(f"small{number % SMALL}", post_id)))
        answers = await asyncio.gather(*calls)
        assert {answer.status for answer in answers} == {OK}
        with suppress(AssertionError):  # then some are missing
            await wait_until_async(lambda: not begun, SETTLE_S)
    found.missing = len(begun)
    found.cores = (cpu_s() - spent_s) / (time.perf_counter() - begun_s)
    connection.close()
    return found


@asynccontextmanager
async def _watching(connection: Connection, saw: Callable[[str], None]) -> AsyncIterator[None]:
    """Tells of each post as it is delivered to the witness."""
    live = asyncio.Event()

    def on_message(raw: bytes) -> None:
        event = hark_pb2.WatchNotificationsResponse.FromString(raw)
        match event.WhichOneof("event"):
            case "live":
                live.set()
            case "added" | "updated" as kind:
                notification: hark_pb2.Notification = getattr(event, kind)
                if notification.status == hark_pb2.NOTIFICATION_STATUS_DELIVERED:
                    saw(notification.post_id)
            case _:
                pass  # heartbeats

    request = hark_pb2.WatchNotificationsRequest(user_id=WITNESS).SerializeToString()
    ended = connection.call(WATCH, request, on_message=on_message)
    await asyncio.wait_for(live.wait(), SETTLE_S)
    yield
    assert not ended.done()


@asynccontextmanager
async def _publishing_again(
    connection: Connection, people: int, found: Delivered
) -> AsyncIterator[None]:
    """The large author publishes whenever no more than so many of their posts wait."""
    if not people:
        yield
        return

    async def publish() -> None:
        for number in itertools.count():
            answer = await connection.call(PUBLISH_POST, post(LARGE, f"{time.time_ns()}-{number}"))
            assert answer.status == OK
            found.large_posts += 1
            await wait_until_async(
                partial(_waits_less, connection, LARGE_WAITING * people), DRAIN_S
            )

    publishing = asyncio.create_task(publish())
    try:
        await wait_until_async(lambda: found.large_posts >= LARGE_WAITING, SETTLE_S)
        yield
        assert not publishing.done()
    finally:
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing


async def _drain(address: str) -> float:
    connection = await connect(address)
    begun_s = time.perf_counter()
    answer = await connection.call(PUBLISH_POST, post(LARGE, f"{time.time_ns()}"))
    assert answer.status == OK
    await wait_until_async(partial(_waits_less, connection, 1), DRAIN_S)
    connection.close()
    return time.perf_counter() - begun_s


async def _waits_less(connection: Connection, than: int) -> bool:
    answer = await connection.call(GET_CAPACITY, b"")
    assert answer.status == OK
    return hark_pb2.GetCapacityResponse.FromString(answer.body).backlog < than
