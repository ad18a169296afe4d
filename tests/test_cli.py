"""The `hark` command as people run it: its words, its JSON, its exit statuses."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from farm.cli import main
from tests.farm_process import ROOT, FarmProcess, StartFarm, wait_until

pytestmark = pytest.mark.process

_numbers = itertools.count(1)


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


def call(*arguments: str, stdin: bytes = b"") -> Done:
    """Runs a command in this process, which is quick."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin))
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "stdin", given)
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(str(end.code))
    return Done(status, out.getvalue(), err.getvalue())


def run(*arguments: str, **variables: str) -> Done:
    """Runs `python -m farm`, as people do."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith("HARK_")}
    done = subprocess.run(
        [sys.executable, "-m", "farm", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        env=outside | variables,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """One with the sample people, for tests that add posts and people of their own."""
    one = FarmProcess(
        tmp_path_factory.mktemp("hark"),
        ["--simulated-failure-rate", "0", "--following-max", "7", "--workers", "1"],
    )
    try:
        yield one.start()
    finally:
        one.kill_tree()
        print(f"--- the end of {one.log_path}:\n{one.log_tail()}")


Say = Callable[..., str]


@pytest.fixture
def say(hark: FarmProcess) -> Say:
    """Runs a command that works, and returns what it prints."""

    def say(*arguments: str, stdin: bytes = b"") -> str:
        done = call("--grpc", hark.grpc_address, *arguments, stdin=stdin)
        assert (done.status, done.err) == (0, ""), done
        return done.out

    return say


@pytest.fixture
def ask(say: Say) -> Callable[..., Any]:
    """The same in JSON."""
    return lambda *arguments, **more: json.loads(say(*arguments, "--json", **more))


@pytest.fixture
def new_id() -> str:
    return f"cli-{next(_numbers)}"


# Publishing and following


def test_a_post_is_published_once(say: Say, new_id: str) -> None:
    assert say("publish", "user1", "Hello!", "--id", new_id) == f"{new_id} published, to 6 people\n"
    again = say("publish", "user1", "Hello!", "--id", new_id)
    assert again == f"{new_id} was published before, to 6 people\n"


def test_a_post_in_json_gets_an_id_where_none_is_given(ask: Callable[..., Any]) -> None:
    made = ask("publish", "user2", "x")
    assert made.pop("post_id")
    assert made == {"notifications_queued": 3, "duplicate": False}


def test_a_post_comes_from_standard_input(say: Say, ask: Callable[..., Any], new_id: str) -> None:
    say("publish", "user4", "-", "--id", new_id, stdin="two\nlines é\n".encode())
    (newest,) = ask("inbox", "user7", "--size", "1")["notifications"]
    assert newest["post_id"] == new_id
    assert newest["content"] == "New post from user4: two\nlines é"


@pytest.mark.parametrize(
    ("stdin", "expected"),
    [
        (b"ab\xff", "hark: TEXT: byte 3 is not UTF-8"),
        (b"", "hark: content: is 0 bytes long; must be 1 to 16384 bytes of UTF-8"),
        ("é".encode() * 8193, "hark: content: is 16386 bytes long; must be 1 to 16384 bytes"),
        (b"x" + "é".encode() * 9000, "hark: content: is 16388 bytes long; must be 1 to 16384"),
    ],
)
def test_what_cannot_be_a_post_is_refused(hark: FarmProcess, stdin: bytes, expected: str) -> None:
    done = call("--grpc", hark.grpc_address, "publish", "user1", "-", stdin=stdin)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(expected)
    assert done.err.count("\n") == 1


def test_following_says_whether_it_changed_anything(say: Say, ask: Callable[..., Any]) -> None:
    assert say("follow", "fan", "user5") == "fan follows user5\n"
    assert say("follow", "fan", "user5") == "fan followed before, and follows, user5\n"
    assert say("unfollow", "fan", "user5") == "fan no longer follows user5\n"
    assert say("unfollow", "fan", "user5") == "fan did not follow user5\n"
    assert ask("follow", "fan", "user5") == {"changed": True}
    assert ask("unfollow", "fan", "user5") == {"changed": True}


def test_who_is_muted_is_not_heard_of(say: Say, ask: Callable[..., Any], new_id: str) -> None:
    say("follow", "weary", "loud")
    assert say("mute", "weary", "loud") == "weary mutes loud\n"
    assert say("mute", "weary", "loud") == "weary muted before, and mutes, loud\n"
    say("publish", "loud", "x", "--id", new_id)
    assert ask("explain", new_id, "weary")["code"] == "MUTED"
    assert say("unmute", "weary", "loud") == "weary no longer mutes loud\n"
    assert say("unmute", "weary", "loud") == "weary did not mute loud\n"
    assert ask("mute", "weary", "loud") == {"changed": True}
    assert ask("unmute", "weary", "loud") == {"changed": True}


def test_followers_and_followed_are_listed_page_by_page(say: Say, ask: Callable[..., Any]) -> None:
    for number in range(3):
        say("follow", f"listed{number}", "star of\u202e")
        say("follow", "keen", f"listed{number}")
    lines = say("followers", "star of\u202e", "--size", "2").splitlines()
    assert lines[:3] == ["listed0", "listed1", "3 followers"]
    hint = shlex.split(lines[3].removeprefix("more: hark "))
    assert hint[-3:-1] == ["--size", "2"]
    assert say(*hint) == "listed2\n3 followers\n"
    page = ask("following", "keen", "--size", "2")
    assert (page["user_ids"], page["total"]) == (["listed0", "listed1"], 3)
    lines = say("following", "keen", f"--after={page['next_page_token']}").splitlines()
    assert lines == ["listed2", "3 followed"]
    assert say("following", "listed0") == "star of\\u202e\n1 followed\n"
    assert ask("followers", "nobody") == {"user_ids": [], "next_page_token": "", "total": 0}


# Looking


def test_an_inbox_is_read_page_by_page(
    say: Say, ask: Callable[..., Any], hark: FarmProcess
) -> None:
    say("follow", "reader", "writer")
    for number in range(3):
        say("publish", "writer", f"post {number}", "--id", f"writer-{number}")
    wait_until(
        lambda: all(n["status"] == "DELIVERED" for n in ask("inbox", "reader")["notifications"])
    )
    page = ask("inbox", "reader", "--size", "2")
    assert [one["post_id"] for one in page["notifications"]] == ["writer-2", "writer-1"]
    assert page["unread"] == 3
    newest = page["notifications"][0]
    assert newest["author_id"] == "writer"
    assert newest["attempts"] == 1
    assert newest["created_at"].endswith("Z")
    lines = say("inbox", "reader", "--size", "2").splitlines()
    assert lines[0].split() == ["id", "created", "status", "attempts", "read", "notification"]
    cells = lines[1].split(maxsplit=5)
    assert [cells[0], *cells[2:]] == [
        newest["id"], "delivered", "1", "no", "New post from writer: post 2",
    ]  # fmt: skip
    assert lines[3] == "3 unread"
    hint = lines[4].removeprefix("older ones: hark ").split()
    assert "post 0" in say(*hint)
    last = ask("inbox", "reader", "--after", page["next_cursor"])
    assert [one["post_id"] for one in last["notifications"]] == ["writer-0"]
    assert last["next_cursor"] == ""


def test_nobodys_inbox_is_empty(say: Say) -> None:
    assert say("inbox", "nobody") == "0 unread\n"


def test_a_terminal_is_not_obeyed(say: Say, new_id: str) -> None:
    """What people write cannot move the cursor of those who look."""
    say("follow", "curious", "crafty")
    say("publish", "crafty", "a\x1b[2Jb\nc\u202e", "--id", new_id)
    assert r"a\x1b[2Jb\nc\u202e" in say("inbox", "curious")


def test_notifications_are_marked_as_read(say: Say, ask: Callable[..., Any]) -> None:
    say("follow", "marker", "marked")
    for number in range(4):
        say("publish", "marked", f"post {number}", "--id", f"marked-{number}")
    every = ask("inbox", "marker")["notifications"]
    assert say("read", "marker", every[0]["id"]) == "3 unread\n"
    assert ask("read", "marker", f"--up-to={every[2]['cursor']}") == {"unread": 1}
    assert say("read", "marker", every[3]["id"], "--unread") == "2 unread\n"
    assert say("inbox", "marker", "--size", "1").splitlines()[1].split()[4] == "yes"
    lines = say("inbox", "marker", "--unread", "--size", "1").splitlines()
    assert lines[1].split()[4] == "no"
    assert lines[1].endswith("post 2")
    assert lines[2] == "2 unread"
    hint = lines[3].removeprefix("older ones: hark ").split()
    assert [one["post_id"] for one in ask(*hint)["notifications"]] == ["marked-0"]
    head, cells, *_, hint_line = say("inbox", "marker", "--cursors", "--size", "1").splitlines()
    assert head.split()[5:] == ["cursor", "notification"]
    assert cells.split(maxsplit=6)[5:] == [every[0]["cursor"], "New post from marked: post 3"]
    assert " inbox marker --cursors --size 1 --after=" in hint_line


def test_what_is_no_notification_of_a_person_is_left_alone(say: Say) -> None:
    say("follow", "careful", "rare")
    say("publish", "rare", "x")
    assert say("read", "careful", "ffff.1", "0.ABC") == "1 unread\n"


def test_a_post_is_taken_back(say: Say, ask: Callable[..., Any], new_id: str) -> None:
    say("follow", "trusting", "rash")
    say("publish", "rash", "x", "--id", new_id)
    wait_until(lambda: ask("inbox", "trusting")["notifications"][0]["status"] == "DELIVERED")
    hidden = f"{new_id} retracted: 0 had not been sent, 1 had been delivered and are hidden\n"
    assert say("retract", new_id) == hidden
    assert ask("retract", new_id) == {"stopped": 0, "hidden": 1}
    assert say("inbox", "trusting") == "0 unread\n"


def test_why_somebody_was_told_or_not(say: Say, ask: Callable[..., Any], new_id: str) -> None:
    say("publish", "user4", "x", "--id", new_id)
    wait_until(lambda: ask("explain", new_id, "user7")["deliveries"][0]["status"] == "DELIVERED")
    told = ask("explain", new_id, "user7")
    reason = told.pop("reason")
    delivery = {"channel": "simulated", "status": "DELIVERED", "attempts": 1}
    delivery |= {"last_error": "", "next_attempt_at": None}
    assert told == {"in_audience": True, "code": "NOTIFIED", "deliveries": [delivery]}
    sentence, head, cells = say("explain", new_id, "user7").splitlines()
    assert sentence == reason
    assert head.split() == ["channel", "status", "attempts", "next", "attempt", "last", "error"]
    assert cells.split() == ["simulated", "delivered", "1"]
    assert ask("explain", new_id, "user1")["code"] == "NEVER_FOLLOWED"


def test_why_nobody_can_say_is_exit_status_1(hark: FarmProcess, say: Say, new_id: str) -> None:
    say("publish", "user4", "x", "--id", new_id)
    done = call("--grpc", hark.grpc_address, "explain", "no-such-post", "user7")
    assert done == (1, "There is no post 'no-such-post'.\n", "")
    done = call("--grpc", hark.grpc_address, "explain", new_id, "no-such-user", "--json")
    assert (done.status, done.err) == (1, "")
    assert json.loads(done.out)["code"] == "USER_UNKNOWN"


def test_a_ledger_accounts_for_everybody(say: Say, ask: Callable[..., Any], new_id: str) -> None:
    say("publish", "user3", "x", "--id", new_id)
    states = {"queued": 0, "retrying": 0, "delivered": 3, "dead": 0, "suppressed": {}}
    expected = states | {"retracted": 0, "unaccounted": 0}
    wait_until(lambda: ask("ledger", new_id)["channels"]["simulated"] == expected)
    assert ask("ledger", new_id)["audience"] == 3
    head, names, numbers = say("ledger", new_id).splitlines()
    assert head == f"{new_id}: audience 3"
    assert names.split() == ["channel", *expected]
    assert numbers.split() == ["simulated", "0", "0", "3", "0", "0", "0", "0"]


def test_workers_are_shown_and_changed(say: Say, ask: Callable[..., Any]) -> None:
    assert say("workers", "2") == "2 workers\n"
    assert ask("workers")["workers"] == 2
    assert ask("workers", "1") == {"workers": 1}
    wait_until(lambda: ask("workers")["backlog"] == 0)
    lines = say("workers").splitlines()
    assert lines[:2] == ["1 worker", "0 notifications waiting"]
    assert lines[2].endswith(" deliveries a second over the last minute")
    assert lines[3] == "posts are taken"


def test_dead_letters_are_listed_and_get_another_try(farm: StartFarm) -> None:
    flags = ("--simulated-failure-rate", "1", "--max-attempts", "1", "--workers", "1")
    address = farm(*flags).grpc_address

    def say(*arguments: str) -> str:
        done = call("--grpc", address, *arguments)
        assert (done.status, done.err) == (0, ""), done
        return done.out

    def listed() -> list[Any]:
        groups: list[Any] = json.loads(say("dead", "list", "--json"))["groups"]
        return groups

    assert say("dead", "list") == "no dead letters\n"
    say("publish", "user4", "x", "--id", "p")
    wait_until(lambda: [one["count"] for one in listed()] == [3])
    (group,) = listed()
    assert (group["channel"], group["error"]) == ("simulated", "simulated failure")
    assert (sorted(group["sample_user_ids"]), group["sample_post_ids"]) == (
        ["user2", "user5", "user7"],
        ["p"],
    )
    head, cells = say("dead", "list").splitlines()
    assert head.split() == ["group", "channel", "dead", "last", "error", "posts,", "for", "example"]
    words = [group["id"], "simulated", "3", group["last_at"], "simulated", "failure", "p"]
    assert cells.split() == words
    say("unfollow", "user7", "user4")
    assert say("dead", "replay", group["id"], "--dry-run") == (
        "2 dead letters would get another try; left dead: 1 unfollowed\n"
        f"to do it: hark dead replay {group['id']}\n"
    )
    replayed = json.loads(say("dead", "replay", group["id"], "--json"))
    assert replayed == {"replayed": 2, "skipped": {"unfollowed": 1}, "dry_run": False}
    explain = ("explain", "p", "user2", "--json")
    wait_until(lambda: json.loads(say(*explain))["deliveries"][0]["attempts"] == 2)


# Importing


def test_an_edge_list_is_imported_and_its_bad_lines_told(
    say: Say, ask: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "edges.csv"
    greedy = "".join(f"greedy,author{number}\n" for number in range(9))
    path.write_text(f"# who,whom\nimp1,imp2\n\nself,self\nimp2,imp1\nalone\n{greedy}imp1,imp2\n")
    assert ask("import", str(path)) == {
        "added": 9,
        "already_there": 1,
        "rejected": 4,
        "rejections": [
            {"line": 4, "reason": "follower 'self': nobody can follow themselves"},
            {"line": 6, "reason": "'alone': must be two ids, not 1"},
            {"line": 14, "reason": "'greedy' follows 7 authors already"},
            {"line": 15, "reason": "'greedy' follows 7 authors already"},
        ],
    }
    lines = say("import", str(path)).splitlines()
    assert lines[0] == "0 follows added, 10 already there, 4 lines rejected"
    assert lines[1] == "  line 4: follower 'self': nobody can follow themselves"
    assert len(lines) == 5


def test_rejected_lines_are_told_up_to_a_number(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "edges"
    path.write_text("x\n" * 30)
    lines = say("import", str(path)).splitlines()
    assert lines[0] == "0 follows added, 0 already there, 30 lines rejected"
    assert lines[-2:] == ["  line 20: 'x': must be two ids, not 1", "  and 10 more"]


def test_many_edges_are_imported_from_gzip(ask: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "edges.gz"
    path.write_bytes(gzip.compress(b"".join(b"gz%d\tgzipped\n" % n for n in range(12_345))))
    assert ask("import", str(path))["added"] == 12_345
    assert ask("publish", "gzipped", "x")["notifications_queued"] == 12_345


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file or directory"),
        (gzip.compress(b"a,b\n" * 99)[:-4], "behind line 0 the compressed file is damaged"),
    ],
    ids=["missing", "damaged"],
)
def test_a_file_that_cannot_be_read_is_told(
    hark: FarmProcess, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "edges"
    if content is not None:
        path.write_bytes(content)
    done = call("--grpc", hark.grpc_address, "import", str(path))
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"hark: {path}: {expected}")


def test_edges_are_imported_from_a_pipe(ask: Callable[..., Any], tmp_path: Path) -> None:
    """More than one message of them, of a length that nobody knows before."""
    pipe = tmp_path / "edges"
    os.mkfifo(pipe)
    edges = b"".join(b"piped%d,pipe\n" % number for number in range(12_345))
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(pipe.write_bytes, edges)
        assert ask("import", str(pipe))["added"] == 12_345
        assert written.result() == len(edges)


def test_a_file_whose_reading_fails_is_told(hark: FarmProcess) -> None:
    done = call("--grpc", hark.grpc_address, "import", "/proc/self/mem")
    assert done == (1, "", "hark: /proc/self/mem: Input/output error\n")


def test_a_terminal_shows_progress(hark: FarmProcess, tmp_path: Path) -> None:
    path = tmp_path / "edges"
    path.write_text("p1,p2\n")
    told = on_terminal(["import", str(path)], hark.grpc_address)
    assert "import: 100%" in told


def on_terminal(arguments: Sequence[str], grpc: str) -> str:
    """What a command writes to standard error where that is a terminal."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "-m", "farm", "--grpc", grpc, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    told = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # so Linux says that nobody has the other end any more
            break
        if not piece:
            break
        told += piece
    os.close(ours)
    assert process.wait(30) == 0
    return told.decode()


