"""A share of `make fuzz` on one farm: every port refuses what is wrong, and nobody notices.

What must be, `run.py` says: a clear refusal, no crash, no growth, and what was there before is
answered the same during and after.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.fuzz.place import Place, started
from tests.fuzz.ports import PORTS
from tests.fuzz.run import fuzz_port
from tests.fuzz.zmq_sockets import ENDLESS_FRAME, GREETING, LONG_FRAME, READY

pytestmark = pytest.mark.process
SEED = 9  # the same each time: what is new is for `make fuzz` to find
INPUTS = 300
MANY = {"store", "reader", "outcomes", "live", "raw sockets"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with started(tmp_path_factory.mktemp("fuzz")) as one:
        yield one


@pytest.mark.parametrize("name", PORTS)
def test_whatever_comes_is_refused_and_nothing_else_happens(place: Place, name: str) -> None:
    """Fault rows 5, 9, 43, 44 and 89, by chance; `make fuzz` has 100,000 inputs a port."""
    count = INPUTS * 3 if name in MANY else INPUTS
    result = fuzz_port(place, name, PORTS[name], count, SEED, pieces=2)
    print(result)
    assert result.wrong == []
    assert result.tally.inputs >= count * 9 // 10


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(GREETING + READY + LONG_FRAME, id="a frame beyond the limit"),
        pytest.param(GREETING + READY + ENDLESS_FRAME, id="a frame of 2^63 bytes"),
        pytest.param(GREETING.replace(b"NULL", b"PLAI") + READY, id="another mechanism"),
    ],
)
def test_what_no_peer_of_ours_says_ends_its_connection(place: Place, said: bytes) -> None:
    """Fault row 44. Half a handshake and HTTP, which may yet become one, are cut off by ZeroMQ
    after half a minute; until then they cost a descriptor."""
    for path in place.sockets():
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(str(path))
            one.sendall(said)
            try:
                while one.recv(65_536):
                    pass
            except ConnectionResetError:
                pass
    assert list(place.wrong()) == []
