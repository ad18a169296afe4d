"""What a backup asks of the kernel beside SQLite, on the simulated disk of `tests/power/`.

A file that is made durable and gets its name by calls of the operating system would otherwise be
unknown to a disk that only SQLite tells of its deeds.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.power.files import Machine


class Kernel:
    """Passes everything on, asks the machine first whether it may, and tells its disk."""

    def __init__(self, machine: Machine, patch: pytest.MonkeyPatch) -> None:
        self._machine = machine
        for name in ("fsync", "fdatasync", "link", "unlink"):
            patch.setattr(os, name, _either(self, name, getattr(os, name)))

    def fsync(self, real: Any, descriptor: int) -> None:
        path, disk = _path(descriptor), self._machine.disk
        if path == self._machine.directory:
            self._ask("sync")
            disk.sync_names()
        elif path.parent == self._machine.directory:
            file = disk.files.get(path.name)
            try:
                self._ask("sync")
            except OSError:
                if file is not None:
                    file.fail_to_sync(self._machine.chance)
                raise
            if file is not None:
                file.sync()
        real(descriptor)

    fdatasync = fsync

    def link(self, real: Any, source: Path, target: Path) -> None:
        real(source, target)
        self._machine.disk.link(source.name, target.name)

    def unlink(self, real: Any, path: Path) -> None:
        if Path(path).parent == self._machine.directory:
            self._ask("delete")
            self._machine.disk.delete(Path(path).name)
        real(path)

    def _ask(self, deed: str) -> None:
        error = self._machine.before(deed)
        if error is not None:
            raise OSError(5, "Input/output error")


def _either(kernel: Kernel, name: str, real: Any) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        return real(*arguments, **named) if named else getattr(kernel, name)(real, *arguments)

    return call


def _path(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
