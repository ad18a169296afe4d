"""What comes over the sockets: whatever the bytes, an error for the sender and nothing else."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from farm import wire
from farm.errors import NotFound
from farm.looks import KnownLooks
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets
from farm.store.writer import PLACE_HOLDS_S, PLACES_MAX, Writer
from farm.wire import Kind, Op, WireError
from tests.store.harness import Store
from tests.store.store_process import StoreProcess

RANDOM_PAYLOADS = 20_000
NOTHING = msgpack.packb([1, Kind.PING])

MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "no msgpack": b"\xc1",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "lists nested 100,000 deep": b"\x91" * 100_000 + b"\xc0",
    "maps nested 100,000 deep": b"\x81\xc0" * 100_000 + b"\xc0",
    "array of 4 GiB": b"\xdd\xff\xff\xff\xff",
    "map of 4 GiB": b"\xdf\xff\xff\xff\xff",
    "text of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "extension of 4 GiB": b"\xc9\xff\xff\xff\xff\x01",
    "4 GiB within": msgpack.packb([1, 1])[:-1] + b"\xdd\xff\xff\xff\xff",
    "cut": msgpack.packb([1, 1, "client", 7, [[1, "p"]]])[:-3],
    "trailing bytes": NOTHING + b"\x00",
    "two messages": NOTHING * 2,
    "text that is no UTF-8": msgpack.packb([1, Kind.PING]) [:-1] + b"\xa2\xff\xfe",
    "half a surrogate": b"\x93\x01\x07\xa3\xed\xa0\x80",
    "another version": msgpack.packb([2, Kind.PING]),
    "version as text": msgpack.packb(["1", Kind.PING]),
    "version as a float": msgpack.packb([1.0, Kind.PING]),
    "version as a boolean": msgpack.packb([True, Kind.PING]),
    "unknown kind": msgpack.packb([1, 99]),
    "kind as a list": msgpack.packb([1, [7]]),
    "kind as a boolean": msgpack.packb([1, True]),
    "no kind": msgpack.packb([1]),
    "nothing in it": msgpack.packb([]),
    "a number": msgpack.packb(7),
    "nil": msgpack.packb(None),
    "bytes that would do as a list": msgpack.packb(bytes([1, Kind.PING])),
    "a map whose keys would do": msgpack.packb({1: 0, int(Kind.PING): 0}),
    "a map with a list as key": b"\x81\x90\xc0",
    "an extension": msgpack.packb(msgpack.ExtType(5, b"abc")),
    "a broken timestamp": b"\xc7\x05\xff" + b"\x00" * 5,
}  # fmt: skip

# Well-formed messages whose bodies are not what the kind asks for.
WRONG_BODIES: dict[str, list[Any]] = {
    "a write without operations": [1, Kind.WRITE, "c", 1],
    "a write with its number as text": [1, Kind.WRITE, "c", "1", []],
    "a write by nobody": [1, Kind.WRITE, None, 1, []],
    "a write by somebody with too long a name": [1, Kind.WRITE, "c" * 201, 1, []],
    "a lease for somebody with too long a name": [1, Kind.LEASE, "w" * 201, 1, 10, [], [], []],
    "operations that are a map": [1, Kind.WRITE, "c", 1, {1: 2}],
    "an operation that is a number": [1, Kind.WRITE, "c", 1, [5]],
    "an empty operation": [1, Kind.WRITE, "c", 1, [[]]],
    "an unknown operation": [1, Kind.WRITE, "c", 1, [[99]]],
    "an operation as a boolean": [1, Kind.WRITE, "c", 1, [[True, "a", "b"]]],
    "too few arguments": [1, Kind.WRITE, "c", 1, [[Op.FOLLOW, "a"]]],
    "too many arguments": [1, Kind.WRITE, "c", 1, [[Op.FOLLOW, "a", "b", "c"]]],
    "a number for an id": [1, Kind.WRITE, "c", 1, [[Op.FOLLOW, 1, 2]]],
    "bytes for an id": [1, Kind.WRITE, "c", 1, [[Op.FOLLOW, b"a", b"b"]]],
    "a list for an id": [1, Kind.WRITE, "c", 1, [[Op.FOLLOW, ["a"], "b"]]],
    "a float for a time": [1, Kind.WRITE, "c", 1, [[Op.PUBLISH, "p", "a", "x", 1.5, True]]],
    "a number for a boolean": [1, Kind.WRITE, "c", 1, [[Op.PUBLISH, "p", "a", "x", 1, 1]]],
    "one good and one bad": [1, Kind.WRITE, "c", 1, [[Op.FOLLOW, "x", "y"], [99]]],
    "a lease for nobody": [1, Kind.LEASE, None, 1, 10, [], [], []],
    "a lease of text": [1, Kind.LEASE, "w", 1, "10", [], [], []],
    "leases held as text": [1, Kind.LEASE, "w", 1, 10, ["1"], [], []],
    "leases ended as text": [1, Kind.LEASE, "w", 1, 10, [], ["1"], []],
    "outcomes with a lease as text": [1, Kind.LEASE, "w", 1, 10, [], [], ["1"]],
    "a lease without what came of others": [1, Kind.LEASE, "w", 1, 10, [1]],
    "an answer": [1, Kind.ANSWERS, 1, []],
    "a question for a reader": [1, Kind.READ, "c", 1, []],
}  # fmt: skip

WRONG_OUTCOMES: dict[str, list[Any]] = {
    "too long a name": ["w" * 201, 1, [], [], 0.0],
    "nothing": [],
    "no counts": ["w", 1, []],
    "an outcome of no lease": ["w", 1, [[]], [], 0.0],
    "a state that is none": ["w", 1, [[1, True, [[9, "", None]]]], [], 0.0],
    "a state that cannot be said": ["w", 1, [[1, True, [[0, "", None]]]], [], 0.0],
    "members as a list": ["w", 1, [[1, True, [[2, "", [1, 2]]]]], [], 0.0],
    "final as a number": ["w", 1, [[1, 1, []]], [], 0.0],
    "counts as text": ["w", 1, [], ["1"], 0.0],
    "a sum as text": ["w", 1, [], [], "0"],
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_message_is_a_wire_error(payload: bytes) -> None:
    with pytest.raises(WireError):
        wire.unpack(payload)


@pytest.mark.parametrize("body", WRONG_OUTCOMES.values(), ids=WRONG_OUTCOMES.keys())
def test_what_are_no_outcomes_is_a_wire_error(body: list[Any]) -> None:
    with pytest.raises(WireError):
        wire.unpack_outcomes(body)


def test_random_bytes_raise_wire_errors_or_are_messages() -> None:
    """Fault row 43, as far as reading a message goes."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    makers = (random_bytes, mutated, cut, random_object)
    for number in range(RANDOM_PAYLOADS):
        payload = makers[number % len(makers)](chance)
        try:
            kind, body = wire.unpack(payload)
            understand(kind, body)
        except WireError:
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}, payload {number}: {payload!r}") from error


