"""What a check finds: a promise that was not kept, and the events that show it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.checker.history import Event
from tests.checker.model import Call


class Finding(NamedTuple):
    check: str
    what: str
    events: tuple[Event, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.check}: {self.what}", *map(str, self.events)])


def events_of(calls: Iterable[Call]) -> tuple[Event, ...]:
    return tuple(event for call in calls for event in call.events)
