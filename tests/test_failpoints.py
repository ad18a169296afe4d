"""Failpoints: what is understood, where they act and how often, and that each has its one place."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import timeit
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import failpoints
from farm.errors import ConfigError
from farm.failpoints import FailpointRaised, Point, passing
from tests.farm_process import StartFarm, wait_until
from tests.test_acceptance import Client
from tests.test_tidy import parsed, source_files

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def nothing_armed() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_each_place_is_passed_at_one_line_of_the_code() -> None:
    passed = Counter(
        call.args[0].attr
        for name in source_files()
        for call in ast.walk(parsed(name))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "passing"
        and isinstance(call.args[0], ast.Attribute)
    )
    assert passed == Counter(point.name for point in Point)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("store.comit:kill", "store.comit: is no failpoint; there are store.recover, store.schema"),
        (":kill", "is no failpoint"),
        ("kill", "kill: is no failpoint"),
        ("store.commit", "store.commit: must be NAME:ACTION[:NTH[:LIVES]]"),
        ("store.commit:explode", "one of kill, stop, raise, sleep"),
        ("store.commit:kill:0", "both numbers from 1 on"),
        ("store.commit:kill:-1", "both numbers from 1 on"),
        ("store.commit:kill:1:1:1", "must be NAME:ACTION[:NTH[:LIVES]]"),
        ("store.commit:kill,store.reply:stop,store.commit:raise:2", "store.commit is there twice"),
    ],
)
def test_what_is_wrong_is_named(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match="HARK_FAILPOINTS: ") as refused:
        failpoints.arm(text)
    assert told in refused.value.message


def test_it_acts_at_the_nth_passing_and_only_then() -> None:
    failpoints.arm("store.reply:raise:3, worker.sent:raise")
    passing(Point.STORE_REPLY)
    passing(Point.STORE_TELL)
    passing(Point.STORE_REPLY)
    with pytest.raises(FailpointRaised, match=r"store\.reply"):
        passing(Point.STORE_REPLY)
    passing(Point.STORE_REPLY)
    with pytest.raises(FailpointRaised, match=r"worker\.sent"):
        passing(Point.WORKER_SENT)


def test_only_so_many_lives_of_a_process_know_of_it() -> None:
    text = "store.reply:kill:3:1,store.tell:stop:2,store.grant:sleep:1:2"
    assert failpoints.of_life(text, 1) == text
    assert failpoints.of_life(text, 2) == "store.tell:stop:2,store.grant:sleep:1:2"
    assert failpoints.of_life(text, 3) == "store.tell:stop:2"


@pytest.mark.parametrize(("action", "ends"), [("kill", -signal.SIGKILL), ("stop", -signal.SIGSTOP)])
def test_it_says_so_before_it_acts(action: str, ends: int) -> None:
    program = (
        "from farm import failpoints\n"
        "from farm.clock import SystemClock\n"
        "from farm.observe import start_logging\n"
        "start_logging('one', SystemClock(), log_format='text', log_level='info')\n"
        f"failpoints.arm('store.commit:{action}:2')\n"
        "for _ in range(2): failpoints.passing(failpoints.Point.STORE_COMMIT)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        signalled = os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.WTERMSIG(status)
        assert -signalled == ends
    finally:
        process.kill()
    _, log = process.communicate(timeout=10)
    assert f"failpoint name=store.commit action={action} count=2" in log


@pytest.mark.process
def test_a_farm_refuses_a_wrong_name(farm: StartFarm) -> None:
    hark = farm(environment={"HARK_FAILPOINTS": "store.reply:kill,nowhere:kill"}, wait=False)
    assert hark.wait() == 2
    assert "HARK_FAILPOINTS: nowhere: is no failpoint; there are store.recover" in hark.log()


@pytest.mark.process
def test_one_that_costs_a_life_costs_only_so_many(farm: StartFarm) -> None:
    armed = {"HARK_FAILPOINTS": "worker.granted:kill:1:1"}
    hark = farm("--workers", "1", "--simulated-failure-rate", "0", environment=armed)
    client = Client(hark)
    try:
        client.publish("p1")
        wait_until(lambda: client.ledger("p1").delivered == 6, 15)
    finally:
        client.close()
    assert hark.log().count("failpoint name=worker.granted action=kill count=1") == 1
    assert hark.log().count("was ended by SIGKILL") == 1


def test_what_is_not_armed_costs_next_to_nothing() -> None:
    """Less than 100 empty calls, even while something else is armed."""
    rounds = 10_000
    empty_s = min(timeit.repeat(lambda: None, number=rounds, repeat=5))
    for text in ("", "web.ask:kill"):
        failpoints.arm(text)
        own_s = min(timeit.repeat(lambda: passing(Point.STORE_COMMIT), number=rounds, repeat=5))
        assert own_s < 100 * empty_s
