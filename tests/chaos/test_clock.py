"""The clocks of all processes jump while the farm is in use."""

from __future__ import annotations

import os
import random
import time
from functools import partial
from itertools import takewhile
from pathlib import Path

import pytest

from farm.schedule import Backoff
from tests.chaos.run import Scene, observe
from tests.chaos.surroundings import FarmClock
from tests.chaos.world import RULES, elapse
from tests.checker.history import Kind
from tests.farm_process import wait_until_async

pytestmark = pytest.mark.process

HEARD_WITHIN_S = 1.5  # of a jump, by every process
BACKOFF = Backoff(1_500, 30_000)
FROZEN_S = 10.0 + 1.5  # a lease and a delay
# By whole hours, as who reads the log takes it; and nothing sets back the clock that never does.
JUMPS = {False: ("+10d", "-10d", "+1h"), True: ("+1h", "+10d")}


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "monotonic", [False, pytest.param(True, marks=pytest.mark.slow)], ids=("wall", "monotonic too")
)
async def test_clocks_that_jump_freeze_nothing_and_lose_nothing(
    tmp_path: Path, monotonic: bool
) -> None:
    """Fault row 77. After each jump what is published is delivered as before; where only the wall
    clock jumps no retry comes early, so that there is no burst of them."""
    if FarmClock.library() is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("the clocks of a farm cannot be set without libfaketime")
    clock = FarmClock(tmp_path, monotonic=monotonic)

    async def happens(scene: Scene) -> None:
        for offset in JUMPS[monotonic]:
            # Where no clock is true, every lease is over at once.
            whom = "farm" if monotonic else "clock"
            fault = scene.history.fault("jump", [whom], offset=offset)
            clock.jump(offset)
            await elapse(HEARD_WITHIN_S)
            scene.history.fault_ended(fault)
            begun_s = time.monotonic()
            await wait_until_async(partial(some_are_delivered, scene, begun_s), FROZEN_S)
            print(f"{offset}: delivered {time.monotonic() - begun_s:.2f} s later")

    rules = RULES._replace(backoff=BACKOFF, early_s=None if monotonic else RULES.early_s)
    flags = ("--backoff-ms", str(BACKOFF.base_ms), "--simulated-failure-rate", "0.5")
    verdict = await observe(
        tmp_path, happens, random.Random(77), flags=flags, clock=clock, rules=rules, sometimes=()
    )
    print(verdict)
    assert verdict.result == "valid", str(verdict)


def some_are_delivered(scene: Scene, begun_s: float) -> bool:
    """Whether people got what was published since then: enough of it to be no accident."""
    published, told = set[str](), set[str]()
    for event in takewhile(lambda event: event.at_s > begun_s, reversed(scene.history.events)):
        if event.kind is Kind.INVOKE and event.operation == "publish":
            published.add(event.values["post"])
        elif event.kind is Kind.RECEIVED and event.values["delivered"]:
            told.add(event.values["post"])
    return len(published & told) >= 5
