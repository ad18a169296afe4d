"""What a run must have met at least once, or it proves nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from farm.lifecycle import State
from farm.store import totals
from tests.checker.dump import Dump
from tests.checker.model import Model


class Sometimes(NamedTuple):
    name: str
    seen: Callable[[Model, Dump], bool]


def _kill_before_the_reply(model: Model, _: Dump) -> bool:
    """The first answer that anybody got said that the post was there already, and something was
    hit since it was first sent."""
    for calls in model.publishes.values():
        answered = next((call for call in calls if call.acknowledged), None)
        if answered is not None and answered.answer.get("duplicate"):
            begin_s, end_s = calls[0].begin_s, answered.end_s
            if any(begin_s <= fault.begin_s <= end_s for fault in model.faults):
                return True
    return False


KILL_BEFORE_REPLY = Sometimes("a kill between commit and reply", _kill_before_the_reply)
LEASE_EXPIRY = Sometimes("a lease expiry", lambda _, dump: dump.totals.of(totals.EXPIRED) > 0)
STALE_OUTCOME = Sometimes("a stale outcome", lambda _, dump: dump.totals.of(totals.STALE) > 0)
DEAD_LETTER = Sometimes(
    "a dead letter",
    lambda _, dump: any(held.part.state is State.DEAD for post in dump.posts for held in post.held),
)
USUAL = (KILL_BEFORE_REPLY, LEASE_EXPIRY, STALE_OUTCOME, DEAD_LETTER)
