"""A backup of a farm in use, restored: whatever its publishers had no answer to by then is sent
again, and all that was promised until then holds."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from farm.schedule import Backoff
from farm.store.sqlite_snapshot import DATABASE
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.chaos.crowd import DEFINITE, Cast, Crowd, Place
from tests.chaos.receivers import Receivers
from tests.chaos.run import settle
from tests.chaos.world import RULES, World, elapse
from tests.checker import dump
from tests.checker.history import Event, Kind, Recorder
from tests.checker.sometimes import DEAD_LETTER
from tests.checker.verdict import judge
from tests.farm_process import wait_until_async
from tests.test_supervisor import asking

# No second try comes so soon after the first that the copy could have it and not the other.
BACKOFF = Backoff(2_000, 30_000)
FLAGS = (
    "--workers", "1", "--gateways", "1", "--readers", "1", "--web-processes", "1",
    "--max-attempts", "2", "--backoff-ms", str(BACKOFF.base_ms),
)  # fmt: skip
USED_S = 1.5  # before the backup, and after the restore
SEED = 31


async def test_what_was_promised_until_a_backup_holds_after_its_restore(tmp_path: Path) -> None:
    """Fault row 31."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    history = Recorder(time.monotonic)
    copy = tmp_path / "copy.db"
    begun_s, done_s = await back_up_in_use(tmp_path / "original", history, chance, copy)
    history.events = [*known_by(history.events, begun_s, done_s)]
    data = tmp_path / "restored" / "data"
    data.mkdir(parents=True, mode=0o700)
    copy.rename(data / DATABASE)
    again = await go_on(tmp_path / "restored", history, chance)
    rules = RULES._replace(max_attempts=2, backoff=BACKOFF)
    verdict = judge(history.events, dump.read(data), rules, (DEAD_LETTER,))
    print(f"{again} posts sent again\n{verdict}")
    assert verdict.result == "valid", str(verdict)
    assert again > 0, "nobody was waiting for an answer when the backup was made"


async def back_up_in_use(
    place: Path, history: Recorder, chance: random.Random, copy: Path
) -> tuple[float, float]:
    """Between which moments the copy was made. Then the farm is killed."""
    world = World(place, flags=FLAGS)
    receivers = Receivers(world.hark.log_path, history)
    over = asyncio.Event()
    async with world.running(), receivers.reading():
        crowd = Crowd(Place(world, history, chance.getrandbits(32)))
        await crowd.begin()
        users = asyncio.create_task(crowd.run(over))
        await elapse(USED_S)
        async with asking(world.hark) as ask, connected(world) as stub:
            post = {"post": "in flight", "author": Cast().authors[0], "content": "in flight"}
            flight = asyncio.create_task(publish(stub, history, "flyer", post))
            await asyncio.sleep(0)  # it is on its way
            begun_s = time.monotonic()
            await ask.store.begin_backup(str(copy))
            await wait_until_async(lambda: is_there(copy), 20.0)
            done_s = time.monotonic()
            await flight
        await elapse(USED_S / 3)  # what happens now is lost with the original
        over.set()
        await users
        await crowd.close()
    return begun_s, done_s


def is_there(copy: Path) -> bool:
    return copy.exists()


def known_by(events: Iterable[Event], begun_s: float, done_s: float) -> Iterator[Event]:
    """What somebody knows who was asleep since: what was answered while the copy was made may be in
    it or not, and what came later is not."""
    yield Event(begun_s - 1, "run", Kind.FAULT, "restore", {"fault": "it", "processes": ["farm"]})
    yield Event(done_s + 1, "run", Kind.FAULT, "ended", {"fault": "it"})
    for event in events:
        if event.at_s < begun_s or (event.at_s < done_s and event.kind is not Kind.OK):
            yield event


async def go_on(place: Path, history: Recorder, chance: random.Random) -> int:
    """The restored farm in use until nothing is left to do; how many posts were sent again."""
    world = World(place, flags=FLAGS)
    receivers = Receivers(world.hark.log_path, history)
    over = asyncio.Event()
    async with world.running(), receivers.reading():
        again = await send_again(world, history)
        crowd = Crowd(Place(world, history, chance.getrandbits(32)))
        users = asyncio.create_task(crowd.run(over))
        await elapse(USED_S)
        over.set()
        await users
        findings = await settle(world, crowd, history)
        await crowd.close()
        assert findings == []
        assert await asyncio.to_thread(world.hark.stop) == 0
    return again


async def send_again(world: World, history: Recorder) -> int:
    """As publishers do who had no answer."""
    answered = {e.values["call"] for e in history.events if e.kind in {Kind.OK, Kind.FAIL}}
    calls = [
        event.values
        for event in history.events
        if (event.kind, event.operation) == (Kind.INVOKE, "publish")
        and event.values["call"] not in answered
    ]
    async with connected(world) as stub:
        for told in calls:
            post = {name: told[name] for name in ("post", "author", "content")}
            await publish(stub, history, "again", post)
    return len(calls)


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[hark_pb2_grpc.PublisherServiceStub]:
    async with grpc.aio.insecure_channel(world.hark.grpc_address) as channel:
        yield hark_pb2_grpc.PublisherServiceStub(channel)


async def publish(
    stub: hark_pb2_grpc.PublisherServiceStub,
    history: Recorder,
    who: str,
    post: dict[str, str],
) -> None:
    call = history.invoke(who, "publish", **post)
    request = hark_pb2.PublishPostRequest(
        post_id=post["post"], author_id=post["author"], content=post["content"]
    )
    try:
        answer = await stub.PublishPost(request, timeout=30, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        if error.code() not in DEFINITE:
            raise
        history.fail(call, code=error.code().name)
    else:
        history.ok(call, queued=answer.notifications_queued, duplicate=answer.duplicate)
