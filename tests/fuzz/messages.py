"""What processes of the farm say to each other, and what is nearly that.

Each kind has real messages with its fields of the right types. An input is one of them bent in its
structure, damaged in its bytes, or one of those that are hard to read: nested 100,000 deep, of
4 GiB by its own account, of another version.
"""

from __future__ import annotations

import zlib
from random import Random
from typing import Any

import msgpack

from farm import wire
from farm.audience import BitMap, seal
from farm.wire import Concern, Kind, Op, Query
from tests.fuzz import mutate
from tests.store.test_wire import MALFORMED

NAMES = ("fuzz-a", "fuzz-b", "fuzz-c", "user1", "user2")
NOWHERE = "/proc/nowhere/backup"  # nobody can make a file there
SETS = (
    BitMap(),
    BitMap([1, 2, 3]),
    BitMap(range(100, 9_000, 2)),
    BitMap(range(1_000, 200_000)),
    BitMap([7, 2**16, 2**31, 2**32 - 1]),
)
_KEEP_CHECKSUM = 0.7  # of damaged sets: then what is wrong with them is up to whoever decodes them


def to_store(chance: Random) -> Any:
    """A message for the store's requests."""
    if chance.random() < 0.2:
        held = [chance.randrange(100) for _ in range(chance.randrange(4))]
        want = chance.choice((0, 1, 100, 2**20, -1))
        told = [msgpack.packb(to_outcomes(chance)) for _ in range(chance.randrange(3))]
        return [1, Kind.LEASE, _session(chance), chance.randrange(9), want, held, held[:1], told]
    operations = [_operation(chance) for _ in range(chance.randrange(1, 5))]
    return [1, Kind.WRITE, _client(chance), chance.randrange(2**31), operations]


def _operation(chance: Random) -> list[Any]:
    op = chance.choice(list(wire.SIGNATURES))
    arguments = [_argument(chance, kind) for kind in wire.SIGNATURES[op]]
    if op == Op.BACKUP:
        arguments = [NOWHERE]
    elif op == Op.ONLINE:
        arguments[1] = f"web-{chance.randrange(60, 64)}"
    elif op == Op.IMPORT:
        many = chance.randrange(20)
        arguments = [[_name(chance) for _ in range(many)] for _ in "12"]
    return [int(op), *arguments]


def to_reader(chance: Random) -> Any:
    queries: list[Any] = []
    for _ in range(chance.randrange(1, 5)):
        query = chance.choice(list(wire.QUERY_SIGNATURES))
        arguments = [_argument(chance, kind) for kind in wire.QUERY_SIGNATURES[query]]
        if query == Query.SHOWN:
            arguments = [[_news(chance) for _ in range(chance.randrange(4))]]
        queries.append([int(query), *arguments])
    return [1, Kind.READ, _client(chance), chance.randrange(2**31), queries]


def to_outcomes(chance: Random) -> Any:
    leases = [
        [
            chance.randrange(50),
            chance.random() < 0.5,
            [
                [chance.choice((1, 2, 3)), mutate.text(chance), _maybe(chance, a_set(chance))]
                for _ in range(chance.randrange(3))
            ],
        ]
        for _ in range(chance.randrange(4))
    ]
    counts = [chance.randrange(10) for _ in range(chance.choice((0, 3, 14)))]
    number = chance.randrange(2**31)
    return [1, Kind.OUTCOMES, _session(chance), number, leases, counts, chance.random()]


def to_live(chance: Random, session: str = "web-1-1-nobody") -> Any:
    after = chance.randrange(1_000)
    news = [_news(chance) for _ in range(chance.randrange(4))]
    return [1, Kind.FRAME, session, after, after + chance.randrange(3), news]


def to_control(chance: Random) -> Any:
    return [1, chance.choice((Kind.PING, Kind.PONG, Kind.WRITE)), *_maybe(chance, [{}], [])]


def to_supervisor(chance: Random) -> Any:
    return [1, Kind.FARM, chance.choice((None, 0, 65, -1, 2**63))]


def _news(chance: Random) -> list[Any]:
    concern, seq = chance.choice(list(Concern)), chance.randrange(200)
    return [int(concern), seq, seq, chance.randrange(12), mutate.text(chance), a_set(chance)]


def a_set(chance: Random) -> bytes:
    """A sealed set, or one whose bytes are not what a set's are."""
    sealed = seal(chance.choice(SETS))
    if chance.random() < 0.5:
        return sealed
    body = mutate.damaged(chance, sealed[4:])
    if chance.random() < _KEEP_CHECKSUM:
        return wire_sum(body) + body
    return sealed[:4] + body


def wire_sum(body: bytes) -> bytes:
    """The checksum that a blob of these bytes would have."""
    return zlib.crc32(body).to_bytes(4, "little")


def _argument(chance: Random, kind: type) -> Any:
    match kind.__name__:
        case "str":
            return _name(chance)
        case "int":
            return mutate.number(chance) if chance.random() < 0.3 else chance.randrange(50)
        case "bool":
            return chance.random() < 0.5
        case "bytes":
            return a_set(chance)
        case _:
            return [_name(chance) for _ in range(chance.randrange(5))]


def _name(chance: Random) -> str:
    return chance.choice(NAMES) if chance.random() < 0.7 else mutate.text(chance)


def _client(chance: Random) -> str:
    return f"fuzz-{chance.randrange(2_000)}"


def _session(chance: Random) -> str:
    return f"worker-{chance.randrange(2**31)}" if chance.random() < 0.5 else "worker-1-1-fuzz"


def _maybe(chance: Random, one: Any, other: Any = None) -> Any:
    return one if chance.random() < 0.5 else other


_HARD = tuple(MALFORMED.values())


def packed(chance: Random, message: Any) -> bytes:
    """The bytes of a message with something wrong with it, or nothing."""
    way = chance.randrange(10)
    if way == 0:
        return chance.randbytes(chance.randrange(60))
    if way == 1:
        return chance.choice(_HARD)
    if way in {4, 5}:
        message = mutate.bent(chance, message, binary=True)
    raw: bytes = msgpack.packb(message)
    return mutate.damaged(chance, raw, _HARD[1:4]) if way in {2, 3} else raw


def harmless(raw: bytes) -> bool:
    """Whether it may be sent: what asks rightly for a file or other workers is no bad input."""
    try:
        kind, body = wire.unpack(raw)
        if kind is Kind.FARM:
            return not (len(body) == 1 and type(body[0]) is int and 1 <= body[0] <= 64)
        if kind is Kind.WRITE and len(body) == 3:
            operations = wire.check_operations(body[2], wire.SIGNATURES)
            return not any(op[0] == Op.BACKUP and op[1] != NOWHERE for op in operations)
    except wire.WireError:
        pass
    return True
