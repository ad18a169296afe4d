"""What a check of a store finds, and what it looks rows up in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from farm.audience import HIGHEST, BitMap, checked, unseal
from farm.errors import Corrupt
from farm.store.storage import Meta


class Breach(NamedTuple):
    """Something that must hold and does not, and the row where that shows."""

    table: str
    row: Mapping[str, int]
    what: str

    def __str__(self) -> str:
        keys = "".join(f" {name}={value}" for name, value in self.row.items())
        return f"{self.table}{keys}: {self.what}"


class Facts(NamedTuple):
    """What is small enough to be known as a whole."""

    meta: Meta
    channels: dict[int, str]
    errors: frozenset[int]
    users: BitMap

    @property
    def change(self) -> int:
        return self.meta.change

    def knows(self, user: int) -> bool:
        """Whether somebody has this number; a damaged one may be any."""
        return 0 < user <= HIGHEST and user in self.users


class Findings:
    """Collects breaches until somebody takes them."""

    def __init__(self) -> None:
        self._found: list[Breach] = []

    def add(self, table: str, what: str, **row: int) -> None:
        self._found.append(Breach(table, row, what))

    def take(self) -> Iterator[Breach]:
        found, self._found = self._found, []
        yield from found

    def unseal(self, blob: bytes | None, table: str, **row: int) -> BitMap | None:
        """The set of a blob; None where its bytes are not what was written, which is a breach."""
        try:
            return unseal(blob or b"")
        except (Corrupt, ValueError):
            self.add(table, "the checksum of its members does not match their bytes", **row)
            return None

    def seqs(self, blob: bytes, author: int) -> bytes:
        """The list of a blob; empty where its bytes are not what was written, which is a breach."""
        try:
            return checked(blob)[4:]
        except Corrupt:
            what = "the checksum of its list of posts does not match the bytes"
            self.add("author", what, number=author)
            return b""


def example(members: BitMap) -> str:
    """How many people, and one of them by number."""
    return f"{len(members)} of them, as user {members.min()}" if members else "none"
