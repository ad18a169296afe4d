"""Power cuts at random places of a random load, and whether what was acknowledged is there.

A store lives ten lives on one machine. In each, the first in which it is made among them, the power
is cut at some places, all of them judged: what is left must be exactly what the store held after
some commit, with FULL after the last one acknowledged or the one in flight. From one of them the
next life begins.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import apsw

from farm.errors import HarkError, Internal, Unavailable
from farm.store.check import Check
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_records import SqliteRecords
from farm.store.sqlite_snapshot import POST, SqliteSnapshot
from farm.store.sqlite_sums import post_of
from farm.wire import Op
from tests.power.files import Machine, put
from tests.power.load import CHANNELS, OK, RETENTION_S, Load, Names, Sent, small_scale
from tests.store.harness import START_US, Store

CUTS_PER_LIFE = 12
STEPS_PER_LIFE = 24
LIVES_PER_STORE = 10
FULL, NORMAL = 2, 1
Image = Mapping[str, bytes]


@dataclass(slots=True)
class Tally:
    """What came of the cuts so far."""

    cuts: int = 0
    in_flight: int = 0  # cuts that found the commit that nobody had been told of yet
    commits: int = 0  # acknowledged before their cut, summed over the cuts
    lost: int = 0  # of these, gone
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Cut:
    """What was left, and what had been acknowledged by then."""

    image: Image
    acknowledged: int  # the number of states
    promised: list[Sent]
    now_us: int


class Life:
    """One process from its start to its end, and the cuts that could have been its end."""

    def __init__(
        self, place: Path, image: Image, state: str | None, names: Names, chance: random.Random
    ) -> None:
        self._chance = chance
        self._names = names
        self.machine = Machine(place, image, chance=chance)
        self.machine.before = self._before
        self.cuts: list[Cut] = []
        # What the store held after each commit. One that was never made holds what a new one does.
        self.states = [] if state is None else [state]
        self.sent: list[Sent] = []
        self._deeds = 0
        self._store: Store | None = None

    def _before(self, deed: str) -> None:
        """Draws the places of the cuts: each deed on a file is as likely as any other."""
        if deed == "read":
            return
        self._deeds += 1
        where = self._chance.randrange(self._deeds)
        if where < CUTS_PER_LIFE:
            now_us = START_US if self._store is None else self._store.clock.wall_us()
            cut = Cut(
                self.machine.disk.cut(self._chance),
                len(self.states),
                [post for post in self.sent if post.code == OK],
                now_us,
            )
            self.cuts[where : where + 1] = [cut]

    def run(self, synchronous: int) -> None:
        store = Store(
            partial(self._open, synchronous), channels=CHANNELS, retention_us=RETENTION_S * 10**6
        )
        self._store = store
        self.states.append(state_of(store.storage.db))  # type: ignore[attr-defined]
        load = Load(store, self.machine, self._chance, self._names)
        self.sent = load.sent
        for _ in range(STEPS_PER_LIFE):
            load.step()
            self.states.append(state_of(store.storage.db))  # type: ignore[attr-defined]
            load.between()
        assert not load.codes & {Internal.code, Unavailable.code}
        self.machine.before = lambda deed: None
        load.close()
        store.close()

    def _open(self, synchronous: int) -> SqliteStorage:
        storage = SqliteStorage.create_or_open(
            self.machine.directory,
            chance=random.Random(7),
            now_us=START_US,
            vfs=self.machine.vfs,
        )
        if synchronous != FULL:  # which it is by itself, or these cuts say so
            storage.db.pragma("synchronous", synchronous)
        if not self.states:
            self.states.append(state_of(storage.db))
        return storage


def state_of(db: apsw.Connection) -> str:
    """All rows of all tables, as one digest."""
    found = hashlib.blake2b(digest_size=16)
    tables = db.execute("select name from sqlite_schema where type = 'table' order by name")
    for (name,) in tables.fetchall():
        found.update(repr((name, db.execute(f'select * from "{name}"').fetchall())).encode())
    return found.hexdigest()


def run(place: Path, cuts: int, seed: int, *, synchronous: int = FULL) -> Tally:
    """So many cuts. The same seed gives the same ones."""
    chance, names, tally = random.Random(seed), Names(), Tally()
    image: Image = {}
    state: str | None = None
    lives = 0
    with small_scale():
        while tally.cuts < cuts and not tally.wrong:
            life = Life(place / "machine", image, state, names, chance)
            life.run(synchronous)
            lives += 1
            chosen = chance.randrange(len(life.cuts))
            for number, cut in enumerate(life.cuts):
                found = judge(place / "survivor", life, cut, tally)
                if number == chosen:
                    image, state = cut.image, found
            shutil.rmtree(place / "machine")
            if lives % LIVES_PER_STORE == 0:
                image, state = {}, None
    return tally


def judge(directory: Path, life: Life, cut: Cut, tally: Tally) -> str | None:
    """Opens what is left as the next start would; the state that was found."""
    tally.cuts += 1
    put(directory, cut.image)
    try:
        return _judge(directory, life, cut, tally)
    except (HarkError, apsw.Error, AssertionError) as error:
        tally.wrong.append(f"cut {tally.cuts}: {type(error).__name__}: {error}")
        return None
    finally:
        shutil.rmtree(directory)


def _judge(directory: Path, life: Life, cut: Cut, tally: Tally) -> str:
    opener = partial(
        SqliteStorage.create_or_open, directory, chance=random.Random(7), now_us=START_US
    )
    storage = opener()
    found = state_of(storage.db)
    storage.close()
    assert found in life.states, "this was never what the store held"
    # The newest, where a commit left all as it was.
    place = len(life.states) - life.states[::-1].index(found)
    tally.commits += cut.acknowledged
    tally.lost += max(cut.acknowledged - place, 0)
    tally.in_flight += place > cut.acknowledged
    if place >= cut.acknowledged:
        _look_for_promised(directory, cut.promised, cut.now_us)
    _go_on(opener, directory)
    return found


def _look_for_promised(directory: Path, promised: list[Sent], now_us: int) -> None:
    """By what was answered alone, whatever the digests say."""
    found = posts_in(directory)
    for post in promised:
        young = post.sent_us > now_us - (RETENTION_S - 1) * 10**6
        expected = (post.author, post.content)
        assert found.get(post.post, None if young else expected) == expected, post.post


def posts_in(directory: Path) -> dict[str, tuple[str, str]]:
    """Author and content by id."""
    with SqliteSnapshot.open(directory) as snapshot:
        rows = snapshot.db.execute(f"select {POST}").fetchall()
    snapshot.close()
    return {post.id: (post.author_id, post.content) for post in map(post_of, rows)}


def _go_on(opener: partial[SqliteStorage], directory: Path) -> None:
    """The store starts on it, takes a post, and its sets are right."""
    store = Store(opener, channels=CHANNELS)
    assert not store.call(Op.PUBLISH, "after the cut", "star", "hello", 0, False).duplicate
    store.close()
    look(directory)


def look(directory: Path) -> None:
    """As `hark check` does."""
    with SqliteRecords.open(directory) as records:
        breaches = [str(breach) for breach in Check(records, lambda _: None).breaches()]
    assert not breaches, breaches
