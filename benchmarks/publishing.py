"""Rows about taking posts in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks import bare, bare_servers, crowd, load
from benchmarks.bench import AT_ONCE, NO_DELIVERY, Bench, about_driver
from benchmarks.drivers import serving
from benchmarks.farm import Farm, Spent, running
from benchmarks.figures import Figure, Row, at_least, at_most, percentile, ratio

POSTS_PER_CALL = 500
CALLS_IN_FLIGHT = 32
BATCHES_IN_FLIGHT = 2
POSTS_MAX = 200_000  # a round, however fast
LARGE_PER_ROUND = 20
BARE_POSTS_MAX = 20_000
IDLE_WITHIN_S = 120.0


def to_a_million(bench: Bench) -> Iterator[Row]:
    """One post at a time to 1,000,000 followers, beside posts to 10 and bare SQLite."""
    large, small = crowd.authors_of(crowd.PEOPLE), crowd.authors_of(10)
    with bench.data_dir() as data_dir:
        with running(data_dir, *NO_DELIVERY) as farm:
            _p50_ms(bench, farm, [*large, *small])
            smalls, larges = [], []
            for number in range(1, bench.rounds + 1):
                smalls.append(_p50_ms(bench, farm, small))
                larges.append(_p50_ms(bench, farm, large))
                bench.tell(f"round {number}: {smalls[-1]:.2f} ms to 10, {larges[-1]:.2f} ms to all")
            memory = farm.memory_mib()
        bares, _ = bench.driver.run(
            bare.publish, str(data_dir), str(bench.scratch()), 1, LARGE_PER_ROUND, crowd.PEOPLE
        )
    figure, limit = Figure.of("ms", larges), Figure.of("ms", smalls)
    sqlite = median(bares) * 1000
    yield Row(
        name="publish-million",
        what="publish to 1,000,000 followers, answered durable, p50, nothing delivered meanwhile",
        figure=figure,
        limit=limit,
        limit_is="publish to 10 followers, p50",
        marks=[
            at_most("ratio", ratio(figure, limit), 3),
            at_most("ms", figure.median, 20),
        ],
        notes=[f"bare SQLite writes the same rows in {sqlite:.2f} ms (p50), fsync included"],
        memory_mib=memory,
    )


def _p50_ms(bench: Bench, farm: Farm, authors: list[str]) -> float:
    most = LARGE_PER_ROUND if len(authors) == 1 else 5 * LARGE_PER_ROUND
    done = bench.driver.run(load.unary, farm.grpc, authors, 1, bench.round_s, most)
    return percentile(done.latencies_ms, 0.5)


def in_batches(bench: Bench) -> Iterator[Row]:
    """PublishPosts, 500 posts a call, 200 followers each; without delivery, and with."""
    alone = _batches_row(bench, "batches", "nothing sent", "--channel", "inbox", "--workers", "1")
    assert alone.limit is not None
    marks = [
        at_least("ratio", ratio(alone.figure, alone.limit), 0.4),
        at_least("posts/s", alone.figure.median, 20_000),
    ]
    yield replace(alone, marks=marks)
    yield _batches_row(bench, "batches-delivered", "delivered meanwhile", *AT_ONCE)


def _batches_row(bench: Bench, name: str, how: str, *flags: str) -> Row:
    with bench.data_dir() as data_dir:
        with running(data_dir, *flags) as farm:
            done = _batch_rounds(bench, farm, name)
            memory = farm.memory_mib()
        limit = _bare_batches(bench, data_dir)
    figure = Figure.of("posts/s", done.rates)
    return Row(
        name=name,
        what=f"PublishPosts, {POSTS_PER_CALL} a call, 200 followers each, {how}",
        figure=figure,
        limit=limit,
        limit_is=f"bare transactions of {POSTS_PER_CALL} posts, the same rows, and a checkpoint",
        notes=[f"{BATCHES_IN_FLIGHT} calls in flight", *about_driver(done.last)],
        memory_mib=memory,
        spent=done.spent,
    )


class _Rounds:
    """The rates of some rounds, and more about the last one."""

    def __init__(self, loads: list[load.Load], spent: Spent | None) -> None:
        self.rates = [one.rate for one in loads]
        self.last = loads[-1]
        self.spent = spent


def _batch_rounds(bench: Bench, farm: Farm, name: str) -> _Rounds:
    authors = crowd.authors_of(200)
    loads: list[load.Load] = []
    spent = None
    for number in range(bench.rounds + 1):
        before = farm.usage()
        done = bench.driver.run(
            load.batches, farm.grpc, authors, POSTS_PER_CALL, BATCHES_IN_FLIGHT,
            bench.round_s if number else 0.3, POSTS_MAX,
        )  # fmt: skip
        spent = before.until(farm.usage(), done.count)
        idle_s = bench.driver.run(load.until_idle, farm.grpc, IDLE_WITHIN_S)
        if number:
            bench.tell(f"{name}: {done.rate:,.0f} posts/s, all delivered {idle_s:.1f} s later")
            loads.append(done)
    return _Rounds(loads, spent)


def _bare_batches(bench: Bench, data_dir: Path) -> Figure:
    posts = min(BARE_POSTS_MAX, POSTS_MAX)
    rates = []
    for _ in range(bench.rounds):
        seconds, copying_s = bench.driver.run(
            bare.publish, str(data_dir), str(bench.scratch()), POSTS_PER_CALL, posts, 1
        )
        rates.append(len(seconds) * POSTS_PER_CALL / (sum(seconds) + copying_s))
    return Figure.of("posts/s", rates)


def one_by_one(bench: Bench) -> Iterator[Row]:
    """PublishPost, 32 in flight, 200 followers each, beside a handler that does nothing."""
    with serving(bare_servers.empty_publisher) as address:
        empty = _unary_rounds(bench, address, "an empty handler")
    limit = Figure.of("posts/s", empty.rates)
    for name, how, flags in (
        ("unary", "nothing sent", ("--channel", "inbox", "--workers", "1")),
        ("unary-delivered", "delivered meanwhile", AT_ONCE),
    ):
        with bench.data_dir() as data_dir, running(data_dir, *flags) as farm:
            done = _unary_rounds(bench, farm.grpc, name, farm)
            memory = farm.memory_mib()
        figure = Figure.of("posts/s", done.rates)
        yield Row(
            name=name,
            what=f"PublishPost, {CALLS_IN_FLIGHT} in flight, 200 followers each, {how}",
            figure=figure,
            limit=limit,
            limit_is="an empty grpc.aio handler on uvloop, same messages and client",
            marks=[at_least("ratio", ratio(figure, limit), 0.5)],
            notes=[
                f"{_latencies(done.last)}; of the empty handler {_latencies(empty.last)}",
                *about_driver(done.last),
                f"for the empty handler {about_driver(empty.last)[0]}",
            ],
            memory_mib=memory,
            spent=done.spent,
        )


def _latencies(done: load.Load) -> str:
    middle, late = (percentile(done.latencies_ms, share) for share in (0.5, 0.99))
    return f"p50 {middle:.1f} ms, p99 {late:.1f} ms"


def _unary_rounds(bench: Bench, address: str, name: str, farm: Farm | None = None) -> _Rounds:
    authors = crowd.authors_of(200)
    loads: list[load.Load] = []
    spent = None
    for number in range(bench.rounds + 1):
        before = farm.usage() if farm else None
        seconds = bench.round_s if number else 0.3
        done = bench.driver.run(load.unary, address, authors, CALLS_IN_FLIGHT, seconds, POSTS_MAX)
        if farm and before:
            spent = before.until(farm.usage(), done.count)
            bench.driver.run(load.until_idle, address, IDLE_WITHIN_S)
        if number:
            bench.tell(f"{name}: {done.rate:,.0f} posts/s")
            loads.append(done)
    return _Rounds(loads, spent)
