"""Inputs that are nearly right: what was really sent, changed in its bytes or in its structure.

Random bytes rarely get past the first check of a port. What begins as a valid message and then has
one thing wrong gets far. All chance comes from the `Random` that is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS = (
    0, 1, -1, 2, 100, 127, 128, 255, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**53, 2**63 - 1,
    -(2**63), 2**63, 2**64 - 1,
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "a\0b", "\n", "\u202e\u05d0", "\U0010ffff", "e\u0301", "'; drop table post; --",
    "../../etc/passwd", "%s{0}${x}", "-", "0.0", "ffffffffffffffff.1", "x" * 129, "\u00fc" * 64,
    "null", "__proto__", "NaN", "1e999",
)  # fmt: skip
NESTED_MAX = 3
PIECE_MAX = 16


def damaged(chance: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The bytes with one to four changes; pieces of `others` may come in."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        chance.choice(_CHANGES)(chance, changed, others)
    return bytes(changed)


def _flip(chance: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _overwrite(chance: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xC1, 0xFE, 0xFF))


def _insert(chance: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.randrange(1, PIECE_MAX))


def _remove(chance: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.randrange(1, PIECE_MAX)]


def _repeat(chance: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = data[at : at + PIECE_MAX] * chance.randrange(1, 5)


def _cut(chance: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _splice(chance: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if others:
        other = chance.choice(others)
        begin = chance.randrange(len(other) + 1)
        data[chance.randrange(len(data) + 1) :] = other[begin:]


_CHANGES: tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _flip, _overwrite, _insert, _remove, _repeat, _cut, _splice,
)  # fmt: skip


def text(chance: Random) -> str:
    """Any text that has UTF-8, mostly short."""
    if chance.random() < 0.5:
        return chance.choice(TEXTS)
    return "".join(chr(chance.randrange(0x20, 0xD7FF)) for _ in range(chance.randrange(12)))


def number(chance: Random) -> int:
    return chance.choice(NUMBERS) if chance.random() < 0.7 else chance.randrange(-5, 100)


def value(chance: Random, *, binary: bool, depth: int = 0) -> Any:
    """Anything that a message can hold: of JSON, or `binary` of msgpack."""
    match chance.randrange(9 if depth < NESTED_MAX else 6):
        case 0:
            return None
        case 1:
            return chance.random() < 0.5
        case 2:
            return number(chance)
        case 3:
            return chance.choice((0.0, -0.5, 1e308, 5e-324, math.pi))
        case 4:
            return text(chance)
        case 5:
            return chance.randbytes(chance.randrange(9)) if binary else text(chance)
        case 6:
            keys: Callable[[], Any] = lambda: number(chance) if binary else text(chance)  # noqa: E731
            return {
                keys(): value(chance, binary=binary, depth=depth + 1)
                for _ in range(chance.randrange(3))
            }
        case _:
            return [
                value(chance, binary=binary, depth=depth + 1) for _ in range(chance.randrange(5))
            ]


def bent(chance: Random, whole: Any, *, binary: bool) -> Any:
    """A copy of a structure in which one thing, at any depth, is missing, doubled or another."""
    if isinstance(whole, dict) and whole and chance.random() < 0.8:
        key = chance.choice(list(whole))
        if chance.random() < 0.15:
            return {k: v for k, v in whole.items() if k != key}
        return whole | {key: bent(chance, whole[key], binary=binary)}
    if isinstance(whole, list | tuple) and whole and chance.random() < 0.85:
        at, copy = chance.randrange(len(whole)), list(whole)
        match chance.randrange(8):
            case 0:
                del copy[at]
            case 1:
                copy.insert(at, value(chance, binary=binary))
            case 2:
                copy.insert(at, copy[at])
            case _:
                copy[at] = bent(chance, copy[at], binary=binary)
        return copy
    return _another(chance, whole, binary=binary)


def _another(chance: Random, old: Any, *, binary: bool) -> Any:
    """Mostly of the same type, or little would get past the first check."""
    if chance.random() < 0.3:
        return value(chance, binary=binary)
    match old:
        case bool():
            return not old
        case int():
            near = min(max(old + chance.choice((-1, 1)), min(NUMBERS)), max(NUMBERS))
            return near if chance.random() < 0.7 else number(chance)
        case str():
            return chance.choice((old + text(chance), text(chance), old[: len(old) // 2]))
        case bytes():
            return damaged(chance, old)
        case _:
            return value(chance, binary=binary)
