"""A gateway as the supervisor starts it, by itself; a store beside it where a test wants one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import grpc

from farm.config import Child, Settings
from tests.farm_process import ROOT, wait_until


class Surroundings:
    """A data directory, its sockets and a port that stays this test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._holding = socket.socket()
        self._holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holding.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._holding.getsockname()[1]}"
        self._started: list[ChildProcess] = []
        for name in ("data", "sockets", "metrics"):
            (directory / name).mkdir(mode=0o700)

    def gateway(self) -> ChildProcess:
        return self._start("gateway", "gateway.grpc_server")

    def store(self) -> ChildProcess:
        return self._start("store", "farm.store.writer")

    def reader(self) -> ChildProcess:
        return self._start("reader", "farm.store.reader")

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address)

    def _start(self, role: str, module: str) -> ChildProcess:
        settings = Settings(
            data_dir=str(self.directory / "data"),
            grpc_port=int(self.address.rpartition(":")[2]),
            log_format="text",
        )
        child = Child(
            role=role,
            number=1,
            name=f"{role}-1-{len(self._started)}-test",
            sockets=str(self.directory / "sockets"),
            settings=settings,
        )
        self._started.append(ChildProcess(self.directory, module, child))
        return self._started[-1]

    def close(self) -> None:
        for one in self._started:
            one.process.kill()
            one.process.wait(5)
            print(f"--- {one.log_path}:\n{one.log()}")
        self._holding.close()


class ChildProcess:
    """One process, told what it is on standard input; its log goes to a file."""

    def __init__(self, directory: Path, module: str, child: Child) -> None:
        self.log_path = directory / f"{child.name}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory / "metrics")},
            )
        assert self.process.stdin is not None
        with self.process.stdin as told:
            told.write(child.to_json().encode())

    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for_line(self, text: str) -> ChildProcess:
        wait_until(lambda: text in self.log() or self.process.poll() is not None, 20)
        assert text in self.log()
        return self
