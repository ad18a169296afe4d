"""Simulated minutes: the whole farm in one process, with everything going wrong that can."""

from __future__ import annotations

import random
import re
import subprocess
import sys

import pytest


def simulate(*flags: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *flags],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    print(done.stdout, done.stderr)
    return done


@pytest.mark.process
def test_no_promise_is_broken_in_300_simulated_minutes() -> None:
    """Nothing acknowledged is lost, nobody is told twice without a cause, nothing is stuck; with
    messages that are lost, doubled and late, processes that die at any deed on a file, stop and
    come back, disks that are full or fail, power cuts and clocks that jump. Fault rows 32, 39, 40,
    77, 78, 108, 115, 117 and 118.
    """
    assert simulate("--seeds", "300").returncode == 0


@pytest.mark.process
def test_a_seed_repeats_its_minute() -> None:
    """Whatever ran before it in the same process, and however many run beside it."""
    first = str(random.SystemRandom().getrandbits(32))
    alone, beside = (
        simulate("--seeds", "11", "--first", first, "--jobs", jobs) for jobs in ("1", "2")
    )
    assert traces(alone) == traces(beside)


def traces(done: subprocess.CompletedProcess[str]) -> str:
    (found,) = re.findall(r"^traces (\w+)$", done.stdout, re.MULTILINE)
    return str(found)
