"""Rows about getting notifications out. Followers per post are told with every one of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from benchmarks import bare, bare_servers, crowd, load
from benchmarks.bench import AT_ONCE, Bench, about_driver
from benchmarks.drivers import Drivers, serving
from benchmarks.farm import Farm, Spent, running
from benchmarks.figures import Figure, Mark, Row, at_least, at_most, percentile, ratio

WORKERS = 2
SEED_WORKERS = 5
CONCURRENCY = 1_000  # in one worker, the default
MEAN_LATENCY_S = 0.030  # of 10 to 50 ms
DELIVERED_OF_ATTEMPTS = 0.9
WITHIN_S = 120.0
SLOW_NOTIFICATIONS_PER_S = 250_000  # of a round's seconds, so that the last retries weigh little
REST_S = 0.01  # before a post, for a farm that has to be woken
IDLE_POSTS = 100
MIDDLE = 0.5
POSTS_MAX = 20_000  # a round, however fast

_OneAtATime = Callable[[str, str, int, float], load.Load]


def at_once(bench: Bench) -> Iterator[Row]:
    """The simulated channel without latency and failure, beside the random numbers it needs."""
    drawers = Drivers(WORKERS)
    try:
        drawers.run_in_all(bare.sends_per_second, 0.5)
        sends = bench.repeat(
            "sends/s", lambda: sum(drawers.run_in_all(bare.sends_per_second, bench.round_s / 2))
        )
    finally:
        drawers.close()
    limit = Figure.of("sends/s", sends)
    yield _at_once_row(bench, 1_000, limit, 1_000_000, least_ratio=0.3)
    yield _at_once_row(bench, 10, limit, 150_000)


def _at_once_row(
    bench: Bench, followers: int, limit: Figure, least: int, least_ratio: float | None = None
) -> Row:
    name = f"deliver-{followers}"
    with (
        bench.data_dir() as data_dir,
        running(data_dir, "--workers", str(WORKERS), *AT_ONCE) as farm,
    ):
        loads, spent = rounds(bench, farm, name, followers, calibrated(bench, farm, followers))
        memory = farm.memory_mib()
    figure = Figure.of("notifications/s", [done.rate for done in loads])
    marks = [] if least_ratio is None else [at_least("ratio", ratio(figure, limit), least_ratio)]
    return Row(
        name=name,
        what=f"published to delivered, no latency, no failure, {followers:,} followers a post,"
        f" {WORKERS} workers",
        figure=figure,
        limit=limit,
        limit_is=f"a loop with two Random.random() a recipient, in {WORKERS} processes",
        marks=[*marks, at_least("notifications/s", figure.median, least)],
        notes=[
            f"{loads[-1].notifications:,} notifications a round, publishing included",
            *about_driver(loads[-1]),
        ],
        memory_mib=memory,
        spent=spent,
    )


def with_latency(bench: Bench) -> Iterator[Row]:
    """10 to 50 ms and 10 % failure, five workers; and nothing is lost."""
    flags = ("--workers", str(SEED_WORKERS))
    posts = int(SLOW_NOTIFICATIONS_PER_S * bench.round_s) // 1_000
    with bench.data_dir() as data_dir, running(data_dir, *flags) as farm:
        loads, spent = rounds(bench, farm, "deliver-slowly", 1_000, posts)
        post_ids = [post_id for done in loads for post_id in done.post_ids]
        sums = bench.driver.run(load.ledgers, farm.grpc, post_ids)
        memory = farm.memory_mib()
    figure = Figure.of("notifications/s", [done.rate for done in loads])
    in_flight = SEED_WORKERS * CONCURRENCY / MEAN_LATENCY_S
    settled = sums["delivered"] + sums["dead"]
    even = settled == sums["audience"] and not sums["unaccounted"] and not sums["posts not even"]
    yield Row(
        name="deliver-slowly",
        what="published to settled, 10-50 ms and 10 % failure, 3 retries,"
        f" 1,000 followers a post, {SEED_WORKERS} workers",
        figure=figure,
        limit=Figure.of("notifications/s", [in_flight * DELIVERED_OF_ATTEMPTS]),
        limit_is=f"{SEED_WORKERS} x {CONCURRENCY:,} in flight for 30 ms on average (computed)",
        marks=[
            at_least("notifications/s", figure.median, 100_000),
            Mark("nothing lost", even),
        ],
        notes=[
            f"ledgers of {len(post_ids):,} posts: "
            + ", ".join(f"{what} {count:,}" for what, count in sums.items()),
            f"{loads[-1].notifications:,} a round, the last retries' backoff included",
        ],
        memory_mib=memory,
        spent=spent,
    )


def calibrated(bench: Bench, farm: Farm, followers: int) -> int:
    """As many posts as take about a round, by two smaller ones that also warm the farm up."""
    authors = crowd.authors_of(followers)
    posts = max(1, 40_000 // followers)
    for seconds in (bench.round_s / 3, bench.round_s):
        done = bench.driver.run(load.deliver, farm.grpc, authors, posts, WITHIN_S)
        wanted = int(done.rate * seconds / followers)
        posts = max(posts, min(wanted, 10_000_000 // followers, POSTS_MAX))
    return posts


def rounds(
    bench: Bench, farm: Farm, name: str, followers: int, posts: int
) -> tuple[list[load.Load], Spent]:
    """Rounds of so many posts, and what the last one took."""
    authors = crowd.authors_of(followers)
    loads = []
    before = after = farm.usage()
    for number in range(1, bench.rounds + 1):
        before = farm.usage()
        loads.append(bench.driver.run(load.deliver, farm.grpc, authors, posts, WITHIN_S))
        after = farm.usage()
        bench.tell(f"{name}, round {number}: {loads[-1].rate:,.0f} notifications/s")
    return loads, before.until(after, loads[-1].count)


def when_idle(bench: Bench) -> Iterator[Row]:
    """One post to 10 followers at a time, from the call to the last one delivered: each when the
    one before is delivered, and each after a rest, when the processor has turned to others and
    whatever comes is slow. How slow, two calls of an empty handler after the same rest show."""
    author = crowd.authors_of(10)[0]
    with bench.data_dir() as data_dir, running(data_dir, *AT_ONCE) as farm:
        _latencies_ms(bench, load.publish_to_delivered, farm.grpc, author, 0.0)
        at_once, rested = (
            _repeated_ms(bench, load.publish_to_delivered, farm.grpc, author, rest_s)
            for rest_s in (0.0, REST_S)
        )
    with serving(bare_servers.empty_publisher) as address:
        empty_at_once, empty_rested = (
            _repeated_ms(bench, load.one_at_a_time, address, author, rest_s)
            for rest_s in (0.0, REST_S)
        )
    what = "publish to delivered, 10 followers, idle farm, one at a time"
    rest = f", after {REST_S * 1000:.0f} ms of rest"
    yield from _latency_rows("idle-latency", what, at_once, empty_at_once, marks_ms=(5, 20))
    yield from _latency_rows("idle-latency-rested", what + rest, rested, empty_rested)


def _latency_rows(
    name: str,
    what: str,
    rounds_ms: Sequence[Sequence[float]],
    empty_ms: Sequence[Sequence[float]],
    marks_ms: tuple[float, ...] = (),
) -> Iterator[Row]:
    two_empty = Figure.of("ms", [2 * percentile(one, MIDDLE) for one in empty_ms])
    for share, most_ms in itertools.zip_longest((MIDDLE, 0.99), marks_ms):
        figure = Figure.of("ms", [percentile(one, share) for one in rounds_ms])
        yield Row(
            name=f"{name}-p{share * 100:.0f}",
            what=f"{what}, p{share * 100:.0f}",
            figure=figure,
            limit=two_empty if share == MIDDLE else None,
            limit_is="two calls of an empty grpc.aio handler, at the same pace",
            marks=[] if most_ms is None else [at_most("ms", figure.median, most_ms)],
            notes=["asked for by GetLedger again and again, so one such call is in it"],
        )


def _repeated_ms(
    bench: Bench, job: _OneAtATime, address: str, author: str, rest_s: float
) -> list[Sequence[float]]:
    return [_latencies_ms(bench, job, address, author, rest_s) for _ in range(bench.rounds)]


def _latencies_ms(
    bench: Bench, job: _OneAtATime, address: str, author: str, rest_s: float
) -> Sequence[float]:
    return bench.driver.run(job, address, author, IDLE_POSTS, rest_s).latencies_ms
