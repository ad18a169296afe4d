"""A whole farm as real processes, for tests that look at Hark from outside.

    def test_something(farm: StartFarm) -> None:      # the fixture is in conftest.py
        hark = farm("--workers", "3")                 # waits for the ready line
        publish(hark.grpc_address)                    # also http_address, grpc_port, http_port
        os.kill(hark.pids("worker")[0], signal.SIGKILL)
        wait_until(lambda: len(hark.pids("worker")) == 3)
        assert hark.stop() == 0                       # SIGTERM; the exit status
        hark.start()                                  # again, on the same data and other ports

Every farm has free ports and a data directory of its own below `tmp_path`. What it writes to
standard error is in `hark.log_path`; a test that fails shows its end. When the test is over, all
of its processes are killed, whatever state they are in. `farm(..., wait=False)` does not wait for
the ready line.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

ROOT = Path(__file__).resolve().parent.parent
READY_S = 30.0
STOP_S = 12.0  # a farm drains within 10 s
LOOK_EVERY_S = 0.02
LOOK_EVERY_S_MAX = 0.1
READY_LINE = re.compile(
    r"hark ready grpc=(?P<grpc>\S+:(?P<grpc_port>\d+)) http=(?P<http>\S+:(?P<http_port>\d+)) "
    r"workers=(?P<workers>\d+) pid=(?P<pid>\d+)\n"
)

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], deadline_s: float = 5.0) -> T:
    """The first true value of `predicate`, so that no wait is much longer than needed.

    Fails after the deadline with the last value seen.
    """
    begun_s = time.monotonic()
    while not (value := predicate()):
        waited_s = time.monotonic() - begun_s
        assert waited_s < deadline_s, f"after {deadline_s:g} s it is still {value!r}"
        threading.Event().wait(_pause_s(waited_s))
    return value


def _pause_s(waited_s: float) -> float:
    """Until it is asked again. To ask costs what is waited for some of its time."""
    return min(max(waited_s / 20, LOOK_EVERY_S), LOOK_EVERY_S_MAX)


async def wait_until_async(predicate: Callable[[], Any], deadline_s: float = 5.0) -> Any:
    """As `wait_until`, letting the event loop run; `predicate` may be a coroutine function."""
    import asyncio

    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    while True:
        asked = predicate()
        value = await asked if inspect.isawaitable(asked) else asked
        if value:
            return value
        waited_s = loop.time() - begun_s
        assert waited_s < deadline_s, f"after {deadline_s:g} s it is still {value!r}"
        tick = loop.create_future()
        loop.call_later(_pause_s(waited_s), tick.set_result, None)
        await tick


class StartFarm(Protocol):
    """The `farm` fixture."""

    def __call__(
        self,
        *flags: str,
        data_dir: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> FarmProcess: ...


class FarmProcess:
    """One `python supervisor.py` and its children."""

    def __init__(
        self,
        directory: Path,
        flags: Sequence[str],
        *,
        data_dir: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = Path(data_dir or directory / "data")
        self.log_path = directory / "stderr.log"
        ports = ("--grpc-port", "0", "--http-port", "0")
        where = ("--data-dir", str(data_dir or self.data_dir))
        self.flags = [*ports, *where, "--log-format", "text", *flags]
        outside = {k: v for k, v in os.environ.items() if not k.startswith("HARK_")}
        self._environment = {**outside, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._output = b""
        self._ready: dict[str, str] = {}

    # Starting and ending

    def start(self, *, wait: bool = True) -> FarmProcess:
        """Starts it, on the same data directory where it ran before."""
        assert self._process is None, "it runs already"
        self._output, self._ready = b"", {}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "supervisor.py"), *self.flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
            )
        return self.wait_ready() if wait else self

    def wait_ready(self, deadline_s: float = READY_S) -> FarmProcess:
        """Returns with the ready line; fails, with the end of the log, when there is none."""
        end_s = time.monotonic() + deadline_s
        while not (match := READY_LINE.search(self._output.decode())):
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not self._read_output(left_s):
                status = self._running.poll()
                raise AssertionError(
                    f"no ready line within {deadline_s:g} s; exit status {status}; "
                    f"standard output {self._output!r}; log:\n{self.log_tail()}"
                )
        self._ready = match.groupdict()
        return self

    def _read_output(self, timeout_s: float) -> bool:
        """Takes what comes on standard output; False at its end or after the time-out."""
        assert self._running.stdout is not None
        if not select.select([self._running.stdout], [], [], timeout_s)[0]:
            return False
        piece = os.read(self._running.stdout.fileno(), 65536)
        self._output += piece
        return bool(piece)

    def stop(self, deadline_s: float = STOP_S) -> int:
        """Asks it to end by SIGTERM and waits; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def signal(self, number: int) -> None:
        self._running.send_signal(number)

    def wait(self, deadline_s: float = STOP_S) -> int:
        """Waits for its end; the exit status."""
        process = self._running
        try:
            status = process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"it still runs after {deadline_s:g} s; log:\n{self.log_tail()}"
            ) from None
        while self._read_output(1.0):
            pass
        self._forget()
        return status

    def kill_tree(self) -> None:
        """Kills the supervisor and every child at once, as a power cut would, and waits."""
        process = self._process
        if process is None:
            return
        # Nobody can start another child once the supervisor is stopped.
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGSTOP)
        children = list(self.children())
        for pid in (process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(5)
        self._forget()
        wait_until(lambda: not any(map(is_alive, children)))

    def restart(self) -> FarmProcess:
        """Stops it, expecting exit status 0, and starts it again on the same data."""
        assert self.stop() == 0, self.log_tail()
        return self.start()

    def _forget(self) -> None:
        assert self._running.stdout is not None
        self._running.stdout.close()
        self._process = None

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    # Looking at it

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._running.pid

    @property
    def ready_line(self) -> str:
        """All of standard output so far."""
        return self._output.decode()

    @property
    def grpc_address(self) -> str:
        return self._ready["grpc"]

    @property
    def http_address(self) -> str:
        return self._ready["http"]

    @property
    def grpc_port(self) -> int:
        return int(self._ready["grpc_port"])

    @property
    def http_port(self) -> int:
        return int(self._ready["http_port"])

    def children(self) -> dict[int, str]:
        """The living child processes, pid to title as `ps` shows it."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent(entry) == self.pid:
                found[int(entry.name)] = _title(entry)
        return found

    def pids(self, role: str) -> list[int]:
        """The living processes of a role (store, reader, worker, gateway, web) by their number."""
        title = re.compile(rf"hark: {role}(?: (\d+))?$")
        found = [(title.match(text), pid) for pid, text in self.children().items()]
        return [pid for _, pid in sorted((int(m[1] or 1), pid) for m, pid in found if m)]

    @property
    def metrics_dir(self) -> Path:
        """Where the processes count; the lock in it names the supervisor."""
        for lock in Path("/dev/shm").glob("hark-metrics-*/hark.lock"):
            with contextlib.suppress(FileNotFoundError):  # of another farm, which ends
                if lock.read_text().strip() == str(self.pid):
                    return lock.parent
        raise AssertionError("it has none")

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log().splitlines()[-lines:])


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return _parent(Path(f"/proc/{pid}")) is not None


def _parent(entry: Path) -> int | None:
    """The parent's pid of a process, None of one that is gone or a zombie."""
    try:
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(parent)


def _title(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
    except OSError:
        return ""
