"""Farms in use while things happen to them: what was promised holds, whatever it was."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from farm.sockets import socket_directory
from farm.store.sqlite_records import SqliteRecords
from farm.store.storage import LeaseRow
from tests.chaos.between import between
from tests.chaos.nemesis import MIXES
from tests.chaos.run import Plan, Scene, observe, run
from tests.chaos.world import elapse
from tests.checker.sometimes import LEASE_EXPIRY, STALE_OUTCOME
from tests.checker.verdict import Verdict
from tests.farm_process import wait_until_async
from tests.web.relay import Relay

pytestmark = pytest.mark.process

CHAOS_S = 40.0
FAILED_ONCE = (31,)
FAILED_ONCE_S = 25.0
LEASE_OVER_S = 11.5  # a lease holds for ten
STORE_STOPPED_S = 4.0


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    return random.Random(seed)


def assert_valid(verdict: Verdict) -> None:
    print(verdict)
    assert verdict.result == "valid", str(verdict)


@pytest.mark.timeout(300)
async def test_nothing_is_lost_and_nothing_stuck_whatever_happens(
    tmp_path: Path, chance: random.Random
) -> None:
    """Fault rows 98, 107 and 108, and 110 scaled. Kills, stops, cuts, a full disk and pairs of them
    hit processes of every role, the farm and its supervisor; the counters equal the store."""
    plan = Plan(chance.getrandbits(32), CHAOS_S)
    print(f"make chaos DURATION_S={CHAOS_S:g} SEED={plan.seed}")
    assert_valid(await run(tmp_path, plan, lambda _: None))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", FAILED_ONCE)
async def test_what_once_failed_does_so_no_more(tmp_path: Path, seed: int) -> None:
    """The same faults in the same order; what they hit is never quite the same."""
    verdict = await run(tmp_path, Plan(seed, FAILED_ONCE_S), lambda _: None)
    assert verdict.result != "invalid", str(verdict)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mix", MIXES)
async def test_each_mix_of_faults_is_survived(
    tmp_path: Path, chance: random.Random, mix: str
) -> None:
    """Fault row 110, which `make chaos-mixes` does at length."""
    plan = Plan(chance.getrandbits(32), CHAOS_S, mix)
    print(f"make chaos DURATION_S={CHAOS_S:g} SEED={plan.seed} ARGS=\"--mix '{mix}'\"")
    verdict = await run(tmp_path, plan, lambda _: None)
    assert verdict.result != "invalid", str(verdict)


@pytest.mark.parametrize(
    ("store_kills", "worker_kills"),
    [(5, 3), pytest.param(100, 50, marks=pytest.mark.slow)],
)
@pytest.mark.timeout(600)
async def test_kills_one_after_the_other_lose_nothing(
    tmp_path: Path, chance: random.Random, store_kills: int, worker_kills: int
) -> None:
    """Fault rows 15, 38 and 40. Over the store's death leases hold and outcomes reach the next one,
    so that nothing is sent again; a dead worker's are offered again within two seconds."""

    async def happens(scene: Scene) -> None:
        for _ in range(store_kills):
            await wait_until_async(lambda: "store" in scene.world.processes(), 20)
            await scene.nemesis.strike("kill the store")
            await elapse(chance.uniform(0.3, 1.5))
        for _ in range(worker_kills):
            await kill_who_holds_leases(scene)
            await wait_until_async(lambda: len(scene.world.hark.pids("worker")) == 2, 20)

    flags = ("--simulated-latency-ms", "50-300")
    verdict = await observe(tmp_path, happens, chance, flags=flags, sometimes=[LEASE_EXPIRY])
    assert_valid(verdict)
    assert verdict.figures["faults: kill"] == store_kills + worker_kills
    assert "attempts made again by kill store" not in verdict.figures


async def kill_who_holds_leases(scene: Scene) -> None:
    name, session = await wait_until_async(partial(who_holds_leases, scene), 20)
    pid = scene.world.processes()[name]
    scene.receivers.killed.add(pid)
    scene.history.fault("kill", [name])
    os.kill(pid, signal.SIGKILL)
    died_s = time.monotonic()
    await wait_until_async(lambda: not leases_of(scene, session), 20)
    took_s = time.monotonic() - died_s
    print(f"offered again after {took_s:.3f} s")
    assert took_s < offered_again_within_s()


def offered_again_within_s() -> float:
    """Two seconds where the machine has a core to spare."""
    return 2.0 if os.getloadavg()[0] < len(os.sched_getaffinity(0)) else 8.0


