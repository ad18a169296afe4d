"""A disk that keeps what was synced, and of the rest what chance leaves when the power is cut.

Disk, DiskFile: what SQLite wrote and synced, told of by `files.py`
Disk.cut(chance): the files as they are found when the power is back
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

SECTOR_BYTES = 512  # what a disk writes whole or not at all


class Write(NamedTuple):
    offset: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data

    def sectors(self) -> list[Write]:
        end = self.offset + len(self.data)
        found = []
        for start in range(self.offset - self.offset % SECTOR_BYTES, end, SECTOR_BYTES):
            low, high = max(start, self.offset), min(start + SECTOR_BYTES, end)
            found.append(Write(low, self.data[low - self.offset : high - self.offset]))
        return found


class Truncate(NamedTuple):
    size: int

    def apply(self, content: bytearray) -> None:
        del content[self.size :]

    def sectors(self) -> list[Truncate]:
        return [self]


Change = Write | Truncate


class DiskFile:
    """What is on the disk for sure, and what was written since."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.pending: list[Change] = []

    def sync(self) -> None:
        for change in self.pending:
            change.apply(self.durable)
        self.pending.clear()

    def fail_to_sync(self, chance: random.Random) -> None:
        """Linux takes pages for clean after a sync that failed: what has not reached the disk by
        then is seen by everybody until the next start, and no later sync writes it."""
        self.durable = bytearray(self.survivor(chance))
        self.pending.clear()

    def survivor(self, chance: random.Random) -> bytes:
        """What a cut leaves. A disk writes in any order, and a later write can be there without an
        earlier one; what a file grew by may hold anything where nothing was written."""
        content, size = bytearray(self.durable), self._size()
        if size > len(content) and chance.random() < 0.5:
            missing = size - len(content)
            content += chance.randbytes(missing) if chance.random() < 0.5 else bytes(missing)
        for change in chance.choice(WAYS)(self.pending, chance):
            change.apply(content)
        return bytes(content)

    def _size(self) -> int:
        size = len(self.durable)
        for change in self.pending:
            match change:
                case Write(offset, data):
                    size = max(size, offset + len(data))
                case Truncate(new):
                    size = min(size, new)
        return size


# What may be left of the changes since the last sync


def _nothing(_: Sequence[Change], __: random.Random) -> list[Change]:
    return []


def _everything(pending: Sequence[Change], _: random.Random) -> list[Change]:
    return [*pending]


def _beginning(pending: Sequence[Change], chance: random.Random) -> list[Change]:
    """Up to somewhere, and there perhaps in the middle of a write."""
    pieces: list[Change] = [piece for change in pending for piece in change.sectors()]
    return pieces[: chance.randint(0, len(pieces))]


def _some(pending: Sequence[Change], chance: random.Random) -> list[Change]:
    share = chance.choice([0.1, 0.5, 0.9])
    return [change for change in pending if chance.random() < share]


def _torn(pending: Sequence[Change], chance: random.Random) -> list[Change]:
    return _some([piece for change in pending for piece in change.sectors()], chance)


Way = Callable[[Sequence[Change], random.Random], list[Change]]
WAYS: tuple[Way, ...] = (_nothing, _everything, _beginning, _some, _torn)


class Disk:
    """The files of one directory by name. Names are durable only once the directory is synced."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = {name: DiskFile(content) for name, content in files.items()}
        self._durable_names = dict(self.files)
        self._moves: list[tuple[str, DiskFile | None]] = []

    def open(self, name: str) -> DiskFile:
        """The file of that name, made where there is none."""
        if name not in self.files:
            self.files[name] = DiskFile()
            self._moves.append((name, self.files[name]))
        return self.files[name]

    def delete(self, name: str) -> None:
        if self.files.pop(name, None) is not None:
            self._moves.append((name, None))

    def link(self, name: str, other: str) -> None:
        """Gives a file another name beside the one it has."""
        self.files[other] = self.files[name]
        self._moves.append((other, self.files[name]))

    def sync_names(self) -> None:
        for name, file in self._moves:
            self._move(self._durable_names, name, file)
        self._moves.clear()

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """The files after a cut now, by name."""
        names = dict(self._durable_names)
        kept = {name: chance.random() for name, _ in self._moves}
        for name in sorted(kept):
            moves = [file for moved, file in self._moves if moved == name]
            for file in moves[: round(kept[name] * len(moves))]:
                self._move(names, name, file)
        return {name: file.survivor(chance) for name, file in sorted(names.items())}

    @staticmethod
    def _move(names: dict[str, DiskFile], name: str, file: DiskFile | None) -> None:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file
