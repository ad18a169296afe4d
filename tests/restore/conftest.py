"""Where files lie that only pretend to be on a disk."""

from tests.power.conftest import shm

__all__ = ["shm"]
