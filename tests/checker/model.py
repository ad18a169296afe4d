"""A history put in order: calls with what came of them, faults, and who may have followed whom.

A call takes effect at one moment between its beginning and its answer. One of unknown outcome may
do so at any time after it was begun, or never.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

from tests.checker.history import Event, Kind

WHOLE_FARM = {"farm", "store", "supervisor"}  # a fault of these may touch every lease


class Call(NamedTuple):
    operation: str
    values: dict[str, Any]  # asked
    begin_s: float
    end_s: float  # of one that is unknown: never
    kind: Kind
    answer: dict[str, Any]
    events: tuple[Event, ...]

    @property
    def acknowledged(self) -> bool:
        return self.kind is Kind.OK

    @property
    def possible(self) -> bool:
        """Whether it may have been done."""
        return self.kind is not Kind.FAIL


class Copy(NamedTuple):
    """One attempt at one person, as the receiver saw it."""

    at_s: float
    process: str
    attempt: int
    delivered: bool


class Fault(NamedTuple):
    operation: str
    processes: frozenset[str]
    begin_s: float
    end_s: float

    def may_touch(self, workers: set[str], begin_s: float, end_s: float) -> bool:
        """Whether it hit a lease of one of these in that time."""
        hit = self.processes & (workers | WHOLE_FARM)
        return bool(hit) and self.begin_s <= end_s and self.end_s >= begin_s


class Model:
    """Everything in a history that a check asks for."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.calls: defaultdict[str, list[Call]] = defaultdict(list)  # by operation
        self.faults: list[Fault] = []
        self.notes: defaultdict[str, list[Event]] = defaultdict(list)
        # By post and channel, then by the user's number.
        self.copies: defaultdict[tuple[str, str], defaultdict[int, list[Copy]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._read(sorted(events, key=lambda event: event.at_s))
        self.publishes: defaultdict[str, list[Call]] = defaultdict(list)  # by post
        for call in self.calls["publish"]:
            self.publishes[call.values["post"]].append(call)
        self._published: dict[str, tuple[float, float]] = {}
        self.retracts: defaultdict[str, list[Call]] = defaultdict(list)
        for call in self.calls["retract"]:
            if call.possible:
                self.retracts[call.values["post"]].append(call)
        self._pairs: defaultdict[tuple[str, str], defaultdict[str, list[Call]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for operation in ("follow", "unfollow", "mute", "unmute"):
            for call in self.calls[operation]:
                if call.possible:
                    pair = call.values["user"], call.values["author"]
                    self._pairs[pair][operation].append(call)
        self.of_author: defaultdict[str, list[str]] = defaultdict(list)  # who ever followed
        for user, author in self._pairs:
            self.of_author[author].append(user)

    def _read(self, events: Sequence[Event]) -> None:
        begun: dict[str, Event] = {}
        lasting: dict[str, int] = {}
        for event in events:
            values = event.values
            match event.kind:
                case Kind.INVOKE:
                    begun[values["call"]] = event
                case Kind.OK | Kind.FAIL | Kind.UNKNOWN:
                    self._add(begun.pop(values["call"]), event)
                case Kind.RECEIVED:
                    copy = Copy(event.at_s, event.process, values["attempt"], values["delivered"])
                    people = self.copies[values["post"], values["channel"]]
                    for user in values["users"]:
                        people[user].append(copy)
                case Kind.FAULT if event.operation == "ended":
                    at = lasting[values["fault"]]
                    self.faults[at] = self.faults[at]._replace(end_s=event.at_s)
                case Kind.FAULT:
                    lasting[values["fault"]] = len(self.faults)
                    hit = frozenset(values["processes"])
                    self.faults.append(Fault(event.operation, hit, event.at_s, event.at_s))
                case Kind.NOTE:
                    self.notes[event.operation].append(event)
        for event in begun.values():
            self._add(event, None)

    def _add(self, begun: Event, answer: Event | None) -> None:
        kind = Kind.UNKNOWN if answer is None else answer.kind
        end_s = inf if answer is None or kind is Kind.UNKNOWN else answer.at_s
        events = (begun,) if answer is None else (begun, answer)
        told = {} if answer is None else answer.values
        call = Call(begun.operation, begun.values, begun.at_s, end_s, kind, told, events)
        self.calls[begun.operation].append(call)

    # Who follows and mutes whom

    def follows(self, user: str, author: str) -> Lasting:
        return self._lasting(user, author, "follow", "unfollow")

    def mutes(self, user: str, author: str) -> Lasting:
        return self._lasting(user, author, "mute", "unmute")

    def _lasting(self, user: str, author: str, begins: str, ends: str) -> Lasting:
        calls = self._pairs.get((user, author))
        return Lasting(calls[begins], calls[ends]) if calls else Lasting((), ())

    def published(self, post: str) -> tuple[float, float]:
        """The time in which a post that is stored came to be so."""
        if post not in self._published:
            calls = [call for call in self.publishes.get(post, ()) if call.possible]
            ends = [call.end_s for call in calls if call.acknowledged]
            begin_s = min((call.begin_s for call in calls), default=inf)
            self._published[post] = begin_s, min(ends, default=inf)
        return self._published[post]


class Lasting(NamedTuple):
    """Something that one kind of call begins and another ends."""

    begins: Sequence[Call]
    ends: Sequence[Call]

    def must_hold(self, begin_s: float, end_s: float) -> bool:
        """Whether it surely held all the time from one moment to the other."""
        return any(
            on.acknowledged
            and on.end_s < begin_s
            and all(off.end_s < on.begin_s or off.begin_s > end_s for off in self.ends)
            for on in self.begins
        )

    def may_hold(self, begin_s: float, end_s: float) -> bool:
        """Whether it may have held at some moment of that time."""
        return any(
            on.begin_s < end_s
            and not any(off.begin_s > on.end_s and off.end_s < begin_s for off in self.ends)
            for on in self.begins
        )
