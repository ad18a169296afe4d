"""The row about taking in a graph of who follows whom."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks import bare, crowd
from benchmarks.bench import Bench
from benchmarks.farm import running
from benchmarks.figures import Figure, Row, at_least, ratio

EDGES, QUICK_EDGES = 10_000_000, 500_000


def graph(bench: Bench) -> Iterator[Row]:
    """A social graph, from the start of the command to its ready line, less an empty start."""
    path, which = bench.graph, "the graph given"
    if path is None:
        path, which = bench.scratch(), "made up"
        crowd.write_graph(path, QUICK_EDGES if bench.quick else EDGES)
    edges = _lines(path)
    with bench.copy_of(None) as data_dir, running(data_dir, "--workers", "1") as farm:
        empty_s = farm.ready_s
    with bench.copy_of(None) as data_dir:
        with running(data_dir, "--workers", "1", "--import-follows", str(path)) as farm:
            taken_s, memory = farm.ready_s - empty_s, farm.memory_mib()
        bench.tell(f"import: {edges / taken_s:,.0f} edges/s")
        scratch = bench.scratch()
        bare_s = bench.driver.run(bare.graph, str(data_dir), str(scratch))
        shutil.rmtree(scratch)
    figure, limit = Figure.of("edges/s", [edges / taken_s]), Figure.of("edges/s", [edges / bare_s])
    yield Row(
        name="import",
        what=f"--import-follows, {edges:,} edges, {which}",
        figure=figure,
        limit=limit,
        limit_is="bare sorted inserts of the same people, relations, segments and authors",
        marks=[
            at_least("ratio", ratio(figure, limit), 0.4),
            at_least("edges/s", figure.median, 200_000),
        ],
        notes=[f"once, in {taken_s:.1f} s; a start without it, {empty_s:.1f} s, is not in it"],
        memory_mib=memory,
    )


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
