"""`make kills KILLS=50`: how long each kind of process is away when it is killed."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.farm_process import FarmProcess
from tests.supervision import kills
from tests.test_supervisor import Asking, asking


def main() -> int:
    parser = argparse.ArgumentParser(prog="make kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many of each kind")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hark-kills-") as directory:
        hark = FarmProcess(Path(directory), ("--workers", "2")).start()
        try:
            away = asyncio.run(_all(hark, asked.kills))
        finally:
            hark.kill_tree()
    for role, times_s in away.items():
        times_ms = sorted(round(took_s * 1000) for took_s in times_s)
        late = times_ms[len(times_ms) * 95 // 100]
        print(
            f"{role:8} {len(times_ms)} kills, back after {statistics.median(times_ms):.0f} ms in "
            f"the middle, {late} in 95 of 100, {times_ms[-1]} at most"
        )
    return 0


async def _all(hark: FarmProcess, count: int) -> dict[str, list[float]]:
    """In turn, so that nobody dies twice within a second."""
    away: dict[str, list[float]] = defaultdict(list)
    async with asking(hark) as ask:
        before = kills.descriptors_of(hark.pid)
        for _ in range(count):
            for role in kills.ROLES:
                away[role].append(await kills.kill(hark, ask, role))
        await _left_behind(hark, ask, before)
    return away


async def _left_behind(hark: FarmProcess, ask: Asking, before: int) -> None:
    restarts = sum((await ask.farm.state()).restarts.values())
    scraped_ms = await kills.scrape_s(hark) * 1000
    print(
        f"{restarts} restarts: {len(kills.zombies_of(hark.pid))} zombies, {before} descriptors "
        f"before and {kills.descriptors_of(hark.pid)} after, a scrape in {scraped_ms:.0f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
