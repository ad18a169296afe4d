"""Places at which a process can be made to die, stop, fail or dawdle, to see what comes of it.

    HARK_FAILPOINTS=store.committed:kill:20,worker.sent:stop:1:1

is a list of NAME:ACTION[:NTH[:LIVES]]. A process acts when it passes that place for the NTH time,
the first where nothing is said. It counts for itself: one that is started again after its death
counts from 1, and with LIVES only so many of a process's lives know of it at all. What acts says so
in the log before, so that a run can prove that it came to the rare moment it was made for.

Nothing is armed unless somebody asks for it, and a place that is not armed costs next to nothing.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from farm.errors import ConfigError
from farm.observe import log

DAWDLE_S = 1.0


class Point(StrEnum):
    """Every place there is; each is passed at one line of the code."""

    STORE_RECOVER = "store.recover"  # before each piece of the log that is written anew
    STORE_SCHEMA = "store.schema"  # before each statement that makes or changes tables
    STORE_FANOUT = "store.fanout"  # posts are written, their batches are not
    STORE_OUTCOMES = "store.outcomes"  # a worker's message is applied
    STORE_LEASE = "store.lease"  # work is given to a session, not yet durable
    STORE_IMPORT = "store.import"  # segments have the new followers, relations do not
    STORE_RETENTION = "store.retention"  # an old post is removed
    STORE_COMMIT = "store.commit"  # before each commit
    STORE_COMMITTED = "store.committed"  # behind it, before anybody hears of it
    STORE_TELL = "store.tell"  # before each frame to where people are online
    STORE_REPLY = "store.reply"  # before each answer to a write
    STORE_GRANT = "store.grant"  # before each answer to who asked for work
    STORE_COPY = "store.copy"  # before the helper copies the log into the database
    STORE_CHECKPOINT = "store.checkpoint"  # before the log begins anew
    STORE_BACKUP = "store.backup"  # before each step of a backup
    STORE_BACKUP_NAMED = "store.backup_named"  # it has its name, and still its former one
    READER_REPLY = "reader.reply"  # before each answer
    WORKER_GRANTED = "worker.granted"  # leases have come
    WORKER_SEND = "worker.send"  # before a channel gets them
    WORKER_SENT = "worker.sent"  # a lease has ended, the store has not been told
    WORKER_REPORT = "worker.report"  # before each message with outcomes
    WORKER_REPORTED = "worker.reported"  # the store has been told how leases ended
    WORKER_GOODBYE = "worker.goodbye"  # drained, before the last report
    LIVE_FRAME = "live.frame"  # a process with people online has taken a frame
    GATEWAY_ASK = "gateway.ask"  # a call has come
    GATEWAY_REPLY = "gateway.reply"  # before its answer
    WEB_ASK = "web.ask"  # an operation of GraphQL's has come
    WEB_REPLY = "web.reply"  # before its answer
    SUPERVISOR_START = "supervisor.start"  # before each start of a process
    SUPERVISOR_TELL = "supervisor.tell"  # before each is told what it is for
    SUPERVISOR_READY = "supervisor.ready"  # before the ready line
    SUPERVISOR_DEATH = "supervisor.death"  # a process has died, nobody has heard of it
    SUPERVISOR_STOP = "supervisor.stop"  # before each is asked to end


class Action(StrEnum):
    KILL = "kill"
    STOP = "stop"
    RAISE = "raise"
    SLEEP = "sleep"


_FORM = re.compile(rf"([^:]+):({'|'.join(Action)})(?::([1-9]\d{{0,8}}))?(?::([1-9]\d{{0,8}}))?")


class FailpointRaised(Exception):
    """What nobody has foreseen."""


@dataclass(slots=True)
class _Armed:
    """What happens at a place, and how often this process has passed it."""

    action: Action
    nth: int
    passed: int = 0


_armed: dict[Point, _Armed] = {}


def arm(text: str) -> None:
    """Arms this process as `HARK_FAILPOINTS` says; nothing, where it is empty.

    Raises `ConfigError` where it cannot be understood.
    """
    _armed.clear()
    _armed.update({one.point: _Armed(one.action, one.nth) for one in _listed(text)})


def of_life(text: str, life: int) -> str:
    """What a process is told of `HARK_FAILPOINTS`; its first life is 1."""
    return ",".join(str(one) for one in _listed(text) if not one.lives or life <= one.lives)


def passing(point: Point) -> None:
    """The process is at this place."""
    if _armed and (armed := _armed.get(point)) is not None:
        armed.passed += 1
        if armed.passed == armed.nth:
            _act(point, armed)


def _act(point: Point, armed: _Armed) -> None:
    log(logging.WARNING, "failpoint", name=str(point), action=str(armed.action), count=armed.passed)
    match armed.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.RAISE:
            raise FailpointRaised(f"at {point}")
        case Action.SLEEP:
            threading.Event().wait(DAWDLE_S)


class _Listed(NamedTuple):
    point: Point
    action: Action
    nth: int
    lives: int  # 0: all

    def __str__(self) -> str:
        return f"{self.point}:{self.action}:{self.nth}" + (f":{self.lives}" if self.lives else "")


def _listed(text: str) -> list[_Listed]:
    found = [_understood(part.strip()) for part in text.split(",") if part.strip()]
    points = [one.point for one in found]
    for point in points:
        if points.count(point) > 1:
            raise ConfigError(f"HARK_FAILPOINTS: {point} is there twice")
    return found


def _understood(part: str) -> _Listed:
    name = part.partition(":")[0]
    if name not in list(Point):
        raise ConfigError(f"HARK_FAILPOINTS: {name}: is no failpoint; there are {', '.join(Point)}")
    form = _FORM.fullmatch(part)
    if form is None:
        raise ConfigError(
            f"HARK_FAILPOINTS: {part}: must be NAME:ACTION[:NTH[:LIVES]], both numbers from 1 on, "
            f"the action one of {', '.join(Action)}"
        )
    _, action, nth, lives = form.groups()
    return _Listed(Point(name), Action(action), int(nth or 1), int(lives or 0))
