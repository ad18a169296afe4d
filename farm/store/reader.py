"""A reader process: answers reads from the database. `python -m farm.store.reader`.

Reads in the writer would hold up every commit behind them, so they have processes of their own,
with read-only connections and snapshots of milliseconds.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from setproctitle import setproctitle

from farm import failpoints, garbage, wire
from farm.clock import Clock, SystemClock
from farm.config import Child
from farm.errors import HarkError, Internal, StartError
from farm.failpoints import Point, passing
from farm.observe import log, start_logging
from farm.sockets import Addresses, Sockets
from farm.store.alike import alike
from farm.store.answers import Answering
from farm.store.events import events_after
from farm.store.inbox import PostCache, Reading, SegmentCache
from farm.store.sqlite_snapshot import READ_S_MAX, SqliteSnapshot, unavailable
from farm.store.sweep import Sweeper
from farm.wire import Alike, Kind, Query, Sweep, WireError, is_name

CLIENTS_REMEMBERED_MAX = 100
LOOK_UP_S = 0.1  # a signal to end is heard within this


def main() -> int:
    child = Child.from_standard_input()
    settings = child.settings
    name = f"reader {child.number}"
    setproctitle(f"hark: {name}")
    garbage.collect_seldom()
    clock = SystemClock()
    start_logging(name, clock, log_format=settings.log_format, log_level=settings.log_level)
    failpoints.arm(child.failpoints)
    try:
        snapshot = SqliteSnapshot.open(Path(settings.data_dir))
        sockets, addresses = Sockets(), Addresses(child.sockets)
        reader = Reader(snapshot, sockets, addresses, child.number, clock, settings.channel)
    except StartError as error:
        sys.stderr.write(f"hark: {error.message}\n")
        return StartError.exit_status
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, reader.stop)
    reader.serve()
    sockets.close()
    snapshot.close()
    return 0


class Reader:
    """The sockets of a reader, and its loop."""

    def __init__(
        self,
        snapshot: SqliteSnapshot,
        sockets: Sockets,
        addresses: Addresses,
        number: int,
        clock: Clock,
        channels: tuple[str, ...],
    ) -> None:
        self._snapshot = snapshot
        self._channels = channels
        self._clock = clock
        self._requests = sockets.server(addresses.reader(number))
        self._control = sockets.server(addresses.control("reader", number))
        self._waiter = sockets.waiter(self._requests, self._control)
        self._segments = SegmentCache()
        self._posts = PostCache()
        self._moment = 0
        self._questions: dict[int, Callable[..., Any]] = {}  # of that moment
        self._sweeper = Sweeper(clock) if number == 1 else None
        self._answered: dict[str, tuple[int, bytes]] = {}  # the last answer of each client
        self._until_s = 0.0
        self._stopping = False
        snapshot.cut_at(lambda: self._until_s - clock.monotonic_s())

    def stop(self, *_: object) -> None:
        self._stopping = True

    def serve(self) -> None:
        """Until stopped."""
        while not self._stopping:
            if not self.step():
                self._waiter.wait(LOOK_UP_S)

    def step(self) -> bool:
        """Answers one request, so that pings and signals are heard however many there are; False
        where none waits, and then it sweeps a little."""
        while (ping := self._control.receive()) is not None:
            self._control.reply(ping[0], wire.pack(Kind.PONG, {"serving": True}))
        request = self._requests.receive()
        if request is None:
            self._sweep()
            return False
        answer = self._answer(request[1])
        passing(Point.READER_REPLY)
        self._requests.reply(request[0], answer)
        return True

    def _answer(self, payload: bytes) -> bytes:
        try:
            match wire.unpack(payload):
                case Kind.READ, [str() as client, int() as number, queries] if is_name(client):
                    before = self._answered.get(client)
                    if before is not None and before[0] == number:
                        return before[1]
                    checked = wire.check_operations(queries, wire.QUERY_SIGNATURES)
                    answer = wire.pack_answers(number, self._read(checked))
                    self._remember(client, number, answer)
                    return answer
                case kind, _:
                    return wire.pack(Kind.FAULT, f"{kind.name} is nothing to ask a reader")
        except WireError as error:
            log(logging.WARNING, "a message was not understood", why=error)
            return wire.pack(Kind.FAULT, str(error))

    def _remember(self, client: str, number: int, answer: bytes) -> None:
        """A request that took long is asked again meanwhile; it must not take as long again."""
        self._answered.pop(client, None)
        self._answered[client] = (number, answer)
        if len(self._answered) > CLIENTS_REMEMBERED_MAX:
            del self._answered[next(iter(self._answered))]

    def _read(self, queries: list[list[Any]]) -> list[Any]:
        """A result for each, all of one moment."""
        self._snapshot.give_way(self._clock)
        self._until_s = self._clock.monotonic_s() + READ_S_MAX
        results: list[Any] = []
        with self._snapshot as snapshot:
            try:
                questions = self._questions_at(snapshot)
            except Exception as error:  # noqa: BLE001
                return [wire.failed(_refusal(error)) for _ in queries]
            for query, *arguments in queries:
                try:
                    results.append(wire.ok(questions[query](*arguments)))
                except WireError:
                    raise
                except Exception as error:  # noqa: BLE001
                    results.append(wire.failed(_refusal(error)))
        return results

    def _questions_at(self, snapshot: SqliteSnapshot) -> dict[int, Callable[..., Any]]:
        """What answers each query, at the moment of this snapshot. That lasts until something is
        committed, and so does all that was found out at it."""
        moment = snapshot.moment()
        if not self._questions or moment != self._moment:
            self._questions = self._made(snapshot)
            self._moment = moment
        return self._questions

    def _made(self, snapshot: SqliteSnapshot) -> dict[int, Callable[..., Any]]:
        reading = Reading(snapshot, self._segments, self._posts)
        answering = Answering(snapshot, reading, self._channels)
        return {
            Query.INBOX: reading.inbox,
            Query.DELIVERED: reading.delivered,
            Query.NEWEST: reading.newest,
            Query.UNREAD: reading.unread,
            Query.POST: reading.post,
            Query.USER: reading.user,
            Query.FOLLOWERS: reading.followers,
            Query.FOLLOWING: reading.following,
            Query.USER_IDS: reading.user_ids,
            Query.PREVIEW: answering.preview,
            Query.EXPLAIN: answering.explain,
            Query.DEAD_LETTERS: answering.dead_letters,
            Query.EVENTS: partial(events_after, snapshot, reading),
            Query.SHOWN: partial(self._shown, snapshot, reading),
            Query.SWEEP: self._swept,
        }

    def _shown(
        self, snapshot: SqliteSnapshot, reading: Reading, news: list[Any]
    ) -> list[list[Alike]]:
        return [
            list(alike(snapshot, reading, self._segments, one)) for one in wire.check_news(news)
        ]

    def _swept(self) -> Sweep:
        if self._sweeper is None:
            raise Internal("only the first reader sweeps")
        return self._sweeper.result()

    def _sweep(self) -> None:
        """A step of the background sweep, when it is time."""
        if self._sweeper is None or self._clock.monotonic_s() < self._sweeper.next_s:
            return
        self._snapshot.give_way(self._clock)
        self._until_s = self._clock.monotonic_s() + READ_S_MAX
        with self._snapshot as snapshot:
            self._sweeper.step(snapshot, self._segments)


def _refusal(error: Exception) -> HarkError:
    """What is answered where damaged rows lead to anything: to one question, not to all who ask."""
    if isinstance(error, HarkError):
        return error
    if isinstance(error, apsw.Error):
        return unavailable(error)
    log(logging.ERROR, "a question could not be answered", kind=type(error).__name__, why=error)
    logging.getLogger("hark").debug("traceback", exc_info=error)
    return Internal("the database has something here that makes no sense; see hark check")


if __name__ == "__main__":
    sys.exit(main())
