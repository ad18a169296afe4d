"""What simulated minutes must have met, taken together, or they prove too little."""

from __future__ import annotations

from farm.lifecycle import State
from farm.store.dispatch import POISON
from tests.checker.dump import Dump
from tests.checker.model import Model
from tests.checker.sometimes import USUAL, Sometimes


def _fault(name: str) -> Sometimes:
    return Sometimes(name, lambda model, _: any(f.operation == name for f in model.faults))


def _held(name: str, *states: State) -> Sometimes:
    def seen(_: Model, dump: Dump) -> bool:
        return any(held.part.state in states for post in dump.posts for held in post.held)

    return Sometimes(name, seen)


POISONED = Sometimes(
    "somebody whom workers die of",
    lambda _, dump: any(held.error == POISON for post in dump.posts for held in post.held),
)
RETRIED = Sometimes(
    "a third try",
    lambda _, dump: any(
        held.part.state is State.DELIVERED and held.part.attempt == 3
        for post in dump.posts
        for held in post.held
    ),
)
SOMETIMES = (
    *USUAL,
    _fault("power cut"),
    _fault("pause"),
    _fault("disk: FullError"),
    _fault("disk: IOError"),
    _fault("clock"),
    _held("a retraction in time", State.RETRACTED),
    _held("a suppression", State.SUPPRESSED),
    POISONED,
    RETRIED,
)
