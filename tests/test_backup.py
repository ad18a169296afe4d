"""Backups of a farm under load, of a stopped one, and what comes of starting them."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farm.cursor import Cursor
from farm.store.sqlite_snapshot import DATABASE, SqliteSnapshot
from tests.farm_process import ROOT, StartFarm, wait_until
from tests.test_acceptance import Client, check, counters, ids

pytestmark = pytest.mark.process


def hark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "farm", *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip


def restored(copy: Path, directory: Path) -> Path:
    directory.mkdir(mode=0o700)
    copy.rename(directory / DATABASE)
    return directory


def test_a_backup_under_load_is_whole_and_goes_its_own_way(farm: StartFarm, tmp_path: Path) -> None:
    """Row 122 and 31: what was acknowledged before it began is in it; numbers never mix after."""
    original = farm("--workers", "2", "--simulated-latency-ms", "1-5")
    client = Client(original)
    client.publish_all(ids("before", 200))
    copy = tmp_path / "copy.db"
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(client.publish_all, ids("during", 600))
        done = hark("--json", "backup", str(copy), "--data-dir", str(original.data_dir))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["running"] is True
        publishing.result(30)
    again = hark("backup", str(copy), "--data-dir", str(original.data_dir))
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    newest = next(iter(client.inbox("user2", 1)))
    client.close()

    other = farm("--workers", "1", data_dir=restored(copy, tmp_path / "restored"))
    second = Client(other)
    assert {n.post_id for n in second.inbox("user2")} >= set(ids("before", 200))
    assert second.publish("before0") == 6, "the first answer again"
    second.publish("after")
    wait_until(lambda: counters(other)["queue_size"] == 0, 30)
    after = next(iter(second.inbox("user2", 1)))
    assert after.post_id == "after"
    assert int(after.id.split(".")[0], 16) > int(newest.id.split(".")[0], 16) + 2**39
    second.close()
    assert other.stop() == 0
    check(other.data_dir)
    assert original.stop() == 0
    metas = [SqliteSnapshot.open(one.data_dir).meta() for one in (original, other)]
    assert metas[0].incarnation != metas[1].incarnation
    assert Cursor(metas[1].incarnation, 1).incarnation != 0


def test_a_stopped_one_is_copied_too_and_bad_targets_are_named(
    farm: StartFarm, tmp_path: Path
) -> None:
    original = farm("--workers", "1")
    client = Client(original)
    client.publish("p")
    client.close()
    assert original.stop() == 0
    directory = str(original.data_dir)
    assert hark("backup", str(tmp_path / "copy.db"), "--data-dir", directory).returncode == 0
    check(restored(tmp_path / "copy.db", tmp_path / "restored"))
    for target, where, why in (
        (tmp_path / "no" / "such.db", directory, "cannot be written"),
        (tmp_path / "x.db", str(tmp_path), "no database here"),
    ):
        done = hark("backup", str(target), "--data-dir", where)
        assert done.returncode == 1
        assert why in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not target.exists()
