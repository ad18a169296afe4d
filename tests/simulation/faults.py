"""What goes wrong in a simulated minute, drawn from its seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import apsw

from tests.checker.history import Recorder
from tests.simulation.farm import GATEWAYS, WORKERS, Farm
from tests.simulation.loop import Process
from tests.simulation.network import Network

DAY_US = 86_400_000_000
JUMPS_US = (10 * DAY_US, -10 * DAY_US, 3_600_000_000)
DEEDS_MAX = 60  # a crash comes this many deeds on a file from now, at most
PAUSE_S_MAX = 14.0  # longer than a lease


class Nemesis:
    """`odds`: which faults this run has at all; most have only some."""

    def __init__(
        self, farm: Farm, network: Network, history: Recorder, chance: random.Random
    ) -> None:
        self._farm = farm
        self._network = network
        self._history = history
        self._chance = chance
        self.jumps = False
        self.struck = 0
        faults: list[Callable[[], Awaitable[None]]] = [
            self._kill_store, self._cut_power, self._kill_worker, self._kill_gateway,
            self._kill_all, self._pause, self._fill_disk, self._fail_disk, self._set_clock,
        ]  # fmt: skip
        self._faults = chance.sample(faults, chance.randint(1, 4))
        self._between_s = chance.choice([2.0, 5.0, 15.0])
        self._deeds_left = 0
        self._at_deed: Callable[[], None] = self._nothing
        self._disk_error: type[apsw.Error] | None = None
        self._watch_disk()

    async def run(self, ends_s: float) -> None:
        """Strikes until then; what lasts ends by itself, later."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / self._between_s))
            if loop.time() > ends_s:
                return
            self.struck += 1
            await self._chance.choice(self._faults)()

    def _nothing(self) -> None: ...

    # Crashes. The store's come at a deed on a file, for that is where they matter.

    def _watch_disk(self) -> None:
        self._farm.machine.before = self._before

    def _before(self, deed: str) -> Exception | None:
        if deed == "read":
            return None
        if self._deeds_left:
            self._deeds_left -= 1
            if not self._deeds_left:
                self._at_deed()
                return None
        if self._disk_error is not None and deed in {"write", "sync"}:
            if self._disk_error is apsw.FullError and deed == "sync":
                return None
            return self._disk_error("the disk")
        return None

    def _soon(self, crash: Callable[[], None]) -> None:
        """At one of the next deeds on a file."""
        self._deeds_left, self._at_deed = self._chance.randint(1, DEEDS_MAX), crash

    async def _kill_store(self) -> None:
        def crash() -> None:
            self._history.fault("kill", ["store"])
            self._farm.processes["store"].kill()
            self._farm.machine.kill()

        self._soon(crash)

    async def _cut_power(self) -> None:
        def crash() -> None:
            self._history.fault("power cut", ["farm"])
            for process in self._farm.processes.values():
                process.kill()
            self._farm.machine.cut_power()

        self._soon(crash)

    async def _kill_all(self) -> None:
        def crash() -> None:
            self._history.fault("kill", ["farm"])
            for process in self._farm.processes.values():
                process.kill()
            self._farm.machine.kill()

        self._soon(crash)

    async def _kill_worker(self) -> None:
        await self._kill(f"worker {self._chance.randint(1, WORKERS)}")

    async def _kill_gateway(self) -> None:
        await self._kill(f"gateway {self._chance.randint(1, GATEWAYS)}")

    async def _kill(self, name: str) -> None:
        self._history.fault("kill", [name])
        self._farm.processes[name].kill()

    # What lasts

    async def _pause(self) -> None:
        name = self._chance.choice(sorted(self._farm.processes))
        process = self._farm.processes[name]
        fault = self._history.fault("pause", [name])
        process.pause()
        asyncio.get_running_loop().call_later(
            self._chance.uniform(0.1, PAUSE_S_MAX), self._end_pause, process, fault
        )

    def _end_pause(self, process: Process, fault: str) -> None:
        self._history.fault_ended(fault)
        if process.alive:
            process.resume()

    async def _fill_disk(self) -> None:
        await self._let_disk_fail(apsw.FullError, self._chance.uniform(0.1, 5.0))

    async def _fail_disk(self) -> None:
        await self._let_disk_fail(apsw.IOError, self._chance.uniform(0.0, 1.0))

    async def _let_disk_fail(self, error: type[apsw.Error], seconds: float) -> None:
        fault = self._history.fault(f"disk: {error.__name__}", ["store"])
        self._farm.disk_fails, self._disk_error = True, error
        await asyncio.sleep(seconds)
        self._disk_error = None
        self._history.fault_ended(fault)

    async def _set_clock(self) -> None:
        """The machine's wall clock, which nothing but a restart of the store should notice."""
        self.jumps = True
        self._farm.clock.set_by_us = self._chance.choice(JUMPS_US)
        self._history.fault("clock", ["machine"], set_by_us=self._farm.clock.set_by_us)
