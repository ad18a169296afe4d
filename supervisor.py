"""Starts Hark and keeps it running: `python supervisor.py --help` tells all it can be told.

Every process is a child of this one. It starts them back to front, asks each how it is, starts
again what died, and ends them front to back. It carries no posts: while it is gone nothing is
lost, and what it knows it can find out again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import os
import secrets
import shutil
import signal
import sys
from collections import Counter, deque
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

from farm import config, datadir, failpoints, importing, ports, wire
from farm.children import MODULES, Death, Keeper, Surroundings
from farm.client import StoreClient
from farm.clock import Clock, SystemClock
from farm.config import Settings
from farm.errors import (
    ConfigError,
    HarkError,
    InvalidArgument,
    ResourceExhausted,
    StartError,
    Unavailable,
)
from farm.failpoints import Point, passing
from farm.limits import WORKERS_MAX
from farm.observe import ProcessMetrics, log, start_logging
from farm.remains import Remains
from farm.sockets import Addresses, Sockets, socket_directory
from farm.wire import FarmState, Kind, Process, WireError, pack

DEATHS_MAX = 5  # before the farm was ready, within DEATHS_WITHIN_S; then it gives up
DEATHS_WITHIN_S = 60.0
TIDY_EVERY_S = 1.0
TELL_AGAIN_S = 0.1  # the store, after it could not hear
WORKER_DRAIN_S = 5.0
# Front to back: who ends together, and the seconds they have for it, in all under 10. Each stage
# has a little more than its processes give themselves (DRAIN_S in theirs).
STOPS = (
    (("gateway", "web"), 4.3),
    (("worker",), 2.2),
    (("reader",), 0.4),
    (("store",), 2.0),
)


def main() -> NoReturn:
    clock = SystemClock()
    try:
        settings = config.from_command_line("supervisor.py")
        start_logging(
            "supervisor", clock, log_format=settings.log_format, log_level=settings.log_level
        )
        failpoints.arm(config.failpoints())
        status = supervise(settings, clock)
    except (ConfigError, StartError) as error:
        print(f"hark: {' '.join(error.message.split())}", file=sys.stderr, flush=True)
        status = error.exit_status
    sys.exit(status)


def supervise(settings: Settings, clock: Clock) -> int:
    """Runs a farm from its start to its end; the exit status."""
    setproctitle("hark: supervisor")
    with contextlib.ExitStack() as held:
        if settings.import_follows is not None:
            importing.edge_file(settings.import_follows).close()  # so late a "no" would be a pity
        data_dir = held.enter_context(datadir.opened(settings.data_dir))
        grpc = held.enter_context(ports.kept(settings.host, settings.grpc_port, "--grpc-port"))
        http = held.enter_context(ports.kept(settings.host, settings.http_port, "--http-port"))
        warn(settings, grpc.host)
        resolved = dataclasses.replace(
            settings,
            data_dir=str(data_dir),
            host=grpc.host,
            grpc_port=grpc.number,
            http_port=http.number,
        )
        with datadir.usable(settings.data_dir):
            socket_dir = held.enter_context(emptied(socket_directory(data_dir)))
        metrics_dir = held.enter_context(datadir.for_metrics())
        ready = f"hark ready grpc={grpc} http={http}"
        return asyncio.run(keep(resolved, socket_dir, metrics_dir, clock, ready))


async def keep(
    settings: Settings, socket_dir: Path, metrics_dir: Path, clock: Clock, ready: str
) -> int:
    farm = Farm(settings, socket_dir=socket_dir, metrics_dir=metrics_dir, clock=clock)
    return await farm.run(ready)


def warn(settings: Settings, host: str) -> None:
    if settings.data_dir == config.MEMORY:
        log(logging.WARNING, "--data-dir memory: keeps nothing, all is gone when Hark ends")
    if not ports.is_loopback(host):
        log(
            logging.WARNING,
            "others than this machine can reach Hark, and there is no authentication yet",
            host=host,
        )


@contextlib.contextmanager
def emptied(directory: Path) -> Iterator[Path]:
    """A private directory without what a former run left in it, and gone at the end."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for left in directory.iterdir():
        left.unlink()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Farm:
    """All processes of a running Hark."""

    def __init__(
        self, settings: Settings, *, socket_dir: Path, metrics_dir: Path, clock: Clock
    ) -> None:
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._clock = clock
        self._started_at_us = clock.wall_us()
        self._addresses = Addresses(socket_dir)
        self._sockets = Sockets()
        self._around = Surroundings(
            run=secrets.token_hex(4),
            settings=settings,
            socket_directory=socket_dir,
            environment=config.child_environment(metrics_dir),
            failpoints=config.failpoints(),
            sockets=self._sockets,
            clock=clock,
        )
        self._keepers: list[Keeper] = []
        self._restarts_of_gone = Counter[str]()
        self._remains = Remains(metrics_dir)
        self._deaths_s: deque[float] = deque(maxlen=DEATHS_MAX)
        self._ready = False
        self._changed = asyncio.Event()
        self._died_workers: deque[str] = deque()
        self._roll_call_due = False
        self._store_news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._status: asyncio.Future[int] = loop.create_future()  # done: the farm is ending

    async def run(self, ready: str) -> int:
        """Begins with the first process and ends with the last; the exit status."""
        self._hear_signals()
        self._start_everybody()
        self._store = StoreClient(
            self._sockets,
            self._addresses,
            name=f"supervisor-{self._around.run}",
            readers=0,
            clock=self._clock,
            metrics=ProcessMetrics(),
        )
        opening = asyncio.create_task(self._open(ready))
        self._mind(opening)
        self._begin(self._keep_store_informed())
        self._begin(self._tidy())
        self._begin(self._sockets.async_server(self._addresses.supervisor).serve(self._answer))
        try:
            return await self._status
        finally:
            opening.cancel()
            await self._drain()

    # Starting

    def _hear_signals(self) -> None:
        hear = asyncio.get_running_loop().add_signal_handler
        hear(signal.SIGTERM, self._end_asked)
        hear(signal.SIGINT, self._end_asked)
        hear(signal.SIGTTIN, self._scale_by, 1)
        hear(signal.SIGTTOU, self._scale_by, -1)
        hear(signal.SIGHUP, log, logging.INFO, "SIGHUP is of no effect: restart to change settings")

    def _start_everybody(self) -> None:
        """All at once, so that their modules load while the store opens; none serves yet."""
        settings = self._settings
        for role, count in (
            ("store", 1),
            ("web", settings.web_processes),
            ("gateway", settings.gateways),
            ("reader", settings.readers),
            ("worker", settings.workers),
        ):
            for number in range(1, count + 1):
                self._add(role, number)

    async def _open(self, ready: str) -> None:
        """Lets them serve back to front, and says so when all do."""
        self._let_serve("store")
        await self._until_serving("store")
        self._let_serve("reader", "worker")
        await importing.fill(self._store, self._settings, self._clock)
        self._let_serve(*MODULES)
        await self._until_serving(*MODULES)
        self._ready = True
        passing(Point.SUPERVISOR_READY)
        print(f"{ready} workers={len(self._workers())} pid={os.getpid()}", flush=True)

    def _let_serve(self, *roles: str) -> None:
        for keeper in self._all(*roles):
            keeper.let_serve()

    async def _until_serving(self, *roles: str) -> None:
        while not all(keeper.serving for keeper in self._all(*roles)):
            self._changed.clear()
            await self._changed.wait()

    # Keeping it running

    def _add(self, role: str, number: int) -> Keeper:
        keeper = Keeper(
            role, number, self._around, on_serving=self._on_serving, on_death=self._on_death
        )
        self._keepers.append(keeper)
        self._begin(keeper.keep())
        return keeper

    def _begin(self, job: Coroutine[Any, Any, None]) -> None:
        """Runs it beside the rest."""
        self._mind(asyncio.create_task(job))

    def _mind(self, task: asyncio.Task[None]) -> None:
        """If it fails, so does the farm: nothing goes on half."""
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._status.done():
            self._status.set_exception(error)

    def _on_serving(self, keeper: Keeper) -> None:
        self._changed.set()
        if keeper.role == "store":
            self._roll_call_due = True
            self._store_news.set()

    def _on_death(self, keeper: Keeper, death: Death) -> None:
        log(logging.ERROR, str(death))
        passing(Point.SUPERVISOR_DEATH)
        self._remains.add(death.pid)
        if keeper.role == "worker":
            self._died_workers.append(death.name)
            self._store_news.set()
        if not self._ready and not self._status.done():
            self._on_early_death(death)
            if self._status.done():
                keeper.leave()

    def _on_early_death(self, death: Death) -> None:
        """Before it was ever ready, what dies at once is more likely wrong than unlucky."""
        if death.role == "store" and death.status in (1, 2):
            self._status.set_result(death.status)  # it has said why
            return
        now_s = self._clock.monotonic_s()
        self._deaths_s.append(now_s)
        if len(self._deaths_s) == DEATHS_MAX and now_s - self._deaths_s[0] < DEATHS_WITHIN_S:
            self._status.set_exception(
                StartError(
                    f"gave up: {DEATHS_MAX} processes ended before Hark was ready, the last was "
                    f"{death}: see the lines above for why"
                )
            )

    async def _keep_store_informed(self) -> None:
        """Tells the store which workers died and, when it is new, which live; until it knows."""
        while True:
            await self._store_news.wait()
            self._store_news.clear()
            try:
                while self._died_workers:
                    await self._store.session_died(self._died_workers[0])
                    self._died_workers.popleft()
                if self._roll_call_due:
                    self._roll_call_due = False
                    names = [keeper.name for keeper in self._all("worker")]
                    await self._store.sessions([name for name in names if name is not None])
            except (Unavailable, ResourceExhausted):
                self._roll_call_due = True
                self._store_news.set()
                await asyncio.sleep(TELL_AGAIN_S)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            try:
                self._remains.archive({keeper.pid for keeper in self._keepers if keeper.pid})
            except OSError as error:  # no descriptors left, perhaps; nothing is lost meanwhile
                log(logging.WARNING, f"metrics of ended processes not added up yet: {error}")

    # Scaling, and answering about it

    def _all(self, *roles: str) -> list[Keeper]:
        return [keeper for keeper in self._keepers if keeper.role in roles]

    def _workers(self) -> list[Keeper]:
        """Those that are to stay."""
        return [keeper for keeper in self._all("worker") if not keeper.stopping()]

    def _scale(self, wanted: int) -> None:
        """Starts workers, or lets those with the highest numbers end."""
        if not 1 <= wanted <= WORKERS_MAX:
            raise InvalidArgument(f"workers {wanted}: must be from 1 to {WORKERS_MAX}")
        if self._status.done():
            raise Unavailable("Hark is ending")
        workers = sorted(self._workers(), key=lambda keeper: keeper.number)
        for keeper in workers[wanted:]:
            keeper.leave()  # so that who asks next counts it no more
            self._begin(self._retire(keeper))
        for _ in range(wanted - len(workers)):
            taken = {keeper.number for keeper in self._all("worker")}
            number = next(n for n in itertools.count(1) if n not in taken)
            self._add("worker", number).let_serve()

    def _scale_by(self, difference: int) -> None:
        with contextlib.suppress(HarkError):
            self._scale(len(self._workers()) + difference)
            log(logging.INFO, "workers changed by a signal", workers=len(self._workers()))

    async def _retire(self, keeper: Keeper) -> None:
        drained = await keeper.stop(WORKER_DRAIN_S)
        if keeper.last_pid is not None:
            self._remains.add(keeper.last_pid)
        self._keepers.remove(keeper)
        self._restarts_of_gone[keeper.role] += keeper.restarts
        self._changed.set()
        if not drained:  # it may have held leases, and it is no fault of theirs
            self._roll_call_due = True
            self._store_news.set()

    async def _answer(self, kind: Kind, body: list[Any]) -> bytes:
        """`[None]` asks which processes there are, `[n]` wants so many workers."""
        if kind is not Kind.FARM or len(body) != 1 or type(body[0]) not in (int, type(None)):
            raise WireError("ask for the farm's state, or tell how many workers there shall be")
        try:
            if body[0] is not None:
                self._scale(body[0])
            return pack(Kind.FARM, wire.ok(self._state()))
        except HarkError as error:
            return pack(Kind.FARM, wire.failed(error))

    def _state(self) -> FarmState:
        restarts = Counter(self._restarts_of_gone)
        for keeper in self._keepers:
            restarts[keeper.role] += keeper.restarts
        children = [process for keeper in self._keepers if (process := keeper.process())]
        itself = Process("supervisor", 1, os.getpid(), self._started_at_us, 0)
        return FarmState([itself, *children], dict(restarts), len(self._workers()))

    # Ending

    def _end_asked(self) -> None:
        """The first signal drains; the second ends everybody at once."""
        if not self._status.done():
            log(logging.INFO, "ending: front to back, each with what it has begun")
            self._status.set_result(0)
            return
        for keeper in self._keepers:
            keeper.kill()
        raise SystemExit(1)

    async def _drain(self) -> None:
        for roles, within_s in STOPS:
            await asyncio.gather(*(keeper.stop(within_s) for keeper in self._all(*roles)))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._store.close()
        self._sockets.close()


if __name__ == "__main__":
    main()
