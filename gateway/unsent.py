"""Large answers that wait to be read: what all of them together may take of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.refusals import HttpRefusal

AT_ONCE_BYTES_MAX = 64 * 1024  # goes out whole, however slowly it is read
UNSENT_BYTES_MAX = 64 * 1024 * 1024


class Unsent:
    """Counts the bytes of large answers from when they are made until they are sent."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0

    @contextmanager
    def counted(self, size: int) -> Iterator[None]:
        """While an answer of this size is sent. Raises `HttpRefusal` where too much is waiting."""
        if size <= AT_ONCE_BYTES_MAX:
            yield
            return
        if self._bytes + size > self._bytes_max:
            message = "too many large answers wait to be read here; ask again, or for less"
            raise HttpRefusal(503, "UNAVAILABLE", message, {"Retry-After": "1"})
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