def understand(kind: Kind, body: list[Any]) -> None:
    """All that the store does with a message before it acts."""
    readers: dict[Kind, Callable[[list[Any]], Any]] = {
        Kind.WRITE: lambda b: wire.check_operations(b[2:3] and b[2], wire.SIGNATURES),
        Kind.READ: lambda b: wire.check_operations(b[2:3] and b[2], wire.QUERY_SIGNATURES),
        Kind.LEASE: wire.unpack_lease_request,
        Kind.OUTCOMES: wire.unpack_outcomes,
    }
    assert isinstance(body, list)
    if kind in readers:
        readers[kind](body)


VALID: list[bytes] = [
    msgpack.packb([1, Kind.WRITE, "client", 3, [[Op.PUBLISH, "p", "a", "x", 12345678, True]]]),
    msgpack.packb([1, Kind.LEASE, "w1", 9, 100, [1, 2, 3], [4], [b"told"]]),
    msgpack.packb([1, Kind.OUTCOMES, "w1", 4, [[7, True, [[2, "", None]]]], [1, 2], 0.5]),
    msgpack.packb([1, Kind.READ, "client", 5, [[1, "user", 20, "", False]]]),
]  # fmt: skip


def random_bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(60))


def mutated(chance: random.Random) -> bytes:
    payload = bytearray(chance.choice(VALID))
    for _ in range(chance.randrange(1, 4)):
        payload[chance.randrange(len(payload))] = chance.randrange(256)
    return bytes(payload)


def cut(chance: random.Random) -> bytes:
    payload = chance.choice(VALID)
    return payload[: chance.randrange(len(payload))] + chance.randbytes(chance.randrange(3))


def random_object(chance: random.Random, depth: int = 0) -> bytes:
    packed: bytes = msgpack.packb([1, chance.randrange(12), *(_value(chance, 0) for _ in range(5))])
    return packed


def _value(chance: random.Random, depth: int) -> Any:
    match chance.randrange(10 if depth < 3 else 7):
        case 0:
            return None
        case 1:
            return chance.random() < 0.5
        case 2:
            return chance.choice([0, 1, 2, 3, -1, 2**31, 2**63, 2**64 - 1])
        case 3:
            return struct.unpack("<d", chance.randbytes(8))[0]
        case 4:
            return "".join(chr(chance.randrange(0x20, 0xD000)) for _ in range(chance.randrange(4)))
        case 5:
            return chance.randbytes(chance.randrange(9))
        case 6:
            return msgpack.ExtType(chance.randrange(128), chance.randbytes(3))
        case 7:
            return {f"k{n}": _value(chance, depth + 1) for n in range(chance.randrange(3))}
        case _:
            return [_value(chance, depth + 1) for _ in range(chance.randrange(5))]


# Against a real store


