"""A consistent copy of a running store, made a few pages at a time by the writer's own connection.

From another connection it would begin anew at every commit and under load never end; what the
connection itself writes goes into the copy as well. The copy is complete and durable before it gets
its name, and is marked so that its first start takes a new incarnation: numbers and cursors of the
original and of what is restored never mix.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import apsw

from farm.errors import AlreadyExists, InvalidArgument, ResourceExhausted
from farm.failpoints import Point, passing

PAGES_PER_STEP = 256
RESTORED = 0  # the incarnation of a copy that was never started


class Backup:
    """One copy in the making. Between transactions only."""

    def __init__(self, source: apsw.Connection, target: Path) -> None:
        """Raises `InvalidArgument` where the target cannot be written, `AlreadyExists`."""
        if not target.is_absolute():
            raise InvalidArgument(f"{target}: name the file of a backup by its whole path")
        if target.exists():
            raise AlreadyExists(f"{target}: is there already; name another file")
        self.target = target
        self._part = target.with_name(target.name + ".part")
        try:
            self._part.unlink(missing_ok=True)
            os.close(os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._copy = apsw.Connection(str(self._part), flags=apsw.SQLITE_OPEN_READWRITE)
        except (OSError, apsw.Error) as error:
            raise InvalidArgument(f"{target}: cannot be written ({error})") from None
        self._steps = self._copy.backup("main", source, "main")
        self.done = False

    def progress(self) -> tuple[int, int]:
        """(pages copied, pages in all); equal once it is there."""
        total = max(self._steps.page_count, 1)
        return (total if self.done else min(total - self._steps.remaining, total - 1), total)

    def step(self) -> None:
        """Copies some pages. Raises `ResourceExhausted` where there is no room; then it is over."""
        passing(Point.STORE_BACKUP)
        try:
            with contextlib.suppress(apsw.BusyError, apsw.LockedError):
                self._steps.step(PAGES_PER_STEP)
            if self._steps.done:
                self._finish()
        except (OSError, apsw.Error) as error:
            self.abandon()
            raise ResourceExhausted(f"{self.target}: the backup failed ({error})") from None

    def abandon(self) -> None:
        with contextlib.suppress(apsw.Error):
            self._steps.close(force=True)
        self._copy.close(force=True)
        self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._steps.finish()
        self._copy.pragma("journal_mode", "delete")
        self._copy.execute("update meta set incarnation = ?", (RESTORED,))
        self._copy.close()
        for path, flags in ((self._part, os.O_RDONLY), (self.target.parent, os.O_DIRECTORY)):
            descriptor = os.open(path, flags)
            os.fsync(descriptor)
            os.close(descriptor)
            if path is self._part:
                os.link(self._part, self.target)  # unlike a rename, never over another file
                passing(Point.STORE_BACKUP_NAMED)
                self._part.unlink()
        self.done = True
