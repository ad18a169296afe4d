"""The worker against a store that a test plays, over real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

import farm.worker
from farm import wire
from farm.audience import BitMap, seal, unseal
from farm.channels.channel import Channel, Slots, Work
from farm.channels.simulated import Simulated
from farm.clock import SystemClock
from farm.config import Child, Settings
from farm.lifecycle import State
from farm.observe import DELIVERY_BUCKETS_S
from farm.sockets import Addresses, Sockets
from farm.wire import Grant, Kind, LeaseAnswer, LeaseRequest, OutcomesMessage
from farm.worker import PARTLY_EVERY_S, Worker
from tests.farm_process import ROOT, wait_until_async

PATIENCE_S = 5.0
LEASE_MS = 10_000


class StoreByHand:
    """The two sockets of a store. A test takes what came, and answers or does not."""

    def __init__(self, addresses: Addresses) -> None:
        self._context = zmq.asyncio.Context()
        self._requests = self._bind(zmq.ROUTER, addresses.store)
        self._outcomes = self._bind(zmq.PULL, addresses.outcomes)
        self._asked: asyncio.Queue[tuple[list[bytes], LeaseRequest]] = asyncio.Queue()
        self._told: asyncio.Queue[OutcomesMessage] = asyncio.Queue()
        self.pushed = 0  # of these, by a message of their own
        self._hearing = [
            asyncio.create_task(self._hear_questions()),
            asyncio.create_task(self._hear_outcomes()),
        ]
        self._leases = 0

    def _bind(self, kind: int, address: str) -> zmq.asyncio.Socket:
        socket: zmq.asyncio.Socket = self._context.socket(kind)
        socket.set(zmq.LINGER, 0)
        socket.bind(address)
        return socket

    def close(self) -> None:
        for task in self._hearing:
            task.cancel()
        self._requests.close()
        self._outcomes.close()
        self._context.term()

    async def _hear_questions(self) -> None:
        while True:
            *envelope, payload = await self._requests.recv_multipart()
            kind, body = wire.unpack(payload)
            assert kind is Kind.LEASE
            request, outcomes = wire.unpack_lease_request(body)
            self._asked.put_nowait((envelope, request))
            for message in outcomes:
                self._hear(message)

    async def _hear_outcomes(self) -> None:
        while True:
            self._hear(await self._outcomes.recv())
            self.pushed += 1

    def _hear(self, message: bytes) -> None:
        kind, body = wire.unpack(message)
        assert kind is Kind.OUTCOMES
        self._told.put_nowait(wire.unpack_outcomes(body))

    async def asked(self) -> tuple[list[bytes], LeaseRequest]:
        async with asyncio.timeout(PATIENCE_S):
            return await self._asked.get()

    async def told(self) -> OutcomesMessage:
        """The next message of outcomes, whichever way it came."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._told.get()

    async def answer(
        self,
        envelope: list[bytes],
        request: LeaseRequest,
        *grants: Grant,
        acknowledged: Sequence[int] = (),
        lost: Sequence[int] = (),
        lease_ms: int = LEASE_MS,
    ) -> None:
        answer = LeaseAnswer(request.request, lease_ms, [*acknowledged], [*lost], [*grants])
        await self._requests.send_multipart([*envelope, wire.pack(Kind.GRANTS, *answer)])

    async def give(self, *grants: Grant, **answer: Any) -> LeaseRequest:
        """Answers the next request."""
        envelope, request = await self.asked()
        await self.answer(envelope, request, *grants, **answer)
        return request

    async def acknowledge(self, numbers: Sequence[int]) -> None:
        """Answers every request that comes with this and nothing else."""
        while True:
            await self.answer(*await self.asked(), acknowledged=numbers)

    def grant(self, people: int, channel: str = "simulated", attempt: int = 0) -> Grant:
        self._leases += 1
        members = BitMap(range(1, people + 1))
        return Grant(
            self._leases, channel, 1, "p1", "star", "hello", 0, attempt, people, seal(members), 42
        )


class ByHand:
    """A channel that sends when the test says so."""

    name = "by hand"

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self.works: asyncio.Queue[Work] = asyncio.Queue()

    async def deliver(self, works: Sequence[Work], slots: Slots) -> None:
        for work in works:
            self.works.put_nowait(work)

    async def next(self) -> Work:
        async with asyncio.timeout(PATIENCE_S):
            return await self.works.get()

    def may_send(self, work: Work) -> bool:
        return work.may_send(self._clock.monotonic_s())


