"""`hark check`: every invariant of a data directory, running or stopped."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from farm import config, datadir
from farm.cli.answers import AddCommand, Answer, count
from farm.clock import SystemClock
from farm.errors import StartError
from farm.store.check import Check
from farm.store.findings import Breach
from farm.store.sqlite_records import SqliteRecords, database_in

BREACHES_SHOWN_MAX = 1_000


def add_to(add: AddCommand) -> None:
    verb = add(
        "check",
        check,
        "verify every invariant of a data directory, of a running Hark or a stopped one",
        "hark check --data-dir /var/lib/hark",
    )
    verb.add_argument(
        "--data-dir",
        metavar="PATH",
        default=config.data_directory(),
        help="(default: $HARK_DATA_DIR, else %(default)s)",
    )


def check(given: Namespace) -> Answer:
    clock = SystemClock()
    started_s = clock.monotonic_s()
    directory = Path(given.data_dir)
    with held(directory) as running, SqliteRecords.open(directory) as records:
        found, shown, looked = _look(records)
    took_s = clock.monotonic_s() - started_s
    lines = [str(breach) for breach in shown]
    if found > BREACHES_SHOWN_MAX:
        lines.append(f"and {found - BREACHES_SHOWN_MAX:,} more")
    document = {
        "data_dir": str(directory),
        "running": running,
        "breach_count": found,
        "breaches": [{**b._asdict(), "row": dict(b.row)} for b in shown],
        "looked_at": dict(looked),
        "seconds": round(took_s, 3),
    }
    looked_at = ", ".join(f"{number:,} {name}" for name, number in looked.items())
    verdict = count(found, "breach", "breaches") if found else "no breach"
    where = f"{directory} ({'running' if running else 'stopped'})"
    lines.append(f"{where}: {verdict} in {took_s:.1f} s: {looked_at or 'the file is damaged'}")
    return Answer(document, "\n".join(lines), 1 if found else 0)


def _look(records: SqliteRecords) -> tuple[int, list[Breach], Counter[str]]:
    """How many breaches, the first of them, and what was looked at."""
    shown: list[Breach] = []
    found = 0
    with tqdm(total=records.count(), desc="check", unit=" rows", disable=None) as bar:
        look = Check(records, bar.update)
        for found, breach in enumerate(look.breaches(), 1):
            if found <= BREACHES_SHOWN_MAX:
                shown.append(breach)
    return found, shown, look.counts


@contextlib.contextmanager
def held(directory: Path) -> Iterator[bool]:
    """Keeps a stopped Hark from starting meanwhile; true where one runs and is read beside.

    A directory that nobody may write cannot be locked, and nobody will write in it. Raises
    `StartError` where there is no database, or nobody may look.
    """
    database_in(directory)
    with contextlib.ExitStack() as stack:
        running = False
        try:
            stack.enter_context(datadir.locked_by_readers(directory))
        except StartError:
            running = True
        except OSError:
            pass
        yield running
