"""Edge lists in blocks of many lines, for a graph of millions: people as places in a list of names.

A block whose lines are all alike, two ids and one separator, is split at once. Any other is read
line by line, as `farm.edges` does. Which of the two read it is not to be seen in what comes out.
"""

from __future__ import annotations

import array
import operator
from collections.abc import Sequence

from farm.edges import BYTE_ORDER_MARK, EdgeLines
from farm.errors import InvalidArgument
from farm.limits import check_id

_SEPARATORS = (b"\t", b",", b" ")
_NO_MARKS = bytes(set(range(256)) - set(b"\t\n\v\f\r ,#"))


class Names(dict[bytes, int]):
    """The ids of people, each with its place, from 1 on: in the order in which they were met."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []  # since they were taken from here

    def __missing__(self, name: bytes) -> int:
        """Raises `InvalidArgument` or `UnicodeDecodeError` of what is no id."""
        self.new.append(check_id("id", name.decode()))
        place = self[name] = len(self) + 1
        return place

    def keep(self, count: int) -> None:
        """Only so many, the first ones."""
        while len(self) > count:
            self.popitem()
            self.new.pop()


class EdgeBlocks(EdgeLines):
    """Blocks of a file made into edges, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = 0

    def edges_of(self, block: bytes, names: Names) -> tuple[array.array[int], Sequence[int]]:
        """A follower's and an author's place in turn, and the number of the line of each edge."""
        first = self._lines + 1
        if first == 1:
            block = block.removeprefix(BYTE_ORDER_MARK)
        if not block.endswith(b"\n"):
            block += b"\n"
        self._lines += block.count(b"\n")
        places = _all_alike(block, names)
        if places is not None:
            return places, range(first, self._lines + 1)
        return self._one_by_one(block, first, names)

    def _one_by_one(
        self, block: bytes, first: int, names: Names
    ) -> tuple[array.array[int], list[int]]:
        places, lines = array.array("I"), []
        for number, line in enumerate(block[:-1].split(b"\n"), first):
            edge = self.edge(number, line + b"\n")
            if edge is not None:
                places.extend([names[user_id.encode()] for user_id in edge])
                lines.append(number)
        return places, lines


def _all_alike(block: bytes, names: Names) -> array.array[int] | None:
    """The places, where no line of the block is anything but an edge."""
    block = block.replace(b"\r\n", b"\n")
    marks = block.translate(None, _NO_MARKS)
    separator = marks[:1]
    if separator not in _SEPARATORS or marks != (separator + b"\n") * (len(marks) // 2):
        return None
    known = len(names)
    try:
        ids = block.replace(b"\n", separator).split(separator)[:-1]
        places = array.array("I", map(names.__getitem__, ids))
    except (InvalidArgument, UnicodeDecodeError):
        names.keep(known)
        return None
    if any(map(operator.eq, places[0::2], places[1::2])):  # nobody can follow themselves
        names.keep(known)
        return None
    return places
