"""One store process by itself, and a socket that says to it whatever a test wants."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from farm import wire
from farm.config import Child, Settings
from farm.sockets import Addresses, socket_directory
from farm.wire import Kind
from tests.farm_process import ROOT, wait_until

ANSWER_MS = 5_000


class StoreProcess:
    """`python -m farm.store.writer` as the supervisor starts it; `failpoints` in its first life."""

    def __init__(self, data_dir: Path, *, failpoints: str = "", **settings: Any) -> None:
        data_dir.mkdir(exist_ok=True)
        sockets = str(socket_directory(data_dir))
        self.addresses = Addresses(sockets)
        self.log_path = data_dir / "stderr.log"
        told = Settings(data_dir=str(data_dir), log_format="text", **settings)
        child = Child(role="store", number=1, name="store-1", sockets=sockets, settings=told)
        self._context = zmq.Context()
        self._start_it = partial(self._start, child, data_dir)
        self._process = self._start(replace(child, failpoints=failpoints), data_dir)
        self._asker = self._connect(zmq.DEALER, self.addresses.store)
        self._pusher = self._connect(zmq.PUSH, self.addresses.outcomes)

    def _start(self, child: Child, data_dir: Path) -> subprocess.Popen[bytes]:
        metrics = data_dir / "metrics"
        metrics.mkdir(exist_ok=True)
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "farm.store.writer"],
                stdin=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics)},
            )
        assert process.stdin is not None
        with process.stdin as told:
            told.write(child.to_json().encode())
        return process

    def _connect(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, ANSWER_MS)
        socket.connect(address)
        return socket

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Until it has ended; the exit status, negative for a signal."""
        return self._process.wait(ANSWER_MS / 1000)

    def ask(self, payload: bytes) -> tuple[Kind, list[Any]]:
        return self.ask_all([payload])[0]

    def ask_all(self, payloads: Sequence[bytes]) -> list[tuple[Kind, list[Any]]]:
        """Asks all of them at once; the answers in the order of the questions."""
        names = [str(number) for number in range(len(payloads))]
        for name, payload in zip(names, payloads, strict=True):
            self.send(name, payload)
        answers = dict(self.receive() for _ in payloads)
        return [answers[name] for name in names]

    def send(self, name: str, payload: bytes) -> None:
        """A question, whose answer comes with its name."""
        self._asker.send_multipart([name.encode(), b"", payload])

    def receive(self) -> tuple[str, tuple[Kind, list[Any]]]:
        name, _, answer = self._asker.recv_multipart()
        return name.decode(), wire.unpack(answer)

    def push(self, payload: bytes) -> None:
        self._pusher.send(payload)

    def write(self, *operations: Sequence[Any]) -> list[Any]:
        """The results of operations sent as one request, by a client of their own."""
        client = os.urandom(6).hex()
        kind, body = self.ask(wire.pack(Kind.WRITE, client, 1, operations))
        assert kind is Kind.ANSWERS, body
        results: list[Any] = body[1]
        return results

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def start_again(self) -> None:
        """Killed, and started on the same data."""
        self._process.kill()
        self._process.wait()
        self._process = self._start_it()

    def close(self) -> None:
        self._asker.close()
        self._pusher.close()
        self._context.term()
        if self.alive:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        wait_until(lambda: not self.alive)
