"""What goes into the store before the farm is ready: an edge list, or the sample people."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from farm.client import StoreClient
from farm.config import Settings
from farm.edges import EdgeList, Run, lines_of
from farm.errors import Corrupt, Refused, StartError, Unavailable
from farm.observe import log

PIECE_EDGES_MAX = 5_000  # parsed at a stretch, while the process does nothing else
RUN_EDGES_MAX = 200_000  # in one commit: the store sorts them, and larger runs cost less an edge
RUN_BYTES_MAX = 16 * 1024 * 1024
SAMPLE_PEOPLE = {
    "user1": ("user2", "user3", "user4", "user5", "user6", "user7"),
    "user2": ("user1", "user3", "user5"),
    "user3": ("user1", "user2", "user4"),
    "user4": ("user2", "user5", "user7"),
}  # who is followed, by whom

T = TypeVar("T")


async def fill(store: StoreClient, settings: Settings) -> None:
    """Imports what is to be imported, else makes the sample people where they are wanted."""
    if settings.import_follows is not None:
        await _import(store, settings.import_follows)
    wanted = settings.sample_data
    if wanted is None and settings.import_follows is None:
        wanted = not (await _patiently(store.stats)).has_users
    if wanted:
        edges = [(by, who) for who, followers in SAMPLE_PEOPLE.items() for by in followers]
        followers, authors = zip(*edges, strict=True)
        await _patiently(lambda: store.import_edges(list(followers), list(authors)))


def edge_file(name: str) -> io.BufferedReader:
    """The opened file. Raises `StartError` where there is none that can be read."""
    try:
        if not Path(name).is_file():
            raise StartError(f"--import-follows {name}: there is no such file")
        return Path(name).open("rb")
    except OSError as error:
        raise StartError(f"--import-follows {name}: {error.strerror}") from None


async def _import(store: StoreClient, name: str) -> None:
    with edge_file(name) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if await _patiently(lambda: store.import_known(digest)):
            log(logging.INFO, "edge list skipped: it was imported before", file=name)
            return
        file.seek(0)
        try:
            await _import_all(store, file)
            await _patiently(lambda: store.import_finished(digest))
        except (Corrupt, Refused) as error:
            raise StartError(f"--import-follows {name}: {error.message}") from None


async def _import_all(store: StoreClient, file: io.BufferedReader) -> None:
    edges = EdgeList(lines_of(file), run_edges_max=PIECE_EDGES_MAX)
    intake = _Intake(store, edges)
    size = os.fstat(file.fileno()).st_size
    with tqdm(total=size, desc="import", unit="B", unit_scale=True, disable=None) as bar:
        for piece in edges.runs():
            await intake.add(piece)
            bar.update(file.tell() - bar.n)
        await intake.finish()
    for problem in edges.problems:
        log(logging.WARNING, f"edge list: {problem}")
    log(
        logging.INFO,
        "edge list imported",
        file=file.name,
        added=intake.added,
        already_there=intake.already_there,
        rejected=edges.rejected,
    )


class _Intake:
    """Gathers pieces into runs; one is parsed while the store takes in the one before."""

    def __init__(self, store: StoreClient, edges: EdgeList) -> None:
        self.added = self.already_there = 0
        self._store = store
        self._edges = edges
        self._run = Run([], [], [], 0)
        self._sending: asyncio.Task[None] | None = None

    async def add(self, piece: Run) -> None:
        followers, authors, lines, size = self._run
        self._run = Run(
            followers + piece.followers,
            authors + piece.authors,
            lines + piece.lines,
            size + piece.size,
        )
        if len(self._run.lines) >= RUN_EDGES_MAX or self._run.size >= RUN_BYTES_MAX:
            await self._send()
        await asyncio.sleep(0)  # the run before is to be sent, and signals are to be heard

    async def finish(self) -> None:
        await self._send()
        await self._send()

    async def _send(self) -> None:
        if self._sending is not None:
            await self._sending
        self._sending = asyncio.create_task(self._import(self._run))
        self._run = Run([], [], [], 0)

    async def _import(self, run: Run) -> None:
        if not run.lines:
            return
        done = await _patiently(lambda: self._store.import_edges(run.followers, run.authors))
        self.added += done.added
        self.already_there += done.already_there
        for position, why in done.rejections:
            self._edges.reject(run.lines[position], why)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks until there is an answer; the supervisor ends the start where there will be none."""
    while True:
        with contextlib.suppress(Unavailable):
            return await ask()
