"""The data directory: what is said of it, and what is not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from farm import datadir


def test_what_fails_later_is_not_said_of_the_directory(tmp_path: Path) -> None:
    """A file that is missing elsewhere, an hour after the start."""
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as told, datadir.opened(str(tmp_path / "data")):
        missing.read_bytes()
    assert (told.value.errno, told.value.filename) == (errno.ENOENT, str(missing))
    assert not list((tmp_path / "data").iterdir())
