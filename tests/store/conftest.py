"""Stores for tests, on every engine there is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.store.harness import OpenStorage, Store, open_sqlite
from tests.store.store_process import StoreProcess

# Each opens the same storage again and again. A second engine is one more row here.
ENGINES = ("sqlite in a file", "sqlite in memory")


@pytest.fixture(params=ENGINES)
def open_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStorage]:
    """How to open a storage of this test's own, on each engine in turn."""
    if request.param == "sqlite in a file":
        yield partial(open_sqlite, tmp_path)
    else:
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as directory:
            yield partial(open_sqlite, Path(directory))


MakeStore = Callable[..., Store]


@pytest.fixture
def make_store() -> Iterator[MakeStore]:
    """Makes stores that keep nothing; takes what `Store` takes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as directory:
        made: list[Store] = []

        def make(**rules: object) -> Store:
            place = Path(directory) / str(len(made))
            place.mkdir()
            made.append(Store(partial(open_sqlite, place), **rules))  # type: ignore[arg-type]
            return made[-1]

        yield make
        for store in made:
            store.close()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()


@pytest.fixture
def store_process(tmp_path: Path) -> Iterator[StoreProcess]:
    """A store as a process of its own."""
    process = StoreProcess(tmp_path / "data")
    yield process
    process.close()
