"""Rows about reading and publishing at once: what each does to the other's latency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks import h2load, load, million, reading, wrk
from benchmarks.bench import NOTHING_SENT, Bench, about_driver
from benchmarks.farm import Farm, running
from benchmarks.figures import Figure, Mark, Row, at_least, at_most, percentile, ratio, shown

READS_PER_S, READ_CONNECTIONS = 1_000, 32
QUIET_READS_PER_S = 200  # where it is the reads that are looked at
POSTS_PER_S, POSTS_PER_CALL = 10_000, 500
CALLS_PER_S, CALLS_IN_FLIGHT = 100, 32
READERS = 2_000
PACE_KEPT = 0.9  # of what was to be done beside it
METHOD = f"{load.PUBLISHER}/PublishPost"

_Reads = tuple[str, str, Sequence[str], int, int, Path, float]


def reads_and_posts(bench: Bench) -> Iterator[Row]:
    """Among a million posts: pages of people who follow 20 authors, and posts to 200 followers."""
    with (
        bench.copy_of(bench.million().data_dir) as data_dir,
        running(data_dir, *NOTHING_SENT) as farm,
    ):
        users = million.fans(READERS)
        wrk.look(farm.http, reading.PAGE_QUERY, users)
        h2load.reads(*_reads(bench, farm, users, READS_PER_S))  # all warm
        idle, busy, posts = _reads_while_publishing(bench, farm, users)
        alone, beside, pages = _posts_while_reading(bench, farm, users)
        memory = farm.memory_mib()
    yield _row(
        "reads-while-publishing",
        f"inbox pages, {QUIET_READS_PER_S}/s, while {POSTS_PER_S:,} posts/s are published",
        busy, idle, 4, _kept("posts", posts, POSTS_PER_S), memory,
    )  # fmt: skip
    yield _row(
        "publish-while-reading",
        f"PublishPost, {CALLS_PER_S}/s, while {READS_PER_S:,} inbox pages/s are read",
        beside, alone, 2, _kept("pages", pages, READS_PER_S), memory,
    )  # fmt: skip


def _row(
    name: str, what: str, busy: Sequence[load.Load], idle: Sequence[load.Load], most: float,
    kept: Mark, memory: dict[str, float],
) -> Row:  # fmt: skip
    figure, limit = _late(busy), _late(idle)
    return Row(
        name=name,
        what=f"{what}, p99",
        figure=figure,
        limit=limit,
        limit_is="the same, while nothing else happens",
        marks=[at_most("ratio", ratio(figure, limit), most), kept],
        notes=[
            f"p50 {_middle(busy):.1f} ms, alone {_middle(idle):.1f} ms",
            *about_driver(busy[-1], "h2load"),
        ],
        memory_mib=memory,
    )


def _late(loads: Sequence[load.Load]) -> Figure:
    return Figure.of("ms", [percentile(one.latencies_ms, 0.99) for one in loads])


def _middle(loads: Sequence[load.Load]) -> float:
    return median(percentile(one.latencies_ms, 0.5) for one in loads)


def _kept(what: str, loads: Sequence[load.Load], wanted: float) -> Mark:
    """What went on beside it counts only where it was as much as it should have been."""
    rate = min(one.rate for one in loads)
    return at_least(f"{what}/s beside it ({shown(rate)})", rate, PACE_KEPT * wanted)


def _reads_while_publishing(
    bench: Bench, farm: Farm, users: Sequence[str]
) -> tuple[list[load.Load], list[load.Load], list[load.Load]]:
    idle, busy, beside = [], [], []
    for _ in range(bench.rounds):
        reads = _reads(bench, farm, users, QUIET_READS_PER_S)
        idle.append(h2load.reads(*reads))
        publishing = bench.driver.begin(
            load.batches, farm.grpc, million.authors(), POSTS_PER_CALL, 2, bench.round_s, 10**9,
            POSTS_PER_S,
        )  # fmt: skip
        busy.append(h2load.reads(*reads))
        beside.append(publishing.result())
        _tell(bench, "reads", idle, busy)
    return idle, busy, beside


def _posts_while_reading(
    bench: Bench, farm: Farm, users: Sequence[str]
) -> tuple[list[load.Load], list[load.Load], list[load.Load]]:
    idle, busy, beside = [], [], []
    for _ in range(bench.rounds):
        idle.append(_posts(bench, farm))
        reading_on = bench.driver.begin(h2load.reads, *_reads(bench, farm, users, READS_PER_S))
        busy.append(_posts(bench, farm))
        beside.append(reading_on.result())
        _tell(bench, "posts", idle, busy)
    return idle, busy, beside


def _tell(bench: Bench, what: str, idle: Sequence[load.Load], busy: Sequence[load.Load]) -> None:
    p99s = [percentile(some[-1].latencies_ms, 0.99) for some in (idle, busy)]
    bench.tell(f"{what}: p99 {p99s[0]:.1f} ms alone, {p99s[1]:.1f} ms while both happen")


def _posts(bench: Bench, farm: Farm) -> load.Load:
    message = load.post(million.authors()[0]).SerializeToString()
    count = int(CALLS_PER_S * bench.round_s)
    return h2load.calls(
        farm.grpc, METHOD, message, CALLS_IN_FLIGHT, count, bench.scratch(), per_second=CALLS_PER_S
    )


def _reads(bench: Bench, farm: Farm, users: Sequence[str], per_second: float) -> _Reads:
    """What h2load is to be told: a page for each of these people in turn."""
    count = int(per_second * bench.round_s)
    return (
        farm.http, reading.PAGE_QUERY, users, READ_CONNECTIONS, count, bench.scratch(), per_second
    )  # fmt: skip
