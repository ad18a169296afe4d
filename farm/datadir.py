"""The data directory: its rights, its one owner, and the short life of those in memory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from farm.config import MEMORY
from farm.errors import StartError

LOCK_NAME = "hark.lock"
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 (every Linux has it for just this; ours is 0700 within)
_DATA_PREFIX, _METRICS_PREFIX = "hark-memory-", "hark-metrics-"


@contextlib.contextmanager
def opened(data_dir: str) -> Iterator[Path]:
    """The directory, absolute, 0700 and locked for as long as the block runs.

    Raises `StartError` where it cannot be written or another Hark holds it.
    """
    kept = data_dir != MEMORY
    try:
        with contextlib.ExitStack() as held:
            with usable(data_dir):
                path = Path(data_dir).absolute() if kept else _made_in_memory(_DATA_PREFIX)
                _make_private(path)
                held.enter_context(locked(path))
            yield path
    finally:
        if not kept:
            _remove_abandoned(_DATA_PREFIX)


@contextlib.contextmanager
def usable(data_dir: str) -> Iterator[None]:
    """Raises `StartError` where the block cannot do with the directory what it has to."""
    try:
        yield
    except OSError as error:
        mend = "make it writable or " if error.errno in _NOT_WRITABLE else ""
        raise StartError(
            f"data directory {data_dir}: {error.strerror}: {mend}choose another with --data-dir"
        ) from None


@contextlib.contextmanager
def for_metrics() -> Iterator[Path]:
    """A directory in memory, gone at the end, for the files in which processes count.

    They are mapped, and who writes to one that finds no room on a disk is killed by the kernel; on
    a full one that would be the supervisor, too. Raises `StartError` where memory has no room.
    """
    with contextlib.ExitStack() as held:
        held.callback(_remove_abandoned, _METRICS_PREFIX)
        try:
            while True:
                path = _made_in_memory(_METRICS_PREFIX)
                with contextlib.suppress(FileNotFoundError):  # another Hark took it for abandoned
                    descriptor = _lock(path / LOCK_NAME)
                    break
            held.callback(os.close, descriptor)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise StartError(
                f"directory for metrics: {error.strerror}: make room in {_IN_MEMORY}"
            ) from None
        yield path


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds `hark.lock`, which names this process, and removes it at the end.

    Raises `StartError` naming the process that holds it.
    """
    path = directory / LOCK_NAME
    descriptor = _lock(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        # Unlinked while it is held, so nobody can hold a lock on a file that has gone unnoticed.
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def locked_by_readers(directory: Path) -> Iterator[None]:
    """Holds `hark.lock` along with others who only read; the last one removes it.

    Raises `StartError` where a Hark holds it.
    """
    path = directory / LOCK_NAME
    descriptor = _lock(path, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if _take(descriptor, fcntl.LOCK_EX):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, kind: int = fcntl.LOCK_EX) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if not _take(descriptor, kind):
            why = _who_holds(descriptor)
            os.close(descriptor)
            raise StartError(
                f"data directory {path.parent}: {why}, or choose another with --data-dir"
            )
        # The one who held it may have removed the file between our opening and locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _take(descriptor: int, kind: int) -> bool:
    """Whether the lock could be had."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _who_holds(descriptor: int) -> str:
    """Who does, and what to do about it. Readers let others read."""
    if _take(descriptor, fcntl.LOCK_SH):
        return "`hark check` or `hark backup` reads it: wait until it is done"
    holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
    return f"another Hark (process {holder}) runs on it: stop that one"


def _make_private(path: Path) -> None:
    """Makes the directory 0700, unless that would shut others out of what is not Hark's."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in reversed(missing):
        _sync_names(made.parent)
    mode = path.stat().st_mode
    if stat.S_IMODE(mode) == 0o700:
        return
    names = {entry.name for entry in path.iterdir()} - {"lost+found"}
    ours = not names or any(name.startswith("hark") for name in names)
    if mode & stat.S_ISVTX:
        raise StartError(
            f"data directory {path}: everybody may put files there ({stat.filemode(mode)}), and it "
            "would be made private: choose another with --data-dir"
        )
    if not ours:
        raise StartError(
            f"data directory {path}: holds files of others, which making it private would shut "
            "out: choose another with --data-dir"
        )
    path.chmod(0o700)


def _sync_names(directory: Path) -> None:
    """What is durable in a directory is lost where the directory's own name is not."""
    descriptor = os.open(directory, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _made_in_memory(prefix: str) -> Path:
    _remove_abandoned(prefix)
    parent = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))


def _remove_abandoned(prefix: str) -> None:
    """Removes directories in memory whose Hark has ended or was killed: nobody locks them."""
    for parent in {_IN_MEMORY, Path(tempfile.gettempdir())}:
        for path in parent.glob(f"{prefix}*"):
            with contextlib.suppress(OSError, StartError):
                if path.stat().st_uid == os.getuid():
                    with locked(path):
                        shutil.rmtree(path)