class JumpingClock(SystemClock):
    """The machine's clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._stands_at_s: float | None = None

    def stand_still(self) -> None:
        self._stands_at_s = super().monotonic_s()

    def monotonic_s(self) -> float:
        stands_at_s = self._stands_at_s
        return (super().monotonic_s() if stands_at_s is None else stands_at_s) + self.ahead_s


class Bench:
    """A worker and the store by hand that it works for."""

    def __init__(self, directory: Path) -> None:
        self._sockets = Sockets()
        self._addresses = Addresses(directory)
        self.store = StoreByHand(self._addresses)
        self.clock = JumpingClock()
        self.by_hand = ByHand(self.clock)
        self._workers: list[Worker] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(
        self,
        *,
        failure_rate: float = 0.0,
        latency_ms: tuple[float, float] = (0, 0),
        concurrency: int = 1_000,
        max_attempts: int = 4,
        channel: Channel | None = None,
    ) -> Worker:
        simulated = Simulated(
            failure_rate=failure_rate, latency_ms=latency_ms, repeatable=True, clock=self.clock
        )
        channels: list[Channel] = [simulated, self.by_hand, *([channel] if channel else ())]
        worker = Worker(
            "w1",
            self._sockets.asker(self._addresses.store),
            self._sockets.pusher(self._addresses.outcomes),
            {one.name: one for one in channels},
            self.clock,
            concurrency=concurrency,
            max_attempts=max_attempts,
        )
        self._workers.append(worker)
        self._tasks.append(asyncio.create_task(worker.run()))
        return worker

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._tasks[-1]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        self._sockets.close()
        self.store.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.close()


def named(message: OutcomesMessage) -> dict[int, set[int] | None]:
    """By state, whom a message of one lease names; None: all others."""
    (lease,) = message.leases
    return {o.state: None if o.members is None else {*unseal(o.members)} for o in lease.outcomes}


async def test_what_ends_is_told_at_once(bench: Bench) -> None:
    bench.start()
    grant = bench.store.grant(500)
    request = await bench.store.give(grant)
    assert (request.session, request.held) == ("w1", [])
    assert request.want >= 1_000
    given_s = time.monotonic()
    message = await bench.store.told()
    assert time.monotonic() - given_s < 0.09  # not at the next tenth of a second
    assert (message.session, message.leases[0].lease, message.leases[0].final) == ("w1", 1, True)
    assert named(message) == {State.DELIVERED: None}
    assert sum(message.duration_counts) == 500
    assert len(message.duration_counts) == len(DELIVERY_BUCKETS_S) + 1


async def test_what_ends_at_once_is_told_with_the_next_question(bench: Bench) -> None:
    bench.start()
    grants = [bench.store.grant(5) for _ in range(3)]
    await bench.store.give(*grants)
    _, request = await bench.store.asked()
    assert (request.held, request.ended) == ([], [grant.lease for grant in grants])
    message = await bench.store.told()
    assert [one.lease for one in message.leases] == request.ended
    assert bench.store.pushed == 0


async def test_what_ends_while_a_question_waits_is_told_by_itself(bench: Bench) -> None:
    bench.start()
    await bench.store.give(bench.store.grant(5, channel="by hand"))
    work = await bench.by_hand.next()
    await bench.store.asked()
    work.record(State.DELIVERED, "", work.members)
    work.finish()
    assert (await bench.store.told()).leases[0].final
    await wait_until_async(lambda: bench.store.pushed == 1)


async def test_failures_are_named_and_the_others_are_delivered(bench: Bench) -> None:
    bench.start(failure_rate=0.3)
    await bench.store.give(bench.store.grant(1_000))
    found = named(await bench.store.told())
    assert found[State.DELIVERED] is None
    failed = found[State.RETRYING]
    assert failed is not None
    assert 220 < len(failed) < 380


async def test_what_goes_on_is_told_every_tenth_of_a_second(bench: Bench) -> None:
    """Fault row 118. And all of it once more at the end."""
    bench.start()
    await bench.store.give(bench.store.grant(10, channel="by hand"))
    work = await bench.by_hand.next()
    work.record(State.DELIVERED, "", BitMap([1]))
    work.record(State.RETRYING, "busy", BitMap([2]))
    message = await bench.store.told()
    assert named(message) == {State.DELIVERED: {1}, State.RETRYING: {2}}
    assert not message.leases[0].final
    work.record(State.RETRYING, "busy", BitMap([3]))
    await bench.store.told()
    work.record(State.DELIVERED, "", BitMap(range(4, 10)))
    work.finish()
    last = await bench.store.told()
    assert last.number == message.number + 2
    assert last.leases[0].final
    # Those before may be lost with the store, so the last says it all; of 10 nothing is known.
    assert named(last) == {State.RETRYING: {2, 3}, State.DELIVERED: {1, *range(4, 10)}}


async def test_what_goes_on_is_not_told_with_each_other_that_ends(bench: Bench) -> None:
    """Each part that is told costs the store a set to move."""
    bench.start()
    bench.clock.stand_still()
    store, large = bench.store, bench.store.grant(100, "by hand")
    await store.give(large)
    works = await bench.by_hand.next()
    told: list[set[int]] = []
    for number, ahead_s in enumerate((0.0, 0.0, 2 * PARTLY_EVERY_S)):
        small = store.grant(1, "by hand")
        await store.give(small)
        works.record(State.DELIVERED, "", BitMap([number + 1]))
        one = await bench.by_hand.next()
        one.record(State.DELIVERED, "", BitMap([1]))
        bench.clock.ahead_s += ahead_s
        one.finish()
        told.append({lease.lease - small.lease for lease in (await store.told()).leases})
    assert told == [{0}, {0}, {0, -3}]


async def test_a_lease_is_held_until_its_last_outcome_is_durable(bench: Bench) -> None:
    bench.start()
    grant = bench.store.grant(5)
    await bench.store.give(grant)
    message = await bench.store.told()
    request = await bench.store.give()
    assert (request.held, request.ended) == ([], [grant.lease])
    request = await bench.store.give(acknowledged=[message.number])
    assert (request.held, request.ended) == ([], [grant.lease])
    request = await bench.store.give()
    assert (request.held, request.ended) == ([], [])


async def test_outcomes_that_nobody_acknowledges_are_told_again(bench: Bench) -> None:
    """Fault row 118, of those that were lost with the store."""
    bench.start()
    await bench.store.give(bench.store.grant(5))
    message = await bench.store.told()
    bench.clock.ahead_s += 1.9
    await bench.store.give()
    bench.clock.ahead_s += 0.2
    assert await bench.store.told() == message
    await bench.store.give(acknowledged=[message.number])
    bench.clock.ahead_s += 3.0
    await bench.store.give(bench.store.grant(1))
    assert (await bench.store.told()).number == message.number + 1  # and not the first again


async def test_after_a_lost_answer_the_same_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that comes late is to a question given up: what it grants is not begun. Fault rows
    41, 42 and 117."""
    monkeypatch.setattr(farm.worker, "ASK_TIMEOUT_S", 0.2)
    bench.start()
    held = bench.store.grant(3, channel="by hand")
    await bench.store.give(held)
    await bench.by_hand.next()
    late = await bench.store.asked()
    envelope, again = await bench.store.asked()
    assert (again.session, again.held) == ("w1", late[1].held)
    assert again.held == [held.lease]
    await bench.store.answer(*late, bench.store.grant(1, channel="by hand"))
    real = bench.store.grant(2, channel="by hand")
    await bench.store.answer(envelope, again, real)
    assert (await bench.by_hand.next()).grant == real
    _, request = await bench.store.asked()
    assert request.held == [held.lease, real.lease]
    assert bench.by_hand.works.empty()


