"""A disk on which Hark cannot work at all: it says so at its start, in one line, and ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.farm_process import StartFarm
from tests.faults.disks import mounted

pytestmark = pytest.mark.process


def test_a_disk_that_is_read_only_ends_the_start(farm: StartFarm, tmp_path: Path) -> None:
    """Fault row 22."""
    with mounted(tmp_path / "disk", "size=8m") as disk:
        (disk / "data").mkdir(mode=0o700)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        hark = farm(data_dir=disk / "data", wait=False)
        assert hark.wait() == 1
        told = f"hark: data directory {disk / 'data'}: Read-only file system: make it writable"
        assert [line for line in hark.log().splitlines() if told in line]
        assert "Traceback" not in hark.log()


@pytest.mark.parametrize("inodes", [3, 5])
def test_a_disk_that_holds_no_more_files_ends_the_start(
    farm: StartFarm, tmp_path: Path, inodes: int
) -> None:
    """However far the start comes. Fault row 22."""
    with mounted(tmp_path / "disk", f"size=64m,nr_inodes={inodes}") as disk:
        hark = farm("--workers", "1", data_dir=disk / "data", wait=False)
        assert hark.wait(30) == 1
        assert "Traceback" not in hark.log()
