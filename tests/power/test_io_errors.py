"""The disk fails at any one deed, or from then on: nothing is lost, nothing false is said.

Fault rows 18, 19 and 20, and 113 where the disk is full: whatever was acknowledged is there after
a restart and a power cut, what was refused for sure is not, and the rest is resolved by sending it
again with the same id.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
from pathlib import Path

import pytest

from farm.store.sqlite_schema import SCHEMA_VERSION
from farm.store.sqlite_snapshot import DATABASE
from tests.power import errors
from tests.power.errors import ENDS, FAULTS, Fault
from tests.power.files import Machine
from tests.store.harness import make_first_version

# These deeds are many, so that `make test` lets each fifth fail.
MANY = {"read", "write"}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The store tells of each full disk; here there are hundreds."""
    caplog.set_level(logging.CRITICAL + 1)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_fails_nothing_is_lost_and_nothing_false_is_said(
    shm: Path, name: str, lasting: bool
) -> None:
    """Fault rows 18 to 20 and 113."""
    every = 5 if FAULTS[name][0] in MANY else 1
    tried, wrong = errors.try_each(
        shm, errors.begin(shm / "begin"), name, lasting=lasting, every=every
    )
    assert wrong == []
    assert tried > 0


@pytest.mark.parametrize("name", [name for name in FAULTS if FAULTS[name][0] in {"write", "sync"}])
def test_a_disk_that_fails_while_tables_are_brought_up_to_date(shm: Path, name: str) -> None:
    """Once, at each deed in turn; then the power goes. The tables are the old ones or the new, and
    the next start ends what was begun. Fault row 108."""
    (shm / "old").mkdir()
    make_first_version(shm / "old" / DATABASE)
    image = {DATABASE: (shm / "old" / DATABASE).read_bytes()}
    for nth in itertools.count(1):
        fault = Fault(name, nth, lasting=False)
        machine = Machine(shm / f"machine {nth}", image, chance=random.Random(nth))
        machine.before = fault
        with fault.switched(on=True), contextlib.suppress(*ENDS):
            errors.open_storage(machine).close()
        machine.cut_power()
        storage = errors.open_storage(machine)
        assert storage.db.pragma("user_version") == SCHEMA_VERSION
        assert storage.numbers_of(["ann"]) == {"ann": 1}
        storage.close()
        if not fault.met:
            break
    assert nth > 1


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("name", [name for name in FAULTS if FAULTS[name][0] in MANY])
def test_the_same_at_each_single_read_and_write(shm: Path, name: str, lasting: bool) -> None:
    """Fault row 20."""
    tried, wrong = errors.try_each(shm, errors.begin(shm / "begin"), name, lasting=lasting)
    assert wrong == []
    assert tried > 100
