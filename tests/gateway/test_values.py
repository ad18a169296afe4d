"""Ids, times and durations between protobuf and Hark."""

from __future__ import annotations

import random

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InvalidArgument
from gateway.values import PostIds, duration, microseconds, time_for, timestamp


class StoppedClock:
    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000

    def wall_us(self) -> int:
        return self.now_us

    def monotonic_s(self) -> float:
        return 0.0


def test_ids_ascend_while_the_clock_goes_on_stands_or_goes_back() -> None:
    clock = StoppedClock()
    ids = PostIds(clock, random.Random(7))
    made = []
    for step_us in (0, 0, 1_000, -5_000_000, 0, 6_000_000):
        clock.now_us += step_us
        made.append(ids.make())
    assert made == sorted(set(made))
    assert made[-1][:12] == f"{clock.now_us // 1000:012x}"


def test_two_processes_make_different_ids_at_one_moment() -> None:
    clock = StoppedClock()
    assert PostIds(clock, random.Random(1)).make() != PostIds(clock, random.Random(2)).make()


@given(st.integers(0, 253_402_300_800 * 1_000_000 - 1))
def test_every_time_comes_back(time_us: int) -> None:
    assert microseconds("created_at", timestamp(time_us)) == time_us


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(-1, 999_999_999), (253_402_300_800, 0), (0, 10**9), (0, -1)]
)
def test_times_of_no_year_are_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidArgument, match=r"^created_at: "):
        microseconds("created_at", Timestamp(seconds=seconds, nanos=nanos))


def test_durations_are_exact_to_the_millisecond() -> None:
    assert [(d.seconds, d.nanos) for d in map(duration, (0, 1.5, 0.001, 2.9999999999))] == [
        (0, 0),
        (1, 500_000_000),
        (0, 1_000_000),
        (3, 0),
    ]


def test_nobody_knows_how_long_it_takes_while_nothing_is_delivered() -> None:
    assert time_for(6, 0.0) is None
    assert time_for(0, 0.0) == duration(0)
    assert time_for(6, 4.0) == duration(1.5)
