"""What is counted in notifications: kept in memory, made durable with the commit that it tells of.

So no death of a process makes a counter wrong, and no scrape scans a table. Names and labels are
those of `farm.observe.METRICS`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

import msgpack

from farm.observe import METRICS, Source

SENT = "notifications_sent_total"
FAILED = "notifications_failed_total"
ATTEMPT_DURATION = "notification_delivery_duration_seconds"
AUDIENCE = "hark_fanout_audience"
ATTEMPTS = "hark_delivery_attempts_total"
RETRIES = "hark_delivery_retries_total"
SUPPRESSED = "hark_notifications_suppressed_total"
DEAD = "hark_notifications_dead_total"
END_TO_END = "hark_end_to_end_duration_seconds"
EXPIRED = "hark_leases_expired_total"
STALE = "hark_stale_outcomes_total"
QUEUED = "queued"  # not metrics, but kept in the same way: how many wait in which state
RETRYING = "retrying"

RATE_SECONDS = 60

_HISTOGRAMS = {
    metric.name: metric.buckets
    for metric in METRICS.values()
    if metric.source is Source.STORE and metric.kind == "histogram"
}


class Totals:
    """Counters by (name, labels...), and histograms as counts by bucket with a sum."""

    def __init__(self, packed: bytes = b"\x80") -> None:
        self.changed = False  # since it was last stored
        kept = msgpack.unpackb(packed, strict_map_key=False)
        self.counters: dict[tuple[str, ...], int] = {
            tuple(key): value for key, value in kept.get("counters", ())
        }
        self._counts = {name: [0] * (len(bounds) + 1) for name, bounds in _HISTOGRAMS.items()}
        self._sums = dict.fromkeys(_HISTOGRAMS, 0.0)
        for name, counts, total in kept.get("histograms", ()):
            if len(self._counts.get(name, ())) == len(counts):
                self._counts[name], self._sums[name] = counts, total

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb(
            {"counters": list(self.counters.items()), "histograms": self.histograms()}
        )
        return packed

    def add(self, count: int, *key: str) -> None:
        self.changed = True
        self.counters[key] = self.counters.get(key, 0) + count

    def of(self, *key: str) -> int:
        return self.counters.get(key, 0)

    def sum_of(self, name: str, **labels: str) -> int:
        """Over all label values but those given, as `outcome="failed"`."""
        names = METRICS[name].labels
        return sum(
            value
            for (key, *values), value in self.counters.items()
            if key == name and labels.items() <= dict(zip(names, values, strict=True)).items()
        )

    def observe(self, name: str, value: float, count: int = 1) -> None:
        self.changed = True
        self._counts[name][bisect_left(_HISTOGRAMS[name], value)] += count
        self._sums[name] += value * count

    def merge(self, name: str, counts: Sequence[int], total: float) -> None:
        """Adds counts by bucket; of another number of buckets they are not ours, and left out."""
        own = self._counts[name]
        self.changed = True
        if len(own) == len(counts):
            self._counts[name] = [a + b for a, b in zip(own, counts, strict=True)]
            self._sums[name] += total

    def mean(self, name: str) -> float:
        count = sum(self._counts[name])
        return self._sums[name] / count if count else 0.0

    def histograms(self) -> list[tuple[str, list[int], float]]:
        return [(name, counts, self._sums[name]) for name, counts in self._counts.items()]

    def metric_counters(self, channels: Sequence[str]) -> list[tuple[str, list[str], int]]:
        """The rows of every counter, there from the start at 0 where the labels are known."""
        rows = {key: value for key, value in self.counters.items() if key[0] in METRICS}
        for name in (SENT, FAILED, EXPIRED, STALE):
            rows.setdefault((name,), 0)
        for channel in channels:
            for outcome in ("delivered", "failed"):
                rows.setdefault((ATTEMPTS, channel, outcome), 0)
            for reason in ("muted", "unfollowed"):
                rows.setdefault((SUPPRESSED, channel, reason), 0)
            rows.setdefault((RETRIES, channel), 0)
            rows.setdefault((DEAD, channel), 0)
        return [(name, list(labels), value) for (name, *labels), value in sorted(rows.items())]


class Rate:
    """How many a second over the last minute, or since the start while that is shorter."""

    def __init__(self, now_s: float, total: int) -> None:
        self._start_s = now_s
        self._base = total  # before the oldest mark
        self._marks: deque[tuple[int, int]] = deque()  # (second, total at its end)

    def note(self, now_s: float, total: int) -> None:
        second = int(now_s)
        if self._marks and self._marks[-1][0] == second:
            self._marks.pop()
        self._marks.append((second, total))
        while self._marks[0][0] < second - RATE_SECONDS:
            self._base = self._marks.popleft()[1]

    def per_second(self, now_s: float) -> float:
        if not self._marks:
            return 0.0
        older = [total for second, total in self._marks if second < now_s - RATE_SECONDS]
        seconds = min(max(now_s - self._start_s, 1.0), RATE_SECONDS)
        return (self._marks[-1][1] - (older[-1] if older else self._base)) / seconds