def who_holds_leases(scene: Scene) -> tuple[str, str] | None:
    """The worker with most of them and its session; suspected work is in nobody's."""
    held = Counter(lease.session for lease in leases(scene) if lease.session)
    for session, _ in held.most_common(1):
        return " ".join(session.split("-")[:2]), session
    return None


async def stopped_with_leases(scene: Scene) -> str:
    """A worker that holds work and stands still from now on."""
    while True:
        found: tuple[str, str] = await wait_until_async(partial(who_holds_leases, scene), 20)
        name, session = found
        pid = scene.world.processes()[name]
        os.kill(pid, signal.SIGSTOP)
        await elapse(0.5)  # what it had said before may have ended its leases meanwhile
        if leases_of(scene, session):
            return name
        os.kill(pid, signal.SIGCONT)


def leases_of(scene: Scene, session: str) -> int:
    return sum(lease.session == session for lease in leases(scene))


def leases(scene: Scene) -> list[LeaseRow]:
    with SqliteRecords.open(scene.world.hark.data_dir) as records:
        return records.leases()


@pytest.mark.parametrize("seconds", [3.0, pytest.param(60.0, marks=pytest.mark.slow)])
@pytest.mark.timeout(300)
async def test_cut_and_held_up_connections_between_processes_lose_nothing(
    tmp_path: Path, chance: random.Random, seconds: float
) -> None:
    """Fault row 48. What is on its way to the store and from it is dropped with its connection, or
    comes late; when all is well again nothing is missing and nothing is there twice."""

    async def happens(scene: Scene) -> None:
        async with between(socket_directory(scene.world.hark.data_dir)) as relays:
            for name, pid in scene.world.processes().items():
                if name.split()[0] in ("worker", "gateway", "web"):  # their next lives go through
                    scene.receivers.killed.add(pid)
                    scene.history.fault("kill", [name])
                    os.kill(pid, signal.SIGKILL)
            await wait_until_async(lambda: all(relay.connections for relay in relays), 20)
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                fault = scene.history.fault("cut between", ["store"])
                await disturb(relays, chance)
                scene.history.fault_ended(fault)
                await elapse(chance.uniform(0.2, 1.0))
            assert all(relay.connections > 1 for relay in relays)

    assert_valid(await observe(tmp_path, happens, chance, sometimes=()))


async def disturb(relays: Sequence[Relay], chance: random.Random) -> None:
    """Nothing comes through for a while; then all that waited is dropped, or all of it comes."""
    for relay in relays:
        relay.flowing.clear()
    await elapse(chance.uniform(0.1, 1.5))
    for relay in relays:
        if chance.random() < 0.7:
            relay.cut()
        relay.flowing.set()


@pytest.mark.timeout(200)
async def test_processes_that_stood_still_do_no_harm(tmp_path: Path, chance: random.Random) -> None:
    """Fault rows 32 and 39. With nobody to replace them: what a worker says after its lease is
    stale, it begins no more of what is not its own, and at most one copy of each is sent again;
    while the store stands still callers hear that nothing is known, and late answers reach nobody.
    """

    async def happens(scene: Scene) -> None:
        processes, stop_for = scene.world.processes(), scene.nemesis.stop_for
        os.kill(processes["supervisor"], signal.SIGSTOP)
        worker = await stopped_with_leases(scene)
        await asyncio.gather(
            stop_for(worker, processes[worker], LEASE_OVER_S),
            stop_for("store", processes["store"], STORE_STOPPED_S),
        )
        await elapse(1.0)
        os.kill(processes["supervisor"], signal.SIGCONT)

    flags = ("--simulated-latency-ms", "200-500")
    sometimes = [LEASE_EXPIRY, STALE_OUTCOME]
    verdict = await observe(tmp_path, happens, chance, flags=flags, sometimes=sometimes)
    assert_valid(verdict)
    assert verdict.figures["faults: pause"] == 2


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_a_store_that_stood_still_for_long_loses_nothing_and_repeats_nothing(
    tmp_path: Path, chance: random.Random
) -> None:
    """Fault row 32, at its full length."""

    async def happens(scene: Scene) -> None:
        processes = scene.world.processes()
        os.kill(processes["supervisor"], signal.SIGSTOP)
        await scene.nemesis.stop_for("store", processes["store"], 30.0)
        await elapse(1.0)
        os.kill(processes["supervisor"], signal.SIGCONT)

    verdict = await observe(tmp_path, happens, chance, sometimes=())
    assert_valid(verdict)
    assert verdict.figures["received twice"] == 0
