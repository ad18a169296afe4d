"""The data directory: what the system refuses while it is taken is told in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import datadir
from farm.errors import StartError
from tests.faults.disks import Ballast, mounted


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A disk on which a directory can be made, and nothing written."""
    with mounted(tmp_path / "disk", "size=64k") as disk:
        Ballast(disk).leave(0)
        yield disk


def test_a_full_disk_is_told_of_with_the_directory(full: Path) -> None:
    with pytest.raises(StartError) as told, datadir.opened(str(full / "data")):
        pass
    assert told.value.message == (
        f"data directory {full / 'data'}: No space left on device: choose another with --data-dir"
    )
    assert not list((full / "data").iterdir()), "it can be taken once there is room"


def test_no_room_for_metrics_is_told_of_as_such(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datadir, "_IN_MEMORY", full)
    with pytest.raises(StartError) as told, datadir.for_metrics():
        pass
    assert told.value.message == (
        f"directory for metrics: No space left on device: make room in {full}"
    )


def test_what_fails_later_is_not_said_of_the_directory(tmp_path: Path) -> None:
    """A file that is missing elsewhere, an hour after the start."""
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as told, datadir.opened(str(tmp_path / "data")):
        missing.read_bytes()
    assert (told.value.errno, told.value.filename) == (errno.ENOENT, str(missing))
    assert not list((tmp_path / "data").iterdir())
