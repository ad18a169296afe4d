"""The states of a notification and the legal moves between them, as one table.

A notification is a member of exactly one set, a *part* of its batch. A part is named by a whole
number that holds its state, the tries begun, and a detail:

    part = state << 40 | attempt << 32 | detail

The detail is the slot of a retry (or says that its time has come), the error of a dead letter, the
reason of a suppression. Part 0, the *rest*, has no members of its own: it is everybody of the
segment who is in no other part, and its state stands in its row.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple


class State(IntEnum):
    """The states, as stored. Never renumber."""

    QUEUED = 0
    RETRYING = 1
    DELIVERED = 2
    DEAD = 3
    SUPPRESSED = 4
    RETRACTED = 5


WAITING = (State.QUEUED, State.RETRYING)

# What moves a notification from one state to another. Delivered is delivered: retracting a post
# stops those who wait, and hides the others where inboxes are read.
MOVES: dict[tuple[State, State], str] = {
    (State.QUEUED, State.DELIVERED): "sent at the first try",
    (State.QUEUED, State.RETRYING): "the first try failed",
    (State.QUEUED, State.DEAD): "no second try",
    (State.QUEUED, State.SUPPRESSED): "muted or unfollowed",
    (State.QUEUED, State.RETRACTED): "the post was retracted",
    (State.RETRYING, State.DELIVERED): "sent at a later try",
    (State.RETRYING, State.RETRYING): "failed again",
    (State.RETRYING, State.DEAD): "the last try failed",
    (State.RETRYING, State.SUPPRESSED): "muted or unfollowed",
    (State.RETRYING, State.RETRACTED): "the post was retracted",
    (State.DEAD, State.RETRYING): "replayed",
}


class IllegalMove(AssertionError):
    """A move that is not in the table: a bug, never a condition to handle."""


def check_move(before: State, after: State) -> None:
    """Raises `IllegalMove` where the table has no such move."""
    if (before, after) not in MOVES:
        raise IllegalMove(f"{before.name} to {after.name} is no legal move")


class Part(NamedTuple):
    """A part's name, taken apart. `attempt` counts the tries begun."""

    state: State
    attempt: int = 0
    detail: int = 0

    @property
    def key(self) -> int:
        return self.state << 40 | self.attempt << 32 | self.detail

    @property
    def ready(self) -> bool:
        """Whether it is a retry whose time has come."""
        return self.state is State.RETRYING and self.detail >= READY_MIN


REST = 0
DETAIL_MAX = 2**32 - 1
ATTEMPT_MAX = 250  # tries of one notification, replays included
READY_MIN = 2**31  # from here on, a retry's detail is no slot: its time has come
READY = DETAIL_MAX  # such a detail; the next ones lie below it


@lru_cache(maxsize=4_096)  # taken apart for each lease and each outcome, and there are few
def part_of(key: int) -> Part:
    """The part with this name. The rest's state is in its row; here it reads as QUEUED."""
    return Part(State(key >> 40), key >> 32 & 0xFF, key & DETAIL_MAX)


class Reason(IntEnum):
    """Why a notification was suppressed, as stored. Never renumber."""

    MUTED = 1
    UNFOLLOWED = 2


def diagram() -> str:
    """The table as a Mermaid state diagram, as the README shows it."""
    lines = ["stateDiagram-v2", "    [*] --> QUEUED: published"]
    lines += [f"    {a.name} --> {b.name}: {why}" for (a, b), why in MOVES.items()]
    return "\n".join(lines)
