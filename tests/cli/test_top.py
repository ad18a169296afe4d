"""`hark top`: its screen on a terminal, its report and its documents elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from farm.cli import main
from farm.cli.screen import sparkline
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import ROOT, FarmProcess, wait_until

pytestmark = pytest.mark.process
DEADLINE_S = 20.0
SCREEN_BEGINS, SCREEN_ENDS = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """One whose only post has become three dead letters."""
    flags = ["--simulated-failure-rate", "1", "--max-attempts", "1", "--workers", "1"]
    one = FarmProcess(tmp_path_factory.mktemp("hark"), flags)
    try:
        one.start()
        with grpc.insecure_channel(one.grpc_address) as channel:
            publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
            publisher.PublishPost(hark_pb2.PublishPostRequest(author_id="user4", content="x"))
            operations: Any = hark_pb2_grpc.OperationsServiceStub(channel)
            wait_until(
                lambda: (
                    [
                        group.count
                        for group in operations.ListDeadLetters(
                            hark_pb2.ListDeadLettersRequest()
                        ).groups
                    ]
                    == [3]
                )
            )
        yield one
    finally:
        one.kill_tree()
        print(f"--- the end of {one.log_path}:\n{one.log_tail()}")


def command(address: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "farm", "--grpc", address, "top", *arguments]


def run(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(address, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def nowhere() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


# Without a terminal


def test_where_no_terminal_is_there_is_one_report(hark: FarmProcess) -> None:
    done = run(hark.grpc_address)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["1 worker", "0 notifications waiting"]
    assert lines[2].endswith(" deliveries a second over the last minute")
    assert lines[3:] == [
        "posts are taken",
        "3 dead letters",
        "dead  channel    error",
        "   3  simulated  simulated failure",
    ]


def test_a_document_comes_with_each_interval(hark: FarmProcess) -> None:
    done = run(hark.grpc_address, "--json", "--count", "3", "--interval", "0.2")
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr, len(looks)) == (0, "", 3)
    assert sorted(look["at"] for look in looks) == [look["at"] for look in looks]
    newest = looks[-1]
    group = {"channel": "simulated", "error": "simulated failure", "count": 3}
    assert group.items() <= newest["dead_letters"][0].items()
    assert (newest["dead"], newest["backlog"], newest["accepting"]) == (3, 0, True)


def test_documents_come_until_they_are_ended(hark: FarmProcess) -> None:
    process = subprocess.Popen(
        command(hark.grpc_address, "--json", "--interval", "0.1"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    for _ in range(3):
        assert json.loads(process.stdout.readline())["workers"] == 1
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, b"")


def test_a_farm_that_is_away_is_told_and_looked_for_again() -> None:
    done = run(nowhere(), "--json", "--count", "2", "--interval", "0.1")
    errors = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert [error["code"] for error in errors] == ["UNAVAILABLE"] * 2


def test_documents_go_on_over_a_killed_gateway_and_a_store_that_hangs(hark: FarmProcess) -> None:
    process = subprocess.Popen(
        command(hark.grpc_address, "--json", "--interval", "0.1"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = map(json.loads, process.stdout)
    try:
        assert next(lines)["workers"] == 1
        os.kill(hark.pids("gateway")[0], signal.SIGKILL)
        assert next(look for look in lines if "error" in look)["error"]["code"] == "UNAVAILABLE"
        assert next(look for look in lines if "error" not in look)["dead"] == 3
        store = hark.pids("store")[0]
        os.kill(store, signal.SIGSTOP)
        error = next(look for look in lines if "error" in look)["error"]
        assert error["message"] == "the farm does not answer within 3 s"
        with contextlib.suppress(ProcessLookupError):  # by then the supervisor may have ended it
            os.kill(store, signal.SIGCONT)
        assert next(look for look in lines if "error" not in look)["dead"] == 3
    finally:
        process.kill()
        process.wait(5)
        process.stdout.close()


def test_one_report_of_a_farm_that_is_away_is_a_failure() -> None:
    address = nowhere()
    done = run(address, "--once")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"hark: no Hark answers at {address}; ")


@pytest.mark.parametrize("interval", ["0", "nan", "-1", "3601", "soon"])
def test_an_interval_is_some_seconds(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", f"--interval={interval}"]) == 2
    rule = "is not a number of seconds from 0.1 to 3,600; see hark top --help"
    assert capsys.readouterr().err == f"hark: argument --interval: '{interval}' {rule}\n"


# On a terminal


class Terminal:
    """A command on a terminal of 24 lines and 80 columns, and what it wrote there."""

    def __init__(self, arguments: list[str]) -> None:
        self.screen = b""
        self._ours, self._theirs = os.openpty()
        termios.tcsetwinsize(self._theirs, (24, 80))
        self.before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=os.environ | {"TERM": "xterm"},
            start_new_session=True,
            preexec_fn=_be_in_front,  # noqa: PLW1509  no thread of this test takes a lock
        )

    def wait_for(self, seen: Callable[[bytes], bool]) -> None:
        end_s = time.monotonic() + DEADLINE_S
        while not seen(self.screen):
            assert time.monotonic() < end_s, self.screen.decode()
            if select.select([self._ours], [], [], 0.1)[0]:
                self.screen += os.read(self._ours, 65536)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> int:
        """Its exit status; the terminal is as it was before."""
        self.wait_for(lambda screen: self.process.poll() is not None)
        self.wait_for(lambda screen: screen.endswith(SCREEN_ENDS))
        assert termios.tcgetattr(self._theirs) == self.before
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        os.close(self._ours)
        os.close(self._theirs)


def _be_in_front() -> None:
    """Makes standard input the terminal that Ctrl-C comes from."""
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


Open = Callable[..., Terminal]


@pytest.fixture
def terminal() -> Iterator[Open]:
    opened: list[Terminal] = []

    def open_one(*arguments: str) -> Terminal:
        opened.append(Terminal(command(*arguments)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def shows(*texts: str) -> Callable[[bytes], bool]:
    return lambda screen: all(text.encode() in screen for text in texts)


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_a_terminal_has_a_screen_until_a_key_ends_it(
    hark: FarmProcess, terminal: Open, key: bytes
) -> None:
    screen = terminal(hark.grpc_address, "--interval", "0.1")
    screen.wait_for(shows("throughput", "posts are taken", "3 dead letters", "simulated failure"))
    looks = screen.screen.count(b"throughput")
    screen.wait_for(lambda now: now.count(b"throughput") >= looks + 3)
    assert screen.screen.startswith(SCREEN_BEGINS)
    screen.type(key)
    assert screen.end() == 0


def test_a_terminal_is_left_as_it_was_by_sigterm(hark: FarmProcess, terminal: Open) -> None:
    screen = terminal(hark.grpc_address)
    screen.wait_for(shows("throughput"))
    screen.process.send_signal(signal.SIGTERM)
    assert screen.end() == 128 + signal.SIGTERM


def test_a_screen_ends_after_so_many_looks(hark: FarmProcess, terminal: Open) -> None:
    assert terminal(hark.grpc_address, "--count", "2", "--interval", "0.1").end() == 0


def test_a_screen_shows_that_the_farm_is_away(terminal: Open) -> None:
    address = nowhere()
    screen = terminal(address, "--interval", "0.1")
    screen.wait_for(shows(f"no Hark answers at {address}", "looking again"))
    screen.type(b"q")
    assert screen.end() == 0


def test_a_chart_has_its_highest_bar_at_the_largest_value() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert sparkline([0, 35, None, 70]) == "▁▅ █"
