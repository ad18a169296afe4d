"""A disk that fails at the n-th deed, once or for ever, and what the store then says and keeps.

A process runs on it until it ends by itself or has nothing left to do, and is killed. The disk
works again, a new process finds what the old one had written, and the posts whose outcome nobody
knows are sent once more. Then the power is cut.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import apsw

from farm.errors import HarkError, Refused, from_code
from farm.store.sqlite import SqliteStorage
from farm.store.storage import CommitUnknown
from farm.wire import Op
from tests.power.cuts import Image, look, posts_in, state_of
from tests.power.files import Machine, put
from tests.power.load import CHANNELS, OK, Load, Names, Sent, small_scale
from tests.store.harness import START_US, Store

STEPS = 8
FAULTS: Mapping[str, tuple[str, int]] = {
    "a read fails": ("read", apsw.SQLITE_IOERR_READ),
    "a write fails": ("write", apsw.SQLITE_IOERR_WRITE),
    "a write finds the disk full": ("write", apsw.SQLITE_FULL),
    "a sync fails": ("sync", apsw.SQLITE_IOERR_FSYNC),
    "a file cannot be opened": ("open", apsw.SQLITE_CANTOPEN),
    "a file cannot be cut short": ("truncate", apsw.SQLITE_IOERR_TRUNCATE),
    "a file cannot be deleted": ("delete", apsw.SQLITE_IOERR_DELETE),
}
# How a store's process may end; anything else is a mistake in it.
ENDS = (CommitUnknown, apsw.Error, HarkError)


class Fault:
    """Lets the n-th deed of a kind fail, and where `lasting` all after it."""

    def __init__(self, name: str, nth: int, *, lasting: bool) -> None:
        self._deed, self._code = FAULTS[name]
        self._nth, self._lasting = nth, lasting
        self._seen = 0
        self._on = False

    @property
    def met(self) -> bool:
        return self._seen >= self._nth

    def __call__(self, deed: str) -> Exception | None:
        if not self._on or deed != self._deed:
            return None
        self._seen += 1
        due = self.met if self._lasting else self._seen == self._nth
        return apsw.exception_for(self._code) if due else None

    @contextlib.contextmanager
    def switched(self, *, on: bool) -> Iterator[None]:
        self._on, before = on, self._on
        try:
            yield
        finally:
            self._on = before


def begin(place: Path) -> Image:
    """The files of a store that was killed at its work, with a log to recover."""
    names = Names("before")
    machine = Machine(place, {}, chance=random.Random(1))
    store = _open(machine)
    load = Load(store, machine, random.Random(2), names)
    for _ in range(2 * STEPS):
        load.step()
    image = {name: (machine.directory / name).read_bytes() for name in machine.disk.files}
    load.close()
    store.close()
    return image


def try_each(
    place: Path, image: Image, name: str, *, lasting: bool, every: int = 1, seed: int = 0
) -> tuple[int, list[str]]:
    """(places at which it failed, what was wrong): at the first deed of its kind, the second and
    so on, until there is none so late. `every`: not at each of them."""
    wrong: list[str] = []
    for count, nth in enumerate(itertools.count(1, every)):
        trial = Trial(place / str(nth), image, Fault(name, nth, lasting=lasting), f"{seed} {nth}")
        try:
            trial.run()
        except (AssertionError, HarkError, apsw.Error) as error:
            wrong.append(f"{name} at the {nth}th: {error}")
        shutil.rmtree(place / str(nth))
        if not trial.fault.met:
            return count, wrong
    raise AssertionError


class Trial:
    """One fault at one place."""

    def __init__(self, place: Path, image: Image, fault: Fault, seed: str) -> None:
        self.fault = fault
        self._place = place
        self._chance = random.Random(seed)
        self._machine = Machine(place, image, chance=self._chance)
        self._machine.before = fault
        self._names = Names("post")
        self._running = contextlib.ExitStack()  # what the process has open
        self._sent: list[Sent] = []
        # Whether it is killed at once when it has survived the fault.
        self._short = self._chance.random() < 0.5
        # What the store held after what it answered last, while that is known.
        self._state: str | None = None

    def run(self) -> None:
        with small_scale():
            ended = self._process(STEPS)
            self._look_at(self._machine.disk.cut(self._chance), known=not ended)
            self._kill()
            if ended and self.fault.met:
                self._process(2)  # as the supervisor starts it again, the disk as it is
                self._kill()
            self._ask_again()
            self._kill()
            self._look_at(self._machine.disk.cut(self._chance), known=True)

    def _process(self, steps: int) -> bool:
        """Runs a store and its load; whether it ended by itself, with something in flight."""
        try:
            with self.fault.switched(on=True):
                self._work(steps)
        except ENDS:
            return True
        return False

    def _work(self, steps: int) -> None:
        store = self._start()
        load = Load(store, self._machine, random.Random(5), self._names)
        self._running.callback(load.close)
        load.sent = self._sent
        for _ in range(steps):
            load.step()
            with self.fault.switched(on=False):
                self._state = state_of(store.storage.db)  # type: ignore[attr-defined]
            if self.fault.met and self._short:
                return
            load.between()
        load.close()
        store.close()
        self._running.pop_all()

    def _start(self) -> Store:
        store = _open(self._machine)
        self._running.callback(store.close)
        return store

    def _kill(self) -> None:
        """First, so that what closing does to files reaches none."""
        self._machine.kill()
        with contextlib.suppress(apsw.Error):
            self._running.close()

    def _ask_again(self) -> None:
        """As publishers do: whatever was not answered for sure is sent again with the same id."""
        store = self._start()
        for post in self._sent:
            refused = post.code is not None and isinstance(from_code(post.code, "", 0), Refused)
            row = store.storage.post_by_id(post.post)
            assert row is None or not refused, f"{post.post} was refused for sure, and is there"
            assert row is not None or post.code != OK, f"{post.post} was acknowledged, and is gone"
            store.call(Op.PUBLISH, post.post, post.author, post.content, 0, False)
            post.code = OK
        database = store.storage.db  # type: ignore[attr-defined]
        self._state = state_of(database)
        if self._chance.random() < 0.5:  # else the power goes with the log as it is
            database.execute("pragma wal_checkpoint(passive)").fetchall()

    def _look_at(self, image: Image, *, known: bool) -> None:
        """After a cut of the power, on a disk that works."""
        directory = self._place / "survivor"
        put(directory, image)
        opener = partial(
            SqliteStorage.create_or_open, directory, chance=random.Random(7), now_us=START_US
        )
        storage = opener()
        found = state_of(storage.db)
        storage.close()
        assert not known or found == self._state, "this is not what the store held"
        posts = posts_in(directory)
        for post in self._sent:
            if post.code == OK:
                assert posts.get(post.post) == (post.author, post.content), f"{post.post} is lost"
        look(directory)
        shutil.rmtree(directory)


def _open(machine: Machine) -> Store:
    return Store(partial(open_storage, machine), channels=CHANNELS)


def open_storage(machine: Machine) -> SqliteStorage:
    return SqliteStorage.create_or_open(
        machine.directory, chance=random.Random(7), now_us=START_US, vfs=machine.vfs
    )
