"""A farm in one process: the real store, reader, workers and clients, on a simulated machine.

Only what touches the outside is simulated: sockets (`network.py`), time (`loop.py`), the disk
(tests/power) and who is told (`receiver.py`). A process that has ended is started again, as the
supervisor does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import apsw

from farm.client import StoreClient
from farm.errors import ResourceExhausted, StartError, Unavailable
from farm.observe import ProcessMetrics
from farm.schedule import Backoff, LeaseTerms
from farm.sockets import Addresses
from farm.store.core import DAY_US, Core, Rules
from farm.store.dispatch import Terms
from farm.store.reader import Reader
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_snapshot import SqliteSnapshot
from farm.store.storage import CommitUnknown
from farm.store.writer import Writer
from farm.worker import Worker
from tests.checker.history import Recorder
from tests.power.files import Machine
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import Network, SimulatedSockets
from tests.simulation.receiver import Receiver

START_US = 1_700_000_000_000_000
ADDRESSES = Addresses("farm")
METRICS = ProcessMetrics()
WORKERS = 2
GATEWAYS = 2
CONCURRENCY = 20
RULES = Rules(
    channels=("simulated", "inbox"),
    following_max=1_000,
    backlog_max=10**6,
    disk_reserve_bytes=0,
    retention_us=30 * DAY_US,
    terms=Terms(Backoff(200, 2_000), 3, LeaseTerms(), None),
)

Main = Callable[[Process], Coroutine[Any, Any, None]]


class Died(NamedTuple):
    """A process that ended by something nobody let happen to it."""

    at_s: float
    process: str
    why: Exception | None


class MachineClock:
    """The machine's clocks. Its wall clock jumps when somebody sets it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.set_by_us = 0

    def wall_us(self) -> int:
        return START_US + self.set_by_us + round(self._loop.time() * 1e6)

    def monotonic_s(self) -> float:
        return self._loop.time()


