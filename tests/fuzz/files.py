"""What Hark reads from files, and tokens that it gave out and gets back: edge lists, settings,
cursors.

Most inputs go through the code that reads them, in this process, by the thousand a second; a share
of them through the real command and the real port.
"""

from __future__ import annotations

import base64
import gzip
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import grpc

from farm import config
from farm.edges import LINE_BYTES_MAX, EdgeList, lines_of
from farm.errors import ConfigError, Corrupt
from farm.limits import ID_BYTES_MAX
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import ROOT
from tests.fuzz import mutate
from tests.fuzz.place import READERS, Place
from tests.fuzz.tally import Tally

REAL_SHARE = 1_000  # one of so many edge lists, and files of settings, goes to the real command
COMMAND_S = 60.0
TOKENS_AT_ONCE = 64

_LINES = (
    b"fuzz-a\tfuzz-b", b"fuzz-b,fuzz-c", b"fuzz-c fuzz-a", b"# nobody", b"", b"one",
    b"one two three", b"\xef\xbb\xbffuzz-a,x", b"fuzz-a,fuzz-a", b"a\xff,b", b"x" * 2_000 + b",y",
    b"a\0b,c", b"\r",
)  # fmt: skip
_SETTINGS = (ROOT / "docs" / "hark.toml").read_bytes()


def edge_lists(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """Whole files, plain and compressed."""
    for number in range(count):
        data = _edge_list(chance)
        _read_edges(tally, data)
        if number % REAL_SHARE == 0:
            _import(place, tally, data)


def _edge_list(chance: Random) -> bytes:
    data = b"\n".join(chance.choice(_LINES) for _ in range(chance.randrange(1, 20)))
    data = mutate.damaged(chance, data, _LINES)
    if chance.random() < 0.3:
        data = gzip.compress(data)
        if chance.random() < 0.7:
            data = mutate.damaged(chance, data)
    return data


def _read_edges(tally: Tally, data: bytes) -> None:
    edges = EdgeList(lines_of(io.BufferedReader(io.BytesIO(data))), run_edges_max=1_000)
    try:
        for run in edges.runs():
            for name in (*run.followers, *run.authors):
                if not 1 <= len(name.encode()) <= ID_BYTES_MAX:
                    tally.blame(f"takes {name!r} as an id", data)
            if run.size > LINE_BYTES_MAX * len(run.lines):
                tally.blame("takes lines that are too long", data)
    except Corrupt as error:
        tally.answered("damaged")
        tally.told(error.message.partition(": ")[2], data)
    else:
        tally.answered("some refused" if edges.rejected else "taken")


def _import(place: Place, tally: Tally, data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = ["-m", "farm", "--grpc", place.farm.grpc_address, "import", file.name]
        done = _run(command)
    tally.answered(f"exit {done.returncode}")
    if done.returncode not in {0, 1}:
        tally.blame(f"ends with {done.returncode}: {done.stderr!r}", data)
    if "Traceback" in done.stderr:
        tally.blame(f"ends with {done.stderr!r}", data)


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=COMMAND_S, errors="replace",
    )  # fmt: skip


# Settings


def settings(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """Files for `--config`; what is refused goes to the real command now and then."""
    lines = [_uncommented(line) for line in _SETTINGS.splitlines()]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "hark.toml"
        for number in range(count):
            data = b"\n".join(line for line in lines if chance.random() < 0.3)
            if chance.random() < 0.9:
                data = mutate.damaged(chance, data, lines)
            path.write_bytes(data)
            refused = _load(tally, path, data)
            if refused and number % REAL_SHARE == 0:
                _start(tally, path, data)


def _uncommented(line: bytes) -> bytes:
    """A line of the example, in which every key is commented out."""
    bare = line.removeprefix(b"#").strip()
    return bare if b" = " in bare and not bare.startswith(b"#") else b""


def _load(tally: Tally, path: Path, data: bytes) -> bool:
    try:
        config.load("hark", ["--config", str(path)], {})
    except ConfigError as error:
        tally.answered("refused")
        if "\n" in error.message or not error.message.startswith("--"):
            tally.blame(f"says {error.message!r}", data)
        return True
    tally.answered("taken")
    return False


def _start(tally: Tally, path: Path, data: bytes) -> None:
    done = _run(["supervisor.py", "--config", str(path)])
    tally.answered(f"exit {done.returncode}")
    if done.returncode != 2 or len(done.stderr.splitlines()) != 1:
        tally.blame(f"ends with {done.returncode}: {done.stderr!r}", data)


# Tokens


def tokens(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """Cursors of a known inbox and page tokens, changed, and given back over gRPC."""
    inbox: Any = hark_pb2_grpc.InboxServiceStub(place.channel)
    graph: Any = hark_pb2_grpc.SocialGraphServiceStub(place.channel)
    page = inbox.ListNotifications(hark_pb2.ListNotificationsRequest(user_id=READERS[0]))
    given = [page.next_cursor, page.live_cursor, *(one.cursor for one in page.notifications)]
    for first in range(0, count, TOKENS_AT_ONCE):
        asked: list[tuple[list[str], str, Any]] = []
        for _ in range(min(TOKENS_AT_ONCE, count - first)):
            old = chance.choice(given)
            new = _another(chance, old, given)
            if chance.random() < 0.8:
                listing = hark_pb2.ListNotificationsRequest(user_id=READERS[0], after=new)
                asked.append((given, new, inbox.ListNotifications.future(listing)))
            else:
                following = hark_pb2.ListFollowingRequest(user_id=READERS[0], page_token=new)
                asked.append(([], new, graph.ListFollowing.future(following)))
        for good, new, call in asked:
            _look_at_token(tally, good, new, call)


def _another(chance: Random, token: str, others: list[str]) -> str:
    """Changed as text, or in the bytes behind it."""
    if chance.random() < 0.5:
        changed = mutate.damaged(chance, token.encode(), [one.encode() for one in others])
        return changed.decode(errors="ignore")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    return base64.urlsafe_b64encode(mutate.damaged(chance, raw)).rstrip(b"=").decode()


def _look_at_token(tally: Tally, good: list[str], new: str, call: Any) -> None:
    try:
        call.result(10)
    except grpc.RpcError as error:
        told: Any = error
        tally.answered(told.code().name)
        if told.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            tally.blame(f"answers {told.code()} {told.details()!r}", new)
        tally.told(told.details(), new)
    else:
        tally.answered("taken")
        if new and new not in good:
            tally.blame("takes a token that was not given out", new)
