"""Blocks of edges: the same edges and the same complaints as line by line, however they are cut."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farm import edges
from farm.edge_blocks import EdgeBlocks, Names
from farm.edges import EdgeList, blocks_of, lines_of

Found = tuple[list[tuple[str, str, int]], int, list[str], set[str]]

LINES = (
    b"a\tb",
    b"b\ta",
    b"c,a",
    b"a d",
    b"a  d",
    b" c , b ",
    b"# a,b",
    b"a,#b",
    b"",
    b"\t",
    b"a",
    b"a,a",
    b"b b\tc c",
    b"a,b\tc,d",
    b"a\t",
    b",b",
    b"a\tb\tc",
    b"e,\x07",
    b"e,\xff",
    "\u00fc,\u4f60".encode(),
    b"f," + b"g" * 128,
    b"f," + b"g" * 129,
    b"h," + b" " * 1_020 + b"i",
    b"h," + b" " * 1_021 + b"i",
    b"h," + b" " * 1_022 + b"i",
    b"j," + b"k" * 3_000,
    b"\xef\xbb\xbfl,m",
)
files = st.lists(st.sampled_from(LINES), max_size=12).flatmap(
    lambda lines: st.sampled_from(
        [b"\n".join(lines), b"\r\n".join(lines), b"\n".join(lines) + b"\n"]
    )
)


def by_blocks(data: bytes) -> Found:
    names, read, found = Names(), EdgeBlocks(), []
    for block in blocks_of(io.BufferedReader(io.BytesIO(data))):
        places, lines = read.edges_of(block, names)
        ids = ["nobody", *(name.decode() for name in names)]
        pairs = zip(places[0::2], places[1::2], lines, strict=True)
        found += [(ids[follower], ids[author], line) for follower, author, line in pairs]
    assert names.new == [name.decode() for name in names]
    assert list(names.values()) == list(range(1, len(names) + 1))
    return found, read.rejected, read.problems, set(names.new)


def by_lines(data: bytes) -> Found:
    read = EdgeList(lines_of(io.BufferedReader(io.BytesIO(data))), run_edges_max=1_000)
    found = [edge for run in read.runs() for edge in zip(*run[:3], strict=True)]
    named = {name for follower, author, _ in found for name in (follower, author)}
    return found, read.rejected, read.problems, named


@given(files, st.sampled_from([1, 7, 100, 100_000]))
@example(b"a\tb\nc\td\tx\ne\n", 100_000)  # as many separators as lines
@example(b"a\tb\n\xef\xbb\xbfc\td\n", 100_000)
@example(b"a,b\nc,c\n", 100_000)
def test_blocks_say_what_lines_say(data: bytes, block_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edges, "BLOCK_BYTES", block_bytes)
        for dressed in (data, gzip.compress(data)):
            assert by_blocks(dressed) == by_lines(dressed)


def test_people_keep_their_places() -> None:
    names, read = Names(), EdgeBlocks()
    assert list(read.edges_of(b"a,b\nc,a\n", names)[0]) == [1, 2, 3, 1]
    names.new = []
    places, lines = read.edges_of(b"c,d\na,d\n", names)
    assert list(places) == [3, 4, 1, 4]
    assert list(lines) == [3, 4]
    assert names.new == ["d"]