class Farm:
    """`using` is run in each gateway, with its client of the store."""

    def __init__(
        self,
        loop: VirtualLoop,
        network: Network,
        machine: Machine,
        history: Recorder,
        chance: random.Random,
        receiver: Receiver,
        using: Callable[[Process, StoreClient], Coroutine[Any, Any, None]],
    ) -> None:
        self.clock = MachineClock(loop)
        self.machine = machine
        self.processes: dict[str, Process] = {}
        self.died: list[Died] = []
        self.disk_fails = False  # or did lately, so that the store may end by itself
        self._loop = loop
        self._network = network
        self._history = history
        self._chance = chance
        self._receiver = receiver
        self._using = using
        self._generations = Counter[str]()
        self._news: deque[str | None] = deque()  # workers that died; None: the store is new
        self._told = asyncio.Event()  # the supervisor of now has some
        self._commit_s = chance.choice([0.001, 0.01, 0.03])
        self._core: Core | None = None  # of the newest store
        self._opened: list[SqliteStorage | SqliteSnapshot] = []

    async def run(self) -> None:
        """Keeps every process running, for ever."""
        names = [f"worker {number + 1}" for number in range(WORKERS)]
        roles: list[tuple[str, Main]] = [("store", self._store), ("reader", self._reader)]
        roles += [(name, self._worker) for name in names]
        roles += [(f"gateway {number + 1}", self._gateway) for number in range(GATEWAYS)]
        roles += [("supervisor", self._supervisor)]
        await asyncio.gather(*(self._keep(name, main) for name, main in roles))

    async def _keep(self, name: str, main: Main) -> None:
        while True:
            process = self.processes[name] = Process(name, self._loop)
            self._generations[name] += 1
            process.start(main(process))
            error = await process.ended
            self._note_death(process, error)
            await asyncio.sleep(self._chance.uniform(0.05, 0.6))

    def _note_death(self, process: Process, error: Exception | None) -> None:
        by_disk = isinstance(error, CommitUnknown | apsw.Error | StartError) and self.disk_fails
        by_absence = isinstance(error, StartError) and process.name == "reader"
        if process.ended_by_itself and not by_disk and not by_absence:
            self.died.append(Died(self._loop.time(), process.name, error))
        if process.name == "store":
            if process.ended_by_itself:
                self.machine.kill()
            self._history.fault("death", ["store"])
            self.processes["reader"].kill()  # its files are those of the process before
            self._news.append(None)
        elif process.name.startswith("worker"):
            self._history.fault("death", [process.name])
            self._news.append(self._session(process))
        self._told.set()

    def _session(self, process: Process) -> str:
        return f"{process.name}.{self._generations[process.name]}"

    @property
    def backlog(self) -> bool:
        """Whether anybody waits or is being told, as the store sees it."""
        store = self.processes["store"]
        return self._core is None or not store.alive or self._core._stats().backlog > 0

    def close(self) -> None:
        """Ends all, and closes what they have opened."""
        for process in self.processes.values():
            process.kill()
        for opened in self._opened:
            with contextlib.suppress(apsw.Error):
                opened.close()

    # The processes, each as its `main` does it

    async def _store(self, process: Process) -> None:
        storage = SqliteStorage.create_or_open(
            self.machine.directory,
            chance=random.Random(self._chance.random()),
            now_us=self.clock.wall_us(),
            vfs=self.machine.vfs,
        )
        self._opened.append(storage)
        chance = random.Random(self._chance.random())
        self._core = Core(storage, self.clock, chance, RULES)
        sockets = SimulatedSockets(self._network, process)
        writer = Writer(self._core, sockets, ADDRESSES, self.clock, METRICS)
        while process.alive:
            due = self._loop.call_later(max(writer.patience_s(), 0), sockets.came.set)
            await sockets.came.wait()
            due.cancel()
            sockets.came.clear()
            await asyncio.sleep(self._chance.expovariate(1 / self._commit_s))  # more comes
            writer.step(storage)
            if sockets.waiting:
                sockets.came.set()

    async def _reader(self, process: Process) -> None:
        snapshot = SqliteSnapshot.open(self.machine.directory)
        self._opened.append(snapshot)
        sockets = SimulatedSockets(self._network, process)
        reader = Reader(snapshot, sockets, ADDRESSES, 1, self.clock, RULES.channels)
        while True:
            await sockets.came.wait()
            sockets.came.clear()
            while reader.step():
                pass

    async def _worker(self, process: Process) -> None:
        sockets = SimulatedSockets(self._network, process)
        worker = Worker(
            self._session(process),
            sockets.asker(ADDRESSES.store),
            sockets.pusher(ADDRESSES.outcomes),
            {"simulated": self._receiver.channel_of(process)},
            self.clock,
            concurrency=CONCURRENCY,
            max_attempts=RULES.terms.max_attempts,
        )
        await worker.run()

    async def _gateway(self, process: Process) -> None:
        await self._using(process, self._client(process))

    async def _supervisor(self, process: Process) -> None:
        """Tells the store of deaths, but not always: this one forgets some."""
        client, told = self._client(process), asyncio.Event()
        self._told = told
        while True:
            while not self._news:
                told.clear()
                await told.wait()
            died = self._news.popleft()
            if died is not None and self._chance.random() < 0.2:
                continue
            with contextlib.suppress(Unavailable, ResourceExhausted):
                if died is None:
                    await client.sessions(self._living())
                else:
                    await client.session_died(died)

    def _living(self) -> list[str]:
        found = (self.processes[f"worker {number + 1}"] for number in range(WORKERS))
        return [self._session(process) for process in found if process.alive]

    def _client(self, process: Process) -> StoreClient:
        return StoreClient(
            SimulatedSockets(self._network, process),
            ADDRESSES,
            name=self._session(process),
            readers=1,
            clock=self.clock,
            metrics=METRICS,
        )
