"""Keeps one child process alive: starts it, asks how it is, starts it again when it died.

A child is started early and told late: while it loads its modules and waits for its `Child` on
standard input, others can still be made ready that it depends on. It dies with the supervisor, by
a signal of the kernel's, and sits in a session of its own, so that Ctrl-C reaches only the
supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from farm import failpoints
from farm.clock import Clock
from farm.config import Child, Settings
from farm.errors import Unavailable
from farm.failpoints import Point, passing
from farm.observe import log
from farm.sockets import Addresses, Asker, Sockets
from farm.wire import Kind, Process, WireError, pack

MODULES = {
    "store": "farm.store.writer",
    "reader": "farm.store.reader",
    "worker": "farm.worker",
    "gateway": "gateway.grpc_server",
    "web": "gateway.web",
}
HEARTBEAT_S = 1.0
MISSES_MAX = 3  # in a row; then it is killed
STORE_MISSES_MAX = 8  # it answers between two commits, and a slow disk is no reason to kill it
STARTING_MAX_S = 60.0
LOOK_EVERY_S = 0.02  # while it starts
BACKOFF_S = 0.1  # before the second restart in a row, doubling
BACKOFF_MAX_S = 5.0
SERVICE_FORGIVES_S = 1.0
STOP_KILLED_WITHIN_S = 0.5

_HERE = Path(__file__).resolve().parent.parent  # where a child finds the packages
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all children of one run share."""

    run: str
    settings: Settings
    socket_directory: Path
    environment: Mapping[str, str]
    failpoints: str
    sockets: Sockets
    clock: Clock


class Death(NamedTuple):
    """The end of a child that was not asked to end."""

    role: str
    number: int
    name: str
    pid: int
    status: int  # as Popen has it: negative for a signal
    how: str

    def __str__(self) -> str:
        return f"{self.role} {self.number} (process {self.pid}) {self.how}"


