"""Set algebra: sealed blobs, ranges, splits and slots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.audience import HIGHEST, BitMap, between, checked, seal, split, spread, take, unseal
from farm.errors import Corrupt

numbers = st.one_of(st.integers(0, 300), st.integers(0, HIGHEST))
sets = st.sets(numbers, max_size=200)


@given(sets)
def test_what_is_sealed_is_unsealed(members: set[int]) -> None:
    blob = seal(BitMap(members))
    assert set(unseal(blob)) == members
    assert checked(blob) is blob


@pytest.mark.parametrize("members", [[], [7], range(5_000), range(0, 90_000, 7)])
def test_a_flipped_bit_anywhere_is_found(members: list[int]) -> None:
    blob = seal(BitMap(members))
    for bit in range(0, len(blob) * 8, max(len(blob) * 8 // 400, 1)):
        bent = bytearray(blob)
        bent[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match="segment 5"):
            unseal(bytes(bent), "segment 5")


@pytest.mark.parametrize("blob", [b"", b"abc", seal(BitMap([1, 2]))[:-1], seal(BitMap([1])) + b"x"])
def test_what_is_cut_or_longer_is_found(blob: bytes) -> None:
    with pytest.raises(Corrupt):
        unseal(blob)


@given(sets, numbers, numbers)
def test_between_is_the_members_of_a_range(members: set[int], low: int, high: int) -> None:
    expected = {number for number in members if low <= number <= high}
    assert set(between(BitMap(members), low, high)) == expected


@given(sets, st.integers(0, 250))
def test_take_gives_the_lowest(members: set[int], count: int) -> None:
    assert list(take(BitMap(members), count)) == sorted(members)[:count]


@given(sets, st.integers(1, 50))
def test_split_gives_even_runs_in_order(members: set[int], size: int) -> None:
    runs = split(BitMap(members), size)
    assert [number for run in runs for number in run] == sorted(members)
    sizes = [len(run) for run in runs]
    assert all(0 < length <= size for length in sizes)
    assert len(sizes) == -(-len(members) // size)
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(sets, st.integers(1, 16))
def test_spread_deals_everybody_out_once_and_evenly(members: set[int], sets: int) -> None:
    dealt = spread(BitMap(members), sets)
    assert sorted(number for some in dealt for number in some) == sorted(members)
    assert len(dealt) == min(sets, len(members))
    sizes = [len(some) for some in dealt]
    assert all(sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1
