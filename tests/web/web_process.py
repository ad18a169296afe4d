"""One web process by itself, without a store: what it says of bad requests needs none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from farm.config import Child, Settings
from gateway.held import Terms
from tests.farm_process import ROOT, wait_until

JSON = {"content-type": "application/json"}
TYPENAME = b'{"query":"{ __typename }"}'
TYPENAME_REQUEST = (
    b"POST /graphql HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(TYPENAME), TYPENAME)
)


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    address: str,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request, whatever the status of its answer."""
    request = urllib.request.Request(
        f"http://{address}{path}", data=body, headers=dict(headers or {}), method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return Reply(answer.status, _lower(answer.headers), answer.read())
    except urllib.error.HTTPError as answer:
        with answer:
            return Reply(answer.code, _lower(answer.headers), answer.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def run(address: str, query: str, path: str = "/graphql", **variables: Any) -> Any:
    """What GraphQL answers."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    reply = ask(address, path, method="POST", body=body, headers=JSON)
    assert reply.status == 200, reply
    return reply.json


def data(address: str, query: str, path: str = "/graphql", **variables: Any) -> Any:
    """The data of an answer without errors."""
    answer = run(address, query, path, **variables)
    assert "errors" not in answer, answer
    return answer["data"]


class WebProcess:
    """`python -m gateway.web` as the supervisor starts it, or in a hurry."""

    def __init__(
        self,
        directory: Path,
        *,
        number: int = 1,
        port: int = 0,
        terms: Terms | None = None,
        hurry: Mapping[str, float] | None = None,
        failpoints: str = "",
        **settings: Any,
    ) -> None:
        """`hurry`: constants of modules that are less in it than they are, for a test that would
        only wait for them."""
        self._port = _Port(port)
        self.address = f"127.0.0.1:{self._port.number}"
        sockets, metrics = directory / "sockets", directory / "metrics"
        sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        metrics.mkdir(exist_ok=True)
        self.child = Child(
            role="web",
            number=number,
            name=f"web-{number}-{os.urandom(4).hex()}",
            sockets=str(sockets),
            settings=Settings(http_port=self._port.number, log_format="text", **settings),
            failpoints=failpoints,
        )
        self.log_path = directory / f"web-{number}.log"
        hurried = "from gateway.web import Terms, USUAL, main"
        for name, value in (hurry or {}).items():
            hurried += f"\nimport {name.rpartition('.')[0]}; {name} = {value}"
        hurried += f"\nmain({terms or 'USUAL'})"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *(("-c", hurried) if terms or hurry else ("-m", "gateway.web"))],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(metrics)},
            )
        assert self.process.stdin is not None
        with self.process.stdin as told:
            told.write(self.child.to_json().encode())

    @property
    def port(self) -> int:
        return self._port.number

    def log(self) -> str:
        return self.log_path.read_text()

    def memory_bytes(self) -> int:
        """What is its own, and its share of what it has in common with others."""
        smaps = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(smaps.partition("\nPss:")[2].split()[0]) * 1024

    def wait_serving(self) -> WebProcess:
        wait_until(lambda: "serving" in self.log() or self.process.poll() is not None, 20)
        assert self.process.poll() is None, self.log()
        return self

    def wait(self) -> int:
        return self.process.wait(10)

    def stop(self) -> int:
        self.process.terminate()
        return self.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        self._port.close()


class _Port:
    """A free port, kept from others by a bound socket that does not listen."""

    def __init__(self, number: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", number))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()
