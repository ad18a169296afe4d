"""Processes that die, hang, or die again at once: what the supervisor does, in one farm."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from farm.children import HEARTBEAT_S, MISSES_MAX, STORE_MISSES_MAX
from farm.observe import metrics_lock
from tests.farm_process import FarmProcess, StartFarm, is_alive, wait_until, wait_until_async
from tests.supervision import kills
from tests.test_acceptance import Client
from tests.test_supervisor import ONE_OF_EACH, Asking, asking, roles

pytestmark = pytest.mark.process

RESTARTS = 1_000
NOT_STARTED = "not started: "
DESCRIPTORS_FEW = 8  # a supervisor keeps as many: it can open none, and so start no process
SCRAPE_MAX_S = 0.2


@pytest.fixture(scope="module")
def curse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there, workers end at once."""
    return tmp_path_factory.mktemp("site") / "curse"


@pytest.fixture(scope="module")
def hark(curse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    (curse.parent / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"if 'farm.worker' in sys.orig_argv and os.path.exists({str(curse)!r}): os._exit(7)\n"
    )
    environment = {"PYTHONPATH": str(curse.parent)}
    flags = ("--workers", "2", "--log-level", "debug")
    made = FarmProcess(tmp_path_factory.mktemp("farm"), flags, environment=environment)
    yield made.start()
    made.kill_tree()
    print(f"--- the end of {made.log_path}:\n{made.log_tail()}")


@pytest.fixture
async def ask(hark: FarmProcess) -> AsyncIterator[Asking]:
    async with asking(hark) as made:
        yield made


async def test_a_killed_process_is_back_within_two_seconds(hark: FarmProcess, ask: Asking) -> None:
    """Fault row 98, the supervisor's part of it."""
    before = (await ask.farm.state()).restarts
    for role in ONE_OF_EACH:
        others = {pid for pid, title in hark.children().items() if role not in title}
        killed = hark.pids(role)[0]
        took_s = await kills.kill(hark, ask, role)
        print(f"{role} is back after {took_s * 1000:.0f} ms")
        assert took_s < kills.back_within_s()
        state = await ask.farm.state()
        assert state.restarts[role] == before.get(role, 0) + 1
        assert killed not in {process.pid for process in state.processes}
        assert f"{role} 1 (process {killed}) was ended by SIGKILL" in hark.log()
        assert others <= set(hark.children()), "nobody else was touched"
    assert roles(hark) == ONE_OF_EACH


async def test_a_stopped_process_is_found_by_its_heartbeat_and_replaced(
    hark: FarmProcess, ask: Asking
) -> None:
    """Fault row 101. The store has more time, for a slow disk is no reason to kill it."""
    stopped = {role: hark.pids(role)[0] for role in ONE_OF_EACH}
    for pid in stopped.values():  # whoever still starts, as far as the supervisor knows, has longer
        await wait_until_async(partial(serves, hark, pid), kills.BACK_S)
    begun_s = time.monotonic()
    for pid in stopped.values():
        os.kill(pid, signal.SIGSTOP)
    store = stopped.pop("store")
    await wait_until_async(lambda: not all(map(is_alive, stopped.values())))
    assert time.monotonic() - begun_s > (MISSES_MAX - 1) * HEARTBEAT_S
    await wait_until_async(lambda: not any(map(is_alive, stopped.values())), 10.0)
    assert is_alive(store)
    await wait_until_async(lambda: not is_alive(store), 15.0)
    assert time.monotonic() - begun_s > (STORE_MISSES_MAX - 1) * HEARTBEAT_S
    for role in ONE_OF_EACH:
        await wait_until_async(partial(ask.serves, role, 1), kills.BACK_S)
    for role, misses in [*((role, MISSES_MAX) for role in stopped), ("store", STORE_MISSES_MAX)]:
        assert f"killed, for it missed {misses} heartbeats role={role} number=1" in hark.log()
    assert roles(hark) == ONE_OF_EACH


def serves(hark: FarmProcess, pid: int) -> bool:
    """Whether the supervisor knows it."""
    return re.search(rf" serves .*pid={pid}\b", hark.log()) is not None


async def test_who_dies_at_once_is_started_later_and_later_and_the_farm_goes_on(
    hark: FarmProcess, ask: Asking, curse: Path
) -> None:
    """Fault row 100: what dies once the farm was ready is never given up, nor started in a spin."""
    await kills.serve_long_enough()
    others = {pid for pid, title in hark.children().items() if title != "hark: worker 2"}
    told = re.compile(r"(\S+) error +supervisor: worker 2 \(process \d+\) ended with status 7")
    with there(curse):
        os.kill(hark.pids("worker")[1], signal.SIGKILL)
        times = await wait_until_async(lambda: (t := told.findall(hark.log()))[5:] and t, 20.0)
        client = Client(hark)
        assert client.publish(f"while it dies {os.getpid()}") == 6
        client.close()
    await wait_until_async(lambda: ask.serves("worker", 2), 20.0)
    at_s = [datetime.fromisoformat(one).timestamp() for one in times]
    gaps_s = [later - earlier for earlier, later in pairwise(at_s)]
    print(f"seconds between its deaths: {[round(gap, 2) for gap in gaps_s]}")
    for gap_s, pause_s in zip(gaps_s, (0.0, 0.1, 0.2, 0.4, 0.8), strict=False):
        assert gap_s > pause_s
    assert others <= set(hark.children())


@contextlib.contextmanager
def there(file: Path) -> Iterator[None]:
    file.touch()
    yield
    file.unlink()


async def test_what_cannot_be_started_again_is_tried_later_and_later(
    hark: FarmProcess, ask: Asking
) -> None:
    """However long the last life has served."""
    await kills.serve_long_enough()
    before = (await ask.farm.state()).restarts.get("worker", 0)
    with hardly_descriptors(hark):
        told = Told(hark, NOT_STARTED)
        os.kill(hark.pids("worker")[0], signal.SIGKILL)
        at_s = await wait_until_async(lambda: (t := told.at_s())[5:] and t, 10.0)
        assert (await ask.farm.state()).restarts.get("worker", 0) == before, "none was started"
    gaps_s = [later - earlier for earlier, later in pairwise(at_s)]
    print(f"seconds between the attempts: {[round(gap, 2) for gap in gaps_s]}")
    for gap_s, pause_s in zip(gaps_s, (0.0, 0.1, 0.2, 0.4, 0.8), strict=False):
        assert gap_s > pause_s - 0.01
    await wait_until_async(lambda: ask.serves("worker", 1), 20.0)
    assert (await ask.farm.state()).restarts["worker"] == before + 1


async def test_workers_that_cannot_be_started_come_when_they_can(
    hark: FarmProcess, ask: Asking
) -> None:
    before = (await ask.farm.state()).restarts
    with hardly_descriptors(hark):
        told = Told(hark, NOT_STARTED)
        state = await ask.farm.set_workers(4)
        assert state.workers == 4
        assert Counter(process.role for process in state.processes)["worker"] == 2
        await wait_until_async(lambda: len(told.at_s()) >= 6)
        assert (await ask.farm.set_workers(3)).workers == 3
    await wait_until_async(lambda: ask.serves("worker", 3), 20.0)
    assert (await ask.farm.state()).restarts == before
    assert (await ask.farm.set_workers(2)).workers == 2
    await wait_until_async(lambda: roles(hark) == ONE_OF_EACH)


async def test_what_the_ended_have_counted_is_added_up_when_it_can_be(
    hark: FarmProcess, ask: Asking
) -> None:
    """By a supervisor that goes on meanwhile."""
    told = Told(hark, "metrics of ended processes not added up yet: ")
    counted = hark.metrics_dir / f"histogram_{hark.pids('gateway')[0]}.db"
    state = await ask.farm.state()
    with metrics_lock(hark.metrics_dir, alone=False):
        await kills.kill(hark, ask, "gateway")
        few = contextlib.ExitStack()
        few.enter_context(hardly_descriptors(hark))
    with few:
        await wait_until_async(lambda: len(told.at_s()) >= 2)
        assert counted.exists()
        assert (await ask.farm.state()).workers == state.workers
    await wait_until_async(lambda: not counted.exists())


def test_a_farm_that_cannot_start_a_process_ends_when_asked(farm: StartFarm) -> None:
    hark = farm("--workers", "1")
    children = list(hark.children())
    with hardly_descriptors(hark):
        told = Told(hark, NOT_STARTED)
        os.kill(hark.pids("worker")[0], signal.SIGKILL)
        wait_until(lambda: len(told.at_s()) >= 3)
        assert hark.stop() == 0
    assert not any(map(is_alive, children))


@contextlib.contextmanager
def hardly_descriptors(hark: FarmProcess) -> Iterator[None]:
    """What is open stays so. Who has not asked the supervisor before cannot do so meanwhile."""
    pid = hark.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS_FEW, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it was to end
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


class Told:
    """What the supervisor says from now on, by its beginning."""

    def __init__(self, hark: FarmProcess, beginning: str) -> None:
        self._hark = hark
        self._line = re.compile(rf"(\S+) \w+ +supervisor: {re.escape(beginning)}")
        self._before = len(self._all())

    def at_s(self) -> list[float]:
        return self._all()[self._before :]

    def _all(self) -> list[float]:
        told = self._line.findall(self._hark.log())
        return [datetime.fromisoformat(one).timestamp() for one in told]


async def test_many_restarts_leave_nothing_behind(hark: FarmProcess, ask: Asking) -> None:
    """Fault row 102, with some restarts."""
    await restart(hark, ask, 2 * sum(ONE_OF_EACH.values()))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_thousand_restarts_leave_nothing_behind(hark: FarmProcess, ask: Asking) -> None:
    """Fault row 102."""
    await restart(hark, ask, RESTARTS)


async def restart(hark: FarmProcess, ask: Asking, count: int) -> None:
    """No zombies, no descriptors, no files, no slow scrapes."""
    restarted = await kills.kill_everybody(hark, ask)
    descriptors = kills.descriptors_of(hark.pid)
    files = sum(1 for _ in hark.metrics_dir.iterdir())
    quick_s = await kills.scrape_s(hark)
    while restarted < count:
        if count == RESTARTS:
            await kills.serve_long_enough()
        restarted += await kills.kill_everybody(hark, ask)
    scraped_s = await kills.scrape_s(hark)
    print(f"{restarted} restarts; a scrape took {quick_s * 1e3:.0f} ms, {scraped_s * 1e3:.0f} now")
    # A question that waits for its answer opens a descriptor or two for a moment, and the metrics
    # of who has just died have a second until they are added up.
    wait_until(lambda: kills.descriptors_of(hark.pid) <= descriptors + 2)
    wait_until(lambda: sum(1 for _ in hark.metrics_dir.iterdir()) <= files + 2)
    assert kills.zombies_of(hark.pid) == []
    assert scraped_s < max(SCRAPE_MAX_S, 2 * quick_s)
    assert roles(hark) == ONE_OF_EACH
