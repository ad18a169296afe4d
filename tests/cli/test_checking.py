"""`hark check`, and what it shares with `hark backup`: the look at a data directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import apsw
import pytest

from farm import datadir
from farm.cli import checking
from farm.errors import StartError
from farm.store.sqlite_snapshot import DATABASE
from tests.farm_process import ROOT, StartFarm
from tests.store.harness import Store, open_sqlite
from tests.test_cli import call, run

pytestmark = pytest.mark.process

AS_NOBODY = """
import os, sys
from farm.cli import main
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


def test_a_running_hark_is_checked_beside(farm: StartFarm) -> None:
    hark = farm("--workers", "1")
    assert call("--grpc", hark.grpc_address, "publish", "user1", "x").status == 0
    done = run("check", "--data-dir", str(hark.data_dir), "--json")
    assert (done.status, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["running"] is True
    assert document["breaches"] == []
    assert document["looked_at"]["posts"] >= 1


def test_a_stopped_hark_is_checked(farm: StartFarm) -> None:
    hark = farm()
    assert call("--grpc", hark.grpc_address, "publish", "user1", "x").status == 0
    assert hark.stop() == 0
    done = run("check", HARK_DATA_DIR=str(hark.data_dir))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{hark.data_dir} (stopped): no breach in ")
    assert "7 people, 15 follows, " in done.out
    assert " 1 posts, 1 batches, 6 notifications, " in done.out
    assert not (hark.data_dir / "hark.lock").exists()
    assert hark.start().stop() == 0


def test_a_directory_is_checked_by_several_at_a_time_and_no_hark_starts_on_it_meanwhile(
    tmp_path: Path,
) -> None:
    (tmp_path / DATABASE).touch()
    with checking.held(tmp_path) as running:
        with checking.held(tmp_path) as second_running:
            assert (running, second_running) == (False, False)
        with pytest.raises(StartError, match="`hark check` or"), datadir.locked(tmp_path):
            pass
    assert not (tmp_path / datadir.LOCK_NAME).exists()
    with datadir.locked(tmp_path), checking.held(tmp_path) as running:
        assert running


def test_a_killed_hark_has_no_breach(farm: StartFarm) -> None:
    hark = farm("--simulated-failure-rate", "0.5", "--simulated-latency-ms", "0-20")
    for number in range(20):
        text = call("--grpc", hark.grpc_address, "publish", "user1", f"{number}").err
        assert text == ""
    hark.kill_tree()
    assert run("check", "--data-dir", str(hark.data_dir)).status == 0


def test_a_breach_is_exit_status_1(tmp_path: Path) -> None:
    store = Store(partial(open_sqlite, tmp_path))
    store.followers("author", 6)
    store.publish("p", "author")
    store.close()
    connection = apsw.Connection(str(tmp_path / DATABASE))
    connection.execute("update post set queued = 9")
    connection.close()
    done = run("check", "--data-dir", str(tmp_path))
    assert (done.status, done.err) == (1, "")
    *breaches, summary = done.out.splitlines()
    assert all(breach.startswith("post seq=") for breach in breaches)
    what = ["its checksum does not match it", "9 of 6 were queued"]
    assert [breach.partition(": ")[2] for breach in breaches] == what
    assert summary.startswith(f"{tmp_path} (stopped): 2 breaches in ")
    document = json.loads(run("check", "--data-dir", str(tmp_path), "--json").out)
    assert document["breach_count"] == 2
    assert [breach["table"] for breach in document["breaches"]] == ["post", "post"]
    assert [breach["what"] for breach in document["breaches"]] == what


def test_where_no_database_is_nothing_is_made(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        done = run("check", "--data-dir", str(directory))
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith(f"hark: {directory}: there is no database here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("check",), ("backup", "copy")])
def test_a_directory_that_cannot_be_looked_at_is_told(arguments: tuple[str, ...]) -> None:
    done = call(*arguments, "--data-dir", "/" + "x" * 300)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"hark: /{'x' * 300}: File name too long; ")
    assert done.err.count("\n") == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("arguments", [("check",), ("backup", "copy")])
def test_who_may_not_enter_the_directory_is_told(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", AS_NOBODY, *arguments, "--data-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"hark: {tmp_path}: Permission denied; ")
    assert done.stderr.count("\n") == 1


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"a letter to ann " * 1_000)
    for arguments in (("check",), ("backup", str(tmp_path / "copy"))):
        done = call(*arguments, "--data-dir", str(tmp_path))
        assert (done.status, done.out) == (1, "")
        told = f"hark: {tmp_path / DATABASE}: file is not a database; restore a backup\n"
        assert done.err == told
