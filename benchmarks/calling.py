"""Rows about posts that come one by one: PublishPost by gRPC, 32 calls in flight."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import bare_servers, crowd, h2load, load
from benchmarks.bench import AT_ONCE, NOTHING_SENT, Bench, about_driver
from benchmarks.drivers import serving
from benchmarks.farm import Farm, Spent, running
from benchmarks.figures import Figure, Row, at_least, at_most, percentile, ratio

IN_FLIGHT = 32
FOLLOWERS = 200
WARM_UP_CALLS = 500
IDLE_WITHIN_S = 120.0
SENT = "notifications_sent_total "
METHOD = f"{load.PUBLISHER}/PublishPost"

Counted = Callable[[], int]


@dataclass(frozen=True, slots=True)
class _Rounds:
    loads: list[load.Load]
    spent: Spent | None

    def rates(self) -> Figure:
        return Figure.of("posts/s", [one.rate for one in self.loads])

    def late(self) -> Figure:
        return Figure.of("ms", [percentile(one.latencies_ms, 0.99) for one in self.loads])


def one_by_one(bench: Bench) -> Iterator[Row]:
    """200 followers each, beside a handler that does nothing; without delivery, and with."""
    with serving(bare_servers.empty_publisher) as address:
        empty = _rounds(
            bench, address, "an empty handler", lambda: bench.driver.run(load.taken, address)
        )
    for name, how, flags, least in (
        ("unary", "nothing sent", NOTHING_SENT, 0.75),
        ("unary-delivered", "delivered meanwhile", AT_ONCE, 0.5),
    ):
        with bench.data_dir() as data_dir, running(data_dir, *flags) as farm:
            done = _rounds(bench, farm.grpc, name, lambda farm=farm: _stored(bench, farm), farm)  # type: ignore[misc]
            memory = farm.memory_mib()
        what = f"PublishPost, {IN_FLIGHT} in flight, {FOLLOWERS} followers each, {how}"
        yield _rate_row(name, what, done, empty, least, memory)
        yield _late_row(name, what, done, empty)


def _rate_row(
    name: str, what: str, done: _Rounds, empty: _Rounds, least: float, memory: dict[str, float]
) -> Row:
    figure, limit = done.rates(), empty.rates()
    return Row(
        name=name,
        what=what,
        figure=figure,
        limit=limit,
        limit_is="an empty grpc.aio handler on uvloop, same messages and client",
        marks=[at_least("ratio", ratio(figure, limit), least)],
        notes=[
            *about_driver(done.loads[-1], "h2load"),
            f"for the empty handler {about_driver(empty.loads[-1], 'h2load')[0]}",
        ],
        memory_mib=memory,
        spent=done.spent,
    )


def _late_row(name: str, what: str, done: _Rounds, empty: _Rounds) -> Row:
    figure, limit = done.late(), empty.late()
    return Row(
        name=f"{name}-p99",
        what=f"{what}, p99",
        figure=figure,
        limit=limit,
        limit_is="the empty handler, p99",
        marks=[at_most("ratio", ratio(figure, limit), 3)],
    )


def _rounds(
    bench: Bench, address: str, name: str, counted: Counted, farm: Farm | None = None
) -> _Rounds:
    """As many calls a round as take about its time; each must be in the server's own count."""
    loads: list[load.Load] = []
    calls, spent = WARM_UP_CALLS, None
    for number in range(bench.rounds + 2):  # two to warm up, and to see how many fit
        before, taken = counted(), farm.usage() if farm else None
        done = _calls(bench, address, calls)
        if farm and taken:
            spent = taken.until(farm.usage(), done.count)
            bench.driver.run(load.until_idle, address, IDLE_WITHIN_S)
        if (more := counted() - before) != calls:
            raise RuntimeError(f"{name}: of {calls:,} calls the server counts {more:,}")
        if number > 1:
            bench.tell(f"{name}: {done.rate:,.0f} posts/s")
            loads.append(done)
        elif number or done.rate * bench.round_s > calls:
            calls = int(done.rate * (bench.round_s if number else bench.round_s / 3))
    return _Rounds(loads, spent)


def _calls(bench: Bench, address: str, count: int) -> load.Load:
    """h2load sends one body again and again, so all of one author, and all without an id."""
    message = load.post(crowd.authors_of(FOLLOWERS)[0]).SerializeToString()
    return h2load.calls(address, METHOD, message, IN_FLIGHT, count, bench.scratch())


def _stored(bench: Bench, farm: Farm) -> int:
    """Posts that the store counts, by whom they were sent to; asked for when nothing waits."""
    bench.driver.run(load.until_idle, farm.grpc, IDLE_WITHIN_S)
    with urllib.request.urlopen(f"http://{farm.http}/metrics") as response:
        lines = response.read().decode().splitlines()
    [sent] = [line.removeprefix(SENT) for line in lines if line.startswith(SENT)]
    return int(float(sent)) // FOLLOWERS
