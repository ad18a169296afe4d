"""Time, as an argument. This is the only file that reads a clock.

Units are in the names: `_us` microseconds since 1970 (UTC), `_s` seconds as float.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, unsaid: with it, what is added to it takes longer


class Clock(Protocol):
    """What code that needs the time is handed."""

    def wall_us(self) -> int:
        """Microseconds since 1970; may jump when somebody sets the machine's clock."""

    def monotonic_s(self) -> float:
        """Seconds since some moment; never goes back."""


class SystemClock:
    """The machine's clocks."""

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


class SteadyClock:
    """Store time: a base plus the monotonic clock, so a jump of the wall clock moves nothing.

    `floor_us` is the newest time that was ever made durable; time never goes back behind it, not
    even over a restart with a wall clock set to the past.
    """

    def __init__(self, clock: Clock, *, floor_us: int = 0) -> None:
        self._clock = clock
        self._base_us = max(clock.wall_us(), floor_us + 1)
        self._start_s = clock.monotonic_s()

    def now_us(self) -> int:
        return self._base_us + int((self._clock.monotonic_s() - self._start_s) * 1e6)

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()


def rfc3339(time_us: int) -> str:
    """RFC 3339 in UTC ending in `Z`, with as many sub-second digits as are needed (0, 3 or 6)."""
    moment = (_EPOCH + timedelta(microseconds=time_us)).isoformat()  # with 0 or 6
    if time_us % 1_000 == 0 and time_us % 1_000_000:
        moment = moment[:-3]
    return moment + "Z"
