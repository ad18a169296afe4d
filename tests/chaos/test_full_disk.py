"""Processes die while the disk has no byte left."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.chaos.surroundings import Disk
from tests.farm_process import StartFarm, is_alive, wait_until

pytestmark = pytest.mark.process

DISK_MB = 64
ROLES = ("gateway", "web", "reader", "worker", "store")


def test_processes_that_die_on_a_full_disk_are_replaced(farm: StartFarm, tmp_path: Path) -> None:
    """Fault row 108: a full disk and kills. What the dead have counted is added up, and who comes
    after them counts too, so neither may need room on the disk; the supervisor least of all."""
    disk = Disk(tmp_path / "disk")
    with disk.mounted(DISK_MB) as mounted:
        if not mounted:
            pytest.skip("nothing may be mounted here")
        hark = farm("--disk-reserve-mb", "1", data_dir=disk.path / "data")
        disk.fill()
        for role in ROLES:
            (killed, *_) = hark.pids(role)
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: not is_alive(killed))  # noqa: B023 (waited for here)
            wait_until(lambda: set(hark.pids(role)) - {killed}, 20)  # noqa: B023 (as above)
        wait_until(lambda: serves(hark.http_address), 20)
        assert is_alive(hark.pid)
        disk.free()
        assert hark.stop() == 0


def serves(address: str) -> bool:
    """Whether everything is ready, as far as a full disk lets it."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            return b"hark_process_restarts_total" in answer.read()
    except OSError:
        return False
