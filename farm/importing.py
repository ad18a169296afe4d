"""What goes into the store before the farm is ready: an edge list, or the sample people."""

from __future__ import annotations

import array
import asyncio
import contextlib
import hashlib
import io
import itertools
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from farm.client import StoreClient
from farm.clock import Clock
from farm.config import Settings
from farm.edge_blocks import EdgeBlocks, Names
from farm.edges import PROBLEMS_SHOWN_MAX, blocks_of
from farm.errors import Corrupt, Refused, StartError, Unavailable
from farm.limits import shown
from farm.observe import log
from farm.packed import each_once, in_order, packed, swapped

# In one commit. Larger runs cost less an edge, but until the first one is read the store waits; and
# it answers nobody meanwhile, not even whether it lives.
RUN_EDGES_FIRST, RUN_EDGES_MAX = 100_000, 1_000_000
RUN_S_MAX = 4.0
RUNS_UNDER_WAY_MAX = 3  # beside the one that is read
NAMES_MAX = 1_000_000  # remembered from one run to the next
NUMBERED_MAX = 100_000  # people in one commit
SAMPLE_PEOPLE = {
    "user1": ("user2", "user3", "user4", "user5", "user6", "user7"),
    "user2": ("user1", "user3", "user5"),
    "user3": ("user1", "user2", "user4"),
    "user4": ("user2", "user5", "user7"),
}  # who is followed, by whom

T = TypeVar("T")


async def fill(store: StoreClient, settings: Settings, clock: Clock) -> None:
    """Imports what is to be imported, else makes the sample people where they are wanted."""
    if settings.import_follows is not None:
        await _import(store, settings, settings.import_follows, clock)
    wanted = settings.sample_data
    if wanted is None and settings.import_follows is None:
        wanted = not (await _patiently(store.stats)).has_users
    if wanted:
        await _make_sample_people(store)


async def _make_sample_people(store: StoreClient) -> None:
    edges = [(by, who) for who, followers in SAMPLE_PEOPLE.items() for by in followers]
    followers, authors = zip(*edges, strict=True)
    try:
        await _patiently(lambda: store.import_edges(list(followers), list(authors)))
    except (Corrupt, Refused) as error:
        raise StartError(
            f"sample people: {error.message}; mend that, or start with --no-sample-data"
        ) from None


def edge_file(name: str) -> io.BufferedReader:
    """The opened file. Raises `StartError` where there is none that can be read."""
    try:
        if not Path(name).is_file():
            raise StartError(f"--import-follows {name}: there is no such file")
        return Path(name).open("rb")
    except OSError as error:
        raise StartError(f"--import-follows {name}: {error.strerror}") from None


async def _import(store: StoreClient, settings: Settings, name: str, clock: Clock) -> None:
    with edge_file(name) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if await _patiently(lambda: store.import_known(digest)):
            log(logging.INFO, "edge list skipped: it was imported before", file=name)
            return
        file.seek(0)
        try:
            intake = _Intake(store, EdgeBlocks(), settings.following_max, clock)
            await _import_all(intake, file)
            await _patiently(lambda: store.import_finished(digest))
        except (Corrupt, Refused) as error:
            raise StartError(f"--import-follows {name}: {error.message}") from None


async def _import_all(intake: _Intake, file: io.BufferedReader) -> None:
    size = os.fstat(file.fileno()).st_size
    with tqdm(total=size, desc="import", unit="B", unit_scale=True, disable=None) as bar:
        try:
            async with asyncio.TaskGroup() as under_way:
                for block in blocks_of(file):
                    await intake.add(block, under_way)
                    bar.update(file.tell() - bar.n)
                await intake.hand_over(under_way)
        except ExceptionGroup as failed:  # what failed first ended all others
            raise failed.exceptions[0] from None
    for problem in intake.edges.problems:
        log(logging.WARNING, f"edge list: {problem}")
    log(
        logging.INFO,
        "edge list imported",
        file=file.name,
        added=intake.added,
        already_there=intake.already_there,
        rejected=intake.edges.rejected,
    )


class _People:
    """Those who were met in the list, and the number that the store has given to each."""

    def __init__(self) -> None:
        self.names = Names()
        self._numbers = array.array("I", (0,))  # by place, of which 0 is nobody's
        self._as_placed = True

    def numbered(self, numbers: list[int]) -> None:
        """Of those whom the store was told of next."""
        first = len(self._numbers)
        self._as_placed &= numbers == list(range(first, first + len(numbers)))
        self._numbers.extend(numbers)

    def numbers_of(self, places: array.array[int]) -> array.array[int]:
        """In a store where nobody was before, that are the places themselves."""
        if self._as_placed:
            return places
        return array.array("I", map(self._numbers.__getitem__, places))

    def at(self, place: int) -> str:
        return next(itertools.islice(self.names, place - 1, None)).decode()


