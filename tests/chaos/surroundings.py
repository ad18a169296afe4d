"""What a farm stands on, for tests to take away: a small disk, and a clock that can be set."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LIBRARY = "faketime/libfaketimeMT.so.1"  # of Debian's package `libfaketime`


class Disk:
    """A small file system of the farm's own, which can be filled to the brim."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @contextmanager
    def mounted(self, size_mb: int) -> Iterator[bool]:
        """False where nobody may mount one."""
        self.path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(self.path)]
        done = subprocess.run(command, capture_output=True, check=False)
        try:
            yield done.returncode == 0
        finally:
            if done.returncode == 0:
                subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def fill(self, left_bytes: int = 0) -> None:
        """Until so much is free."""
        with self._ballast.open("ab") as file:
            while (more := self._free() - left_bytes) > 0:
                size = file.seek(0, os.SEEK_END)
                with contextlib.suppress(OSError):  # somebody else took some of it meanwhile
                    os.posix_fallocate(file.fileno(), size, more)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def _free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


class FarmClock:
    """The clocks of all processes that are started with this environment."""

    def __init__(self, directory: Path, *, monotonic: bool) -> None:
        """`monotonic`: whether the clock that never goes back is set along."""
        self._path = directory / "clock"
        self.jump("+0")
        library = self.library()
        assert library is not None
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": str(int(not monotonic)),
        }

    @staticmethod
    def library() -> Path | None:
        """None where the clock cannot be set."""
        return next(Path("/usr/lib").glob(f"*/{LIBRARY}"), None)

    def jump(self, offset: str) -> None:
        """From within a second on, as "+10d" or "-1h", compared with the machine's clock."""
        temporary = self._path.with_suffix(".new")
        temporary.write_text(offset + "\n")
        temporary.replace(self._path)
