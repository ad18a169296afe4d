"""Does to a farm what the world does to machines, one thing after the other, by a seed.

Each fault is written down before it strikes, and mends itself before the next one begins: whoever
was stopped goes on, whatever was cut can be connected again, the disk has room.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from tests.chaos.receivers import Receivers
from tests.chaos.world import World, elapse
from tests.checker.history import Recorder

PAUSE_S = (0.5, 3.5)  # between two faults
STOPPED_S = (0.3, 4.5)  # the supervisor replaces whom it has not heard of for three seconds
CUT_S = (0.2, 2.0)
HELD_S = (0.5, 4.0)
FULL_S = (1.0, 3.0)
AGAIN_S = (0.0, 0.6)  # until the second blow, in the middle of the recovery
ROLES = ("store", "reader", "worker", "gateway", "web")
JUMPS = ("+10d", "-10d", "+1h", "-1h", "+0")

# A run draws from all that its mix has, as often as it says.
Mix = Mapping[str, int]
MIXES: Mapping[str, Mix] = {
    "everything": {
        "kill": 6, "pause": 4, "kill two": 2, "kill again": 2, "pause and kill": 2, "cut": 2,
        "hold": 2, "kill the farm": 1, "kill the supervisor": 1, "fill the disk": 1,
        "fill the disk and kill": 1,
    },
    "workers": {"kill a worker": 3, "pause a worker": 2},
    "store": {"kill the store": 3, "pause the store": 2, "kill the store again": 2},
    "readers and web": {"kill a reader": 2, "kill a web": 2, "pause a reader": 1, "pause a web": 1},
    "gateways": {"kill a gateway": 3, "pause a gateway": 2, "cut": 2, "hold": 2},
    "supervisor": {"kill the supervisor": 2, "pause the supervisor": 3, "kill": 2},
    "whole farm": {"kill the farm": 2, "kill the supervisor": 1, "kill": 1},
    "two at once": {"kill two": 3, "kill again": 2, "pause and kill": 3},
    "store and workers": {"kill the store": 1, "kill a worker": 2, "pause and kill": 2},
    "network": {"cut": 3, "hold": 3, "kill a gateway": 1},
    "disk": {"fill the disk": 2, "fill the disk and kill": 3, "kill": 1},
    "clock": {"jump": 3, "kill": 2, "pause a worker": 1, "kill the farm": 1},
}  # fmt: skip


class Nemesis:
    """See the module."""

    def __init__(
        self,
        world: World,
        history: Recorder,
        receivers: Receivers,
        chance: random.Random,
        pause_s: tuple[float, float] = PAUSE_S,
    ) -> None:
        self._pause_s = pause_s
        self._world = world
        self._history = history
        self._receivers = receivers
        self._chance = chance
        self._deeds: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill_any,
            "pause": self._pause_any,
            "kill two": lambda: self._both(self._kill_any(), self._kill_any()),
            "pause and kill": lambda: self._both(self._pause_any(), self._kill_later()),
            "kill again": lambda: self._kill_again(*ROLES),
            "kill the store again": lambda: self._kill_again("store"),
            "pause the supervisor": lambda: self._pause("supervisor"),
            "kill the supervisor": lambda: self._end_all("kill", world.kill_supervisor),
            "kill the farm": lambda: self._end_all("kill", world.kill_tree),
            "cut": self._cut,
            "hold": self._hold,
            "fill the disk": self._fill,
            "fill the disk and kill": lambda: self._both(self._fill(), self._kill_later()),
            "jump": self._jump,
        }
        for role in ROLES:
            article = "the" if role == "store" else "a"
            self._deeds[f"kill {article} {role}"] = partial(self._kill, role)
            self._deeds[f"pause {article} {role}"] = partial(self._pause, role)

    async def run(self, mix: Mix, until: asyncio.Event) -> None:
        """One after the other, as far as what they need is there."""
        possible = {name: count for name, count in mix.items() if self._can(name)}
        while not until.is_set():
            (name,) = self._chance.choices([*possible], [*possible.values()])
            await self.strike(name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._chance.uniform(*self._pause_s)):
                    await until.wait()

    async def strike(self, name: str) -> None:
        """One deed, by its name in a mix."""
        await self._deeds[name]()

    def _can(self, name: str) -> bool:
        return not ("disk" in name and self._world.disk is None) and not (
            name == "jump" and self._world.clock is None
        )

    # Processes

    def _victim(self, *roles: str) -> tuple[str, int] | None:
        """Somebody with one of these roles; None while there is nobody."""
        found = [
            (name, pid) for name, pid in self._world.processes().items() if name.split()[0] in roles
        ]
        return self._chance.choice(sorted(found)) if found else None

    async def _kill_any(self) -> None:
        await self._kill(*ROLES)

    async def _pause_any(self) -> None:
        await self._pause(*ROLES, "supervisor")

    async def _kill_later(self) -> None:
        await elapse(self._chance.uniform(*AGAIN_S))
        await self._kill(*ROLES)

    async def _kill(self, *roles: str) -> None:
        if (victim := self._victim(*roles)) is not None:
            name, pid = victim
            self._receivers.killed.add(pid)
            self._history.fault("kill", [name])
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _kill_again(self, *roles: str) -> None:
        """Whoever takes the place of the first one dies too, before or after it serves."""
        role = self._chance.choice(roles)
        for _ in range(2):
            await self._kill(role)
            await elapse(self._chance.uniform(*AGAIN_S))

    async def _pause(self, *roles: str) -> None:
        if (victim := self._victim(*roles)) is not None:
            await self.stop_for(*victim, self._chance.uniform(*STOPPED_S))

    async def stop_for(self, name: str, pid: int, seconds: float) -> None:
        """It stands still, and knows nothing of it afterwards."""
        self._receivers.killed.add(pid)
        fault = self._history.fault("pause", [name])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await elapse(seconds)
            if self._world.processes().get(name) == pid:  # else somebody may have its number
                os.kill(pid, signal.SIGCONT)
        self._history.fault_ended(fault)

    async def _both(self, *deeds: Awaitable[None]) -> None:
        await asyncio.gather(*deeds)

    async def _end_all(self, operation: str, end: Callable[[], Awaitable[None]]) -> None:
        self._receivers.killed |= set(self._world.processes().values())
        fault = self._history.fault(f"{operation} all", ["farm"])
        await end()
        await self._world.start()
        self._history.fault_ended(fault)

    # What is around them

    async def _cut(self) -> None:
        """Every connection ends at once, and who connects again is cut off again for a while."""
        fault = self._history.fault("cut", ["connections"])
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._chance.uniform(*CUT_S)
        while loop.time() < end_s:
            self._world.grpc.cut()
            self._world.http.cut()
            await elapse(0.05)
        self._history.fault_ended(fault)

    async def _hold(self) -> None:
        """Nothing comes through, and then all of it, late."""
        fault = self._history.fault("hold", ["connections"])
        relays = (self._world.grpc, self._world.http)
        for relay in relays:
            relay.flowing.clear()
        await elapse(self._chance.uniform(*HELD_S))
        for relay in relays:
            relay.flowing.set()
        self._history.fault_ended(fault)

    async def _fill(self) -> None:
        """Others have filled the disk: to less than the reserve, or to the last byte."""
        disk = self._world.disk
        assert disk is not None
        fault = self._history.fault("full disk", ["farm"])
        await asyncio.to_thread(disk.fill, self._chance.choice((0, 0, 100_000, 1_000_000)))
        await elapse(self._chance.uniform(*FULL_S))
        disk.free()
        self._history.fault_ended(fault)

    async def _jump(self) -> None:
        clock = self._world.clock
        assert clock is not None
        offset = self._chance.choice(JUMPS)
        self._history.fault("jump", ["clock"], offset=offset)
        clock.jump(offset)
