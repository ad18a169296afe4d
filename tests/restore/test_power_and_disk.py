"""The power goes, or the disk fails, at any moment of a backup: there is a whole file, or none."""

from __future__ import annotations

import itertools
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from farm.errors import Refused
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_backup import RESTORED, Backup
from farm.store.sqlite_snapshot import DATABASE
from tests.power.cuts import Image, look, state_of
from tests.power.errors import FAULTS, Fault
from tests.power.files import Machine, put
from tests.power.load import CHANNELS, Load, Names, small_scale
from tests.restore.kernel import Kernel
from tests.store.harness import START_US, Store

TARGET = "copy.db"
PAGES_PER_STEP = 4  # so that there are many steps
SEED = 31

Cut = Callable[[random.Random], Image]


class Trial:
    """A store at its work on a machine, and a backup of it on the same disk."""

    def __init__(self, place: Path, chance: random.Random, patch: pytest.MonkeyPatch) -> None:
        self.machine = Machine(place, {}, chance=chance)
        self.kernel = Kernel(self.machine, patch)
        opener = partial(
            SqliteStorage.create_or_open,
            self.machine.directory,
            chance=random.Random(7),
            now_us=START_US,
            vfs=self.machine.vfs,
        )
        self.store = Store(opener, channels=CHANNELS)
        self.load = Load(self.store, self.machine, chance, Names())
        for _ in range(10):
            self.load.step()
        self.database: apsw.Connection = self.store.storage.db  # type: ignore[attr-defined]
        self.state = ""  # what the store held when the copy was complete

    def back_up(self) -> Iterator[Backup]:
        """After each step, so that the store can do something. Raises what the backup does."""
        self.state, target = "", self.machine.directory / TARGET
        copy = Backup(self.database, target, target_vfs=self.machine.vfs)
        yield copy
        while not copy.done:
            complete = not copy.step()
            copy.wait()
            if complete and not self.state:
                self.state = state_of(self.database)
            yield copy

    def close(self) -> None:
        self.load.close()
        self.store.close()


@pytest.fixture(autouse=True)
def in_small_steps(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("farm.store.sqlite_backup.PAGES_PER_STEP", PAGES_PER_STEP)
    monkeypatch.setattr("farm.store.sqlite_backup.STEPS_PER_SYNC", 3)
    caplog.set_level(logging.CRITICAL + 1)


def judge(directory: Path, image: Image, trial: Trial) -> bool:
    """Whether the copy is there; then it is whole, and a store starts on it."""
    if TARGET not in image:
        return False
    put(directory, {DATABASE: image[TARGET]})
    copy = apsw.Connection(str(directory / DATABASE))
    assert copy.execute("select incarnation from meta").get == RESTORED
    ours = trial.database.execute("select incarnation from meta").get
    copy.execute("begin")
    copy.execute("update meta set incarnation = ?", (ours,))
    assert state_of(copy) == trial.state
    copy.execute("rollback")
    copy.close()
    look(directory)
    SqliteStorage.create_or_open(directory, chance=random.Random(7), now_us=START_US).close()
    shutil.rmtree(directory)
    return True


def cut_twice(cut: Cut, chance: random.Random, images: list[Image], deed: str) -> None:
    if deed != "read":
        images.extend((cut(chance), cut(chance)))


def test_a_power_cut_during_a_backup_leaves_a_whole_file_or_none(
    shm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault rows 16 and 31: at each deed on a file, in three backups; once it is done it stays."""
    chance = random.Random(SEED)
    found = {True: 0, False: 0}
    for life in range(3):
        images: list[Image] = []
        with small_scale(), monkeypatch.context() as patch:
            trial = Trial(shm / f"life{life}", chance, patch)
            steps = trial.back_up()
            next(steps)
            cuts = trial.machine.disk.cut
            trial.machine.before = partial(cut_twice, cuts, chance, images)
            for _ in steps:
                if not trial.state and chance.random() < 0.3:
                    trial.load.step()
            trial.machine.before = lambda deed: None
            for _ in range(8):
                assert judge(shm / "survivor", cuts(chance), trial), "it was done, and is gone"
            for image in images:
                found[judge(shm / "survivor", image, trial)] += 1
            trial.close()
    print(f"{found[True]} with the file, {found[False]} without")
    assert min(found.values()) > 0


# Where two deeds fail in one call of SQLite's, apsw can raise only one.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("name", [name for name in FAULTS if FAULTS[name][0] != "truncate"])
def test_whatever_fails_there_is_a_whole_file_or_none_and_the_store_goes_on(
    shm: Path, monkeypatch: pytest.MonkeyPatch, name: str, lasting: bool
) -> None:
    """Fault row 20, of a backup."""
    every = 7 if FAULTS[name][0] in {"read", "write"} else 1
    for nth in itertools.count(1, every):
        fault = Fault(name, nth, lasting=lasting)
        with small_scale(), monkeypatch.context() as patch:
            fail_at(shm / str(nth), fault, patch)
        if not fault.met:
            break
    print(f"{name}, {'from then on' if lasting else 'once'}: at {(nth - 1) // every} places")
    assert nth > 1, "nothing failed"


def fail_at(place: Path, fault: Fault, patch: pytest.MonkeyPatch) -> None:
    trial = Trial(place, random.Random(SEED), patch)
    trial.machine.before = fault
    told = False
    with fault.switched(on=True):
        try:
            for copy in trial.back_up():
                with fault.switched(on=False):
                    if not copy.done and not trial.state:
                        trial.load.step()
            told = True
        except Refused:
            pass
    trial.load.step()
    files = {path.name: path.read_bytes() for path in trial.machine.directory.iterdir()}
    assert judge(place / "survivor", files, trial) is told
    if not told:
        for _ in trial.back_up():
            pass
        files = {path.name: path.read_bytes() for path in trial.machine.directory.iterdir()}
        assert judge(place / "survivor", files, trial)
    trial.close()
    look(trial.machine.directory)
