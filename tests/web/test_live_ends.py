"""How connections that stay open end: the process drains, the client is slow, silent or gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.frames import Frame, Opcode

from farm.sockets import Addresses, Sockets, socket_directory
from farm.wire import InboxPage, Kind, pack_answers
from gateway.held import Terms
from gateway.web import DRAIN_S
from gateway.websocket import GOING_AWAY
from tests.farm_process import ROOT, FarmProcess, wait_until, wait_until_async
from tests.web.conftest import StartWeb
from tests.web.raw_stream import RawStream, connect
from tests.web.raw_websocket import RawWebSocket
from tests.web.web_process import WebProcess, ask, data

pytestmark = pytest.mark.process

HEARTBEAT_S = 0.4
SLACK_S = 1.0  # for a machine that is busy
SMALL_BUFFER_BYTES = 4_096
SLEEPERS = 40
FOLLOW = "mutation($a: ID!, $b: ID!) { follow(followerId: $a, authorId: $b) { changed } }"
PUBLISH = "mutation($a: ID!, $c: String!) { publishPost(authorId: $a, content: $c) { postId } }"
EVENTS = """subscription($user: ID!, $since: String) { inboxEvents(userId: $user, since: $since) {
  __typename cursor ... on NotificationAdded { notification { content } } } }"""


@pytest.fixture
def joined(hark: FarmProcess, tmp_path: Path) -> Iterator[WebProcess]:
    """Another web process of the farm, with a heart in a hurry."""
    (tmp_path / "sockets").symlink_to(socket_directory(hark.data_dir))
    one = WebProcess(tmp_path, number=2, terms=Terms(HEARTBEAT_S))
    try:
        yield one.wait_serving()
    finally:
        one.close()
        print(f"--- {one.log_path}:\n{one.log()}")


def test_draining_sends_everybody_elsewhere(joined: WebProcess) -> None:
    with (
        RawWebSocket(joined.address) as greeting,
        RawWebSocket(joined.address) as idle,
        RawWebSocket(joined.address) as following,
        RawStream(joined.address, EVENTS, user="drained") as stream,
    ):
        idle.init()
        following.init().subscribe("1", EVENTS, user="drained")
        following.hear()
        stream.event()
        began_s = time.monotonic()
        joined.process.send_signal(signal.SIGTERM)
        for ws in (greeting, idle, following):
            assert ws.closed().code == GOING_AWAY
            ws.frame(Opcode.CLOSE, GOING_AWAY.to_bytes(2, "big"))
        # Without `complete`: there is more, elsewhere.
        assert stream.next() is None
        assert joined.wait() == 0
        assert time.monotonic() - began_s < DRAIN_S


def test_draining_sends_those_elsewhere_who_have_heard_nothing_yet(start_web: StartWeb) -> None:
    """Here because no store tells who they are."""
    web = start_web().wait_serving()
    query = urlencode({"query": 'subscription { inboxEvents(userId: "a") { cursor } }'})
    asked = f"GET /graphql?{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
    with RawWebSocket(web.address) as ws, connect(web.address) as stream:
        ws.init().subscribe("1", EVENTS, user="a")
        stream.sendall(asked.encode())
        assert ask(web.address, "/health").status == 200  # connections are served in turn
        web.process.terminate()
        assert ws.closed().code == GOING_AWAY
        ws.frame(Opcode.CLOSE, GOING_AWAY.to_bytes(2, "big"))
        head, _, events = stream.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert events == b"0\r\n\r\n"  # no event at all, and so none that says it is complete
    assert web.wait() == 0


async def test_draining_waits_for_an_answer_over_a_socket(start_web: StartWeb) -> None:
    web = start_web().wait_serving()
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(_kind: Kind, body: list[Any]) -> bytes:
        asked.set()
        await may_answer.wait()
        page = InboxPage([], False, 0, "here")
        return pack_answers(body[1], [(0, page)] * len(body[2]))

    sockets = Sockets()
    server = sockets.async_server(Addresses(web.child.sockets).reader(1))
    serving = asyncio.create_task(server.serve(answer))
    with RawWebSocket(web.address) as ws:
        ws.init().subscribe("q", '{ inbox(userId: "a") { liveCursor } }')
        await asyncio.wait_for(asked.wait(), 5)
        web.process.terminate()
        await wait_until_async(lambda: "draining" in web.log())
        may_answer.set()
        heard = await asyncio.to_thread(ws.hear)
        assert heard["payload"] == {"data": {"inbox": {"liveCursor": "here"}}}
        assert ws.hear() == {"id": "q", "type": "complete"}
        assert ws.closed().code == GOING_AWAY
    assert await asyncio.to_thread(web.wait) == 0
    serving.cancel()
    sockets.close()


def test_draining_waits_for_nothing_that_never_began(start_web: StartWeb) -> None:
    web = start_web().wait_serving()
    with RawWebSocket(web.address) as ws:
        asked = {"id": "q", "type": "subscribe", "payload": {"query": "{ __typename }"}}
        at_once = [asked, {"id": "q", "type": "complete"}, {"type": "ping"}]
        frames = [Frame(Opcode.TEXT, json.dumps(message).encode()) for message in at_once]
        ws.init().socket.sendall(b"".join(frame.serialize(mask=True) for frame in frames))
        assert ws.hear() == {"type": "pong"}
        web.process.terminate()
        assert ws.closed().code == GOING_AWAY


def test_no_init(tmp_path: Path) -> None:
    """Fault row 86: who does not say hello in time is closed with the protocol's code."""
    web = WebProcess(tmp_path, terms=Terms(init_within_s=0.2))
    try:
        with RawWebSocket(web.wait_serving().address) as ws:
            assert ws.closed() == (4408, "Connection initialisation timeout")
    finally:
        web.close()