async def test_a_lost_lease_is_sent_no_more(bench: Bench) -> None:
    bench.start()
    lost, kept = (bench.store.grant(5, channel="by hand") for _ in range(2))
    await bench.store.give(lost, kept)
    works = [await bench.by_hand.next() for _ in range(2)]
    assert all(map(bench.by_hand.may_send, works))
    await bench.store.give(lost=[lost.lease])
    await bench.store.asked()  # so the answer was read
    sendable = [work.grant.lease for work in works if bench.by_hand.may_send(work)]
    assert sendable == [kept.lease]


async def test_nothing_is_sent_after_the_lease_s_end(bench: Bench) -> None:
    """By the worker's own clock, counted from its question, for as long as the store said."""
    bench.start()
    await bench.store.give(bench.store.grant(5, channel="by hand"), lease_ms=3_000)
    work = await bench.by_hand.next()
    bench.clock.ahead_s += 2.5
    assert bench.by_hand.may_send(work)
    bench.clock.ahead_s += 0.6
    assert not bench.by_hand.may_send(work)
    await bench.store.give(lease_ms=3_000)  # asked before that; perhaps lost meanwhile
    await bench.store.give(lease_ms=3_000)
    await bench.store.asked()
    assert bench.by_hand.may_send(work)  # the store said that it holds on


async def test_the_channel_sees_the_end_while_it_works(bench: Bench) -> None:
    bench.start(latency_ms=(20, 20), concurrency=10)
    await bench.store.give(bench.store.grant(1_000), lease_ms=1_000)
    await bench.store.told()
    bench.clock.ahead_s += 1.1
    told = set()
    while True:
        message = await bench.store.told()
        told |= named(message).get(State.DELIVERED) or set()
        if message.leases[0].final:
            break
    assert len(told) < 1_000


