"""Set algebra on user numbers: Roaring bitmaps, sealed with a checksum wherever they rest.

Half of all single-bit flips in a serialized bitmap decode to wrong members without complaint, so a
blob is a CRC-32 (4 bytes, little-endian) and then the bitmap, and nothing decodes it unchecked.
"""

from __future__ import annotations

import itertools
import zlib

from pyroaring import BitMap

from farm.errors import Corrupt

__all__ = [
    "BitMap",
    "between",
    "checked",
    "count_between",
    "seal",
    "split",
    "spread",
    "summed",
    "take",
    "unseal",
]

HIGHEST = 2**32 - 1  # the largest user number


def seal(members: BitMap) -> bytes:
    """The blob of a set."""
    return summed(members.serialize())


def summed(body: bytes) -> bytes:
    """A blob of these bytes, whatever they are."""
    return zlib.crc32(body).to_bytes(4, "little") + body


def unseal(blob: bytes, what: str = "set") -> BitMap:
    """The set of a blob. Raises `Corrupt` naming `what` where a bit has changed since `seal`."""
    return BitMap.deserialize(checked(blob, what)[4:])


def checked(blob: bytes, what: str = "set") -> bytes:
    """The blob, if it is as it was sealed. Raises `Corrupt` naming `what`."""
    if len(blob) < 4 or zlib.crc32(blob[4:]) != int.from_bytes(blob[:4], "little"):
        raise Corrupt(f"{what}: the checksum does not match its bytes; restore from a backup")
    return blob


def take(members: BitMap, count: int) -> BitMap:
    """The `count` lowest members (all, where there are fewer)."""
    return members[:count] if count < len(members) else members


def between(members: BitMap, low: int, high: int) -> BitMap:
    """The members in [low, high]."""
    if low <= 0 and high >= HIGHEST:
        return members
    first = members.rank(low - 1) if low > 0 else 0
    return members[first : members.rank(min(high, HIGHEST))]


def count_between(members: BitMap, low: int, high: int) -> int:
    """How many members lie in [low, high], which are above 0; without making a set of them."""
    return members.rank(min(high, HIGHEST)) - members.rank(low - 1) if low <= high else 0


def split(members: BitMap, size: int) -> list[BitMap]:
    """Runs in ascending order of at most `size` members, as even as can be."""
    total = len(members)
    if total <= size:
        return [members] if total else []
    pieces = -(-total // size)
    edges = [total * i // pieces for i in range(pieces + 1)]
    return [members[a:b] for a, b in itertools.pairwise(edges)]


def spread(members: BitMap, sets: int) -> list[BitMap]:
    """Deals the members out to so many sets in turn, none of them empty. They differ by one member
    at most, and no Python runs per member."""
    numbers = members.to_array()
    return [BitMap(numbers[first::sets]) for first in range(min(sets, len(numbers)))]