# What goes wrong


def test_refusals_are_one_line_and_a_document(hark: FarmProcess) -> None:
    done = call("--grpc", hark.grpc_address, "ledger", "no-such-post", "--json")
    sentence = "post_id 'no-such-post': there is no such post"
    assert (done.status, done.err) == (1, f"hark: {sentence}\n")
    assert json.loads(done.out) == {"error": {"code": "NOT_FOUND", "message": sentence}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("publish", "ghost", "x"), "author_id 'ghost': unknown"),
        (("publish", "user1", "x", "--id", "a\nb"), "post_id 'a\\nb': must not contain control"),
        (("publish", "user1", "other", "--id", "taken"), "post_id 'taken': published before with"),
        (("follow", "a", "a"), "follower_id 'a': nobody can follow themselves"),
        (("follow", "", "a"), "follower_id: is 0 bytes long"),
        (("unfollow", "a" * 129, "a"), "follower_id: is 129 bytes long"),
        (("mute", "user2", "nobody"), "author_id 'nobody': "),
        (("inbox", "user2", "--after", "x"), "after: was not given out here"),
        (("read", "user2", "--up-to", "x"), "up_to: was not given out here"),
        (("read", "nobody", "1f.3"), "user_id 'nobody': nobody here has this id"),
        (("retract", "no-such-post"), "post_id 'no-such-post': there is no such post"),
        (("explain", "p", ""), "user_id: is 0 bytes long"),
        (("followers", "user1", "--after=x"), "page_token: was not given out here"),
        (("dead", "list", "--after=x"), "page_token: was not given out here"),
        (("dead", "replay", "9.9"), "group_id '9.9': there is no such group of dead letters"),
    ],
)
def test_what_hark_refuses_is_told(
    hark: FarmProcess, say: Say, arguments: tuple[str, ...], expected: str
) -> None:
    say("publish", "user1", "x", "--id", "taken")
    done = call("--grpc", hark.grpc_address, *arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"hark: {expected}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("explode",), "invalid choice: 'explode'"),
        (("publish", "user1"), "the following arguments are required: TEXT"),
        (("dead",), "the following arguments are required: COMMAND"),
        (("dead", "replay"), "the following arguments are required: GROUP"),
        (("read", "user2"), "say what to mark: ID ..., or --up-to CURSOR"),
        (("read", "user2", "--unread"), "say what to mark: ID ..., or --up-to CURSOR"),
        (("read", "user2", "1f.3", "x"), "argument ID: 'x' is no notification's id"),
        (("read", "user2", "1f.3\n"), "argument ID: '1f.3\\n' is no notification's id"),
        (("read", "a", "1.b", "--up-to", "c", "--unread"), "--unread: not allowed with argument"),
        (("workers", "many"), "argument N: 'many' is not a whole number from 1 to 64"),
        (("workers", "-1"), "argument N: '-1' is not a whole number from 1 to 64"),
        (("workers", "65"), "argument N: '65' is not a whole number from 1 to 64"),
        (("inbox", "a", "--size", "0"), "argument --size: '0' is not a whole number from 1 to 100"),
        (("inbox", "a", "--size", "101"), "argument --size: '101' is not a whole number from 1"),
        (("dead", "list", "--size", "101"), "argument --size: '101' is not a whole number from 1"),
        (("followers", "a", "--size", "10001"), "'10001' is not a whole number from 1 to 10000"),
        (("inbox", "a", "--sise", "1"), "unrecognized arguments: --sise"),
        (("inbox", "a", "--siz", "1"), "unrecognized arguments: --siz"),
        (("inbox", b"\xff".decode(errors="surrogateescape")), "is not UTF-8"),
        (("--grpc", "", "workers"), "argument --grpc: is empty; it must be HOST:PORT"),
    ],
)
def test_wrong_usage_is_exit_status_2(arguments: tuple[str, ...], expected: str) -> None:
    done = call(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("hark: ")
    assert expected in done.err
    assert done.err.endswith(" --help\n")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "see"),
    [
        (("--json", "explode"), "hark"),
        (("inbox", "--json", "a", "--sise", "1"), "hark inbox"),
        (("inbox", "a", "--size", "x", "--json"), "hark inbox"),
        (("read", "a", "--json"), "hark read"),
        (("dead", "replay", "--json"), "hark dead replay"),
    ],
)
def test_wrong_usage_is_a_document_too(arguments: tuple[str, ...], see: str) -> None:
    done = call(*arguments)
    error = json.loads(done.out)["error"]
    assert (done.status, error["code"]) == (2, "INVALID_ARGUMENT")
    assert error["message"].endswith(f"; see {see} --help")
    assert done.err == f"hark: {error['message']}\n"


