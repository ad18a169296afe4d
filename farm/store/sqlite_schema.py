"""The tables, their versions, and which databases this code takes.

A database that a newer Hark has written may mean something else by the same columns, and one of
another program is not ours to write in. Both are refused before a byte of them is changed.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import apsw

from farm.errors import StartError
from farm.store.sqlite_sums import teach

# What each version added; a database holds how many of them it has.
SCHEMA = ("schema.sql", "schema_live.sql", "schema_sums.sql")
SCHEMA_VERSION = len(SCHEMA)
APPLICATION_ID = 0x4841524B  # "HARK"
LOG = "-wal"  # what SQLite adds to a database's name
_FORMAT_AT = 18  # of the two bytes in a database's header that say whether it may have a log
_WITHOUT_LOG = b"\x01\x01"


def check_schema(db: apsw.Connection, path: Path) -> None:
    """Raises `StartError` where this code must not touch the database."""
    if db.pragma("page_count") == 0:
        return  # nothing was written yet
    if db.pragma("application_id") != APPLICATION_ID:
        raise StartError(
            f"{path}: is a database of another program; nothing was changed. Move it away, or "
            "choose another directory with --data-dir"
        )
    version = db.pragma("user_version")
    if version > SCHEMA_VERSION:
        raise StartError(
            f"{path}: the database has version {version}, this Hark knows {SCHEMA_VERSION}; "
            "nothing was changed. Install a newer Hark, or restore a backup that an older one made"
        )


def check_log(path: Path) -> None:
    """Raises `StartError` where the log beside a database is surely that of another.

    SQLite takes any log that has the right name, and what it would make of two databases is none.
    """
    log = path.with_name(path.name + LOG)
    if not log.exists():
        return
    if not path.exists():
        # SQLite would delete it, and with it all commits since the last checkpoint.
        raise StartError(f"{log}: is there without its database; put that back, or move it away")
    with path.open("rb") as file:
        file.seek(_FORMAT_AT)
        copied = file.read(len(_WITHOUT_LOG)) == _WITHOUT_LOG
    if copied and log.stat().st_size:
        raise StartError(
            f"{log}: is of the database that was here before {path.name}, which is a copy; "
            "nothing was changed. Move the log away"
        )


def statements_of(name: str) -> str:
    """What a version added, as SQL."""
    return resources.files("farm.store").joinpath(name).read_text("utf-8")


def schema_made() -> dict[str, str]:
    """Each table and index with the SQL that a sound database has of it."""
    empty = apsw.Connection("")
    teach(empty)
    for name in SCHEMA:
        for _ in empty.execute(statements_of(name)):
            pass
    made = dict(empty.execute("select name, sql from sqlite_schema where sql is not null"))
    empty.close()
    return made
