"""What the receivers saw and who died, out of the farm's log as it is written.

The worker writes down every attempt before the store is told of it. The supervisor writes down each
death: those that nobody here has caused are faults like the others.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.world import elapse
from tests.checker.history import Recorder

LOOK_EVERY_S = 0.1
HOUR_S = 3_600
DEATH = re.compile(r"(\w+) (\d+) \(process (\d+)\) (?:was ended by|ended with) .*")
ONE_OF_ITS_KIND = {"store"}


class Receivers:
    """Reads on from where it was."""

    def __init__(self, log: Path, history: Recorder) -> None:
        self._log = log
        self._history = history
        self._ahead_s = time.time_ns() / 1e9 - time.monotonic()
        self._at = 0
        self.killed: set[int] = set()  # processes that somebody here has killed or stopped
        self.failpoints = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """All the time, and to the end."""
        task = asyncio.create_task(self._read_all())
        try:
            yield
        finally:
            task.cancel()
            self.read_on()

    async def _read_all(self) -> None:
        while True:
            self.read_on()
            await elapse(LOOK_EVERY_S)

    def read_on(self) -> None:
        """All whole lines that are new."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._at)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(newline)
        for line in whole.splitlines():
            if line.startswith(b'{"time"'):
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        match line["message"]:
            case "attempt ended":
                self._history.received(
                    line["process"],
                    at_s=self._when_s(line),
                    post=line["post"],
                    channel=line["channel"],
                    users=[int(line["notification"].partition(".")[2], 16)],
                    attempt=line["attempt"],
                    delivered=line["outcome"] == "delivered",
                )
            case "failpoint":
                self.failpoints += 1
            case message if death := DEATH.fullmatch(message):
                self._take_death(*death.groups())
            case _:
                pass

    def _take_death(self, role: str, number: str, pid: str) -> None:
        if int(pid) not in self.killed:
            name = role if role in ONE_OF_ITS_KIND else f"{role} {number}"
            self._history.fault("death", [name], pid=int(pid))

    def _when_s(self, line: dict[str, Any]) -> float:
        """By the machine's clock. Where that of the log is set, it is by whole hours, of which
        there is no doubt, because lines are read soon."""
        at_s = datetime.fromisoformat(line["time"]).timestamp() - self._ahead_s
        return at_s - HOUR_S * round((at_s - time.monotonic()) / HOUR_S)
