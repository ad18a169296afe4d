"""A consistent copy of a running store, made a few pages at a time by the writer's own connection.

From another connection it would begin anew at every commit and under load never end; what the
connection itself writes goes into the copy as well. The copy is complete and durable before it gets
its name, and is marked so that its first start takes a new incarnation: numbers and cursors of the
original and of what is restored never mix.

SQLite syncs nothing here, for a disk takes as long as it likes and commits must not wait for it. A
thread does, now and then, so that no more than a little is on its way to the disk at any time.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import apsw

from farm.errors import AlreadyExists, InvalidArgument, ResourceExhausted
from farm.failpoints import Point, passing

PAGES_PER_STEP = 256
STEPS_PER_SYNC = 64
RESTORED = 0  # the incarnation of a copy that was never started


class Backup:
    """One copy in the making. Between transactions only."""

    def __init__(
        self, source: apsw.Connection, target: Path, *, target_vfs: str | None = None
    ) -> None:
        """Raises `InvalidArgument` where the target cannot be written, `AlreadyExists`,
        `ResourceExhausted`. `target_vfs`: by which file system of SQLite it is written."""
        if not target.is_absolute():
            raise InvalidArgument(f"{target}: name the file of a backup by its whole path")
        self.target = target
        self._part = target.with_name(target.name + ".part")
        try:
            if target.exists():
                raise _is_there(target)
            _check_room(source, target)
            self._file = _made_anew(self._part)
            try:
                self._copy = _opened(self._part, target_vfs)
            except apsw.Error:
                os.close(self._file)
                raise
        except (OSError, apsw.Error) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise InvalidArgument(f"{target}: cannot be written ({why})") from None
        self._steps = self._copy.backup("main", source, "main")
        self._taken = 0
        self._helper = ThreadPoolExecutor(1, "backup")
        self._syncing: Future[None] | None = None
        self._copied = self.done = False

    def progress(self) -> tuple[int, int]:
        """(pages copied, pages in all); equal once it is there."""
        total = max(self._steps.page_count, 1)
        return (total if self.done else min(total - self._steps.remaining, total - 1), total)

    def step(self) -> bool:
        """Copies some pages; whether there are more to copy, unless the disk has to follow first.

        Raises `AlreadyExists` and `ResourceExhausted` (no room); then it is over.
        """
        passing(Point.STORE_BACKUP)
        try:
            if self._syncing is not None:
                return self._look_at_disk()
            with contextlib.suppress(apsw.BusyError, apsw.LockedError):
                self._steps.step(PAGES_PER_STEP)
            self._taken += 1
            if self._steps.done:
                self._finish_copy()
                self._syncing = self._helper.submit(self._name_it)
            elif self._taken % STEPS_PER_SYNC == 0:
                self._syncing = self._helper.submit(os.fdatasync, self._file)
        except FileExistsError:
            self.abandon()
            raise _is_there(self.target) from None
        except (OSError, apsw.Error) as error:
            self.abandon()
            raise ResourceExhausted(f"{self.target}: the backup failed ({error})") from None
        return self._syncing is None

    def wait(self) -> None:
        """Returns when the disk has followed: for who has nothing else to do meanwhile."""
        if self._syncing is not None:
            with contextlib.suppress(OSError):  # `step` tells
                self._syncing.result()

    def abandon(self) -> None:
        """Ends it. There is no file, unless it was whole before anybody looked."""
        self._helper.shutdown()
        with contextlib.suppress(apsw.Error):
            self._steps.close(force=True)
        with contextlib.suppress(apsw.Error):
            self._copy.close(force=True)
        with contextlib.suppress(OSError):
            if self._is(self._part):
                _remove(self._part)
        os.close(self._file)

    def _look_at_disk(self) -> bool:
        """Whether it has followed, and there is more to copy."""
        assert self._syncing is not None
        if not self._syncing.done():
            return False
        self._syncing.result()
        self._syncing = None
        if self._copied:
            self._helper.shutdown()
            os.close(self._file)
            self.done = True
        return not self.done

    def _finish_copy(self) -> None:
        self._steps.finish()
        self._copy.pragma("journal_mode", "delete")
        self._copy.execute("update meta set incarnation = ?", (RESTORED,))
        self._copy.close()
        self._copied = True

    def _name_it(self) -> None:
        """Makes the file durable, gives it its name, and makes that durable."""
        os.fsync(self._file)
        # Unlike a rename a link never takes the place of another file.
        os.link(self._part, self.target)
        passing(Point.STORE_BACKUP_NAMED)
        try:
            self._check_it_is_ours()
            with contextlib.suppress(OSError):  # a second name does no harm
                self._part.unlink()
            _sync_names(self.target.parent)
        except OSError:
            with contextlib.suppress(OSError):
                self.target.unlink()
            raise

    def _check_it_is_ours(self) -> None:
        if not self._is(self.target):
            raise OSError("another backup is being written under the same name")

    def _is(self, path: Path) -> bool:
        """Whether the name is that of this file. Another Hark may make a copy of its own under the
        same name; then the later one has it."""
        try:
            return os.path.samestat(os.fstat(self._file), path.stat())
        except FileNotFoundError:
            return False


def _is_there(target: Path) -> AlreadyExists:
    return AlreadyExists(f"{target}: is there already; name another file")


def _check_room(source: apsw.Connection, target: Path) -> None:
    """What could not be finished would only take the room from others for a while."""
    needed = source.pragma("page_count") * source.pragma("page_size")
    found = os.statvfs(target.parent)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise ResourceExhausted(f"{target}: takes {needed:,} bytes, and {free:,} are free there")


def _made_anew(part: Path) -> int:
    """What somebody left who was killed is never written over: it may have another name by now."""
    _remove(part)
    return os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _remove(part: Path) -> None:
    for name in ("", "-journal", "-wal", "-shm"):
        part.with_name(part.name + name).unlink(missing_ok=True)


def _opened(part: Path, vfs: str | None) -> apsw.Connection:
    """Without a journal on the disk: a copy that was cut short is of no use to anybody."""
    copy = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    copy.pragma("synchronous", 0)
    copy.pragma("journal_mode", "memory")
    return copy


def _sync_names(directory: Path) -> None:
    descriptor = os.open(directory, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