@pytest.mark.process
def test_a_store_answers_fault_to_each_and_lives(store_process: StoreProcess) -> None:
    """Fault row 43."""
    for name, payload in MALFORMED.items():
        kind, body = store_process.ask(payload)
        assert kind is Kind.FAULT, name
        assert isinstance(body[0], str), name
    for name, message in WRONG_BODIES.items():
        kind, _ = store_process.ask(msgpack.packb(message))
        assert kind is Kind.FAULT, name
    for payload in (*MALFORMED.values(), *(msgpack.packb([1, 6, *b]) for b in
                                           WRONG_OUTCOMES.values())):  # fmt: skip
        store_process.push(payload)
    assert store_process.write((Op.FOLLOW, "ann", "star")) == [[0, True]]
    assert store_process.write((Op.FOLLOW, "x", "y")) == [[0, True]]  # not by half of a request
    assert store_process.alive


@pytest.mark.process
def test_well_formed_nonsense_costs_only_its_own_operation(store_process: StoreProcess) -> None:
    results = store_process.write(
        (Op.FOLLOW, "ann", "star"),
        (Op.IMPORT, ["a", "b"], ["c"]),
        (Op.IMPORT, [1, None], [2.5, []]),
        (Op.PUBLISH, "p", "star", "x", 2**64 - 1, True),
        (Op.SESSIONS, [[], {}, None]),
        (Op.PUBLISH, "q", "star", "x", 0, True),
    )
    assert [result[0] for result in results][::5] == [0, 0]
    assert results[1][0] == 13
    assert results[5][1][:3] == ["q", 1, 1]
    assert store_process.alive


@pytest.mark.process
def test_the_same_request_gets_the_same_answer_again(store_process: StoreProcess) -> None:
    """Also where both wait in the queue when the store looks."""
    request = wire.pack(Kind.WRITE, "client", 1, [[Op.FOLLOW, "ann", "star"]])
    first = store_process.ask_all([request, request])
    assert first == [(Kind.ANSWERS, [1, [[0, True]]])] * 2
    assert store_process.ask(request) == first[0]
    other = wire.pack(Kind.WRITE, "client", 2, [[Op.FOLLOW, "ann", "star"]])
    assert store_process.ask(other) == (Kind.ANSWERS, [2, [[0, False]]])


@pytest.mark.process
def test_places_without_number_take_no_sockets_without_number(store_process: StoreProcess) -> None:
    """Each place that is told of anything has a socket; a thousand of them ended the store. So did
    fewer that were closed and opened in turn, as soon as closing fell behind."""
    store_process.write((Op.FOLLOW, "ann", "star"))
    for first in range(0, 1_200, 300):
        places = range(first, first + 300)
        store_process.write(*((Op.ONLINE, f"s{n}", f"web-{n}", ["ann"], []) for n in places))
        store_process.write((Op.PUBLISH, f"p{first}", "star", "x", 0, True))
    descriptors = Path(f"/proc/{store_process.pid}/fd")
    # One for its messages and one for its connection, and what any store has.
    assert len(list(descriptors.iterdir())) < 2 * PLACES_MAX + 100
    assert store_process.alive


def test_a_place_told_of_nothing_for_long_leaves_its_socket(store: Store, tmp_path: Path) -> None:
    sockets = Sockets()
    writer = Writer(store.core, sockets, Addresses(tmp_path), store.clock, ProcessMetrics())

    def told(place: str) -> bool:
        return writer._teller(place, store.clock.monotonic_s()) is not None

    assert all(told(f"web-{number}") for number in range(PLACES_MAX))
    assert not told("late")
    store.clock.pass_s(PLACE_HOLDS_S)
    assert told("web-0")
    assert all(told(f"late-{number}") for number in range(PLACES_MAX - 1))
    assert not told("web-1")
    assert told("web-0")
    assert len(sockets._open) == PLACES_MAX + 3  # and its own three
    sockets.close()


def test_a_row_of_another_shape_is_no_look() -> None:
    def row(*more: object) -> list[object]:
        delivery = ["inbox", wire.State.DELIVERED.value, 1, None, None]
        about = [7, "post", "author", "text", 0, False, wire.State.DEAD.value, 1]
        return [*about, [[*delivery, *more]]]

    def looks(row: list[object]) -> wire.Looks:
        [result] = wire.results_in([1, [[0, None]], [msgpack.packb(row)]], KnownLooks(wire.look))
        found: wire.Looks = result[2]
        return found

    [made] = looks(row())
    assert made.state is wire.State.DEAD
    assert made.deliveries == [wire.Delivery("inbox", wire.State.DELIVERED, 1, None, None)]
    for wrong in ([*row(), "more"], row()[:-1], row("more"), ["7", *row()[1:]]):
        with pytest.raises(WireError):
            looks(wrong)
    with pytest.raises(WireError):
        wire.results_in([1, [[0, None]], [row()]], KnownLooks(wire.look))


def test_a_refusal_among_answers_stays_what_it_is() -> None:
    refusal = wire.failed(NotFound("nobody"))
    _, body = wire.unpack(wire.pack_answers(1, [wire.ok("text"), refusal]))
    fine, refused = wire.results_in(body, KnownLooks(wire.look))
    assert wire.value_of(fine) == "text"
    with pytest.raises(NotFound, match="nobody"):
        wire.value_of(refused)
