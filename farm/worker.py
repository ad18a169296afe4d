"""A delivery worker. `python -m farm.worker`, started by the supervisor.

Three things go on at once: asking the store for leases, delivering what came, and reporting what
came of it: with the next question where that is asked at once, else by a message of its own.
Nothing that matters is kept here: kill it, and the store offers its leases again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from setproctitle import setproctitle

from farm import failpoints, garbage, wire
from farm.audience import BitMap
from farm.channels.channel import Channel, Durations, Slots, Work
from farm.channels.simulated import Simulated
from farm.clock import Clock, SystemClock
from farm.config import Child, Settings
from farm.errors import Internal, StartError, Unavailable
from farm.failpoints import Point, passing
from farm.lifecycle import State
from farm.observe import log, logs, start_logging
from farm.schedule import LeaseTerms
from farm.sockets import Addresses, Asker, Pusher, Sockets, answer_pings
from farm.wire import Grant, Kind, LeaseAnswer

ASK_TIMEOUT_S = 2.5  # more than the store lets a request wait for work
REPORT_EVERY_S = 0.1
PARTLY_EVERY_S = 0.02  # what came of parts of leases, each of which costs the store sets to move
REPORT_GAP_S = 0.002  # between two reports, however much ends
ASK_GAP_S = 0.002  # after a grant, unless some of it has ended sooner
RESEND_AFTER_S = 2.0
PUSH_TIMEOUT_S = 1.0
# How much work is held, measured by how fast it goes. A small post waits behind a large one until
# half of this is done and more is asked for.
WORK_AHEAD_S = 0.1
WANT_MAX = 1_000_000
FULL_PAUSE_S = 0.5  # leases are renewed this often while there is no room for more
PACE_EVERY_S = 0.1
PACE_WEIGHT = 0.5
DRAIN_S = 2.0
GOODBYES_MAX = 10
GOODBYE_S = 0.2


def main() -> int:
    child = Child.from_standard_input()
    settings = child.settings
    setproctitle(f"hark: worker {child.number}")
    garbage.collect_seldom()
    clock = SystemClock()
    start_logging(
        f"worker {child.number}",
        clock,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )
    failpoints.arm(child.failpoints)
    try:
        asyncio.run(run(child, clock))
    except StartError as error:
        log(logging.ERROR, error.message)
        return error.exit_status
    return 0


async def run(child: Child, clock: Clock) -> None:
    """Works until SIGTERM, then ends what is in flight and gives back the rest."""
    sockets, addresses = Sockets(), Addresses(child.sockets)
    worker = Worker(
        child.name,
        sockets.asker(addresses.store),
        sockets.pusher(addresses.outcomes),
        channels_of(child.settings, clock),
        clock,
        concurrency=child.settings.worker_concurrency,
        max_attempts=child.settings.max_attempts,
    )
    control = sockets.async_server(addresses.control("worker", child.number))
    pings = asyncio.create_task(answer_pings(control, lambda: {"serving": True}))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.drain)
    await worker.run()
    pings.cancel()
    sockets.close()


def channels_of(settings: Settings, clock: Clock) -> dict[str, Channel]:
    """The channels on which something is sent."""
    simulated = Simulated(
        failure_rate=settings.simulated_failure_rate,
        latency_ms=settings.simulated_latency_ms,
        repeatable=settings.seed is not None,
        clock=clock,
    )
    return {channel.name: channel for channel in (simulated,) if channel.name in settings.channel}


class Worker:
    """One session with the store."""

    def __init__(
        self,
        session: str,
        asker: Asker,
        pusher: Pusher,
        channels: dict[str, Channel],
        clock: Clock,
        *,
        concurrency: int,
        max_attempts: int,
    ) -> None:
        self._session = session
        self._asker = asker
        self._pusher = pusher
        self._channels = channels
        self._clock = clock
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._slots = Slots(concurrency)
        self._works: dict[int, Work] = {}  # by lease, until its last outcome is on its way
        self._deliveries: set[asyncio.Task[None]] = set()
        self._durations = Durations()
        self._requests = itertools.count(1)
        self._unacknowledged: dict[int, _Report] = {}
        self._reports = 0
        self._partly_s = 0.0  # when parts of leases were told last
        self._pace = _Pace(clock)
        self._draining = asyncio.Event()
        self._news = asyncio.Event()  # some work has begun or ended
        self._room = asyncio.Event()  # there is perhaps room for more
        self._ended = asyncio.Event()  # some of what was granted last
        self._unlogged: list[Work] = []  # finished; the store is told first

    def drain(self) -> None:
        """Begins no send any more. What is in flight ends, the rest goes back untried."""
        for work in self._works.values():
            work.stop()
        self._draining.set()

    async def run(self) -> None:
        leasing = asyncio.create_task(self._lease())
        reporting = asyncio.create_task(self._report_as_it_comes())
        draining = asyncio.create_task(self._draining.wait())
        ended, _ = await asyncio.wait(
            (leasing, reporting, draining), return_when=asyncio.FIRST_COMPLETED
        )
        for task in ended - {draining}:
            task.result()  # neither ends but by raising
        leasing.cancel()  # and its question with it, before another is asked
        await asyncio.wait((leasing, *self._deliveries), timeout=DRAIN_S)
        reporting.cancel()
        await self._say_goodbye()

    # Leasing

    async def _lease(self) -> None:
        """Asks for work for ever; while there is no room for more, only renews what is held."""
        while True:
            self._room.clear()  # first, so that room made while the store is asked is not missed
            want, asked_s = self._want(), self._clock.monotonic_s()
            answer = await self._ask(want, ASK_TIMEOUT_S)
            if answer is not None and answer.grants:
                self._ended.clear()
                self._begin(answer.grants, LeaseTerms(answer.lease_ms).end_s(asked_s))
                # What is sent at once is told with the next question: that is one message, and one
                # turn of the store, instead of two.
                await _either(self._ended, ASK_GAP_S)
            if not want:
                await _either(self._room, FULL_PAUSE_S)

    def _want(self) -> int:
        """How many recipients there is room for; 0 while enough is held."""
        held = sum(work.unsettled for work in self._works.values())
        room = min(max(self._concurrency, int(self._pace.per_second() * WORK_AHEAD_S)), WANT_MAX)
        return room - held if held <= room // 2 else 0

    async def _ask(self, want: int, timeout_s: float) -> LeaseAnswer | None:
        """The answer to a lease request, its leases' ends set; None while the store is away."""
        reports = [report.payload for report in self._reports_to_send()]
        asked_s, held = self._clock.monotonic_s(), list(self._works)
        ended = [lease for report in self._unacknowledged.values() for lease in report.ended]
        request = next(self._requests)
        payload = wire.pack(Kind.LEASE, self._session, request, want, held, ended, reports)
        try:
            kind, body = await self._asker.ask(payload, timeout_s)
        except Unavailable:
            return None
        if kind is not Kind.GRANTS:
            raise Internal(f"the store did not understand: {body[0]}")
        answer = wire.unpack_lease_answer(body)
        for lease in held:
            if (work := self._works.get(lease)) is not None:
                work.end_s = LeaseTerms(answer.lease_ms).end_s(asked_s)
        self._forget(answer)
        return answer

    def _forget(self, answer: LeaseAnswer) -> None:
        """What the store has taken back, and what it knows all of."""
        for lease in answer.lost:
            if (work := self._works.get(lease)) is not None:
                work.stop()
        for number in answer.acknowledged:
            self._unacknowledged.pop(number, None)

    def _begin(self, grants: Sequence[Grant], end_s: float) -> None:
        """Delivers what was granted, one task for each channel; small posts before large ones, whom
        it costs next to nothing."""
        passing(Point.WORKER_GRANTED)
        works = [
            Work(
                grant,
                end_s=end_s,
                durations=self._durations,
                on_attempts=_log_attempts,
                on_finish=self._on_finish,
            )
            for grant in grants
        ]
        for work in works:
            self._works[work.grant.lease] = work
            self._news.set()
        works.sort(key=lambda work: (work.grant.channel, work.grant.recipients))
        for channel, group in itertools.groupby(works, key=lambda work: work.grant.channel):
            task = asyncio.create_task(self._deliver(self._channels[channel], list(group)))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, channel: Channel, works: Sequence[Work]) -> None:
        try:
            passing(Point.WORKER_SEND)
            await channel.deliver(works, self._slots)
        except Exception as error:  # noqa: BLE001
            # A bug in the channel is a failed try, so that it ends as a dead letter, not in a loop.
            log(logging.ERROR, "the channel raised", channel=channel.name, why=repr(error))
            for work in works:
                if not work.finished:
                    work.record(State.RETRYING, f"{type(error).__name__} raised", work.unknown())
                    work.finish()

    def _on_finish(self, work: Work) -> None:
        passing(Point.WORKER_SENT)
        self._pace.note(work.grant.recipients)
        self._unlogged.append(work)
        self._ended.set()  # first, so that a question that is to be asked now tells of it
        self._room.set()
        self._news.set()

    # Reporting

    async def _report_as_it_comes(self) -> None:
        """At once when some work has ended, else every 100 ms while there is any; for ever."""
        while True:
            busy = self._works or self._unacknowledged
            await _either(self._news, REPORT_EVERY_S if busy else None)
            self._news.clear()
            reports = self._reports_to_send()
            for report in reports:
                await self._pusher.push(report.payload, PUSH_TIMEOUT_S)
            self._log_finished()
            if reports:
                await asyncio.sleep(REPORT_GAP_S)

    def _reports_to_send(self) -> list[_Report]:
        """What has come of the works since they were last told of, and what was not acknowledged in
        time; to be sent now."""
        now_s = self._clock.monotonic_s()
        partly = now_s - self._partly_s >= PARTLY_EVERY_S
        if partly:
            self._partly_s = now_s
        outcomes = [
            outcome
            for work in self._works.values()
            if (partly or work.finished) and (outcome := work.take_outcome()) is not None
        ]
        if outcomes:
            self._reports += 1
            payload = wire.pack(
                Kind.OUTCOMES, self._session, self._reports, outcomes, *self._durations.take()
            )
            ended = [outcome.lease for outcome in outcomes if outcome.final]
            self._unacknowledged[self._reports] = _Report(payload, ended, float("-inf"))
            for lease in ended:
                del self._works[lease]
        unsent = [r for r in self._unacknowledged.values() if now_s - r.sent_s > RESEND_AFTER_S]
        for report in unsent:
            report.sent_s = now_s
            passing(Point.WORKER_REPORT)
        return unsent

    def _log_finished(self) -> None:
        """A line for each, which the store need not wait for."""
        if self._unlogged:
            passing(Point.WORKER_REPORTED)
        for work in self._unlogged:
            last = work.grant.attempt + 1 >= self._max_attempts
            log(
                logging.INFO,
                "batch delivered",
                post=work.grant.post_id,
                channel=work.grant.channel,
                delivered=work.delivered,
                retry=0 if last else work.failed,
                dead=work.failed if last else 0,
            )
        self._unlogged.clear()

    async def _say_goodbye(self) -> None:
        """Reports what is left, and stays until that is durable, but not for ever."""
        passing(Point.WORKER_GOODBYE)
        for work in self._works.values():
            work.finish()
        for _ in range(GOODBYES_MAX):
            answer = await self._ask(0, GOODBYE_S)
            self._log_finished()
            if not self._unacknowledged:
                return
            if answer is None:  # perhaps the store died with all that it was told
                for report in self._unacknowledged.values():
                    report.sent_s = float("-inf")


