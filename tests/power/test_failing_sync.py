"""The store's own process on a disk whose fsync fails: it says nothing false, and ends."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from farm import wire
from farm.wire import Kind, Op
from tests.farm_process import wait_until
from tests.store.store_process import StoreProcess

SOURCE = Path(__file__).with_name("failing_sync.c")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there, syncs of processes started from now on fail."""
    for name, value in failing_sync(tmp_path, tmp_path / "broken").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "broken"


def failing_sync(tmp_path: Path, broken: Path) -> dict[str, str]:
    """The environment of processes whose syncs fail while the file `broken` is there."""
    compiler = shutil.which("cc")
    if compiler is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no C compiler is here, so nothing can come between the store and its disk")
        pytest.skip("no C compiler is here")
    library = tmp_path / "failing_sync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return {"LD_PRELOAD": str(library), "BROKEN_DISK": str(broken)}


@pytest.fixture
def store(broken: Path, tmp_path: Path) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path / "data")
    yield process
    process.close()


@pytest.mark.process
def test_a_commit_that_cannot_be_synced_is_answered_by_nobody_and_found_by_its_id(
    store: StoreProcess, broken: Path
) -> None:
    """Fault rows 18 and 19, the second as far as the store goes."""
    assert store.write(publish("before"))[0][0] == 0
    broken.touch()
    store._asker.send_multipart([b"1", b"", wire.pack(Kind.WRITE, "me", 1, [publish("in flight")])])
    wait_until(lambda: not store.alive)
    assert store._process.returncode == 1
    assert "its outcome is unknown" in store.log_path.read_text()
    store.start_again()
    wait_until(lambda: not store.alive)
    assert "look whether the disk works" in store.log_path.read_text().lower()
    assert "Traceback" not in store.log_path.read_text()
    with pytest.raises(zmq.Again):
        store._asker.recv_multipart(zmq.NOBLOCK)
    broken.unlink()
    store.start_again()
    before, in_flight = store.write(publish("before"), publish("in flight"))
    assert wire.Published(*before[1]).duplicate
    assert in_flight[0] == 0


def publish(post: str) -> tuple[Any, ...]:
    return (Op.PUBLISH, post, "star", "hello", 0, False)
