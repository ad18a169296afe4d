"""Rows about a farm that has nothing to do: how soon it is ready, and what it takes up."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import NOTHING_SENT, Bench
from benchmarks.farm import Farm, running
from benchmarks.figures import Figure, Row, at_most

WORKERS = ("--workers", "2")
SETTLE_S = 3.0  # what starting left to be done
IDLE_S = 2.0  # a round, and the usual time beside
MB_PER_MIB = 1.048576


def empty(bench: Bench) -> Iterator[Row]:
    """From the command to the ready line of a farm that has never run; then what it takes idle."""
    with bench.copy_of(None) as parent:
        seconds = bench.repeat("s to ready", lambda: _start_s(parent / "farm"))
        (parent / "farm").mkdir()
        with running(parent / "farm", *WORKERS) as farm:
            time.sleep(SETTLE_S)
            busy = bench.repeat("% of a core", lambda: _busy_percent(farm, bench.round_s + IDLE_S))
            memory = farm.memory_mib()
    figure = Figure.of("s", seconds)
    yield Row(
        name="start",
        what="start to ready line, empty store",
        figure=figure,
        marks=[at_most("s", figure.median, 2)],
    )
    figure = Figure.of("MB", [sum(memory.values()) * MB_PER_MIB])
    yield Row(
        name="memory-idle",
        what="memory of the whole farm (PSS), idle, 2 workers",
        figure=figure,
        marks=[at_most("MB", figure.median, 350)],
        memory_mib=memory,
    )
    figure = Figure.of("% of a core", busy)
    yield Row(
        name="idle-cpu",
        what="the whole farm, idle, 2 workers",
        figure=figure,
        marks=[at_most("%", figure.median, 2)],
    )


def filled(bench: Bench) -> Iterator[Row]:
    """The same where there are a million posts, and what the store took while they came."""
    made = bench.million()
    with bench.copy_of(made.data_dir) as data_dir:
        seconds = bench.repeat("s to ready", lambda: _ready_s(data_dir))
    figure = Figure.of("s", seconds)
    yield Row(
        name="start-million",
        what=f"start to ready line, {made.posts:,} posts",
        figure=figure,
        marks=[at_most("s", figure.median, 3)],
    )
    figure = Figure.of("MB", [made.memory_mib["store"] * MB_PER_MIB])
    yield Row(
        name="memory-posts",
        what=f"memory of the store (PSS), {made.posts:,} posts to {made.notifications:,}",
        figure=figure,
        marks=[at_most("MB", figure.median, 1_000)],
        notes=[f"as soon as the last was published, at {made.posts_per_s:,.0f} posts/s"],
        memory_mib=made.memory_mib,
    )


def _start_s(data_dir: Path) -> float:
    """Of a farm that has never run."""
    data_dir.mkdir()
    with running(data_dir, *WORKERS) as farm:
        ready_s = farm.ready_s
    shutil.rmtree(data_dir)
    return ready_s


def _ready_s(data_dir: Path) -> float:
    with running(data_dir, *NOTHING_SENT) as farm:
        return farm.ready_s


def _busy_percent(farm: Farm, seconds: float) -> float:
    """Of one core, all processes together."""
    before, begun_s = farm.cpu_ns(), time.perf_counter()
    time.sleep(seconds)
    return (farm.cpu_ns() - before) / (time.perf_counter() - begun_s) / 1e7
