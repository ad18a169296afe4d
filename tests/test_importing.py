"""An edge list on its way into a store: in many runs, whatever happens to the store meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from farm import edges, importing
from farm.client import StoreClient
from farm.clock import SystemClock
from farm.config import Settings
from farm.observe import ProcessMetrics
from farm.sockets import Sockets
from farm.store.check import Check
from farm.store.sqlite_records import SqliteRecords
from farm.store.sqlite_snapshot import DATABASE
from farm.wire import Op
from tests.farm_process import wait_until_async
from tests.store.store_process import StoreProcess

pytestmark = pytest.mark.process

WITHIN_S = 20
PEOPLE, EDGES, FOLLOWING_MAX = 60, 1_500, 20


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of some lines, people forgotten between them, blocks that end anywhere."""
    monkeypatch.setattr(importing, "RUN_EDGES_FIRST", 50)
    monkeypatch.setattr(importing, "RUN_EDGES_MAX", 200)
    monkeypatch.setattr(importing, "NUMBERED_MAX", 7)
    monkeypatch.setattr(importing, "NAMES_MAX", 40)
    monkeypatch.setattr(edges, "BLOCK_BYTES", 300)


class Listed:
    """An edge list, doubles in it, with more follows than some may have."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._path = path
        self._names = (f"importing {number}" for number in itertools.count())
        self._wanted: dict[str, set[str]] = defaultdict(set)
        lines = []
        for line in range(EDGES):
            # New people come all the time.
            who, whom = chance.sample(range(10 + line * (PEOPLE - 10) // EDGES), 2)
            lines.append(f"p{who}\tp{whom}\n")
            self._wanted[f"p{who}"].add(f"p{whom}")
        path.write_text("".join(lines))

    async def fill(self, store: StoreProcess) -> None:
        """As the supervisor does."""
        sockets, clock = Sockets(), SystemClock()
        client = StoreClient(
            sockets, store.addresses, name=next(self._names), readers=0, clock=clock,
            metrics=ProcessMetrics(),
        )  # fmt: skip
        settings = Settings(import_follows=str(self._path), following_max=FOLLOWING_MAX)
        try:
            async with asyncio.timeout(WITHIN_S):
                await importing.fill(client, settings, clock)
        finally:
            client.close()
            sockets.close()

    def check(self, follows: dict[str, set[str]]) -> None:
        """Nobody follows whom they did not want to, nor fewer than they may."""
        for who, wanted in self._wanted.items():
            assert follows[who] <= wanted
            assert len(follows[who]) == min(len(wanted), FOLLOWING_MAX)
        assert any(len(wanted) > FOLLOWING_MAX for wanted in self._wanted.values())


@pytest.fixture
def listed(tmp_path: Path) -> Listed:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return Listed(tmp_path / "follows", random.Random(seed))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(data_dir: Path) -> Iterator[Callable[..., StoreProcess]]:
    """Starts stores; takes what `StoreProcess` takes."""
    started: list[StoreProcess] = []

    def start(**settings: Any) -> StoreProcess:
        started.append(StoreProcess(data_dir, following_max=FOLLOWING_MAX, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


def kept(data_dir: Path) -> dict[str, set[str]]:
    """Who is followed by whom in a store that has ended, and holds what it must."""
    with SqliteRecords.open(data_dir) as records:
        assert [str(breach) for breach in Check(records, lambda _: None).breaches()] == []
    found = defaultdict(set)
    database = apsw.Connection(str(data_dir / DATABASE), flags=apsw.SQLITE_OPEN_READWRITE)
    for who, whom in database.execute(
        "select a.id, b.id from relation join user a on a.number = relation.user"
        " join user b on b.number = relation.author where until = 0"
    ):
        found[who].add(whom)
    database.close()
    return found


@pytest.mark.parametrize("known", [[], ["p7", "p3", "stranger"]], ids=["empty", "used"])
async def test_an_edge_list_of_many_runs_is_taken_in_once(
    start: Callable[..., StoreProcess],
    data_dir: Path,
    listed: Listed,
    caplog: pytest.LogCaptureFixture,
    known: list[str],
) -> None:
    """Into a store where nobody was, and into one that has given out numbers before."""
    store = start()
    store.write((Op.NUMBER, known))
    with caplog.at_level(logging.INFO):
        await listed.fill(store)
        await listed.fill(store)
    store.close()
    follows = kept(data_dir)
    listed.check(follows)
    done, skipped = (one for one in caplog.records if one.levelno == logging.INFO)
    assert skipped.message == "edge list skipped: it was imported before"
    counted = done.__dict__["fields"]
    assert counted["added"] == sum(map(len, follows.values()))
    assert counted["added"] + counted["already_there"] + counted["rejected"] == EDGES


@pytest.mark.parametrize(
    ("place", "nth"),
    [("store.import", 1), ("store.import", 5), ("store.committed", 9), ("store.reply", 14)],
)
async def test_an_edge_list_is_taken_in_though_the_store_is_killed(
    start: Callable[..., StoreProcess], data_dir: Path, listed: Listed, place: str, nth: int
) -> None:
    """Between the halves of a run, behind its commit, and in the middle of its answer."""
    store = start(failpoints=f"{place}:kill:{nth}")
    filling = asyncio.create_task(listed.fill(store))
    await wait_until_async(lambda: not store.alive, WITHIN_S)
    store.start_again()
    await filling
    store.close()
    listed.check(kept(data_dir))
