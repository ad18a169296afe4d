"""What happened in a run, as everybody who took part saw it: events in order, by one clock.

    history = Recorder(time.monotonic, path)
    call = history.invoke("publisher-1", "publish", post="publisher-1-7", author="ann")
    history.ok(call, queued=3)          # or fail: surely not done; or unknown

An event is written before what it tells of goes out, so that a history that was cut off tells of
too much, never of too little. Values are unique, made of who made them and a counter.

The calls that the checks know, and their values:

    publish     post, author, content; ok: queued, duplicate; fail: code
    retract     post
    follow, unfollow, mute, unmute      user, author
    inbox       user; ok: posts (newest first, of all pages), whole (there was no further page)

    received    post, channel, users (numbers), attempt (from 1), delivered; by the one who sent it
    fault       processes: whom it hits, as "worker 1", "store", or "farm" for all of it
    note        "metrics" with what a scrape said, name to value; anything else is for people
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple


class Kind(StrEnum):
    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"
    RECEIVED = "received"
    FAULT = "fault"
    NOTE = "note"


class Event(NamedTuple):
    at_s: float
    process: str
    kind: Kind
    operation: str
    values: dict[str, Any]

    def __str__(self) -> str:
        told = " ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.at_s:.3f} {self.process} {self.kind} {self.operation} {told}"


class Recorder:
    """Takes events down as they happen; any thread may tell it. Without a path: in memory only."""

    def __init__(self, now_s: Callable[[], float], path: Path | None = None) -> None:
        self.events: list[Event] = []
        self._now_s = now_s
        self._file = None if path is None else path.open("a", encoding="utf-8")
        self._counters: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._open: dict[str, tuple[str, str]] = {}  # process and operation of calls in flight
        self._lock = Lock()

    def name(self, process: str) -> str:
        """A value that nobody else has."""
        return f"{process}-{next(self._counters[process])}"

    def invoke(self, process: str, operation: str, **values: Any) -> str:
        """Before the call goes out; returns its name."""
        call = self.name(f"{process}/{operation}")
        self._open[call] = (process, operation)
        self.add(process, Kind.INVOKE, operation, call=call, **values)
        return call

    def ok(self, call: str, **values: Any) -> None:
        self._answer(call, Kind.OK, values)

    def fail(self, call: str, **values: Any) -> None:
        """It was surely not done."""
        self._answer(call, Kind.FAIL, values)

    def unknown(self, call: str, **values: Any) -> None:
        """It was done, or is still being done, or never will be."""
        self._answer(call, Kind.UNKNOWN, values)

    def received(self, process: str, *, at_s: float | None = None, **values: Any) -> None:
        """The receiver says so before whoever sent it hears of it."""
        self.add(process, Kind.RECEIVED, "attempt", at_s=at_s, **values)

    def fault(self, operation: str, processes: Sequence[str], **values: Any) -> str:
        """Before it strikes; its name, for one that lasts until `fault_ended`."""
        fault = self.name(operation)
        self.add("nemesis", Kind.FAULT, operation, fault=fault, processes=[*processes], **values)
        return fault

    def fault_ended(self, fault: str) -> None:
        self.add("nemesis", Kind.FAULT, "ended", fault=fault)

    def note(self, operation: str, **values: Any) -> None:
        self.add("run", Kind.NOTE, operation, **values)

    def add(
        self, process: str, kind: Kind, operation: str, *, at_s: float | None = None, **values: Any
    ) -> None:
        """`at_s`: of what was seen elsewhere and is only told now."""
        with self._lock:
            when_s = self._now_s() if at_s is None else at_s
            event = Event(when_s, process, kind, operation, values)
            self.events.append(event)
            if self._file is not None:
                self._file.write(json.dumps(event) + "\n")
                self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _answer(self, call: str, kind: Kind, values: dict[str, Any]) -> None:
        process, operation = self._open.pop(call)
        self.add(process, kind, operation, call=call, **values)


def read(lines: Iterable[str]) -> list[Event]:
    """The events of a file of them."""
    found = (json.loads(line) for line in lines)
    return [Event(at_s, who, Kind(kind), what, values) for at_s, who, kind, what, values in found]
