"""The counters: what the store keeps is the sum over its sets, and what was scraped is what it
keeps. For runs in which nothing expired and no dead letter was replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from farm.lifecycle import Reason, State
from farm.store import totals
from tests.checker.dump import Dump
from tests.checker.findings import Finding
from tests.checker.model import Model

GAUGES = {State.QUEUED: totals.QUEUED, State.RETRYING: totals.RETRYING}


def check_counters(model: Model, dump: Dump) -> Iterator[Finding]:
    sums = _sums(dump)
    kept = dump.totals.counters
    for key in sorted({*sums, *(key for key in kept if key[0] in _SUMMED)}):
        if kept.get(key, 0) != sums[key]:
            what = f"{' '.join(key)} is {kept.get(key, 0)}, the sets hold {sums[key]}"
            yield Finding("counters equal the store", what)
    for scrape in model.notes["metrics"][-1:]:
        for name in (totals.SENT, totals.FAILED):
            told = scrape.values.get(name)
            if told is not None and told != sums[name,]:
                what = f"{name} was scraped as {told}, the sets hold {sums[name,]}"
                yield Finding("counters equal the store", what)


def _sums(dump: Dump) -> Counter[tuple[str, ...]]:
    """What each counter must be, by the sets."""
    sums: Counter[tuple[str, ...]] = Counter()
    for held in (held for post in dump.posts for held in post.held):
        count, (state, tries, detail), channel = len(held.members), held.part, held.channel
        delivered = state is State.DELIVERED
        sums[totals.ATTEMPTS, channel, "failed"] += count * (tries - delivered)
        sums[totals.RETRIES, channel] += count * max(tries - 1, 0)
        if state in GAUGES:
            sums[GAUGES[state],] += count
        elif delivered:
            sums[totals.SENT,] += count
            sums[totals.ATTEMPTS, channel, "delivered"] += count
        elif state is State.DEAD:
            sums[totals.FAILED,] += count
            sums[totals.DEAD, channel] += count
        elif state is State.SUPPRESSED:
            sums[totals.SUPPRESSED, channel, Reason(detail).name.lower()] += count
    return sums


_SUMMED = {
    totals.ATTEMPTS, totals.RETRIES, totals.QUEUED, totals.RETRYING, totals.SENT, totals.FAILED,
    totals.DEAD, totals.SUPPRESSED,
}  # fmt: skip
