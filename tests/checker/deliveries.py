"""Attempts: what the store says came of each person is what the receiver saw, no more often than
faults explain, and in its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from farm.lifecycle import WAITING, State
from farm.schedule import Backoff
from farm.store.dispatch import DEATHS_MAX, POISON
from tests.checker.dump import Dump, Held, Stored
from tests.checker.findings import Finding
from tests.checker.model import WHOLE_FARM, Copy, Fault, Model


class Rules(NamedTuple):
    """What the farm of a run was told. `sending`: the channels whose receivers keep a history.
    `late_s`: how much later than its window a retry may come; None where faults hold things up.
    `early_s`: by how much the receivers' clock may be wrong about two moments; None: it jumped.
    `whole`: the history tells of all posts that were ever counted."""

    max_attempts: int
    backoff: Backoff
    sending: tuple[str, ...] = ("simulated",)
    lease_s: float = 10.0
    late_s: float | None = None
    early_s: float | None = 0.0
    drained: bool = True
    whole: bool = True


class Extra(NamedTuple):
    """A copy beyond the first of one attempt, and the fault that explains it."""

    copy: Copy
    fault: Fault | None


def check_deliveries(
    model: Model, dump: Dump, rules: Rules, extras: list[Extra]
) -> Iterator[Finding]:
    """Appends the repeated copies to `extras`."""
    if rules.drained:
        yield from _settled(dump)
    stored = {post.id: post for post in dump.posts}
    for (name, channel), people in model.copies.items():
        post = stored.get(name)
        if post is None:
            yield Finding("nothing is made up", f"{name} was sent, and is not stored")
            continue
        for user in people.keys() - set(post.audience):
            what = f"{name} was sent on {channel} to user {user}, who is not in its audience"
            yield Finding("the audience of its time", what)
        for copies in people.values():
            yield from _repeated(model, rules, name, copies, extras)
            yield from _in_time(rules, name, copies)
    for post in dump.posts:
        for held in post.held:
            if held.channel in rules.sending:
                yield from _proven(model, post, held)


def _settled(dump: Dump) -> Iterator[Finding]:
    if dump.leases:
        yield Finding("nothing is stuck", f"{dump.leases} leases are held after the drain")
    for post in dump.posts:
        for held in post.held:
            if held.part.state in WAITING:
                what = (
                    f"{len(held.members)} people of {post.id} are {held.part.state.name} on "
                    f"{held.channel} after the drain"
                )
                yield Finding("nothing is stuck", what)


def _proven(model: Model, post: Stored, held: Held) -> Iterator[Finding]:
    """Each try that the store counts was seen by the receiver, with its outcome."""
    state, tries, _ = held.part
    poisoned = state is State.DEAD and held.error == POISON
    if poisoned:
        yield from _poisoned(model, post)
    failed = set(range(1, tries + (state is not State.DELIVERED) - poisoned))
    people = model.copies.get((post.id, held.channel))
    for user in held.members:
        copies = people.get(user, []) if people else []
        seen = {copy.attempt for copy in copies if not copy.delivered}
        proof = any(copy.delivered and copy.attempt == tries for copy in copies)
        who = f"user {user} of {post.id} on {held.channel}"
        if state is State.DELIVERED and not proof:
            yield Finding("delivered only with proof", f"{who} got nothing at try {tries}")
        if not failed <= seen:
            what = f"{who} is {state.name} after {tries} tries; failures were seen of {seen or 0}"
            yield Finding("attempts are as counted", what)
        if state in {State.DELIVERED, State.DEAD} and any(c.attempt > tries for c in copies):
            yield Finding("attempts are as counted", f"{who} was tried after the {tries} counted")


def _poisoned(model: Model, post: Stored) -> Iterator[Finding]:
    """Nobody is given up for killing workers unless workers died."""
    begin_s, _ = model.published(post.id)
    died = [
        fault
        for fault in model.faults
        if fault.end_s >= begin_s and any("worker" in process for process in fault.processes)
    ]
    if len(died) < DEATHS_MAX:
        yield Finding("attempts are as counted", f"{post.id} is poison, and hardly a worker died")


def _repeated(
    model: Model, rules: Rules, name: str, copies: Sequence[Copy], extras: list[Extra]
) -> Iterator[Finding]:
    """One attempt is made twice only where a fault hit the lease, and once for each."""
    if len(copies) == len({copy.attempt for copy in copies}):
        return
    for attempt in {copy.attempt for copy in copies}:
        pairs = list(pairwise(copy for copy in copies if copy.attempt == attempt))
        reasons = _one_each([_reasons(model, rules, *pair) for pair in pairs])
        for number, (first, again) in enumerate(pairs):
            reason = reasons.get(number)
            if reason is None:
                what = (
                    f"try {attempt} of {name} was made again by {again.process}, "
                    f"{again.at_s - first.at_s:.3f} s after {first.process}"
                )
                yield Finding("duplicates have a cause", what)
            extras.append(Extra(again, reason))


def _reasons(model: Model, rules: Rules, first: Copy, again: Copy) -> list[Fault]:
    """The faults that may have been it; those of one of the two workers first, and the newest."""
    begin_s = first.at_s - rules.lease_s
    workers = {first.process, again.process}
    found = [fault for fault in model.faults if fault.may_touch(workers, begin_s, again.at_s)]
    return sorted(found, key=lambda f: (bool(workers & f.processes), f.begin_s), reverse=True)


def _one_each(reasons: Sequence[Sequence[Fault]]) -> dict[int, Fault]:
    """A fault of its own for as many as can have one, by the number of the pair.

    Who finds all of theirs taken asks those who have them to take another (Kuhn's algorithm).
    """
    taken: dict[Fault, int] = {}

    def settle(number: int, asked: set[Fault]) -> bool:
        for fault in reasons[number]:
            if fault not in asked:
                asked.add(fault)
                if fault not in taken or settle(taken[fault], asked):
                    taken[fault] = number
                    return True
        return False

    for number in range(len(reasons)):
        settle(number, set())
    return {number: fault for fault, number in taken.items()}


def _in_time(rules: Rules, name: str, copies: Sequence[Copy]) -> Iterator[Finding]:
    """A retry waits at least for half of its delay, and comes at its end."""
    firsts: dict[int, float] = {}
    for copy in copies:
        firsts.setdefault(copy.attempt, copy.at_s)
    for attempt in firsts.keys() & {tried - 1 for tried in firsts if tried <= rules.max_attempts}:
        gap_s = firsts[attempt + 1] - firsts[attempt]
        delay_s = rules.backoff.delay_us(attempt) / 1e6
        what = f"try {attempt + 1} of {name} came {gap_s:.3f} s after the one before"
        if rules.early_s is not None and gap_s < delay_s / 2 - rules.early_s:
            yield Finding("retries are never early", f"{what}, not after {delay_s / 2:.3f} s")
        if rules.late_s is not None and gap_s > delay_s + rules.late_s:
            yield Finding("retries come in time", f"{what}, not within {delay_s:.3f} s")


def explained_by(extra: Extra) -> str:
    """The fault that explains a copy, in words to count by."""
    if extra.fault is None:
        return "nothing"
    whom = sorted(process.partition(" ")[0] for process in extra.fault.processes)
    whole = [process for process in whom if process in WHOLE_FARM]
    return f"{extra.fault.operation} {'+'.join(dict.fromkeys(whole or whom))}"
