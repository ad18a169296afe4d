"""Edge lists: who follows whom, `follower<separator>followed` a line.

The separator is a tab, or else a comma, or else spaces. Blank lines and lines that begin with `#`
are passed over; CRLF, a byte order mark and gzip are fine. A line that is no edge is counted and
told with its number, and the rest goes on.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from farm.errors import Corrupt, InvalidArgument
from farm.limits import check_id, check_not_self, shown

LINE_BYTES_MAX = 1_024
PROBLEMS_SHOWN_MAX = 20
CHECKED_IDS_MAX = 1_000_000  # remembered as correct
BLOCK_BYTES = 256 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP_BEGINS = b"\x1f\x8b"
_DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile)


class Run(NamedTuple):
    """Consecutive edges, as three columns of equal length, and how many bytes of text they were."""

    followers: list[str]
    authors: list[str]
    lines: list[int]
    size: int


class EdgeLines:
    """Lines made into edges one by one; what is wrong with some is counted meanwhile."""

    def __init__(self) -> None:
        self._checked: dict[bytes, str] = {}
        self.rejected = 0
        self.problems: list[str] = []  # of the first rejected lines, each with its number

    def reject(self, line: int, why: str) -> None:
        """Counts a line that does not go in."""
        self.rejected += 1
        if len(self.problems) < PROBLEMS_SHOWN_MAX:
            self.problems.append(f"line {line}: {why}")

    def edge(self, number: int, line: bytes) -> tuple[str, str] | None:
        """The edge in a line; None where there is none, whether or not there should be."""
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        text = line.strip()
        if not text or text.startswith(b"#"):
            return None
        separator = b"\t" if b"\t" in line else b"," if b"," in line else None
        try:
            return self._checked_edge(line, line.split(separator))
        except InvalidArgument as error:
            self.reject(number, error.message)
            return None

    def _checked_edge(self, line: bytes, fields: list[bytes]) -> tuple[str, str]:
        if len(line.rstrip(b"\r\n")) > LINE_BYTES_MAX:
            raise InvalidArgument(f"is longer than {LINE_BYTES_MAX} bytes")
        if len(fields) != 2:
            text = shown(line.strip().decode(errors="replace"))
            raise InvalidArgument(f"'{text}': must be two ids, not {len(fields)}")
        follower = self._id("follower", fields[0].strip())
        author = self._id("followed", fields[1].strip())
        check_not_self("follower", follower, author)
        return follower, author

    def _id(self, field: str, name: bytes) -> str:
        """A checked id. Most ids come often, and checking costs more than remembering."""
        found = self._checked.get(name)
        if found is None:
            try:
                found = check_id(field, name.decode())
            except UnicodeDecodeError:
                text = repr(name)[2:-1][:40]
                raise InvalidArgument(f"{field} '{text}': must be valid UTF-8") from None
            if len(self._checked) >= CHECKED_IDS_MAX:
                self._checked.clear()
            self._checked[name] = found
        return found


class EdgeList(EdgeLines):
    """The edges of some lines, in runs."""

    def __init__(self, lines: Iterable[bytes], *, run_edges_max: int) -> None:
        super().__init__()
        self._lines = lines
        self._run_edges_max = run_edges_max

    def runs(self) -> Iterator[Run]:
        """Every edge once, in order."""
        followers: list[str] = []
        authors: list[str] = []
        lines: list[int] = []
        size = 0
        for number, line in enumerate(self._lines, 1):
            edge = self.edge(number, line)
            if edge is None:
                continue
            followers.append(edge[0])
            authors.append(edge[1])
            lines.append(number)
            size += len(line)
            if len(lines) >= self._run_edges_max:
                yield Run(followers, authors, lines, size)
                followers, authors, lines, size = [], [], [], 0
        if lines:
            yield Run(followers, authors, lines, size)


def lines_of(stream: io.BufferedReader) -> Iterator[bytes]:
    """The lines of a file, which may be gzip. Raises `Corrupt` where that cannot be unpacked.

    What is longer than a line may be comes as its beginning: memory has a bound, whatever is read.
    """
    stream = _unpacked(stream)
    number = 0
    try:
        while line := stream.readline(LINE_BYTES_MAX + 2):
            yield line
            number += 1
            while not line.endswith(b"\n") and (line := stream.readline(LINE_BYTES_MAX)):
                pass
    except _DAMAGES as error:
        raise _damaged(number, error) from None


def blocks_of(stream: io.BufferedReader) -> Iterator[bytes]:
    """The same, many whole lines at a time."""
    stream = _unpacked(stream)
    number = 0
    try:
        while block := stream.read(BLOCK_BYTES):
            if not block.endswith(b"\n"):
                rest = stream.readline(LINE_BYTES_MAX + 2)
                block += rest
                while rest and not rest.endswith(b"\n"):
                    rest = stream.readline(LINE_BYTES_MAX)
            yield block
            number += block.count(b"\n") + (not block.endswith(b"\n"))
    except _DAMAGES as error:
        raise _damaged(number, error) from None


def _unpacked(stream: io.BufferedReader) -> io.BufferedReader:
    if stream.peek(2)[:2] == _GZIP_BEGINS:
        return io.BufferedReader(gzip.GzipFile(fileobj=stream))
    return stream


def _damaged(number: int, error: Exception) -> Corrupt:
    return Corrupt(f"behind line {number} the compressed file is damaged: {error}")