def _log_attempts(work: Work, state: State, error: str, members: BitMap) -> None:
    """Every attempt, at debug; a notification's id is its post's seq and its user's number."""
    if not logs(logging.DEBUG):
        return
    for number in members:
        log(
            logging.DEBUG,
            "attempt ended",
            notification=f"{work.grant.seq:x}.{number:x}",
            post=work.grant.post_id,
            channel=work.grant.channel,
            attempt=work.grant.attempt + 1,
            outcome="delivered" if state is State.DELIVERED else error,
        )


@dataclass(slots=True)
class _Report:
    """A message of outcomes on its way, until the store says that they are durable."""

    payload: bytes
    ended: list[int]  # the leases that end with it
    sent_s: float


class _Pace:
    """How many recipients a second were settled lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s = clock.monotonic_s()
        self._settled = 0
        self._per_second = 0.0

    def note(self, settled: int) -> None:
        self._settled += settled

    def per_second(self) -> float:
        """Measured anew every tenth of a second, smoothed over a few."""
        seconds = self._clock.monotonic_s() - self._since_s
        if seconds >= PACE_EVERY_S:
            self._per_second += (self._settled / seconds - self._per_second) * PACE_WEIGHT
            self._since_s, self._settled = self._clock.monotonic_s(), 0
        return self._per_second


async def _either(event: asyncio.Event, timeout_s: float | None) -> None:
    """Until the event, or so long; None: as long as it takes."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


if __name__ == "__main__":
    sys.exit(main())
