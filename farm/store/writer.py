"""The store process: the one that writes. `python -m farm.store.writer`, started by the supervisor.

One loop of plain code. It takes all requests that wait, lets `core.py` run them as one group in one
transaction, and answers when they are durable. While a commit runs, the next group gathers by
itself, so load makes groups larger, not slower.
"""

from __future__ import annotations

import logging
import random
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import apsw
from setproctitle import setproctitle

from farm import failpoints, garbage, wire
from farm.clock import Clock, SystemClock
from farm.config import Child, Settings
from farm.errors import Corrupt, StartError
from farm.failpoints import Point, passing
from farm.observe import ProcessMetrics, log, start_logging
from farm.schedule import Backoff, LeaseTerms
from farm.sockets import Addresses, Sockets, Teller
from farm.store.core import DAY_US, Answers, Core, Group, Rules
from farm.store.dispatch import Terms
from farm.store.sqlite import Checkpointer, SqliteStorage
from farm.store.storage import CommitUnknown
from farm.wire import Frame, Kind, WireError, is_name

GROUP_MESSAGES_MAX = 512
GROUP_OUTCOMES_MAX = 512  # leases
GROUP_OUTCOMES_BEHIND_WRITES_MAX = 128  # behind more of them, who publishes would wait too long
GROUP_BYTES_MAX = 16 * 1024 * 1024
LOOK_UP_S = 0.1  # a signal to end is heard within this
CLIENTS_REMEMBERED_MAX = 1_000
PLACES_MAX = 256  # to which frames go; each is a socket, and a process may have so many
PLACE_HOLDS_S = 10.0  # a place that was told of anything keeps its socket for so long

Envelope = list[bytes]


class _Waiting(NamedTuple):
    """A lease request that was not answered yet."""

    envelope: Envelope
    request: int
    until_s: float


# Writes of a group, by client and number: who asks (again, if it came twice), how many operations.
Writes = dict[tuple[str, int], tuple[list[Envelope], int]]


def main() -> int:
    child = Child.from_standard_input()
    settings = child.settings
    setproctitle("hark: store")
    garbage.collect_seldom()
    clock = SystemClock()
    start_logging("store", clock, log_format=settings.log_format, log_level=settings.log_level)
    failpoints.arm(child.failpoints)
    chance = random.Random(settings.seed)
    data_dir = Path(settings.data_dir)
    try:
        # What signs cursors and tells stores apart is never to be guessed, whatever the seed.
        secret = random.SystemRandom()
        storage = SqliteStorage.create_or_open(data_dir, chance=secret, now_us=clock.wall_us())
        core = Core(storage, clock, chance, rules_of(settings))
        sockets = Sockets()
        writer = Writer(core, sockets, Addresses(child.sockets), clock, ProcessMetrics())
    except (StartError, Corrupt) as error:
        sys.stderr.write(f"hark: {error.message}\n")
        return StartError.exit_status
    except (CommitUnknown, apsw.Error) as error:
        sys.stderr.write(f"hark: {data_dir}: {error}; look whether the disk works\n")
        return StartError.exit_status
    checkpointer = Checkpointer(data_dir)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, writer.stop)
    try:
        writer.serve(storage)
    except CommitUnknown as error:
        log(logging.CRITICAL, "a commit raised, its outcome is unknown; starting again", why=error)
        return 1
    except apsw.Error as error:
        log(logging.CRITICAL, "the database failed; starting again", why=error)
        return 1
    finally:
        sockets.close()
        checkpointer.close()
    storage.close()
    return 0


def rules_of(settings: Settings) -> Rules:
    return Rules(
        channels=settings.channel,
        following_max=settings.following_max,
        backlog_max=settings.backlog_max,
        disk_reserve_bytes=settings.disk_reserve_mb * 2**20,
        retention_us=settings.retention_days * DAY_US,
        terms=Terms(
            Backoff(settings.backoff_ms, settings.backoff_cap_ms),
            settings.max_attempts,
            LeaseTerms(),
            settings.seed,
        ),
    )


