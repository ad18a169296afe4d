"""Edge lists: every separator and dress they come in, and what is no edge."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from farm import edges
from farm.edges import EdgeList, lines_of
from farm.errors import Corrupt


def parsed(data: bytes, *, run_edges_max: int = 1_000) -> tuple[list[tuple[str, str]], EdgeList]:
    found = EdgeList(lines_of(io.BufferedReader(io.BytesIO(data))), run_edges_max=run_edges_max)
    pairs: list[tuple[str, str]] = []
    for run in found.runs():
        assert len(run.followers) == len(run.authors) == len(run.lines) <= run_edges_max
        pairs += zip(run.followers, run.authors, strict=True)
    return pairs, found


@pytest.mark.parametrize(
    ("data", "pairs"),
    [
        (b"a\tb\n", [("a", "b")]),
        (b"a,b\n", [("a", "b")]),
        (b"a b\n", [("a", "b")]),
        (b"a   b\n", [("a", "b")]),
        (b" a , b \n", [("a", "b")]),
        (b"a b\tc d\n", [("a b", "c d")]),  # where there is a tab, a space belongs to the id
        (b"a,b\tc,d\n", [("a,b", "c,d")]),
        (b"a\tb\r\nc\td\r\n", [("a", "b"), ("c", "d")]),
        (b"a\tb", [("a", "b")]),  # no line end at the end
        (b"\xef\xbb\xbfa,b\nc,d\n", [("a", "b"), ("c", "d")]),
        (b"\xef\xbb\xbf# by hand\na,b\n", [("a", "b")]),
        (b"# a,b\n  # c,d\n\n   \n\t\n\r\na,b\n", [("a", "b")]),
        (b"a,#b\n", [("a", "#b")]),
        ("J\u00fcrgen,\u4f60\u597d\n".encode(), [("J\u00fcrgen", "\u4f60\u597d")]),
        (b"", []),
        (b"a,b\na,b\n", [("a", "b"), ("a", "b")]),  # the store knows what is there already
    ],
)
def test_edges_in_every_dress(data: bytes, pairs: list[tuple[str, str]]) -> None:
    for dressed in (data, gzip.compress(data)):
        found, told = parsed(dressed)
        assert found == pairs
        assert told.rejected == 0


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"a", "'a': must be two ids, not 1"),
        (b"a b c", "'a b c': must be two ids, not 3"),
        (b"a,b,c", "must be two ids, not 3"),
        (b"a\tb\tc", "must be two ids, not 3"),
        (b",b", "follower: is 0 bytes long"),
        (b"a,", "followed: is 0 bytes long"),
        (b"a\t", "followed: is 0 bytes long"),
        (b"a,a", "follower 'a': nobody can follow themselves"),
        (b"a,b\x07", "followed 'b\\x07': must not contain control characters"),
        (b"a,\xff\xfe", "followed '\\xff\\xfe': must be valid UTF-8"),
        (b"a," + b"b" * 129, "followed: is 129 bytes long; must be 1 to 128"),
        (b"a," + b" " * 2_000 + b"b", "is longer than 1024 bytes"),
        (b"a," + b"b" * 1_000_000, "is longer than 1024 bytes"),
    ],
)
def test_what_is_no_edge_is_told_with_its_line_and_the_rest_goes_in(line: bytes, why: str) -> None:
    data = b"# first\nx,y\n" + line + b"\ny,x\n"
    for dressed in (data, gzip.compress(data)):
        pairs, told = parsed(dressed)
        assert pairs == [("x", "y"), ("y", "x")]
        assert told.rejected == 1
        assert told.problems[0].startswith("line 3: ")
        assert why in told.problems[0]
        assert told.problems[0].isprintable()


def test_an_id_of_128_bytes_is_one() -> None:
    longest = "\u00fc" * 64
    assert parsed(f"{longest},b\n".encode())[0] == [(longest, "b")]


def test_all_rejections_are_counted_and_the_first_told() -> None:
    _, told = parsed(b"a\n" * 1_000)
    assert told.rejected == 1_000
    assert len(told.problems) == edges.PROBLEMS_SHOWN_MAX
    assert told.problems[-1].startswith("line 20: ")


def test_runs_keep_order_and_line_numbers() -> None:
    data = b"#\n" + b"".join(b"a%d,b\n" % number for number in range(25))
    found = EdgeList(lines_of(io.BufferedReader(io.BytesIO(data))), run_edges_max=10)
    runs = list(found.runs())
    assert [len(run.lines) for run in runs] == [10, 10, 5]
    assert [line for run in runs for line in run.lines] == list(range(2, 27))
    assert [name for run in runs for name in run.followers] == [f"a{n}" for n in range(25)]
    assert sum(run.size for run in runs) == len(data) - 2


def test_remembered_ids_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "CHECKED_IDS_MAX", 10)
    pairs, told = parsed(b"".join(b"a%d,b%d\n" % (n, n % 3) for n in range(100)))
    assert pairs == [(f"a{n}", f"b{n % 3}") for n in range(100)]
    assert len(told._checked) <= 10


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_gzip_is_told(damage: str, tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(b"".join(b"a%d,b%d\n" % (n * n, n) for n in range(5_000))))
    if damage == "cut":
        del whole[len(whole) // 2 :]
    else:
        whole[len(whole) // 2] ^= 0xFF
    with pytest.raises(Corrupt, match="compressed file is damaged"):
        parsed(bytes(whole))
