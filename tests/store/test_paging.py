"""What a page costs, beside the bare queries for the same rows: a bound on kind, not on speed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks import paging
from farm.wire import Op
from tests.store.harness import Store, open_sqlite

AUTHORS = 1_000
TIMES_MAX = 20.0  # it is 3 to 6, on a busy machine too
ROUNDS = 4
ROUND_S = 0.05


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readers who follow 20 and 1,000 authors, who have posted three times each."""
    directory = tmp_path_factory.mktemp("paging")
    store = Store(partial(open_sqlite, directory))
    authors = [f"author{number}" for number in range(AUTHORS)]
    for following in (20, AUTHORS):
        readers = [f"reader of {following}"] * following
        store.call(Op.IMPORT, readers, authors[:following])
    for number in range(3):
        now_us = store.clock.wall_us()
        posts = [(f"{author}-{number}", author) for author in authors]
        store.group([(Op.PUBLISH, *post, "hello", now_us, True) for post in posts])
    store.close()
    return directory


@pytest.mark.parametrize("following", [20, AUTHORS])
def test_a_page_costs_a_small_multiple_of_its_bare_queries(data_dir: Path, following: int) -> None:
    """The fastest of each count, taken in turn, for others use the machine too."""
    asked = (str(data_dir), [f"reader of {following}"], ROUND_S)
    taken, bares = [], []
    for _ in range(ROUNDS):
        taken += paging.pages(*asked)
        bares += paging.bare_pages(*asked)
    assert min(taken) < TIMES_MAX * min(bares)
