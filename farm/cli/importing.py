"""`hark import`: an edge list, streamed to a running Hark."""

from __future__ import annotations

import io
import os
import re
from argparse import Namespace
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from farm.cli.answers import AddCommand, Answer, Failed, count, printable
from farm.cli.calls import Hark
from farm.edges import PROBLEMS_SHOWN_MAX, EdgeList, Run, lines_of
from farm.errors import HarkError, StartError
from gateway.pb.hark.v1 import hark_pb2

EDGES_PER_MESSAGE = 5_000  # some 300 KB with common ids, and 1.3 MB with the longest

_REJECTED_EDGE = re.compile(r"edge (\d+): (.*)", re.DOTALL)


def add_to(add: AddCommand) -> None:
    verb = add(
        "import",
        import_follows,
        "import who follows whom from an edge list",
        "hark import follows.csv.gz",
    )
    verb.add_argument(
        "file",
        metavar="FILE",
        help="'follower followed' a line, by a comma, a tab or spaces; '#' comments; also gzip",
    )


def import_follows(given: Namespace) -> Answer:
    with _opened(given.file) as file, Hark(given.grpc) as hark:
        stream = _Stream(file)
        try:
            done = hark.stream(
                "SocialGraphService/ImportFollows",
                stream.messages(),
                hark_pb2.ImportFollowsResponse,
            )
        except Failed:
            if stream.error is not None:  # that is why; gRPC only knows that nothing came any more
                raise Failed(stream.error.name, f"{given.file}: {stream.error.message}") from None
            raise
    rejected = stream.edges.rejected + done.rejected
    rejections = stream.rejections(done)
    document = {
        "added": done.added,
        "already_there": done.already_there,
        "rejected": rejected,
        "rejections": [{"line": line, "reason": why} for line, why in rejections],
    }
    text = (
        f"{count(done.added, 'follow')} added, {done.already_there:,} already there, "
        f"{count(rejected, 'line')} rejected"
    )
    shown = "".join(f"\n  line {line}: {printable(why)}" for line, why in rejections)
    more = rejected - len(rejections)
    return Answer(document, text + shown + (f"\n  and {more:,} more" if more else ""))


def _opened(name: str) -> io.BufferedReader:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise Failed("NOT_FOUND", f"{name}: {error.strerror}") from None


class _Stream:
    """The messages of a file, and where in it the edges stood.

    gRPC takes the messages in a thread of its own, and hides what is raised there.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self.edges = EdgeList(lines_of(file), run_edges_max=EDGES_PER_MESSAGE)
        self.error: HarkError | None = None
        self._file = file
        self._sent = 0
        # Where position and line number part: the first edge and its line, after each gap.
        self._positions: list[int] = []
        self._lines: list[int] = []

    def messages(self) -> Iterator[hark_pb2.ImportFollowsRequest]:
        file = self._file
        size = os.fstat(file.fileno()).st_size if file.seekable() else None
        try:
            with tqdm(total=size, desc="import", unit="B", unit_scale=True, disable=None) as bar:
                for run in self.edges.runs():
                    self._note(run)
                    yield _message(run)
                    bar.update(file.tell() - bar.n if file.seekable() else run.size)
        except HarkError as error:
            self.error = error
            raise
        except OSError as error:
            self.error = StartError(error.strerror or str(error))
            raise

    def _note(self, run: Run) -> None:
        for position, line in enumerate(run.lines, self._sent + 1):
            if not self._lines or line - self._lines[-1] != position - self._positions[-1]:
                self._positions.append(position)
                self._lines.append(line)
        self._sent += len(run.lines)

    def rejections(self, done: hark_pb2.ImportFollowsResponse) -> list[tuple[int, str]]:
        """The first rejected lines, those found here and those that Hark would not take."""
        found = []
        for problem in self.edges.problems:
            line, _, why = problem.removeprefix("line ").partition(": ")
            found.append((int(line), why))
        for rejection in done.rejections:
            match = _REJECTED_EDGE.fullmatch(rejection)
            if match is not None:
                found.append((self._line_of(int(match[1])), match[2]))
        return sorted(found)[:PROBLEMS_SHOWN_MAX]

    def _line_of(self, position: int) -> int:
        at = bisect_right(self._positions, position) - 1
        return self._lines[at] + position - self._positions[at]


def _message(run: Run) -> hark_pb2.ImportFollowsRequest:
    edges = zip(run.followers, run.authors, strict=True)
    return hark_pb2.ImportFollowsRequest(
        edges=[hark_pb2.FollowRequest(follower_id=f, author_id=a) for f, a in edges]
    )
