"""The kernel ends a child with the thread that started it: only the main thread may start any."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from farm import config
from farm.children import Keeper, Surroundings, _DieWith
from farm.clock import SystemClock
from farm.config import Settings
from farm.sockets import Sockets
from tests.farm_process import wait_until

pytestmark = pytest.mark.process


def in_a_thread_that_ends(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_child_ends_with_the_thread_that_started_it() -> None:
    """Fault row 103: why a farm starts its processes from its main thread and no other."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        command = ["sleep", "60"]
        started.append(subprocess.Popen(command, preexec_fn=_DieWith(os.getpid())))  # noqa: PLW1509

    start()
    in_a_thread_that_ends(start)
    ours, theirs = started
    assert wait_until(lambda: theirs.poll() is not None)
    assert theirs.returncode == -9
    assert ours.poll() is None
    ours.kill()
    ours.wait()


def test_no_keeper_starts_a_child_from_another_thread(tmp_path: Path) -> None:
    """Fault row 103."""
    refused: list[str] = []
    sockets = Sockets()
    around = Surroundings(
        run="test",
        settings=Settings(),
        socket_directory=tmp_path,
        environment=config.child_environment(tmp_path),
        failpoints="",
        sockets=sockets,
        clock=SystemClock(),
    )

    async def start() -> None:
        with pytest.raises(RuntimeError, match="from the main one") as told:
            Keeper("worker", 1, around, on_serving=print, on_death=print)
        refused.append(str(told.value))

    in_a_thread_that_ends(lambda: asyncio.run(start()))
    assert len(refused) == 1
    sockets.close()
