"""Rows about taking posts in, many a call or very many followers; one by one, see `calling.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import bare, crowd, load
from benchmarks.bench import AT_ONCE, NO_DELIVERY, NOTHING_SENT, Bench, about_driver
from benchmarks.farm import Farm, Spent, running
from benchmarks.figures import Figure, Mark, Row, at_least, at_most, percentile, ratio

POSTS_PER_CALL = 500
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
            p50_ms(bench, farm, [*large, *small])
            smalls, larges = [], []
            for number in range(1, bench.rounds + 1):
                smalls.append(p50_ms(bench, farm, small))
                larges.append(p50_ms(bench, farm, large))
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
            at_most("ratio", ratio(figure, limit), 1.5),
            at_most("ms", figure.median, 5),
        ],
        notes=[f"bare SQLite writes the same rows in {sqlite:.2f} ms (p50), fsync included"],
        memory_mib=memory,
    )


def p50_ms(bench: Bench, farm: Farm, authors: list[str]) -> float:
    """Of PublishPost, one call at a time."""
    most = LARGE_PER_ROUND if len(authors) == 1 else 5 * LARGE_PER_ROUND
    done = bench.driver.run(load.unary, farm.grpc, authors, 1, bench.round_s, most)
    return percentile(done.latencies_ms, 0.5)


def in_batches(bench: Bench) -> Iterator[Row]:
    """PublishPosts, 500 posts a call; to 200 and to 1,000 followers; and while all is delivered."""
    with bench.data_dir() as data_dir:
        with running(data_dir, *NOTHING_SENT) as farm:
            taken = {size: _batch_rounds(bench, farm, size) for size in (200, 1_000)}
            memory = farm.memory_mib()
        limits = {size: _bare_batches(bench, data_dir, size) for size in taken}
    yield _posts_row("batches", "nothing sent", taken[200], limits[200], memory, mark=True)
    yield _accepted_row(taken[1_000], limits[1_000], memory)
    with bench.data_dir() as data_dir:
        with running(data_dir, *AT_ONCE) as farm:
            done = _batch_rounds(bench, farm, 200)
            memory = farm.memory_mib()
        limit = _bare_batches(bench, data_dir, 200)
    yield _posts_row("batches-delivered", "delivered meanwhile", done, limit, memory, mark=False)


class _Rounds:
    """The loads of some rounds, and what the last one took."""

    def __init__(self, loads: list[load.Load], spent: Spent) -> None:
        self.rates = [one.rate for one in loads]
        self.last = loads[-1]
        self.spent = spent


def _posts_row(
    name: str, how: str, done: _Rounds, limit: Figure, memory: dict[str, float], *, mark: bool
) -> Row:
    figure = Figure.of("posts/s", done.rates)
    marks = [
        at_least("ratio", ratio(figure, limit), 0.6),
        at_least(figure.unit, figure.median, 4e4),
    ]
    return Row(
        name=name,
        what=f"PublishPosts, {POSTS_PER_CALL} a call, 200 followers each, {how}",
        figure=figure,
        limit=limit,
        limit_is=f"bare transactions of {POSTS_PER_CALL} posts, the same rows, and a checkpoint",
        marks=marks if mark else [],
        notes=[f"{BATCHES_IN_FLIGHT} calls in flight", *about_driver(done.last)],
        memory_mib=memory,
        spent=done.spent,
    )


def _accepted_row(done: _Rounds, limit: Figure, memory: dict[str, float]) -> Row:
    """The same to more followers, counted in notifications."""
    figure, beside = (
        Figure.of("notifications/s", [rate * 1_000 for rate in rates])
        for rates in (done.rates, limit.values)
    )
    marks = [at_least("ratio", ratio(figure, beside), 0.6), _millions(figure, 40)]
    return Row(
        name="accepted-1000",
        what=f"PublishPosts, {POSTS_PER_CALL} a call, 1,000 followers each, accepted",
        figure=figure,
        limit=beside,
        limit_is=f"bare transactions of {POSTS_PER_CALL} posts, the same rows, and a checkpoint",
        marks=marks,
        notes=[f"{BATCHES_IN_FLIGHT} calls in flight", *about_driver(done.last)],
        memory_mib=memory,
        spent=done.spent,
    )


def _millions(figure: Figure, millions: int) -> Mark:
    return at_least(figure.unit, figure.median, millions * 1e6)


def _batch_rounds(bench: Bench, farm: Farm, followers: int) -> _Rounds:
    authors = crowd.authors_of(followers)
    loads: list[load.Load] = []
    before = after = farm.usage()
    for number in range(bench.rounds + 1):
        before = farm.usage()
        done = bench.driver.run(
            load.batches, farm.grpc, authors, POSTS_PER_CALL, BATCHES_IN_FLIGHT,
            bench.round_s if number else 0.3, POSTS_MAX,
        )  # fmt: skip
        after = farm.usage()
        idle_s = bench.driver.run(load.until_idle, farm.grpc, IDLE_WITHIN_S)
        if number:
            bench.tell(f"to {followers}: {done.rate:,.0f} posts/s, all done {idle_s:.1f} s later")
            loads.append(done)
    return _Rounds(loads, before.until(after, loads[-1].count))


def _bare_batches(bench: Bench, data_dir: Path, followers: int) -> Figure:
    rates = []
    for _ in range(bench.rounds):
        seconds, copying_s = bench.driver.run(
            bare.publish, str(data_dir), str(bench.scratch()), POSTS_PER_CALL, BARE_POSTS_MAX,
            followers,
        )  # fmt: skip
        rates.append(len(seconds) * POSTS_PER_CALL / (sum(seconds) + copying_s))
    return Figure.of("posts/s", rates)
