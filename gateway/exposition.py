"""/metrics: every metric of the table, from the three places that know them.

Each scrape asks the store and the supervisor anew. While one of them does not answer, the last it
said is told again: a counter that fell to 0 and came back would look like a burst. What it never
said is left out, for the same reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.utils import floatToGoString

from farm import config, observe, wire
from farm.client import FarmClient, StoreClient
from farm.clock import Clock
from farm.errors import HarkError, Unavailable
from farm.observe import METRICS, Source
from gateway.nodes import milliseconds

ANSWER_WITHIN_S = 1.0

ROLES = ("supervisor", "gateway", "store", "reader", "worker", "web")
OUTCOMES = (
    "ok", "duplicate", "invalid_argument", "not_found", "already_exists", "resource_exhausted",
    "unavailable", "internal", "cancelled",
)  # fmt: skip

Told = TypeVar("Told")
Row = tuple[str, list[str], float]  # name, label values, value


class LastTold(Generic[Told]):
    """What somebody says, or said last."""

    def __init__(self, ask: Callable[[], Awaitable[Told]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._told_s = 0.0
        self.told: Told | None = None

    async def refresh(self) -> bool:
        """True where there was an answer now."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                self.told = await self._ask()
        except (TimeoutError, HarkError):
            return False
        self._told_s = self._clock.monotonic_s()
        return True

    @property
    def age_s(self) -> float:
        return self._clock.monotonic_s() - self._told_s


class Exposition:
    """What /metrics, /metrics.json and /ready say."""

    def __init__(self, store: StoreClient, farm: FarmClient, clock: Clock) -> None:
        self._stats = LastTold(store.stats, clock)
        self._sweep = LastTold(store.sweep, clock)
        self._farm = LastTold(farm.state, clock)

    async def prometheus(self, accept: str) -> tuple[bytes, str]:
        """The body and its media type: the classic text, or OpenMetrics for who prefers it."""
        await self._refresh()
        encode, media_type = choose_encoder(accept)
        return encode(_Families(list(self._families()))), media_type

    async def seed(self) -> dict[str, Any]:
        """The JSON object of the first seed system. Raises `Unavailable`."""
        await self._refresh()
        stats, farm = self._stats.told, self._farm.told
        if stats is None or farm is None:
            raise Unavailable("the store or the supervisor has not answered yet; ask again")
        return {
            "total_sent": stats.sent,
            "failed_attempts": stats.failed_attempts,
            "total_retries": stats.retries,
            "avg_delivery_time": milliseconds(stats.attempt_mean_seconds),
            "queue_size": stats.backlog,
            "worker_count": farm.workers,
        }

    async def missing(self) -> list[str]:
        """Who does not answer now."""
        answers = await self._refresh()
        return [who for who, there in answers.items() if not there]

    async def _refresh(self) -> dict[str, bool]:
        asked: dict[str, LastTold[Any]] = {
            "store": self._stats,
            "reader": self._sweep,
            "supervisor": self._farm,
        }
        answers = await asyncio.gather(*(one.refresh() for one in asked.values()))
        return dict(zip(asked, answers, strict=True))

    def _families(self) -> Iterator[Metric]:
        """Every metric of the table once, in its order."""
        rows = _by_name(
            [*_from_store(self._stats.told), *self._swept(), *_from_farm(self._farm.told)]
        )
        stats = self._stats.told
        counts = {name: (by_bucket, total) for name, by_bucket, total in _histograms(stats)}
        kept = _from_processes()
        for metric in METRICS.values():
            if metric.source is Source.PROCESS:
                yield _complete(metric, kept.get(metric.name.removesuffix("_total")))
            elif metric.kind == "histogram":
                yield _histogram(metric, counts.get(metric.name))
            else:
                yield _family(metric, rows.get(metric.name, []))

    def _swept(self) -> Iterator[Row]:
        sweep = self._sweep.told
        if sweep is not None:
            yield "hark_unaccounted_notifications", [], sweep.unaccounted
            yield "hark_unaccounted_age_seconds", [], sweep.age_seconds + self._sweep.age_s


class _Families(CollectorRegistry):
    """A registry of what was collected already: collecting waits for others, encoding does not."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _by_name(rows: Iterable[Row]) -> dict[str, list[Row]]:
    named: dict[str, list[Row]] = {}
    for row in rows:
        named.setdefault(row[0], []).append(row)
    return named


def _from_store(stats: wire.Stats | None) -> list[Row]:
    return [] if stats is None else [*stats.counters, *stats.gauges]


def _histograms(stats: wire.Stats | None) -> list[tuple[str, list[int], float]]:
    return [] if stats is None else stats.histograms


def _from_farm(state: wire.FarmState | None) -> Iterator[Row]:
    yield "hark_build_info", [_version()], 1
    if state is None:
        return
    running = [process.role for process in state.processes]
    for role in ROLES:
        yield "hark_processes", [role], running.count(role)
        yield "hark_process_restarts_total", [role], state.restarts.get(role, 0)


@cache
def _version() -> str:
    """As installed; whoever runs the sources as they lie there has none."""
    try:
        return version("hark")
    except PackageNotFoundError:
        return "unknown"


def _from_processes() -> dict[str, Metric]:
    """What the processes keep in files, those of the dead too; by name, counters without _total.

    The lock keeps the supervisor from moving the counts of a dead process meanwhile: they would be
    read twice or not at all.
    """
    with observe.metrics_lock(config.metrics_directory(), alone=False):
        families = MultiProcessCollector(None).collect()
    return {family.name: family for family in families}


def _complete(metric: observe.Metric, kept: Metric | None) -> Metric:
    """The family as kept, with those label values at 0 that no process has counted yet."""
    if metric.kind == "histogram":
        return kept or _histogram(metric, ([0] * (len(metric.buckets) + 1), 0.0))
    counted = {} if kept is None else {tuple(s.labels.values()): s.value for s in kept.samples}
    for values in [(outcome,) for outcome in OUTCOMES] if metric.labels else [()]:
        counted.setdefault(values, 0)
    return _family(metric, [(metric.name, list(values), n) for values, n in counted.items()])


def _family(metric: observe.Metric, rows: list[Row]) -> Metric:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for _, labels, value in rows:
        family.add_metric(labels, value)
    return family


def _histogram(metric: observe.Metric, kept: tuple[list[int], float] | None) -> Metric:
    """Prometheus wants each bucket to hold those below it too."""
    family = HistogramMetricFamily(metric.name, metric.help)
    if kept is None:
        return family
    by_bucket, total = kept
    bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
    below, cumulative = 0, []
    for bound, count in zip(bounds, by_bucket, strict=True):
        below += count
        cumulative.append((bound, float(below)))
    family.add_metric([], cumulative, total)
    return family
