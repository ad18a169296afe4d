"""The sockets' directory: nobody else's, and of one farm at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.errors import StartError
from farm.sockets import socket_directory
from tests.farm_process import FarmProcess, StartFarm

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
CONNECT = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
for path in sys.argv[2:]:
    with socket.socket(socket.AF_UNIX) as to:
        try:
            to.connect(path)
            print("connected")
        except OSError as error:
            print(type(error).__name__)
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everybody can enter, and a path in it that is too long for sockets."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place / ("d" * 100)


def connecting(user: int, sockets: list[Path]) -> list[str]:
    command = [sys.executable, "-c", CONNECT, str(user), *map(str, sockets)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.process
@as_root
def test_another_user_reaches_no_socket(farm: StartFarm, open_place: Path) -> None:
    """Fault row 45. The directory keeps them out, whatever the rights of what lies in it."""
    before = os.umask(0)
    try:
        hark: FarmProcess = farm("--workers", "1", data_dir=open_place)
    finally:
        os.umask(before)
    directory = socket_directory(open_place)
    assert directory.parent == Path(tempfile.gettempdir())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    sockets = [path for path in directory.iterdir() if path.is_socket()]
    assert len(sockets) >= 9, "the store's two, the supervisor's, the reader's and five controls"
    assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o777}
    assert connecting(os.getuid(), sockets) == ["connected"] * len(sockets)
    assert connecting(NOBODY, sockets) == ["PermissionError"] * len(sockets)
    assert hark.stop() == 0
    assert not directory.exists()


def test_a_directory_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    directory.mkdir(mode=0o755)
    assert socket_directory(tmp_path) == directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@as_root
def test_a_directory_of_somebody_else_is_not_used(open_place: Path) -> None:
    """Fault row 45: whoever made it could put sockets of their own there."""
    open_place.mkdir()
    directory = socket_directory(open_place)
    os.chown(directory, NOBODY, NOBODY)
    try:
        with pytest.raises(StartError, match="is not a directory of this user"):
            socket_directory(open_place)
    finally:
        directory.rmdir()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_directory_is_not_used(tmp_path: Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "sockets").symlink_to(tmp_path)
    else:
        (tmp_path / "sockets").touch()
    with pytest.raises(StartError, match="remove it and start again"):
        socket_directory(tmp_path)
