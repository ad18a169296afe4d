"""Whether a store holds what must always hold: every row is looked at, whoever wrote it.

What the sets say is compared with independent witnesses: followers in segments with the relations,
a post's audience with both, its parts with its segments, the counters with the sum over the sets.
Memory stays bounded by the largest author and the largest segment, not by the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

from farm.audience import HIGHEST, BitMap
from farm.errors import Corrupt
from farm.lifecycle import Part, Reason, State
from farm.store import totals
from farm.store.check_batches import BatchCheck
from farm.store.check_graph import GraphCheck
from farm.store.check_inboxes import InboxCheck
from farm.store.findings import Breach, Facts, Findings
from farm.store.records import Records
from farm.store.totals import Totals

USERS_AT_A_TIME = 100_000


class Check:
    """One look through a store. Iterate over `breaches`, then read `counts`."""

    def __init__(self, records: Records, advance: Callable[[int], object]) -> None:
        """`advance` is told of rows done, `records.count()` in all."""
        self._records = records
        self._advance = advance
        self._findings = Findings()
        self.counts: Counter[str] = Counter()

    def breaches(self) -> Iterator[Breach]:
        """All there are, table by table."""
        try:
            damaged = False
            for damage in self._records.damage():
                damaged = True
                yield Breach(damage.table, {}, damage.what)
            if not damaged:
                yield from self._look()
        except Corrupt as error:
            yield Breach("sqlite", {}, error.message)

    def _look(self) -> Iterator[Breach]:
        facts = self._facts()
        yield from self._findings.take()
        graph = GraphCheck(self._records, facts, self._findings, self._advance)
        yield from graph.breaches()
        batches = BatchCheck(self._records, facts, self._findings, self._advance)
        yield from batches.breaches()
        yield from InboxCheck(self._records, facts, self._findings, self._advance).breaches()
        self._check_totals(facts, batches.tally)
        self._check_dead(batches.tally)
        yield from self._findings.take()
        self.counts = Counter(
            people=len(facts.users),
            follows=graph.follows,
            segments=graph.segments,
            posts=batches.posts,
            batches=batches.batches,
            notifications=batches.tally.total(),
            leases=batches.leases,
        )

    def _facts(self) -> Facts:
        """What the checks of single rows look up."""
        meta = self._records.meta()
        names = {number: name for name, number in self._records.channels().items()}
        errors = frozenset(self._records.errors())
        if meta.change < 0 or meta.incarnation < 0 or len(meta.secret) != 32:
            self._findings.add("meta", "change, incarnation or secret are none that Hark made")
        return Facts(meta, names, errors, self._users())

    def _users(self) -> BitMap:
        users = BitMap()
        numbers = self._records.user_numbers()
        while some := list(islice(numbers, USERS_AT_A_TIME)):
            if min(some) < 1 or max(some) > HIGHEST:
                for number in (n for n in some if not 1 <= n <= HIGHEST):
                    self._findings.add("user", f"numbers are from 1 to {HIGHEST}", number=number)
                some = [number for number in some if 1 <= number <= HIGHEST]
            users.update(some)
        return users

    # The counters

    def _check_totals(self, facts: Facts, tally: Counter[tuple[int, Part]]) -> None:
        try:
            kept = Totals(facts.meta.totals)
        except (ValueError, TypeError, AttributeError) as error:
            self._findings.add("meta", f"totals cannot be read: {error}")
            return
        for name, state in ((totals.QUEUED, State.QUEUED), (totals.RETRYING, State.RETRYING)):
            found = sum(n for (_, part), n in tally.items() if part.state is state)
            if kept.of(name) != found:
                self._findings.add(
                    "meta", f"totals say {kept.of(name)} {name}, the sets hold {found}"
                )
        # What has gone with old posts stays counted, so these counters are at least the sets.
        for key, least in self._least(facts, tally).items():
            if kept.of(*key) < least:
                self._findings.add(
                    "meta", f"totals say {kept.of(*key)} of {' '.join(key)}, the sets hold {least}"
                )

    def _check_dead(self, tally: Counter[tuple[int, Part]]) -> None:
        """Dead letters are listed and replayed by these counts, which go down with old posts."""
        kept = {(row.channel, row.error): row.dead for row in self._records.dead_groups()}
        found: Counter[tuple[int, int]] = Counter()
        for (channel, part), count in tally.items():
            if part.state is State.DEAD:
                found[channel, part.detail] += count
        for channel, error in sorted(kept.keys() | found.keys()):
            says, holds = kept.get((channel, error), 0), found[channel, error]
            if says != holds:
                what = f"says {says} are dead, the sets hold {holds}"
                self._findings.add("dead_group", what, channel=channel, error=error)

    @staticmethod
    def _least(facts: Facts, tally: Counter[tuple[int, Part]]) -> Counter[tuple[str, ...]]:
        """What each counter must at least have come to, for the sets to be what they are."""
        least: Counter[tuple[str, ...]] = Counter()
        for (number, part), count in tally.items():
            channel = facts.channels.get(number, "")
            delivered = part.state is State.DELIVERED
            least[totals.ATTEMPTS, channel, "failed"] += count * (part.attempt - delivered)
            least[totals.RETRIES, channel] += count * max(part.attempt - 1, 0)
            if delivered:
                least[(totals.SENT,)] += count
                least[totals.ATTEMPTS, channel, "delivered"] += count
            elif part.state is State.DEAD:
                least[(totals.FAILED,)] += count
                least[totals.DEAD, channel] += count
            elif part.state is State.SUPPRESSED:
                least[totals.SUPPRESSED, channel, Reason(part.detail).name.lower()] += count
        return least
