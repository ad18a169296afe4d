"""Rows about posts that come one by one: PublishPost by gRPC, 32 calls in flight."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator, Sequence

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


def one_by_one(bench: Bench) -> Iterator[Row]:
    """200 followers each, without delivery and with."""
    yield from _rows(bench, "unary", "nothing sent", NOTHING_SENT, 0.75)
    yield from _rows(bench, "unary-delivered", "delivered meanwhile", AT_ONCE, 0.5)


def _rows(bench: Bench, name: str, how: str, flags: Sequence[str], least: float) -> Iterator[Row]:
    """Beside a handler that does nothing. Rounds of both take turns, so that each has its part of
    what else the machine does."""
    with (
        bench.data_dir() as data_dir,
        serving(bare_servers.empty_publisher) as address,
        running(data_dir, *flags) as farm,
    ):
        empty = _Server("an empty handler", address, lambda: bench.driver.run(load.taken, address))
        server = _Server(name, farm.grpc, lambda: _stored(bench, farm), farm)
        for one in (empty, server):
            one.warm_up(bench)
        for _ in range(bench.rounds):
            for one in (empty, server):
                one.run(bench)
        memory = farm.memory_mib()
    what = f"PublishPost, {IN_FLIGHT} in flight, {FOLLOWERS} followers each, {how}"
    yield _rate_row(what, server, empty, least, memory)
    yield _late_row(what, server, empty)


class _Server:
    """What is called, and its rounds: as many calls each as take about its time."""

    def __init__(self, name: str, address: str, counted: Counted, farm: Farm | None = None) -> None:
        self.name = name
        self._address = address
        self._counted = counted
        self._farm = farm
        self._calls = WARM_UP_CALLS
        self.loads: list[load.Load] = []
        self.spent: Spent | None = None

    def rates(self) -> Figure:
        return Figure.of("posts/s", [one.rate for one in self.loads])

    def late(self) -> Figure:
        return Figure.of("ms", [percentile(one.latencies_ms, 0.99) for one in self.loads])

    def warm_up(self, bench: Bench) -> None:
        """Twice, to see how many calls fit."""
        for seconds in (bench.round_s / 3, bench.round_s):
            self._calls = max(WARM_UP_CALLS, int(self._load(bench).rate * seconds))

    def run(self, bench: Bench) -> None:
        """One round."""
        self.loads.append(self._load(bench))
        bench.tell(f"{self.name}: {self.loads[-1].rate:,.0f} posts/s")

    def _load(self, bench: Bench) -> load.Load:
        """Each call must be in the server's own count."""
        farm, before = self._farm, self._counted()
        taken = farm.usage() if farm else None
        done = _calls(bench, self._address, self._calls)
        if farm and taken:
            self.spent = taken.until(farm.usage(), done.count)
        if (more := self._counted() - before) != self._calls:
            raise RuntimeError(f"{self.name}: of {self._calls:,} calls it counts {more:,}")
        return done


def _rate_row(
    what: str, server: _Server, empty: _Server, least: float, memory: dict[str, float]
) -> Row:
    figure, limit = server.rates(), empty.rates()
    return Row(
        name=server.name,
        what=what,
        figure=figure,
        limit=limit,
        limit_is="an empty grpc.aio handler on uvloop, same messages and client",
        marks=[at_least("ratio", ratio(figure, limit), least)],
        notes=[
            *about_driver(server.loads[-1], "h2load"),
            f"for the empty handler {about_driver(empty.loads[-1], 'h2load')[0]}",
        ],
        memory_mib=memory,
        spent=server.spent,
    )


def _late_row(what: str, server: _Server, empty: _Server) -> Row:
    figure, limit = server.late(), empty.late()
    return Row(
        name=f"{server.name}-p99",
        what=f"{what}, p99",
        figure=figure,
        limit=limit,
        limit_is="the empty handler, p99",
        marks=[at_most("ratio", ratio(figure, limit), 3)],
    )


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
