"""Where files lie that only pretend to be on a disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def shm() -> Iterator[Path]:
    """A directory in memory: what is durable is simulated, so a real disk would only be slow."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as directory:
        yield Path(directory)
