"""Judges a run: its history and what the store holds at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tests.checker.counters import check_counters
from tests.checker.deliveries import Extra, Rules, check_deliveries, explained_by
from tests.checker.dump import Dump
from tests.checker.findings import Finding
from tests.checker.history import Event, Kind
from tests.checker.inboxes import check_inboxes
from tests.checker.model import Model
from tests.checker.posts import check_posts
from tests.checker.sometimes import USUAL, Sometimes

SHOWN_MAX = 20


class Verdict(NamedTuple):
    """`missing`: what the run never met, without which it proves too little."""

    findings: list[Finding]
    missing: list[str]
    figures: dict[str, int]

    @property
    def result(self) -> str:
        if self.findings:
            return "invalid"
        return "unknown" if self.missing else "valid"

    @property
    def exit_status(self) -> int:
        return ("valid", "invalid", "unknown").index(self.result)

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings[:SHOWN_MAX]]
        if len(self.findings) > SHOWN_MAX:
            lines.append(f"and {len(self.findings) - SHOWN_MAX} more")
        lines += [f"never seen: {name}" for name in self.missing]
        width = max(map(len, self.figures), default=0)
        lines += [f"{name:{width}}  {count:,}" for name, count in self.figures.items()]
        return "\n".join([*lines, self.result])


def judge(
    events: Iterable[Event], dump: Dump, rules: Rules, sometimes: Sequence[Sometimes] = USUAL
) -> Verdict:
    model = Model(events)
    extras: list[Extra] = []
    findings = [Finding("every row is as it must be", breach) for breach in dump.breaches]
    findings += check_posts(model, dump)
    findings += check_deliveries(model, dump, rules, extras)
    findings += check_inboxes(model, dump)
    findings += check_counters(model, dump) if rules.whole else ()
    missing = [one.name for one in sometimes if not one.seen(model, dump)]
    return Verdict(findings, missing, _figures(model, dump, findings, extras))


def _figures(
    model: Model, dump: Dump, findings: Sequence[Finding], extras: Sequence[Extra]
) -> dict[str, int]:
    stored = {post.id for post in dump.posts}
    acknowledged = refused = unknown = lost = 0
    for name, calls in model.publishes.items():
        if any(call.acknowledged for call in calls):
            acknowledged += 1
            lost += name not in stored
        elif all(call.kind is Kind.FAIL for call in calls):
            refused += 1
        else:
            unknown += 1
    duplicates = sum(
        sum(copy.delivered for copy in copies) - 1
        for people in model.copies.values()
        for copies in people.values()
        if any(copy.delivered for copy in copies)
    )
    figures = {
        "posts acknowledged": acknowledged,
        "posts refused": refused,
        "posts of unknown outcome": unknown,
        "posts lost": lost,
        "notifications": sum(len(held.members) for post in dump.posts for held in post.held),
        "attempts received": sum(
            len(copies) for people in model.copies.values() for copies in people.values()
        ),
        "received twice": duplicates,
        "inboxes read": len(model.calls["inbox"]),
        "promises broken": len(findings),
    }
    for name, count in sorted(Counter(map(explained_by, extras)).items()):
        figures[f"attempts made again by {name}"] = count
    for name, count in sorted(Counter(fault.operation for fault in model.faults).items()):
        figures[f"faults: {name}"] = count
    return figures
