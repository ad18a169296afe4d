"""Kills processes of a farm, one or all at once, and waits until they serve again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import urllib.request
from functools import partial
from pathlib import Path

from farm.children import SERVICE_FORGIVES_S
from tests.farm_process import FarmProcess, is_alive, wait_until_async
from tests.test_supervisor import Asking

BACK_S = 30.0  # longer only when it does not come back at all
ROLES = ("store", "reader", "worker", "gateway", "web")


def back_within_s() -> float:
    """Two seconds where the machine has cores to spare; modules load slowly where it has not."""
    return 2.0 if os.getloadavg()[0] < len(os.sched_getaffinity(0)) / 2 else 8.0


async def kill(hark: FarmProcess, ask: Asking, role: str, number: int = 1) -> float:
    """The seconds until another process serves in its place."""
    pid = hark.pids(role)[number - 1]
    os.kill(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    await wait_until_async(lambda: not is_alive(pid))
    await wait_until_async(lambda: ask.serves(role, number), BACK_S)
    return time.monotonic() - killed_s


async def kill_everybody(hark: FarmProcess, ask: Asking) -> int:
    """All but the supervisor, at once; how many there were."""
    places = [(role, n) for role in ROLES for n in range(1, len(hark.pids(role)) + 1)]
    killed = list(hark.children())
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    await wait_until_async(lambda: not any(map(is_alive, killed)))
    for role, number in places:
        await wait_until_async(partial(ask.serves, role, number), BACK_S)
    return len(killed)


async def serve_long_enough() -> None:
    """Until what has just begun to serve is no longer taken for something that dies at once."""
    end_s = time.monotonic() + SERVICE_FORGIVES_S
    await wait_until_async(lambda: time.monotonic() > end_s)


# What restarts could leave behind


def zombies_of(pid: int) -> list[str]:
    stats = [entry / "stat" for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = []
    for path in stats:
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if state == "Z" and int(parent) == pid:
            found.append(name)
    return found


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def scrape_s(hark: FarmProcess, times: int = 10) -> float:
    """What the quickest of some took: the others say how busy the machine is."""

    def scrape() -> float:
        begun_s = time.monotonic()
        with urllib.request.urlopen(f"http://{hark.http_address}/metrics", timeout=10) as answer:
            assert b"hark_process_restarts_total" in answer.read()
        return time.monotonic() - begun_s

    return min([await asyncio.to_thread(scrape) for _ in range(times)])
