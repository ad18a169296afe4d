"""`hark inbox --watch`: what it begins with, what it goes on with, and over which losses."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from farm.cli import main
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import ROOT, FarmProcess, wait_until

pytestmark = pytest.mark.process
DEADLINE_S = 20.0


class Watcher:
    """The command as a process; its lines as they come."""

    def __init__(self, directory: Path, address: str, *arguments: str) -> None:
        self._errors = directory / "errors"
        self._unread = b""
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "farm", "--grpc", address, "inbox", "--watch", *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def line(self) -> str:
        """The next one; fails where there is none in time."""
        assert self.process.stdout is not None
        end_s = time.monotonic() + DEADLINE_S
        while b"\n" not in self._unread:
            left_s = max(0.0, end_s - time.monotonic())
            assert select.select([self.process.stdout], [], [], left_s)[0], self.errors()
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, self.errors()
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def document(self) -> Any:
        return json.loads(self.line())

    def wait_live(self) -> Watcher:
        while self.document()["event"] != "live":
            pass
        return self

    def added(self) -> str:
        """The post of the next notification that is added."""
        while (document := self.document())["event"] != "added":
            pass
        return str(document["notification"]["post_id"])

    def errors(self) -> str:
        return self._errors.read_text()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


Watch = Callable[..., Watcher]


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    flags = ["--simulated-failure-rate", "0", "--workers", "1"]
    one = FarmProcess(tmp_path_factory.mktemp("hark"), flags)
    try:
        yield one.start()
    finally:
        one.kill_tree()
        print(f"--- the end of {one.log_path}:\n{one.log_tail()}")


@pytest.fixture
def watch(hark: FarmProcess, tmp_path: Path) -> Iterator[Watch]:
    started: list[Watcher] = []

    def start(*arguments: str) -> Watcher:
        started.append(Watcher(tmp_path, hark.grpc_address, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


class Author:
    """Somebody with one follower, at a Hark that may be away for a moment."""

    def __init__(self, hark: FarmProcess, name: str) -> None:
        self.name, self.follower = name, f"reader of {name}"
        self._channel = grpc.insecure_channel(
            hark.grpc_address, [("grpc.max_reconnect_backoff_ms", 200)]
        )
        graph: Any = hark_pb2_grpc.SocialGraphServiceStub(self._channel)
        graph.Follow(hark_pb2.FollowRequest(follower_id=self.follower, author_id=name))
        self._publisher: Any = hark_pb2_grpc.PublisherServiceStub(self._channel)
        self.inbox: Any = hark_pb2_grpc.InboxServiceStub(self._channel)

    def publish(self, post_id: str) -> str:
        post = hark_pb2.PublishPostRequest(post_id=post_id, author_id=self.name, content=post_id)
        for _ in range(10):  # the connection may end in the middle of the call
            try:
                self._publisher.PublishPost(post, timeout=DEADLINE_S, wait_for_ready=True)
                return post_id
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
        raise AssertionError("it is not there")

    def retract(self, post_id: str) -> None:
        self._publisher.RetractPost(hark_pb2.RetractPostRequest(post_id=post_id))

    def newest(self) -> Any:
        request = hark_pb2.ListNotificationsRequest(user_id=self.follower, page_size=1)
        return self.inbox.ListNotifications(request).notifications[0]

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def author(hark: FarmProcess, request: pytest.FixtureRequest) -> Iterator[Author]:
    one = Author(hark, request.node.name)
    yield one
    one.close()


def test_it_begins_with_the_newest_and_goes_on(watch: Watch, author: Author) -> None:
    for name in ("a", "b", "c"):
        author.publish(f"{author.name}-{name}")
    watcher = watch(author.follower, "--size", "2", "--json")
    held = [watcher.document(), watcher.document()]
    assert [one["event"] for one in held] == ["inbox", "inbox"]
    assert watcher.document() == {"event": "live"}
    posts = [one["notification"]["post_id"] for one in held]
    assert posts == [f"{author.name}-b", f"{author.name}-c"]
    assert author.publish("next") == watcher.added()
    assert watcher.interrupt() == 0
    assert watcher.errors() == ""


def test_only_what_is_unread_is_begun_with(watch: Watch, author: Author) -> None:
    author.publish("read before")
    mark = hark_pb2.MarkReadRequest(user_id=author.follower, up_to=author.newest().cursor)
    author.inbox.MarkRead(mark)
    author.publish("not read")
    watcher = watch(author.follower, "--unread", "--json")
    assert watcher.document()["notification"]["post_id"] == "not read"


def test_people_get_a_line_for_each_event(watch: Watch, author: Author) -> None:
    author.publish("there")
    wait_until(lambda: author.newest().status == hark_pb2.NOTIFICATION_STATUS_DELIVERED)
    watcher = watch(author.follower)
    head = ["event", "id", "created", "status", "tries", "read", "notification"]
    assert watcher.line().split() == head
    cells = watcher.line().split(maxsplit=6)
    there = author.newest()
    assert [cells[0], cells[1], *cells[3:]] == [
        "inbox", there.id, "delivered", "1", "no", f"New post from {author.name}: there",
    ]  # fmt: skip
    mark = hark_pb2.MarkReadRequest(user_id=author.follower, notification_ids=[there.id])
    author.inbox.MarkRead(mark)
    cells = watcher.line().split(maxsplit=6)
    assert [cells[0], cells[1], cells[5]] == ["updated", there.id, "yes"]
    author.retract("there")
    assert watcher.line().split() == ["removed", there.id, "retracted"]


def test_what_changes_much_at_once_is_loaded_anew(watch: Watch, author: Author) -> None:
    for number in range(101):
        author.publish(f"many {number}")
    watcher = watch(author.follower, "--size", "1", "--json")
    assert watcher.document()["notification"]["post_id"] == "many 100"
    watcher.wait_live()
    up_to = hark_pb2.MarkReadRequest(user_id=author.follower, up_to=author.newest().cursor)
    author.inbox.MarkRead(up_to)
    while (document := watcher.document())["event"] == "updated":
        pass
    assert document == {"event": "reset", "reason": "many_changed"}
    anew = watcher.document()
    assert (anew["event"], anew["notification"]["post_id"]) == ("inbox", "many 100")
    assert anew["notification"]["read"]
    author.publish("and goes on")
    assert watcher.added() == "and goes on"


def test_a_killed_gateway_leaves_no_hole_and_no_repeat(
    watch: Watch, author: Author, hark: FarmProcess
) -> None:
    watcher = watch(author.follower, "--json").wait_live()
    for round_ in range(3):
        posts = [author.publish(f"round {round_}, {number}") for number in range(3)]
        (gateway,) = hark.pids("gateway")
        os.kill(gateway, signal.SIGKILL)
        posts += [author.publish(f"round {round_}, {number}") for number in range(3, 6)]
        assert [watcher.added() for _ in posts] == posts
    assert watcher.interrupt() == 0
    lines = watcher.errors().splitlines()
    assert len(lines) == 6, lines
    for lost, found in zip(lines[::2], lines[1::2], strict=True):
        assert lost.startswith("hark: cut off: ")
        assert lost.endswith("; trying again")
        assert found == "hark: connected again"


# What goes wrong


def test_a_page_elsewhere_and_now_are_not_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inbox", "user2", "--watch", "--after", "x"]) == 2
    assert "--after: not allowed with argument --watch" in capsys.readouterr().err


def test_what_hark_refuses_ends_it(hark: FarmProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--grpc", hark.grpc_address, "inbox", "", "--watch", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "INVALID_ARGUMENT"
    assert said.err.startswith("hark: user_id: is 0 bytes long")


def test_no_hark_at_the_beginning_ends_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    watcher = Watcher(tmp_path, address, "user2")
    assert watcher.process.wait(DEADLINE_S) == 1
    assert watcher.errors().startswith(f"hark: no Hark answers at {address}; ")
    watcher.close()


def test_a_reader_who_leaves_is_no_error(watch: Watch, author: Author) -> None:
    watcher = watch(author.follower, "--json").wait_live()
    assert watcher.process.stdout is not None
    watcher.process.stdout.close()
    author.publish("two")
    assert watcher.process.wait(DEADLINE_S) == 1
    assert watcher.errors() == ""