async def test_draining_ends_what_is_in_flight_and_gives_back_the_rest(bench: Bench) -> None:
    worker = bench.start(latency_ms=(60, 60), concurrency=20)
    await bench.store.give(bench.store.grant(1_000))
    first = await bench.store.told()
    worker.drain()
    sent = set(named(first)[State.DELIVERED] or ())
    number, numbers = first, [first.number]
    while not number.leases[0].final:
        number = await bench.store.told()
        numbers.append(number.number)
        sent |= named(number).get(State.DELIVERED) or set()
    assert 20 <= len(sent) < 200
    # One may be from before the drain; nobody listens for its answer any more.
    answering = asyncio.create_task(bench.store.acknowledge(numbers))
    await bench.ended()
    answering.cancel()


async def drained_while_it_asks(bench: Bench) -> None:
    """A worker that has to say what came of a lease, and whose last question waits."""
    worker = bench.start()
    await bench.store.give(bench.store.grant(5, channel="by hand"))
    await bench.by_hand.next()
    await bench.store.asked()
    worker.drain()


async def test_the_answer_to_the_first_goodbye_is_heard(bench: Bench) -> None:
    await drained_while_it_asks(bench)
    told = await bench.store.told()
    await bench.store.give(acknowledged=[told.number])
    await bench.ended()
    assert bench.store._asked.empty()


async def test_each_goodbye_tells_what_a_store_that_died_was_told(bench: Bench) -> None:
    await drained_while_it_asks(bench)
    first, second = await bench.store.told(), await bench.store.told()
    assert second.number == first.number
    await bench.store.asked()
    await bench.store.give(acknowledged=[first.number])
    await bench.ended()


async def test_a_worker_that_drains_without_a_store_ends_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm.worker, "GOODBYE_S", 0.02)
    worker = bench.start()
    await bench.store.give(bench.store.grant(5))
    await bench.store.told()
    worker.drain()
    await bench.ended()


async def test_a_channel_that_raises_is_a_failed_try(bench: Bench) -> None:
    class Broken:
        name = "broken"

        async def deliver(self, works: Sequence[Work], slots: Slots) -> None:
            works[0].record(State.DELIVERED, "", BitMap([1]))
            raise KeyError("a bug")

    bench.start(channel=Broken())
    await bench.store.give(bench.store.grant(4, channel="broken"))
    message = await bench.store.told()
    assert named(message)[State.RETRYING] == {2, 3, 4}
    assert named(message)[State.DELIVERED] in ({1}, None)
    assert message.leases[0].final
    (error,) = {o.error for o in message.leases[0].outcomes if o.state == State.RETRYING}
    assert error == "KeyError raised"


async def test_no_more_is_asked_for_than_there_is_room(bench: Bench) -> None:
    bench.start(concurrency=100)
    first = await bench.store.give(bench.store.grant(100, channel="by hand"))
    assert first.want == 100
    await bench.by_hand.next()
    request = await bench.store.give()
    assert (request.want, request.held) == (0, [1])


async def test_small_posts_are_sent_before_large_ones(bench: Bench) -> None:
    """Of one answer: a large one can fill all slots there are."""
    bench.start()
    sizes = (500, 10, 90)
    await bench.store.give(*(bench.store.grant(size, channel="by hand") for size in sizes))
    works = [await bench.by_hand.next() for _ in sizes]
    assert [work.grant.recipients for work in works] == sorted(sizes)


def start_process(directory: Path) -> subprocess.Popen[bytes]:
    """`python -m farm.worker` as the supervisor starts it."""
    settings = Settings(simulated_latency_ms=(0, 0), simulated_failure_rate=0.0, log_format="text")
    child = Child(
        role="worker", number=1, name="worker-1-1", sockets=str(directory), settings=settings
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "farm.worker"],
            stdin=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        )
    assert process.stdin is not None
    with process.stdin as told:
        told.write(child.to_json().encode())
    return process


@pytest.mark.process
async def test_a_worker_process_works_drains_on_sigterm_and_exits_0(tmp_path: Path) -> None:
    store = StoreByHand(Addresses(tmp_path))
    process = start_process(tmp_path)
    try:
        request = await store.give(store.grant(2_000))
        assert request.session == "worker-1-1"
        message = await store.told()
        assert named(message) == {State.DELIVERED: None}
        process.send_signal(signal.SIGTERM)
        while process.poll() is None:
            try:
                async with asyncio.timeout(0.1):
                    asked = await store.asked()
            except TimeoutError:
                continue
            await store.answer(*asked, acknowledged=[message.number])
        assert process.returncode == 0, (tmp_path / "log").read_text()
    finally:
        if process.poll() is None:
            process.kill()
        await wait_until_async(lambda: process.poll() is not None)
        store.close()
