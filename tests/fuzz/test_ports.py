"""A share of `make fuzz` on one farm: every port refuses what is wrong, and nobody notices.

What must be, `run.py` says: a clear refusal, no crash, no growth, and what was there before is
answered the same during and after.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.place import Place, started
from tests.fuzz.ports import PORTS
from tests.fuzz.run import fuzz_port

pytestmark = pytest.mark.process
SEED = 9  # the same each time: what is new is for `make fuzz` to find
INPUTS = 400
MANY = {"store", "reader", "outcomes", "live", "raw sockets"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with started(tmp_path_factory.mktemp("fuzz")) as one:
        yield one


@pytest.mark.parametrize("name", PORTS)
def test_whatever_comes_is_refused_and_nothing_else_happens(place: Place, name: str) -> None:
    """Fault rows 5, 9, 43, 44 and 89, by chance; `make fuzz` has 100,000 inputs a port."""
    count = INPUTS * 5 if name in MANY else INPUTS
    result = fuzz_port(place, name, PORTS[name], count, SEED, pieces=2)
    print(result)
    assert result.wrong == []
    assert result.tally.inputs >= count * 9 // 10
