"""Disks of a test's own: small ones, full ones, some that nobody may write to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory, with options of mount(8); skips where nothing may be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Ballast:
    """A file that leaves only so much room for others."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"

    def leave(self, free_bytes: int) -> None:
        with self._path.open("ab") as file:
            found = os.statvfs(self._path)
            file.write(bytes(max(found.f_bavail * found.f_frsize - free_bytes, 0)))

    def drop(self) -> None:
        self._path.unlink()
