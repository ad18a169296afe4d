"""Totals: the rate of the last minute."""

from __future__ import annotations

from farm.store.totals import Rate


def test_rate_counts_from_what_was_there_before() -> None:
    rate = Rate(100.0, 50)
    assert rate.per_second(101.0) == 0
    rate.note(100.2, 50)
    rate.note(100.9, 110)  # the first second, too, is counted
    assert rate.per_second(101.0) == 60
    assert rate.per_second(130.0) == 2
    assert rate.per_second(170.0) == 0


def test_rate_after_an_idle_minute() -> None:
    rate = Rate(100.0, 0)
    rate.note(100.5, 60)
    rate.note(300.0, 120)
    assert rate.per_second(301.0) == 1
    assert rate.per_second(361.5) == 0
