"""What was used last, kept: few values, and small ones together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """At most so many values, of at most so much size together."""

    def __init__(self, *, most: int, size_max: int) -> None:
        self._most = most
        self._size_max = size_max
        self._size = 0
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        return kept[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """`key` is new."""
        self._kept[key] = (value, size)
        self._size += size
        while len(self._kept) > self._most or self._size > self._size_max:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._size -= dropped
