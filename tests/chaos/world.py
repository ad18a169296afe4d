"""What a chaos run happens to: a farm with everything twice, the connections to it, its disk and
its clock."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from farm.schedule import Backoff
from tests.chaos.surroundings import Disk, FarmClock
from tests.checker.deliveries import Rules
from tests.farm_process import FarmProcess, is_alive, wait_until
from tests.web.relay import Relay

MAX_ATTEMPTS = 3
BACKOFF = Backoff(200, 30_000)
FLAGS = (
    "--workers", "2", "--gateways", "2", "--readers", "2", "--web-processes", "2",
    "--channel", "simulated", "--channel", "inbox", "--no-sample-data", "--disk-reserve-mb", "2",
    "--simulated-failure-rate", "0.3", "--simulated-latency-ms", "5-60",
    "--max-attempts", str(MAX_ATTEMPTS), "--backoff-ms", str(BACKOFF.base_ms),
    # Everybody who is sent something says so in the log before the store is told.
    "--log-level", "debug", "--log-format", "json",
)  # fmt: skip
RULES = Rules(MAX_ATTEMPTS, BACKOFF, early_s=0.002)  # the log knows milliseconds
TITLE = re.compile(r"hark: ((?:store|reader|worker|gateway|web)(?: \d+)?)")


async def elapse(seconds: float) -> None:
    """Lets others have their time: for those who act at moments of their own."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


class World:
    """See the module. Blocking calls run in a thread, so that the others go on."""

    def __init__(
        self,
        directory: Path,
        *,
        failpoints: str = "",
        flags: Sequence[str] = (),
        disk: Disk | None = None,
        clock: FarmClock | None = None,
    ) -> None:
        self.disk, self.clock = disk, clock
        environment = {"HARK_FAILPOINTS": failpoints} if failpoints else {}
        if clock is not None:
            environment |= clock.environment
        self.hark = FarmProcess(
            directory,
            [*FLAGS, *flags],
            data_dir=None if disk is None else disk.path / "data",
            environment=environment,
        )
        self.grpc, self.http = Relay(""), Relay("")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """Whatever happens in it, no process is left behind."""
        try:
            await self.start()
            async with self.grpc.running(), self.http.running():
                yield self
        finally:
            await asyncio.to_thread(self.hark.kill_tree)

    async def start(self) -> None:
        await asyncio.to_thread(self.hark.start)
        self.grpc.target, self.http.target = self.hark.grpc_address, self.hark.http_address

    async def kill_tree(self) -> None:
        await asyncio.to_thread(self.hark.kill_tree)

    async def kill_supervisor(self) -> None:
        """The kernel kills its children."""
        children = list(self.hark.children())
        self.hark.signal(signal.SIGKILL)
        await asyncio.to_thread(self.hark.wait)
        await asyncio.to_thread(wait_until, lambda: not any(map(is_alive, children)))

    def processes(self) -> dict[str, int]:
        """Who lives now: "worker 1" to its pid, "store" and "supervisor" without a number."""
        found = {"supervisor": self.hark.pid}
        for pid, title in self.hark.children().items():
            if name := TITLE.fullmatch(title):  # else it has only just begun
                found[name[1]] = pid
        return found
