"""`hark backup`: a copy of a data directory's database, of a running Hark or a stopped one.

To restore, put the file as `hark.db` into an empty data directory and start Hark there.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from farm import config
from farm.cli.answers import AddCommand, Answer
from farm.cli.checking import held
from farm.client import StoreClient
from farm.clock import SystemClock
from farm.errors import NotFound, StartError, Unavailable
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets, socket_directory
from farm.store.sqlite_backup import Backup
from farm.store.sqlite_records import opened
from farm.store.sqlite_snapshot import DATABASE

LOOK_EVERY_S = 0.05

Progress = Callable[[int, int], None]


def add_to(add: AddCommand) -> None:
    verb = add(
        "backup",
        backup,
        "copy the database of a running Hark, or of a stopped one, into a new file",
        "hark backup /backups/monday.db --data-dir /var/lib/hark",
    )
    verb.add_argument("file", metavar="FILE", help="is made, and must not be there yet")
    verb.add_argument(
        "--data-dir",
        metavar="PATH",
        default=config.data_directory(),
        help="(default: $HARK_DATA_DIR, else %(default)s)",
    )


def backup(given: Namespace) -> Answer:
    directory, target = Path(given.data_dir).absolute(), Path(given.file).absolute()
    with held(directory) as running, tqdm(desc="backup", unit=" pages", disable=None) as bar:

        def show(copied: int, total: int) -> None:
            bar.total = total
            bar.update(copied - bar.n)

        if running:
            asyncio.run(_ask_store(directory, target, show))
        else:
            _copy_stopped(directory, target, show)
    size = target.stat().st_size
    text = f"{target}: {size:,} bytes; to restore, start Hark where it lies alone as {DATABASE}"
    return Answer({"file": str(target), "bytes": size, "running": running}, text)


async def _ask_store(directory: Path, target: Path, show: Progress) -> None:
    """The store of a running Hark makes the copy; here it is only watched."""
    sockets, clock = Sockets(), SystemClock()
    store = StoreClient(
        sockets,
        Addresses(socket_directory(directory)),
        name=f"backup-{clock.wall_us()}",
        readers=0,
        clock=clock,
        metrics=ProcessMetrics(),
    )
    try:
        await store.begin_backup(str(target))
        copied, total = await store.backup_progress()
        while copied < total:
            show(copied, total)
            await asyncio.sleep(LOOK_EVERY_S)
            copied, total = await store.backup_progress()
        show(copied, total)
    except NotFound:
        raise StartError(
            f"{target}: the store ended meanwhile, and the backup with it; begin it again"
        ) from None
    except Unavailable:
        raise StartError(
            f"{directory}: somebody works on it, and no store answers; begin again in a moment"
        ) from None
    finally:
        store.close()
        sockets.close()


def _copy_stopped(directory: Path, target: Path, show: Progress) -> None:
    snapshot = opened(directory)
    try:
        copy = Backup(snapshot.db, target)
        while not copy.done:
            copy.step()
            copy.wait()
            show(*copy.progress())
    finally:
        snapshot.close()
