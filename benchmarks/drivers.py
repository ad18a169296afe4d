"""Runs functions in processes of their own, so that who measures takes nothing from what it drives.

A driver lives for the whole run: its modules are loaded and its code is warm.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

SERVER_READY_S = 20.0

P = ParamSpec("P")
T = TypeVar("T")
_FRESH = multiprocessing.get_context("spawn")


class Drivers:
    """So many processes that do what they are told."""

    def __init__(self, count: int) -> None:
        self._pool = ProcessPoolExecutor(count, mp_context=_FRESH)
        self._count = count

    def begin(self, job: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Future[T]:
        return self._pool.submit(job, *arguments, **named)

    def run(self, job: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        return self.begin(job, *arguments, **named).result()

    def run_in_all(self, job: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> list[T]:
        """The same job in each at the same time, as long as it takes long enough to be shared."""
        begun = [self.begin(job, *arguments, **named) for _ in range(self._count)]
        return [one.result() for one in begun]

    def close(self) -> None:
        self._pool.shutdown()


@contextmanager
def serving(server: Callable[..., None], *arguments: Any) -> Iterator[str]:
    """The address of a bare server in a process of its own: it sends it once it listens."""
    here, there = _FRESH.Pipe()
    process = _FRESH.Process(target=server, args=(there, *arguments), daemon=True)
    process.start()
    try:
        yield _address(here)
    finally:
        process.terminate()
        process.join()


def _address(connection: Connection) -> str:
    if not connection.poll(SERVER_READY_S):
        raise RuntimeError(f"a bare server did not listen within {SERVER_READY_S:g} s")
    return str(connection.recv())
