"""The states, the legal moves between them, and the names of parts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.lifecycle import (
    DETAIL_MAX,
    MOVES,
    READY,
    READY_MIN,
    REST,
    IllegalMove,
    Part,
    State,
    check_move,
    diagram,
    part_of,
)
from farm.schedule import GRID


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_only_moves_of_the_table_are_legal(before: State, after: State) -> None:
    if (before, after) in MOVES:
        check_move(before, after)
    else:
        with pytest.raises(IllegalMove, match=f"{before.name} to {after.name}"):
            check_move(before, after)


def test_nobody_who_is_settled_waits_again_but_by_a_replay() -> None:
    waiting = {State.QUEUED, State.RETRYING}
    back = {(a, b) for a, b in MOVES if a not in waiting and b in waiting}
    assert back == {(State.DEAD, State.RETRYING)}
    assert not any(before is State.RETRACTED for before, _ in MOVES)


@given(st.sampled_from(State), st.integers(0, 255), st.integers(0, DETAIL_MAX))
def test_a_part_s_name_says_what_it_is(state: State, attempt: int, detail: int) -> None:
    part = Part(state, attempt, detail)
    assert part_of(part.key) == part
    assert (part.key == REST) == (part == (State.QUEUED, 0, 0))
    assert part.key < 2**63


def test_a_slot_of_the_grid_is_never_taken_for_ready() -> None:
    assert GRID < READY_MIN <= READY
    assert not any(Part(State.RETRYING, 1, slot).ready for slot in range(GRID))
    assert Part(State.RETRYING, 1, READY).ready
    assert Part(State.RETRYING, 1, READY - 1).ready
    assert not Part(State.DEAD, 1, READY).ready


def test_the_diagram_has_every_move() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert len(lines) == 2 + len(MOVES)
    assert "    RETRYING --> DEAD: the last try failed" in lines
