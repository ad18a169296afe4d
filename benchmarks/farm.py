"""The farm that is measured: the real one, as a process of its own, and what it uses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
READY_S = 180.0
STOP_S = 20.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_READY = re.compile(r"hark ready grpc=(\S+) http=(\S+) ")


class Usage(NamedTuple):
    """Seconds on a processor by process, at a moment."""

    at_s: float
    cpu_s: dict[str, float]

    def until(self, later: Usage, pieces: int) -> Spent:
        """What was spent between the two moments, on so many pieces of work."""
        spent = {title: cpu_s - self.cpu_s.get(title, 0.0) for title, cpu_s in later.cpu_s.items()}
        return Spent(later.at_s - self.at_s, spent, pieces)


class Spent(NamedTuple):
    """Processor time by process. By piece of work it tells something on a busy machine too."""

    seconds: float
    cpu_s: dict[str, float]
    pieces: int

    def cores(self) -> dict[str, float]:
        """How many cores each process kept busy."""
        return {title: round(cpu_s / self.seconds, 2) for title, cpu_s in self.cpu_s.items()}

    def each_us(self) -> dict[str, float]:
        """Microseconds of processor time for each piece of work."""
        return {title: round(cpu_s / self.pieces * 1e6, 2) for title, cpu_s in self.cpu_s.items()}


class Farm:
    """A running farm."""

    def __init__(
        self, process: subprocess.Popen[str], grpc: str, http: str, ready_s: float
    ) -> None:
        self._process = process
        self.grpc = grpc
        self.http = http
        self.ready_s = ready_s

    def children(self) -> dict[int, str]:
        """The living children, pid to name: `store`, `worker 1` and so on."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        found = {int(pid): _title(int(pid)) for pid in path.read_text().split()}
        return {pid: title for pid, title in found.items() if title}

    def memory_mib(self) -> dict[str, float]:
        """PSS: memory shared between processes counts for each by its share."""
        processes = {self._process.pid: "supervisor", **self.children()}
        return {title: round(pss_mib(pid), 1) for pid, title in sorted(processes.items())}

    def usage(self) -> Usage:
        at_s = time.perf_counter()
        return Usage(at_s, {title: _cpu_s(pid) for pid, title in self.children().items()})

    def cpu_ns(self) -> int:
        """What all processes have spent until now, by the kernel's finest count."""
        return sum(_cpu_ns(pid) for pid in (self._process.pid, *self.children()))

    def signal_workers(self, number: int) -> None:
        for pid, title in self.children().items():
            if title.startswith("worker"):
                os.kill(pid, number)

    def stop(self) -> None:
        """Drains it; what was in the log of the database is in its file afterwards."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"the farm did not end within {STOP_S:g} s") from None


@contextmanager
def running(data_dir: Path, *flags: str) -> Iterator[Farm]:
    """A farm on free ports, ended at the end."""
    farm = start(data_dir, *flags)
    try:
        yield farm
    finally:
        farm.stop()


def start(data_dir: Path, *flags: str) -> Farm:
    """Raises `RuntimeError`, with what the farm said, where it does not get ready."""
    log_path = data_dir.parent / f"{data_dir.name}.log"
    command = [sys.executable, str(ROOT / "supervisor.py"), "--data-dir", str(data_dir)]
    command += ["--grpc-port", "0", "--http-port", "0", *flags]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("HARK_")}
    started_s = time.perf_counter()
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=outside, cwd=ROOT
        )
    assert process.stdout is not None
    line = process.stdout.readline()  # the one line there is, or the end of it
    ready_s = time.perf_counter() - started_s
    match = _READY.match(line)
    if match is None:
        process.kill()
        process.wait()
        tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"the farm did not get ready:\n{tail}")
    return Farm(process, match[1], match[2], ready_s)


def _title(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    except OSError:
        return ""
    return text.removeprefix("hark: ") if text.startswith("hark: ") else ""


def pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _cpu_ns(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
