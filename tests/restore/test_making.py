"""Making a backup: what is in the way is named, and whoever dies leaves no half of a file."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import cli
from farm.errors import AlreadyExists, InvalidArgument, ResourceExhausted
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_backup import Backup
from farm.store.sqlite_snapshot import SqliteSnapshot
from tests.farm_process import StartFarm, wait_until
from tests.restore.test_two_lives import restored
from tests.test_acceptance import Client, ids


def opened(directory: Path, rows: int = 300) -> SqliteStorage:
    """With some 8 KiB for each row."""
    directory.mkdir()
    storage = SqliteStorage.create_or_open(directory, chance=random.Random(1), now_us=1)
    storage.begin()
    for number in range(rows):
        storage.add_import(f"{number} " + "x" * 8_000)
    storage.commit()
    return storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    made = opened(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def finish(storage: SqliteStorage) -> None:
    """As the store's loop does. Raises what it answers who asks."""

    def there() -> bool:
        storage.step_backup()
        copied, total = storage.backup_progress()
        return copied == total

    wait_until(there)


def test_two_at_once(storage: SqliteStorage, tmp_path: Path) -> None:
    """One after the other; who asks again for the same one, having had no answer, has it."""
    storage.begin_backup(tmp_path / "first")
    with pytest.raises(ResourceExhausted, match="first is being written; wait until it is there"):
        storage.begin_backup(tmp_path / "second")
    storage.begin_backup(tmp_path / "first")
    finish(storage)
    with pytest.raises(AlreadyExists, match="name another file"):
        storage.begin_backup(tmp_path / "first")
    storage.begin_backup(tmp_path / "second")
    finish(storage)
    assert (tmp_path / "first").stat().st_size == (tmp_path / "second").stat().st_size


def test_of_two_stores_with_one_name_for_their_copies_the_later_has_it(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    other = opened(tmp_path / "other", rows=1_000)
    storage.begin_backup(tmp_path / "copy")
    storage.step_backup()
    other.begin_backup(tmp_path / "copy")
    with pytest.raises(ResourceExhausted, match="the backup failed"):
        finish(storage)
    finish(other)
    assert (tmp_path / "copy").stat().st_size > 8_000_000
    assert not list(tmp_path.glob("copy.*"))
    other.close()


def test_what_cannot_fit_is_refused_before_it_takes_the_room(
    storage: SqliteStorage, small_disk: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(3_000_000))
    with pytest.raises(ResourceExhausted, match=r"takes [\d,]+ bytes, and [\d,]+ are free there"):
        storage.begin_backup(small_disk / "copy")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


@pytest.mark.parametrize("name", ["x" * 300, "x" * 254, "data/hark.db/copy"])
def test_a_name_that_no_file_can_have_is_refused(
    storage: SqliteStorage, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidArgument, match=r"cannot be written \((File|Not)"):
        storage.begin_backup(tmp_path / name)


def test_a_disk_that_fills_up_meanwhile_leaves_no_file_and_the_store_goes_on(
    storage: SqliteStorage, small_disk: Path
) -> None:
    storage.begin_backup(small_disk / "copy")
    (small_disk / "ballast").write_bytes(bytes(3_500_000))
    with pytest.raises(ResourceExhausted, match="the backup failed"):
        finish(storage)
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
    storage.begin()
    storage.add_users([(1, "ann")])
    storage.commit()
    (small_disk / "ballast").unlink()
    storage.begin_backup(small_disk / "copy")
    finish(storage)
    assert (small_disk / "copy").exists()


def test_a_store_that_ends_meanwhile_leaves_no_file(tmp_path: Path) -> None:
    storage = opened(tmp_path / "data")
    storage.begin_backup(tmp_path / "copy")
    assert storage.step_backup()
    storage.close()
    assert not list(tmp_path.glob("copy*"))


def test_what_somebody_left_who_was_killed_is_not_written_over(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    """Killed between giving it its name and taking the other away, and moved since."""
    (tmp_path / "elsewhere").write_bytes(b"a backup")
    (tmp_path / "copy.part").hardlink_to(tmp_path / "elsewhere")
    (tmp_path / "copy.part-journal").write_bytes(b"of another")
    storage.begin_backup(tmp_path / "copy")
    finish(storage)
    assert (tmp_path / "elsewhere").read_bytes() == b"a backup"
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy"]


@pytest.mark.parametrize("damage", ["cut short", "a byte", "empty"])
def test_a_damaged_copy_is_found_before_it_is_used(
    storage: SqliteStorage, tmp_path: Path, damage: str
) -> None:
    """By `hark check`, or by the store that refuses to start on it."""
    copy = Backup(storage.db, tmp_path / "copy")
    while not copy.done:
        copy.step()
        copy.wait()
    content = bytearray((tmp_path / "copy").read_bytes())
    if damage == "a byte":
        content[4096 + 3] ^= 0x10  # of the first table's page
    else:
        del content[len(content) // 2 if damage == "cut short" else 0 :]
    (tmp_path / "copy").write_bytes(content)
    place = restored(tmp_path / "copy", tmp_path / "restored")
    assert cli.main(["check", "--data-dir", str(place)]) == 1


@pytest.mark.process
def test_a_store_killed_meanwhile_leaves_a_whole_file_or_none(
    farm: StartFarm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fault row 31. Who asked is told, and asks again; the third store lives."""
    environment = {"HARK_FAILPOINTS": "store.backup:kill:1:1,store.backup_named:kill:1:2"}
    original = farm("--workers", "1", environment=environment)
    client = Client(original)
    client.publish_all(ids("p", 50))
    for number in range(4):
        target = str(tmp_path / f"copy{number}.db")
        if cli.main(["backup", target, "--data-dir", str(original.data_dir)]) == 0:
            break
        # Who lost the answer asks again, and may hear of the file that was named meanwhile.
        why = r"the store ended meanwhile, and the backup with it; begin it again|is there already"
        assert re.search(why, capsys.readouterr().err)
    for point in environment["HARK_FAILPOINTS"].split(","):
        assert f"failpoint name={point.partition(':')[0]} action=kill" in original.log()
    assert len(list(tmp_path.glob("*.part"))) >= 1, "of the one that was named"
    client.close()
    original.kill_tree()
    copies = [*tmp_path.glob("copy*.db")]
    assert len(copies) >= 2, "the one that was named before its store was killed, and the last"
    for copy in copies:
        place = restored(copy, tmp_path / f"restored {copy.stem}")
        assert cli.main(["check", "--data-dir", str(place)]) == 0
        snapshot = SqliteSnapshot.open(place)
        assert snapshot.db.execute("select count(*) from post").get == 50
        snapshot.close()
