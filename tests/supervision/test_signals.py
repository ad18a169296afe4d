"""Signals at any time: the farm drains front to back, or ends at once when asked twice."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence

import pytest

from tests.farm_process import FarmProcess, StartFarm, is_alive, wait_until
from tests.test_supervisor import assert_nothing_left

pytestmark = pytest.mark.process

FLAGS = ("--workers", "1", "--log-level", "debug")
ENDED = re.compile(r"supervisor: ended role=(\w+) number=\d status=(-?\d+)")
STAGES = {"gateway": 0, "web": 0, "worker": 1, "reader": 2, "store": 3}
HURRIED = {"reader"}  # it has nothing to drain and little time: on a busy machine it is killed
# Moments of a start, in their order: who serves by then.
MOMENTS = ((), ("store",), ("store", "worker", "reader", "gateway"))


def starting(farm: StartFarm, serving: Sequence[str]) -> FarmProcess:
    """A farm that has just come so far."""
    hark = farm(*FLAGS, wait=False)
    wait_until(hark.children, 20.0)
    for role in serving:
        wait_until(lambda: f"supervisor: serves role={role}" in hark.log(), 20.0)  # noqa: B023
    return hark


def ended_in_order(hark: FarmProcess) -> list[str]:
    """The roles in the order in which they ended, each by itself and with status 0."""
    ends = [(role, int(status)) for role, status in ENDED.findall(hark.log())]
    stages = [STAGES[role] for role, _ in ends]
    assert stages == sorted(stages), ends
    return [role for role, status in ends if status == 0]


@pytest.mark.parametrize("serving", MOMENTS, ids=lambda roles: roles[-1] if roles else "nobody")
def test_a_signal_at_any_moment_of_the_start_drains_in_order(
    farm: StartFarm, serving: Sequence[str]
) -> None:
    """Fault row 104. Those who do not know yet what they are for are killed, the others drain."""
    hark = starting(farm, serving)
    children = list(hark.children())
    hark.signal(signal.SIGINT)
    assert hark.wait() == 0, hark.log_tail()
    drained = ended_in_order(hark)
    wait_until(lambda: not any(map(is_alive, children)))
    assert_nothing_left(hark)
    assert "Traceback" not in hark.log()
    assert {*serving} - HURRIED <= {*drained}


def test_a_second_signal_during_the_start_ends_at_once(farm: StartFarm) -> None:
    """Fault row 104, with a store that would take its time."""
    hark = starting(farm, ("store",))
    children = list(hark.children())
    os.kill(hark.pids("store")[0], signal.SIGSTOP)
    hark.signal(signal.SIGINT)
    wait_until(lambda: "ending: front to back" in hark.log())
    hark.signal(signal.SIGTERM)
    assert hark.wait() == 1, "drained it would end with 0"
    wait_until(lambda: not any(map(is_alive, children)), 1.0)
    assert_nothing_left(hark)
    assert "Traceback" not in hark.log()


def test_sighup_changes_nothing_whenever_it_comes(farm: StartFarm) -> None:
    """Fault row 104: during the start, when it runs, and during the end."""
    hark = starting(farm, ())
    hark.signal(signal.SIGHUP)
    hark.wait_ready()
    children = set(hark.children())
    hark.signal(signal.SIGHUP)
    wait_until(lambda: hark.log().count("SIGHUP is of no effect") == 2)
    assert set(hark.children()) == children
    hark.signal(signal.SIGTERM)
    wait_until(lambda: "ending: front to back" in hark.log())
    hark.signal(signal.SIGHUP)
    assert hark.wait() == 0
    assert {*STAGES} - HURRIED <= {*ended_in_order(hark)}
    assert_nothing_left(hark)
