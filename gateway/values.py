"""Ids, states, times and durations between protobuf and Hark."""

from __future__ import annotations

from random import Random

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from farm.clock import Clock
from farm.errors import InvalidArgument
from farm.limits import check_created_at
from gateway.pb.hark.v1 import hark_pb2

_RANDOM_BITS = 80

# By the name of the state: what is dead inside is called failed outside.
STATUS = {
    "QUEUED": hark_pb2.NOTIFICATION_STATUS_QUEUED,
    "RETRYING": hark_pb2.NOTIFICATION_STATUS_RETRYING,
    "DELIVERED": hark_pb2.NOTIFICATION_STATUS_DELIVERED,
    "DEAD": hark_pb2.NOTIFICATION_STATUS_FAILED,
    "SUPPRESSED": hark_pb2.NOTIFICATION_STATUS_SUPPRESSED,
    "RETRACTED": hark_pb2.NOTIFICATION_STATUS_RETRACTED,
}


class PostIds:
    """Makes ids for posts that came without one.

    An id is 32 hexadecimal digits: 48 bits of milliseconds since 1970, then chance. So ids made one
    after the other sort one after the other, and the store's index of them grows at its end.
    """

    def __init__(self, clock: Clock, chance: Random) -> None:
        self._clock = clock
        self._chance = chance
        self._last = 0

    def make(self) -> str:
        """Greater than every id made here before, also where the clock was set back."""
        now_ms = self._clock.wall_us() // 1000
        fresh = now_ms << _RANDOM_BITS | self._chance.getrandbits(_RANDOM_BITS)
        self._last = fresh if fresh > self._last else self._last + 1
        return f"{self._last:032x}"


def duration(seconds: float) -> Duration:
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)


def time_for(notifications: int, per_second: float) -> Duration | None:
    """How long so many take at this rate. None while nothing is delivered: then nobody knows, but
    that none of them takes no time."""
    if notifications == 0:
        return duration(0)
    return duration(notifications / per_second) if per_second > 0 else None


def timestamp(time_us: int) -> Timestamp:
    seconds, micros = divmod(time_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1000)


def microseconds(field: str, time: Timestamp) -> int:
    """Microseconds since 1970. Raises `InvalidArgument` outside the years 1970 to 9999."""
    if not 0 <= time.nanos < 1_000_000_000:
        raise InvalidArgument(f"{field}: has {time.nanos:,} nanos; must have from 0 to 999,999,999")
    return check_created_at(field, time.seconds * 1_000_000 + time.nanos // 1000)
