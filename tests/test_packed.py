"""Edges as numbers: their halves, their order, and who is whose."""

from __future__ import annotations

import array
import random
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from farm.audience import HIGHEST
from farm.packed import AUTHOR, FOLLOWER, by_author, each_once, halves, in_order, packed, swapped

people = st.integers(1, HIGHEST) | st.integers(1, 5) | st.integers(0x7FEF_FFFE, 0x7FF0_0002)
edges = st.lists(st.tuples(people, people))


def of(pairs: list[tuple[int, int]]) -> array.array[int]:
    """Of followers and authors."""
    return packed(array.array("I", chain.from_iterable(pairs)))


@given(edges)
def test_an_edge_is_both_of_its_people(pairs: list[tuple[int, int]]) -> None:
    made = of(pairs)
    assert list(made) == [author << 32 | follower for follower, author in pairs]
    assert list(zip(halves(made, FOLLOWER), halves(made, AUTHOR), strict=True)) == pairs
    assert list(swapped(made)) == [follower << 32 | author for follower, author in pairs]


@given(edges)
def test_the_order_is_that_of_numbers(pairs: list[tuple[int, int]]) -> None:
    made = of(pairs)
    assert list(in_order(made)) == sorted(made)
    assert list(each_once(made)) == sorted(set(made))
    assert each_once(in_order(made)) == each_once(made)


def test_what_is_sorted_in_pieces_is_put_together() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    made = of([(chance.getrandbits(20), chance.getrandbits(12)) for _ in range(100_000)])
    assert list(in_order(made)) == sorted(made)


@given(edges)
def test_each_author_comes_once_with_all_followers(pairs: list[tuple[int, int]]) -> None:
    found = [(author, list(followers)) for author, followers in by_author(each_once(of(pairs)))]
    expected: dict[int, set[int]] = {}
    for follower, author in pairs:
        expected.setdefault(author, set()).add(follower)
    assert found == [(author, sorted(expected[author])) for author in sorted(expected)]