class Writer:
    """The sockets of the store, and its loop."""

    def __init__(
        self,
        core: Core,
        sockets: Sockets,
        addresses: Addresses,
        clock: Clock,
        metrics: ProcessMetrics,
    ) -> None:
        self._core = core
        self._clock = clock
        self._metrics = metrics
        self._sockets = sockets
        self._addresses = addresses
        self._tellers: dict[str, tuple[Teller, float]] = {}  # by place; when it was told last
        self._requests = sockets.server(addresses.store)
        self._outcomes = sockets.puller(addresses.outcomes)
        self._control = sockets.server(addresses.control("store", 1))
        self._waiter = sockets.waiter(self._requests, self._outcomes, self._control)
        # The last request of each asker, and its answer as soon as there is one.
        self._answered: dict[str, tuple[int, bytes]] = {}
        self._waiting: dict[str, _Waiting] = {}  # by session
        self._timer_s = 0.0
        self._stopping = False

    def stop(self, *_: object) -> None:
        self._stopping = True

    def serve(self, storage: SqliteStorage) -> None:
        """Until stopped; what was taken by then is answered."""
        busy = False
        while not self._stopping:
            self._waiter.wait(0 if busy else min(LOOK_UP_S, self.patience_s()))
            busy = self.step(storage)

    def step(self, storage: SqliteStorage) -> bool:
        """Answers all that waits, and does what is due; whether there is more to do at once."""
        self._answer_pings()
        self._turn()
        self._dismiss()
        copying = storage.step_backup()
        storage.checkpoint()
        return copying

    def patience_s(self) -> float:
        """How long nothing is due, were nobody to ask for anything."""
        now_s = self._clock.monotonic_s()
        waits = [self._timer_s, *(waits.until_s for waits in self._waiting.values())]
        return min(waits) - now_s

    def _answer_pings(self) -> None:
        while (request := self._control.receive()) is not None:
            self._control.reply(request[0], wire.pack(Kind.PONG, {"serving": True}))

    def _turn(self) -> None:
        """One group, if anybody asked or something is due."""
        group, writes = self._collect()
        now_s = self._clock.monotonic_s()
        if not group and now_s < self._timer_s:
            return
        answers = self._core.run(group)
        self._timer_s = self._clock.monotonic_s() + self._core.idle_s()
        # Before the answers, so that who asks what was told has been told it.
        self._tell(answers.frames)
        self._reply(answers, writes)
        if group:
            self._metrics.commit_duration.observe(self._core.commit_s)
            self._metrics.batch_operations.observe(len(group))

    def _tell(self, frames: list[tuple[str, Frame]]) -> None:
        """A frame that finds no room is missed by its process, which then reads instead."""
        now_s = self._clock.monotonic_s()
        for place, frame in frames:
            teller = self._teller(place, now_s)
            passing(Point.STORE_TELL)
            if teller is not None:
                teller.tell(wire.pack(Kind.FRAME, *frame))

    def _teller(self, place: str, now_s: float) -> Teller | None:
        """None where as many others as may be were told just now.

        Those do not take turns: a socket is there for a while after it was closed, and who closes
        and opens without pause soon has more than the thousand that ZeroMQ knows.
        """
        teller, _ = self._tellers.pop(place, (None, 0.0))
        if teller is None and len(self._tellers) >= PLACES_MAX:
            told_first = next(iter(self._tellers))
            if now_s - self._tellers[told_first][1] < PLACE_HOLDS_S:
                return None
            self._tellers.pop(told_first)[0].close()
        teller = teller or self._sockets.teller(self._addresses.live(place))
        self._tellers[place] = (teller, now_s)  # the one told last stands last
        return teller

    def _collect(self) -> tuple[Group, Writes]:
        """All that waits, up to a limit, and who asked for which operations of it."""
        group = Group()
        writes: Writes = {}
        bytes_left, messages_left = GROUP_BYTES_MAX, GROUP_MESSAGES_MAX
        while bytes_left > 0 and messages_left:
            request = self._requests.receive()
            if request is None:
                break
            envelope, payload = request
            self._understand(envelope, payload, group, writes)
            bytes_left -= len(payload)
            messages_left -= 1
        leases_left = GROUP_OUTCOMES_MAX
        if group.operations:
            leases_left = GROUP_OUTCOMES_BEHIND_WRITES_MAX
        leases_left -= sum(len(message.leases) for message in group.outcomes)
        while leases_left > 0:
            outcome = self._outcomes.receive()
            if outcome is None:
                break
            leases_left -= max(self._understand_outcomes(outcome, group), 1)
        group.more = bytes_left <= 0 or not messages_left or leases_left <= 0
        return group, writes

    def _understand_outcomes(self, payload: bytes, group: Group) -> int:
        """Of how many leases they are."""
        try:
            match wire.unpack(payload):
                case Kind.OUTCOMES, body:
                    group.outcomes.append(wire.unpack_outcomes(body))
                    return len(group.outcomes[-1].leases)
                case kind, _:
                    log(logging.WARNING, "no outcomes", kind=kind.name)
        except WireError as error:
            log(logging.WARNING, "a message was not understood", why=error)
        return 0

    def _understand(self, envelope: Envelope, payload: bytes, group: Group, writes: Writes) -> None:
        try:
            match wire.unpack(payload):
                case Kind.WRITE, [str() as client, int() as number, operations] if is_name(client):
                    newest, answer = self._answered.get(client, (number, b""))
                    if (client, number) in writes:
                        writes[client, number][0].append(envelope)
                    elif number == newest and answer:
                        self._requests.reply(envelope, answer)
                    elif number >= newest:  # else it comes late, and nobody waits for it
                        checked = wire.check_operations(operations, wire.SIGNATURES)
                        group.operations += checked
                        writes[client, number] = ([envelope], len(checked))
                        self._remember(client, number, b"")
                case Kind.LEASE, body:
                    request, outcomes = wire.unpack_lease_request(body)
                    group.leases.append(request)
                    for message in outcomes:
                        self._understand_outcomes(message, group)
                    waits = self._waiting.get(request.session)
                    if waits is None or request.request >= waits.request:
                        until_s = self._clock.monotonic_s() + self._core.poll_s
                        waits = _Waiting(envelope, request.request, until_s)
                        self._waiting[request.session] = waits
                case kind, _:
                    why = f"{kind.name} is nothing to ask the store"
                    self._requests.reply(envelope, wire.pack(Kind.FAULT, why))
        except WireError as error:
            log(logging.WARNING, "a message was not understood", why=error)
            self._requests.reply(envelope, wire.pack(Kind.FAULT, str(error)))

    def _reply(self, answers: Answers, writes: Writes) -> None:
        first = 0
        for (client, number), (envelopes, count) in writes.items():
            payload = wire.pack(Kind.ANSWERS, number, answers.results[first : first + count])
            first += count
            self._remember(client, number, payload)
            for envelope in envelopes:
                passing(Point.STORE_REPLY)
                self._requests.reply(envelope, payload)
        for session, answer in answers.leases.items():
            waits = self._waiting.get(session)
            # Where a group was run in halves, it may be to a question that was asked anew since:
            # nobody waits for that, and what it grants comes back with the next one.
            if waits is not None and waits.request == answer.request:
                del self._waiting[session]
                passing(Point.STORE_GRANT)
                self._requests.reply(waits.envelope, wire.pack(Kind.GRANTS, *answer))

    def _remember(self, client: str, number: int, payload: bytes) -> None:
        """The same request asked again gets the same answer."""
        self._answered.pop(client, None)
        if len(self._answered) >= CLIENTS_REMEMBERED_MAX:
            del self._answered[next(iter(self._answered))]
        self._answered[client] = (number, payload)

    def _dismiss(self) -> None:
        """Answers those without work who have waited long enough."""
        now_s = self._clock.monotonic_s()
        for session in [s for s, waits in self._waiting.items() if waits.until_s <= now_s]:
            waits = self._waiting.pop(session)
            answer = self._core.give_up_waiting(session)
            if answer is not None:
                self._requests.reply(waits.envelope, wire.pack(Kind.GRANTS, *answer))


if __name__ == "__main__":
    sys.exit(main())
