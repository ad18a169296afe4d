"""The web process as a process: its start, its pings, its end."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from farm.sockets import Addresses, Sockets
from farm.wire import Kind, pack, pack_answers
from gateway.web import DRAIN_S
from tests.farm_process import wait_until
from tests.web.conftest import StartWeb
from tests.web.web_process import JSON, TYPENAME, TYPENAME_REQUEST, WebProcess, ask, run

pytestmark = pytest.mark.process


def test_ps_shows_who_it_is(web: WebProcess) -> None:
    assert Path(f"/proc/{web.process.pid}/cmdline").read_bytes().startswith(b"hark: web 1\0")


def test_health(web: WebProcess) -> None:
    reply = ask(web.address, "/health")
    assert (reply.status, reply.body) == (200, b"OK")
    assert ask(web.address, "/health", method="HEAD").status == 200


async def test_it_answers_pings(web: WebProcess) -> None:
    sockets = Sockets()
    asker = sockets.asker(Addresses(web.child.sockets).control("web", 1))
    assert await asker.ask(pack(Kind.PING), 5) == (Kind.PONG, [{"serving": True}])
    sockets.close()


def test_two_share_the_port(start_web: StartWeb) -> None:
    first = start_web(number=1).wait_serving()
    second = start_web(number=2, port=first.port).wait_serving()
    first.process.kill()
    first.wait()
    for _ in range(20):
        assert ask(first.address, "/health").status == 200
    assert second.stop() == 0


def test_it_ends_with_1_where_it_cannot_listen(start_web: StartWeb) -> None:
    web = start_web(host="192.0.2.1")  # of no machine, by RFC 5737
    assert web.wait() == 1
    (line,) = web.log().splitlines()
    assert f"192.0.2.1:{web.port}: cannot listen there" in line
    assert "--http-port" in line


def test_an_idle_connection_does_not_hold_it_up(start_web: StartWeb) -> None:
    web = start_web().wait_serving()
    with _connected(web) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(9_999).startswith(b"HTTP/1.1 200 ")
        web.process.send_signal(signal.SIGINT)  # the terminal's; the supervisor answers it
        began = time.monotonic()
        assert web.stop() == 0
        assert time.monotonic() - began < DRAIN_S
        assert connection.recv(1) == b""
    assert "ended" in web.log()


def test_a_request_in_flight_is_answered(start_web: StartWeb) -> None:
    web = start_web().wait_serving()
    with _connected(web) as connection:
        connection.sendall(TYPENAME_REQUEST[:-5])
        _settled(web)
        web.process.terminate()
        wait_until(lambda: "draining" in web.log())
        connection.sendall(TYPENAME_REQUEST[-5:])
        assert connection.makefile("rb").read().endswith(b'{"data":{"__typename":"Query"}}')
    assert web.wait() == 0
    assert _refuses(web)


def test_a_request_that_never_ends_is_cut(start_web: StartWeb) -> None:
    web = start_web(hurry={"gateway.web.DRAIN_S": DRAIN_S / 4}).wait_serving()
    with _connected(web) as connection:
        connection.sendall(TYPENAME_REQUEST[:-5])
        _settled(web)
        assert web.stop() == 0


async def test_what_should_not_happen_is_told_by_its_number_only(web: WebProcess) -> None:
    async with _reader_saying(web, ["no page"]):
        query = '{ getNotifications(userId: "user1") { id } }'
        answer = await asyncio.to_thread(run, web.address, query)
    (error,) = answer["errors"]
    assert error["extensions"] == {"code": "INTERNAL"}
    assert f"{web.child.name}-1" in error["message"]
    assert "Traceback" not in str(answer)
    assert f"incident={web.child.name}-1" in web.log()
    assert "Traceback" in web.log()


def test_what_fails_in_a_batch_spoils_no_other(start_web: StartWeb) -> None:
    web = start_web(failpoints="web.ask:raise:2").wait_serving()
    batch = b"[" + b",".join([TYPENAME] * 3) + b"]"
    reply = ask(web.address, "/graphql", method="POST", body=batch, headers=JSON)
    first, failed, last = reply.json
    assert first == last == {"data": {"__typename": "Query"}}
    (error,) = failed["errors"]
    assert error["extensions"] == {"code": "INTERNAL"}
    assert f"{web.child.name}-1" in error["message"]


@asynccontextmanager
async def _reader_saying(web: WebProcess, value: Any) -> AsyncIterator[None]:
    """A reader that has lost its mind: every query gets this."""

    async def answer(_kind: Kind, body: list[Any]) -> bytes:
        return pack_answers(body[1], [(0, value)] * len(body[2]))

    sockets = Sockets()
    server = sockets.async_server(Addresses(web.child.sockets).reader(1))
    serving = asyncio.create_task(server.serve(answer))
    yield
    serving.cancel()
    sockets.close()


def _connected(web: WebProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", web.port), 10)


def _settled(web: WebProcess) -> None:
    """What was sent before has been read: connections are served in turn."""
    assert ask(web.address, "/health").status == 200


def _refuses(web: WebProcess) -> bool:
    try:
        _connected(web).close()
    except ConnectionRefusedError:
        return True
    return False
