"""Ids and contents: what is taken is exactly what the rule says, whatever the text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farm.errors import InvalidArgument
from farm.limits import CONTENT_BYTES_MAX, ID_BYTES_MAX, check_content, check_id
from tests.fuzz.mutate import TEXTS

# Around the limits, in characters of one to four bytes; halves of pairs; whatever else.
LONG = st.builds(
    lambda character, most, more: character * (most // len(character.encode()) + more),
    st.sampled_from("a\u00fc\u20ac\U0001f600\u202e"),
    st.sampled_from((ID_BYTES_MAX, CONTENT_BYTES_MAX)),
    st.integers(-1, 1),
)
ANY = st.one_of(
    st.text(max_size=140),
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from((*TEXTS, "a\ud800", "\udfff")),
    LONG,
)


def _taken(check: Callable[[str, str], str], text: str) -> bool:
    try:
        taken = check("field", text)
    except InvalidArgument as error:
        refusal = error.message
    else:
        assert taken == text
        return True
    assert refusal.startswith("field")
    assert refusal.isprintable()
    assert len(refusal) < 300
    return False


def _size(text: str) -> int:
    """In bytes of UTF-8; none where there is half a pair."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1


@pytest.mark.parametrize("what", ["id", "content"])
@example(text="x" * 1_048_576)
@given(text=ANY)
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
def test_what_is_taken_is_what_the_rule_says(what: str, text: str) -> None:
    """Fault row 5: empty, the most, one more, NUL, half a pair, from right to left, 1 MB."""
    if what == "id":
        plain = not any(unicodedata.category(one) == "Cc" for one in text)
        assert _taken(check_id, text) == (plain and 1 <= _size(text) <= ID_BYTES_MAX)
    else:
        assert _taken(check_content, text) == (1 <= _size(text) <= CONTENT_BYTES_MAX)
