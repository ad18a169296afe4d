"""SQLite's files on a machine whose disk may fail and whose power may be cut.

Machine(place, image, chance=...)   has the files of the image; SQLite sees them in a directory
machine.directory, machine.vfs      what to hand to the store
machine.before = plan               asked before each deed; an error that it returns is raised
machine.kill()                      the process is gone, what it still does counts for nothing
machine.disk.cut(chance)            what a power cut would leave
machine.cut_power()                 the process is gone, and this is what the next one finds
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import apsw

from tests.power.disk import Disk, DiskFile, Truncate, Write

DEEDS = ("open", "read", "write", "sync", "truncate", "delete")
Plan = Callable[[str], Exception | None]

_numbers = itertools.count(1)
# A file whose first sync also makes its name durable; as SQLite's own files on Unix do.
_NAMED_BY_SYNC = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL


class Machine:
    """A directory, the disk below it, and the process that has it open now."""

    def __init__(self, place: Path, image: Mapping[str, bytes], *, chance: random.Random) -> None:
        self._place = place
        self.chance = chance
        self.disk = Disk(image)
        self.before: Plan = lambda deed: None
        self._start(image)

    def _start(self, visible: Mapping[str, bytes]) -> None:
        self.directory = self._place / f"process-{next(_numbers)}"
        put(self.directory, visible)
        self._files = _Files(self.directory.name, self)
        self.vfs = self.directory.name

    def kill(self) -> None:
        """Another process finds all that this one has written, synced or not."""
        visible = {name: (self.directory / name).read_bytes() for name in self.disk.files}
        self._files.dead = True
        self._start(visible)

    def cut_power(self) -> None:
        """Another process finds what a cut leaves now."""
        left = self.disk.cut(self.chance)
        self._files.dead = True
        self.disk = Disk(left)
        self._start(left)


def put(directory: Path, files: Mapping[str, bytes]) -> None:
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


class _Files(apsw.VFS):
    """Passes everything on to the real files, and tells the disk of it."""

    def __init__(self, name: str, machine: Machine) -> None:
        super().__init__(name, base="unix")
        self.machine = machine
        self.dead = False

    def may(self, deed: str) -> bool:
        """Whether the process is alive to do it. Raises what is to go wrong here."""
        error = None if self.dead else self.machine.before(deed)
        if error is not None:
            raise error
        return not self.dead

    def xOpen(  # noqa: N802
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        if name is None:
            return apsw.VFSFile("unix", name, flags)
        self.may("open")
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        if not self.may("delete"):
            return
        super().xDelete(filename, syncdir)
        self.machine.disk.delete(Path(filename).name)
        if syncdir:
            self.machine.disk.sync_names()


class _File(apsw.VFSFile):
    def __init__(self, files: _Files, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._files = files
        self._disk = files.machine.disk
        self._kept = DiskFile() if files.dead else self._disk.open(Path(path).name)
        created = bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        self._names_too = created and bool(flags[0] & _NAMED_BY_SYNC)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._files.may("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        try:
            alive = self._files.may("write")
        except Exception:
            self._write(data[: self._files.machine.chance.randint(0, len(data) - 1)], offset)
            raise
        if alive:
            self._write(data, offset)

    def _write(self, data: bytes, offset: int) -> None:
        if data:
            super().xWrite(data, offset)
            self._kept.pending.append(Write(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if not self._files.may("truncate"):
            return
        super().xTruncate(newsize)
        self._kept.pending.append(Truncate(newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        try:
            alive = self._files.may("sync")
        except Exception:
            self._kept.fail_to_sync(self._files.machine.chance)
            raise
        if not alive:
            return
        self._kept.sync()
        if self._names_too:
            self._disk.sync_names()
            self._names_too = False