class Life:
    """One process, from its start to its end."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], started_at_us: int) -> None:
        self.name = name
        self.process = process
        self.started_at_us = started_at_us
        self.told = False
        self.serving_since_s: float | None = None
        self.ended = asyncio.Event()
        descriptor = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(descriptor, self._reap, descriptor)

    def tell(self, child: Child) -> None:
        """What it was started for; its end of the pipe may be closed already."""
        passing(Point.SUPERVISOR_TELL)
        self.told = True
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin as pipe:
            pipe.write(child.to_json().encode())

    def _reap(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.ended.set()


class Keeper:
    """Keeps the child with this role and number. `keep` runs until `stop`."""

    def __init__(
        self,
        role: str,
        number: int,
        surroundings: Surroundings,
        *,
        on_serving: Callable[[Keeper], None],
        on_death: Callable[[Keeper, Death], None],
    ) -> None:
        self.role = role
        self.number = number
        self._around = surroundings
        self._on_serving = on_serving
        self._on_death = on_death
        self._may_serve = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._failures_in_a_row = 0
        self._generation = 0
        self._life = self._start()

    # What others see

    @property
    def serving(self) -> bool:
        life = self._life
        return life is not None and life.serving_since_s is not None and not life.ended.is_set()

    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stop_asked.is_set()

    @property
    def restarts(self) -> int:
        """How many lives there were after the first."""
        return max(self._generation - 1, 0)

    @property
    def name(self) -> str | None:
        """Of this life or, between two, of the last, a worker's session; None where the next could
        not be started."""
        return None if self._life is None else self._life.name

    @property
    def pid(self) -> int | None:
        """None between two lives."""
        life = self._life
        return None if life is None or life.ended.is_set() else life.process.pid

    @property
    def last_pid(self) -> int | None:
        """Of the life that `name` is of."""
        return None if self._life is None else self._life.process.pid

    def process(self) -> Process | None:
        """As others may know it; None between two lives."""
        life = self._life
        if life is None or life.ended.is_set():
            return None
        pid = life.process.pid
        return Process(self.role, self.number, pid, life.started_at_us, self.restarts)

    def let_serve(self) -> None:
        """Tells the child, as soon as it is there, what it was started for."""
        self._may_serve.set()

    async def keep(self) -> None:
        """One life after the other, until stopped; what cannot be started is tried again."""
        while not self.stopping():
            served_s = 0.0
            if (life := self._life) is not None:
                served_s = await self._live(life)
                if self.stopping():
                    return
                self._on_death(self, self._death(life))
            await self._pause(served_s)
            if not self.stopping():
                self._life = self._start()

    def leave(self) -> None:
        """It is to end and not to come again: `stopping` says so before `stop` has begun."""
        self._stop_asked.set()

    async def stop(self, within_s: float) -> bool:
        """Asks the child to end and returns when it is gone; False when it ended otherwise."""
        self._stop_asked.set()
        life = self._life
        if life is None or life.ended.is_set():
            return True
        passing(Point.SUPERVISOR_STOP)
        # Before it is told anything a child has nothing to drain.
        life.process.send_signal(signal.SIGTERM if life.told else signal.SIGKILL)
        try:
            async with asyncio.timeout(within_s):
                await life.ended.wait()
            status = life.process.returncode
            log(logging.DEBUG, "ended", role=self.role, number=self.number, status=status)
            return status == 0
        except TimeoutError:
            log(logging.WARNING, "killed, for it did not end", role=self.role, number=self.number)
            life.process.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_KILLED_WITHIN_S):
                    await life.ended.wait()
            return False

    def kill(self) -> None:
        """Ends the child at once."""
        self._stop_asked.set()
        if self._life is not None:
            self._life.process.kill()

    # One life

    def _start(self) -> Life | None:
        """The next life; None where the machine has no memory, numbers or descriptors left."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a child dies with its thread: start it from the main one")
        passing(Point.SUPERVISOR_START)
        name = f"{self.role}-{self.number}-{self._around.run}-{self._generation + 1}"
        try:
            life = Life(name, self._forked(), self._around.clock.wall_us())
        except OSError as error:
            log(logging.ERROR, f"not started: {error}", role=self.role, number=self.number)
            return None
        self._generation += 1
        return life

    def _forked(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", MODULES[self.role]],
            stdin=subprocess.PIPE,
            stdout=sys.stderr,  # standard output is for the ready line
            cwd=_HERE,
            env=self._around.environment,
            preexec_fn=_DieWith(os.getpid()),  # noqa: PLW1509 (one thread of Python runs here)
            start_new_session=True,
        )

    async def _live(self, life: Life) -> float:
        """Returns with its end; the seconds that it has served."""
        async with asyncio.TaskGroup() as group:
            attending = group.create_task(self._attend(life))
            await life.ended.wait()
            attending.cancel()
        since_s = life.serving_since_s
        return 0.0 if since_s is None else self._around.clock.monotonic_s() - since_s

    async def _attend(self, life: Life) -> None:
        """Tells a child what it is for, waits until it serves, and kills it when it hangs."""
        await self._may_serve.wait()
        if life.ended.is_set():
            return
        life.tell(self._child(life))
        around = self._around
        address = Addresses(around.socket_directory).control(self.role, self.number)
        asker = around.sockets.asker(address)
        try:
            why = await self._until_it_hangs(life, asker)
        finally:
            asker.close()
        log(logging.ERROR, f"killed, for it {why}", role=self.role, number=self.number)
        life.process.kill()

    async def _until_it_hangs(self, life: Life, asker: Asker) -> str:
        # The store may recover or take in an import for long; its end would be noticed.
        limit_s = None if self.role == "store" else STARTING_MAX_S
        try:
            async with asyncio.timeout(limit_s):
                while not await _serves(asker, HEARTBEAT_S):  # noqa: ASYNC110 (it tells only when asked)
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            return f"did not serve within {STARTING_MAX_S:g} s"
        life.serving_since_s = self._around.clock.monotonic_s()
        log(logging.DEBUG, "serves", role=self.role, number=self.number, pid=life.process.pid)
        self._on_serving(self)
        misses_max = STORE_MISSES_MAX if self.role == "store" else MISSES_MAX
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            # One question waits for all of the time: a new one would drop the answer to it. The
            # second is for the case that it was this process that had been stopped.
            patience_s = (misses_max - 1) * HEARTBEAT_S
            answer = await _serves(asker, patience_s)
            if answer is None and await _serves(asker, HEARTBEAT_S) is None:
                return f"missed {misses_max} heartbeats"

    def _child(self, life: Life) -> Child:
        return Child(
            role=self.role,
            number=self.number,
            name=life.name,
            sockets=str(self._around.socket_directory),
            settings=self._around.settings,
            failpoints=failpoints.of_life(self._around.failpoints, self._generation),
        )

    # Between two lives

    def _death(self, life: Life) -> Death:
        status = life.process.returncode
        how = f"ended with status {status}" if status >= 0 else f"was ended by {_named(-status)}"
        return Death(self.role, self.number, life.name, life.process.pid, status, how)

    async def _pause(self, served_s: float) -> None:
        """Nothing after the first death or start that failed, then longer and longer; service makes
        up for deaths."""
        forgiven = served_s >= SERVICE_FORGIVES_S
        self._failures_in_a_row = 0 if forgiven else self._failures_in_a_row + 1
        if self._failures_in_a_row < 2:
            return
        doubled = min(self._failures_in_a_row - 2, 10)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(BACKOFF_S * 2**doubled, BACKOFF_MAX_S)):
                await self._stop_asked.wait()


async def _serves(asker: Asker, within_s: float) -> bool | None:
    """Whether the child says that it serves; None when it says nothing."""
    try:
        kind, body = await asker.ask(pack(Kind.PING), within_s)
    except (Unavailable, WireError):
        return None
    return kind is Kind.PONG and bool(body[0]["serving"])


def _named(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _DieWith:
    """Run in a child before its program: the kernel kills it when its parent ends.

    The signal is sent when the *thread* that forked ends, so children start from the main thread.
    """

    def __init__(self, parent: int) -> None:
        self._parent = parent

    def __call__(self) -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self._parent:  # it ended before the line above
            os._exit(1)