def test_as_many_connections_as_the_machine_allows(tmp_path: Path) -> None:
    few, most = 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    try:
        web = WebProcess(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    try:
        web.wait_serving()
        with contextlib.ExitStack() as held:
            for _ in range(few):
                held.enter_context(RawWebSocket(web.address))
            held.enter_context(RawWebSocket(web.address)).init()
    finally:
        web.close()


def test_no_more_connections_than_may_stay_open(tmp_path: Path) -> None:
    web = WebProcess(tmp_path, terms=Terms(connections_max=1))
    try:
        with RawWebSocket(web.wait_serving().address) as first:
            first.init()
            with RawWebSocket(web.address) as second:
                assert second.response.status == 503
            with RawStream(web.address, "{ __typename }") as stream:
                assert stream.status == 503
                assert stream.headers["retry-after"] == "1"
            first.say(type="ping")
            assert first.hear() == {"type": "pong"}
        wait_until(lambda: _upgraded(web))
    finally:
        web.close()


def test_a_client_that_answers_no_ping(joined: WebProcess) -> None:
    """Fault row 79: half-open; it is let go of within two heartbeats, and nobody else is."""
    with RawWebSocket(joined.address) as silent, RawWebSocket(joined.address) as alive:
        silent.init().subscribe("1", EVENTS, user="silent")
        silent.hear()
        alive.init()
        began_s = time.monotonic()
        for _ in range(5):
            alive.next(Opcode.PING)
            alive.frame(Opcode.PONG)
        assert time.monotonic() - began_s < 6 * HEARTBEAT_S + SLACK_S
        assert silent.closed() == (4008, "the last ping was not answered")
        wait_until(lambda: _subscribers(joined) == 0)
        alive.say(type="ping")
        assert alive.hear() == {"type": "pong"}


def test_a_client_that_is_unplugged(hark: FarmProcess, tmp_path: Path) -> None:
    """Fault row 79: half-open, over both transports; each is let go of within two heartbeats."""
    (tmp_path / "sockets").symlink_to(socket_directory(hark.data_dir))
    command = ["unshare", "-rn", sys.executable, "-m", "tests.web.unplugged"]
    done = subprocess.run(
        [*command, str(tmp_path), str(HEARTBEAT_S)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2 * HEARTBEAT_S + SLACK_S


@pytest.mark.parametrize("transport", ["websocket", "events"])
def test_a_reader_that_stops(joined: WebProcess, transport: str) -> None:
    """Fault row 79: what waits for it is bounded, it is let go of, and goes on without a hole."""
    user, author = f"stopper by {transport}", f"flooder of {transport}"
    data(joined.address, FOLLOW, a=user, b=author)
    reader: Any
    if transport == "websocket":
        reader = RawWebSocket(joined.address, receive_buffer_bytes=SMALL_BUFFER_BYTES)
        reader.init().subscribe("1", EVENTS, user=user)
        since = reader.event()["cursor"]
    else:
        reader = RawStream(
            joined.address, EVENTS, receive_buffer_bytes=SMALL_BUFFER_BYTES, user=user
        )
        since = reader.event()["cursor"]
    with reader:
        contents = [f"{number} {'x' * 16_000}" for number in range(60)]
        for content in contents:
            data(joined.address, PUBLISH, a=author, c=content)
        wait_until(lambda: _subscribers(joined) == 0, 2 * HEARTBEAT_S + SLACK_S)
    with RawStream(joined.address, EVENTS, user=user, since=since) as again:
        heard = [again.added()["notification"]["content"] for _ in contents]
    assert heard == [f"New post from {author}: {content}" for content in contents]


def test_what_waits_for_readers_that_stop_is_bounded(hark: FarmProcess, tmp_path: Path) -> None:
    """Fault row 79: not even a process that lets go of nobody keeps much for them."""
    (tmp_path / "sockets").symlink_to(socket_directory(hark.data_dir))
    web = WebProcess(tmp_path, number=2, terms=Terms(heartbeat_s=60))
    data(hark.http_address, FOLLOW, a="sleeper", b="talker")
    with contextlib.ExitStack() as held:
        held.callback(web.close)
        address = web.wait_serving().address
        for _ in range(SLEEPERS):
            reader = RawWebSocket(address, receive_buffer_bytes=SMALL_BUFFER_BYTES)
            held.enter_context(reader)
            reader.init().subscribe("1", EVENTS, user="sleeper")
            reader.event()
        before = web.memory_bytes()
        for number in range(100):
            data(address, PUBLISH, a="talker", c=f"{number} {'x' * 16_000}")
        assert _subscribers(web) == SLEEPERS
        # Each has 1.6 MB to come, and gets a twentieth of it for the time being.
        assert web.memory_bytes() - before < SLEEPERS * 600_000


def _upgraded(web: WebProcess) -> bool:
    with RawWebSocket(web.address) as ws:
        return ws.response.status == 101


def _subscribers(web: WebProcess) -> float:
    lines = ask(web.address, "/metrics").body.decode().splitlines()
    return float(next(li.split()[1] for li in lines if li.startswith("hark_live_subscribers ")))
