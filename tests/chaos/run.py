"""One run: a farm, everybody who uses it, and what befalls them; then peace, a drain, a verdict."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.chaos.crowd import Crowd, Place
from tests.chaos.nemesis import MIXES, Nemesis
from tests.chaos.receivers import Receivers
from tests.chaos.surroundings import Disk, FarmClock
from tests.chaos.world import RULES, World, elapse
from tests.checker import dump
from tests.checker.deliveries import Rules
from tests.checker.findings import Finding
from tests.checker.history import Recorder
from tests.checker.sometimes import USUAL, Sometimes
from tests.checker.verdict import Verdict, judge
from tests.farm_process import wait_until_async

DISK_MB = 256
DRAIN_S = 60.0
TICK_S = 0.5


class Plan(NamedTuple):
    """What a run is made of; the same plan has the same faults in the same order."""

    seed: int
    duration_s: float
    mix: str = "everything"


class Scene(NamedTuple):
    """A run while it goes on."""

    world: World
    history: Recorder
    receivers: Receivers
    crowd: Crowd
    nemesis: Nemesis


async def run(directory: Path, plan: Plan, progress: Callable[[float], object]) -> Verdict:
    """Whatever the mix has, one thing after the other, for as long as planned."""

    async def happens(scene: Scene) -> None:
        over = asyncio.Event()
        nemesis = asyncio.create_task(scene.nemesis.run(MIXES[plan.mix], over))
        end_s = time.monotonic() + plan.duration_s
        while time.monotonic() < end_s and not nemesis.done():
            await elapse(TICK_S)
            progress(TICK_S)
        over.set()
        await nemesis

    chance = random.Random(plan.seed)
    with around(directory, plan.mix) as (disk, clock):
        verdict = await observe(
            directory,
            happens,
            chance,
            failpoints=failpoints(chance),
            disk=disk,
            clock=clock,
            rules=RULES if clock is None else RULES._replace(early_s=None),
        )
        if disk is not None and verdict.exit_status:
            disk.free()
            shutil.copytree(disk.path, directory / "kept", symlinks=True)
        return verdict


async def observe(
    directory: Path,
    happens: Callable[[Scene], Awaitable[None]],
    chance: random.Random,
    *,
    flags: Sequence[str] = (),
    failpoints: str = "",
    disk: Disk | None = None,
    clock: FarmClock | None = None,
    rules: Rules = RULES,
    sometimes: Sequence[Sometimes] = USUAL,
) -> Verdict:
    """What came of it when that happened to a farm in use. The history, the log and the data stay
    in the directory, but for a disk of its own."""
    history = Recorder(time.monotonic, directory / "history.jsonl")
    world = World(directory, flags=flags, failpoints=failpoints, disk=disk, clock=clock)
    receivers = Receivers(world.hark.log_path, history)
    async with world.running(), receivers.reading():
        crowd = Crowd(Place(world, history, chance.getrandbits(32)))
        nemesis = Nemesis(world, history, receivers, chance)
        try:
            await crowd.begin()
            await live(Scene(world, history, receivers, crowd, nemesis), happens)
            findings = await settle(world, crowd, history)
        finally:
            await crowd.close()
        if status := await asyncio.to_thread(world.hark.stop):
            findings.append(Finding("it ends as it should", f"with exit status {status}"))
    history.close()
    verdict = judge(history.events, dump.read(world.hark.data_dir), rules, sometimes)
    return verdict._replace(findings=[*findings, *verdict.findings])


@contextlib.contextmanager
def around(directory: Path, mix: str) -> Iterator[tuple[Disk | None, FarmClock | None]]:
    """The disk and the clock that a mix takes away, as far as this machine lets it."""
    with contextlib.ExitStack() as stack:
        disk = clock = None
        if any("disk" in fault for fault in MIXES[mix]):
            disk = Disk(directory / "disk")
            if not stack.enter_context(disk.mounted(DISK_MB)):
                disk = None
                print("left out: a full disk, for nothing may be mounted here")
        if "jump" in MIXES[mix]:
            if FarmClock.library() is None:
                print("left out: clock jumps, for there is no libfaketime here")
            else:
                clock = FarmClock(directory, monotonic=False)
        yield disk, clock


def failpoints(chance: random.Random) -> str:
    """Rare moments that no signal would hit: durable and not yet answered, leased and not sent."""
    return ",".join(
        [
            f"store.reply:kill:{chance.randint(40, 300)}:3",
            f"gateway.reply:kill:{chance.randint(200, 800)}:2",
            f"worker.send:kill:{chance.randint(50, 400)}:1",
        ]
    )


async def live(scene: Scene, happens: Callable[[Scene], Awaitable[None]]) -> None:
    """Until it has happened and everybody has their answer."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(scene.crowd.run(over))
        await happens(scene)
        over.set()


async def settle(world: World, crowd: Crowd, history: Recorder) -> list[Finding]:
    """What was still under way ends, and then everybody looks at everything once more."""
    begin_s = time.monotonic()
    try:
        async with grpc.aio.insecure_channel(world.hark.grpc_address) as channel:
            await wait_until_async(lambda: _backlog_is_gone(channel), DRAIN_S)
    except AssertionError as error:
        return [Finding("nothing is stuck", f"notifications wait: {error}")]
    history.note("drained", seconds=round(time.monotonic() - begin_s, 3))
    await crowd.read_whole()
    history.note("metrics", **await asyncio.to_thread(_scrape, world.hark.http_address))
    return []


async def _backlog_is_gone(channel: grpc.aio.Channel) -> bool:
    stub = hark_pb2_grpc.OperationsServiceStub(channel)
    try:
        capacity = await stub.GetCapacity(hark_pb2.GetCapacityRequest(), timeout=5)
    except grpc.aio.AioRpcError:
        return False  # somebody is being replaced
    return bool(capacity.backlog == 0)


def _scrape(address: str) -> dict[str, int]:
    """The counters without labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: int(float(value))
        for name, value in (line.rsplit(" ", 1) for line in lines)
        if name.startswith("notifications_") and "{" not in name and name.endswith("_total")
    }
