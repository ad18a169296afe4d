"""Backoff: within half of the delay and the whole of it, on a grid that bounds the sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.schedule import GRID, SLOTS, Backoff, LeaseTerms


@given(
    base_ms=st.integers(1, 60_000),
    cap_ms=st.integers(1, 3_600_000),
    retry=st.integers(1, 200),
    now_us=st.integers(0, 2**52),
    choice=st.integers(0, SLOTS - 1),
)
def test_a_retry_is_due_between_half_and_the_whole_delay(
    base_ms: int, cap_ms: int, retry: int, now_us: int, choice: int
) -> None:
    delay_us = Backoff(base_ms, cap_ms).delay_us(retry)
    name, due_us = Backoff(base_ms, cap_ms).slot(now_us, retry, choice)
    assert 0 <= name < GRID
    assert delay_us // GRID * SLOTS <= due_us - now_us <= delay_us


def test_the_delay_doubles_up_to_the_cap() -> None:
    backoff = Backoff(100, 30_000)
    assert [backoff.delay_us(retry) for retry in (1, 2, 3, 9, 10, 1_000)] == [
        100_000, 200_000, 400_000, 25_600_000, 30_000_000, 30_000_000,
    ]  # fmt: skip


@given(now_us=st.integers(0, 2**52), later_us=st.integers(0, 200_000))
def test_slots_of_one_name_that_overlap_in_time_are_the_same(now_us: int, later_us: int) -> None:
    """So a set may take in what fails a little later: it is due at the same moment, or past."""
    backoff = Backoff(100, 30_000)
    first = dict(backoff.slot(now_us, 1, choice) for choice in range(SLOTS))
    assert len(first) == SLOTS
    for choice in range(SLOTS):
        name, due_us = backoff.slot(now_us + later_us, 1, choice)
        assert first.get(name, due_us) == due_us or first[name] <= now_us + later_us


def test_a_lease_s_end_is_counted_from_the_question() -> None:
    assert LeaseTerms(lease_ms=2_500).end_s(10.0) == 12.5