def test_no_farm_is_told_with_where_it_was_looked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = run("workers", HARK_GRPC=address)
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"hark: no Hark answers at {address}; start one with `make run`, or say with "
        "--grpc ADDR where it is\n"
    )


def test_a_server_that_is_no_hark_is_told(hark: FarmProcess) -> None:
    done = call("workers", "--grpc", hark.http_address)
    assert done.status == 1
    assert done.err.startswith(f"hark: no Hark answers at {hark.http_address}; ")


def test_the_address_is_a_flag_before_or_behind_the_command(hark: FarmProcess) -> None:
    before = call("--grpc", hark.grpc_address, "--json", "workers")
    behind = call("workers", "--json", "--grpc", hark.grpc_address)
    for done in (before, behind):
        assert done.status == 0
        assert json.loads(done.out)["workers"] >= 1


def test_help_has_an_example_of_each_command() -> None:
    whole = run("--help")
    assert whole.status == 0
    for command in (
        "publish", "retract", "follow", "unfollow", "mute", "unmute", "followers", "following",
        "import", "inbox", "read", "ledger", "explain", "dead", "workers", "top",
    ):  # fmt: skip
        assert f"    {command} " in whole.out
        assert f"example:\n  hark {command} " in call(command, "--help").out


@pytest.mark.parametrize("arguments", [("dead", "list"), ("dead", "list", "--size", "0", "--json")])
def test_standard_output_without_room_is_told(
    hark: FarmProcess, arguments: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "farm", "--grpc", hark.grpc_address, *arguments],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    *others, last = done.stderr.decode().splitlines()
    assert (done.returncode, last) == (1, "hark: standard output: No space left on device")
    assert all(line.startswith("hark: ") for line in others)


def test_interrupting_ends_it_quietly(tmp_path: Path) -> None:
    """Where whoever listens says nothing, it waits; ^C then is the end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "farm", "workers", "--grpc", address],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        silent.settimeout(20)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        connection.close()
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_reader_who_leaves_is_no_error(hark: FarmProcess) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "farm", "workers", "--grpc", hark.grpc_address],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