class _Run:
    """Edges that go to the store together."""

    def __init__(self, people: _People) -> None:
        self.people = people
        self.places = array.array("I")  # a follower's and an author's in turn
        self._lines: list[Sequence[int]] = []

    def __len__(self) -> int:
        return len(self.places) // 2

    def add(self, places: array.array[int], lines: Sequence[int]) -> None:
        self.places += places
        self._lines.append(lines)

    def edges(self) -> array.array[int]:
        """By numbers, once all have one."""
        return packed(self.people.numbers_of(self.places))

    def follower(self, position: int) -> str:
        return self.people.at(self.places[2 * position])

    def lines(self) -> Iterator[int]:
        return itertools.chain.from_iterable(self._lines)


class _Intake:
    """Gathers edges into runs. While the store takes in one of them, the next one is sorted, the
    one after that gets its numbers, and the one after that is read."""

    def __init__(
        self, store: StoreClient, edges: EdgeBlocks, following_max: int, clock: Clock
    ) -> None:
        self.added = self.already_there = 0
        self.edges = edges
        self._store = store
        self._following_max = following_max
        self._clock = clock
        self._run_edges_max = RUN_EDGES_FIRST
        self._people = _People()
        self._run = _Run(self._people)  # is being read
        self._room = asyncio.Semaphore(RUNS_UNDER_WAY_MAX)
        self._numbered: asyncio.Task[None] | None = None  # everybody up to the run before
        self._storing = asyncio.Lock()

    async def add(self, block: bytes, under_way: asyncio.TaskGroup) -> None:
        self._run.add(*self.edges.edges_of(block, self._people.names))
        if len(self._run) >= self._run_edges_max:
            await self.hand_over(under_way)
        await asyncio.sleep(0)  # those under way are to go on, and signals are to be heard

    async def hand_over(self, under_way: asyncio.TaskGroup) -> None:
        """Lets what was read go on by itself, as soon as there is room."""
        await self._room.acquire()
        people, names = self._people, self._people.names
        new, names.new = names.new, []
        self._numbered = under_way.create_task(self._number(people, new, self._numbered))
        under_way.create_task(self._take_in(self._run, self._numbered))
        if len(names) > NAMES_MAX:
            self._people = _People()
        self._run = _Run(self._people)

    async def _take_in(self, run: _Run, numbered: asyncio.Task[None]) -> None:
        await numbered
        edges = each_once(in_order(run.edges()))
        by_follower = array.array("Q")
        if self._storing.locked():  # else the store waits, and can sort while others are read
            by_follower = in_order(swapped(edges))
        async with self._storing:
            await self._import(run, edges, by_follower)
        self._room.release()

    async def _number(
        self, people: _People, new: list[str], before: asyncio.Task[None] | None
    ) -> None:
        """Asks at once, for a store that is busy with a run answers behind it; what comes of it is
        noted in the order of the list."""
        numbers: list[int] = []
        for first in range(0, len(new), NUMBERED_MAX):
            some = new[first : first + NUMBERED_MAX]
            numbers += await _patiently(partial(self._store.number_people, some))
        if before is not None:
            await before
        people.numbered(numbers)

    async def _import(
        self, run: _Run, edges: array.array[int], by_follower: array.array[int]
    ) -> None:
        started_s = self._clock.monotonic_s()
        store = partial(self._store.import_numbered, edges, by_follower)
        added, beyond = await _patiently(store)
        self._pace(len(run), self._clock.monotonic_s() - started_s)
        rejected = self._reject(run, set(beyond)) if beyond else 0
        self.added += added
        self.already_there += len(run) - added - rejected

    def _pace(self, edges: int, took_s: float) -> None:
        """Runs double while they are quick, and shrink where one took too long."""
        if took_s > RUN_S_MAX:
            self._run_edges_max = max(int(edges * RUN_S_MAX / took_s), RUN_EDGES_FIRST)
        elif 2 * took_s <= RUN_S_MAX:
            self._run_edges_max = min(2 * self._run_edges_max, RUN_EDGES_MAX)

    def _reject(self, run: _Run, beyond: set[int]) -> int:
        """Tells of the edges with which a follower would follow too many; how many they are."""
        found = [
            (line, at)
            for at, (line, edge) in enumerate(zip(run.lines(), run.edges(), strict=True))
            if edge in beyond
        ]
        for line, at in found[:PROBLEMS_SHOWN_MAX]:
            who = shown(run.follower(at))
            self.edges.reject(line, f"'{who}' follows {self._following_max} authors already")
        self.edges.rejected += len(found[PROBLEMS_SHOWN_MAX:])
        return len(found)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks until there is an answer; the supervisor ends the start where there will be none."""
    while True:
        with contextlib.suppress(Unavailable):
            return await ask()
