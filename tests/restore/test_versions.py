"""Databases that are not for this code: refused in one line, and not a byte of them is changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from farm import cli
from farm.errors import StartError
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_backup import Backup
from farm.store.sqlite_schema import SCHEMA_VERSION
from farm.store.sqlite_snapshot import DATABASE, SqliteSnapshot
from tests.farm_process import StartFarm

NEWER = SCHEMA_VERSION + 1
BOTH = f"the database has version {NEWER}, this Hark knows {SCHEMA_VERSION}"
LOG = f"{DATABASE}-wal"


def opened(directory: Path) -> SqliteStorage:
    directory.mkdir(mode=0o700, exist_ok=True)
    return SqliteStorage.create_or_open(directory, chance=random.Random(1), now_us=1)


def put(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir(mode=0o700)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def kept(directory: Path) -> dict[str, bytes]:
    """What a database is made of, as long as there is anything in it."""
    found = {name: directory / name for name in (DATABASE, LOG)}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.exists() and path.stat().st_size
    }


def stopped(place: Path) -> dict[str, bytes]:
    storage = opened(place)
    storage.db.pragma("user_version", NEWER)
    storage.close()
    return kept(place)


def killed(place: Path) -> dict[str, bytes]:
    """The newer version stands in the log only."""
    opened(place).close()
    storage = opened(place)
    storage.db.pragma("user_version", NEWER)
    files = kept(place)
    storage.close()
    assert set(files) == {DATABASE, LOG}
    return files


def copied(place: Path) -> dict[str, bytes]:
    storage = opened(place)
    copy = Backup(storage.db, place / "copy")
    while not copy.done:
        copy.step()
    database = apsw.Connection(str(place / "copy"))
    database.pragma("user_version", NEWER)
    database.close()
    storage.close()
    return {DATABASE: (place / "copy").read_bytes()}


@pytest.fixture(params=[stopped, killed, copied])
def newer(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The data directory of a Hark that was newer, or a copy that was restored."""
    make: Callable[[Path], dict[str, bytes]] = request.param
    return put(tmp_path / "data", make(tmp_path / "made"))


def test_a_store_refuses_a_database_newer_than_its_code(newer: Path) -> None:
    before = kept(newer)
    for _ in range(2):
        with pytest.raises(StartError, match=BOTH):
            opened(newer)
        assert kept(newer) == before


def test_a_reader_refuses_it_too(newer: Path) -> None:
    before = kept(newer)
    with pytest.raises(StartError, match=BOTH):
        SqliteSnapshot.open(newer)
    assert kept(newer) == before


@pytest.mark.parametrize("command", ["check", "backup"])
def test_so_does_the_tool(newer: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = kept(newer)
    target = newer.parent / "target.db"
    files = [str(target)] if command == "backup" else []
    assert cli.main([command, *files, "--data-dir", str(newer)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert BOTH in line
    assert kept(newer) == before
    assert not target.exists()


@pytest.mark.process
def test_a_farm_says_so_in_one_line_and_goes(farm: StartFarm, tmp_path: Path) -> None:
    directory = put(tmp_path / "data", killed(tmp_path / "made"))
    before = kept(directory)
    hark = farm(data_dir=directory, wait=False)
    assert hark.wait(30.0) == 1
    (line,) = [line for line in hark.log().splitlines() if line.startswith("hark: ")]
    assert f"{directory / DATABASE}: {BOTH}; nothing was changed" in line
    assert kept(directory) == before


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.execute("create table recipe(name)")
    database.close()
    before = kept(tmp_path)
    with pytest.raises(StartError, match="of another program; nothing was changed"):
        opened(tmp_path)
    with pytest.raises(StartError, match="of another program"):
        SqliteSnapshot.open(tmp_path)
    assert kept(tmp_path) == before


def test_a_copy_put_beside_the_log_of_another_database_is_refused(tmp_path: Path) -> None:
    """Fault row 26. SQLite would take the log for the copy's own, and make one of the two."""
    storage = opened(tmp_path / "made")
    copy = Backup(storage.db, tmp_path / "copy")
    while not copy.done:
        copy.step()
    storage.begin()
    storage.add_users([(1, "ann")])
    storage.commit()
    files = {DATABASE: (tmp_path / "copy").read_bytes(), LOG: kept(tmp_path / "made")[LOG]}
    storage.close()
    directory = put(tmp_path / "data", files)
    with pytest.raises(StartError, match=r"hark\.db-wal: is of the database that was here before"):
        opened(directory)
    assert kept(directory) == files
    (directory / LOG).unlink()
    opened(directory).close()
