"""What was used last is kept, as far as there is room."""

from __future__ import annotations

from gateway.recent import Recent


def test_few_and_small_ones_are_kept() -> None:
    kept = Recent[str, str](most=3, size_max=10)
    for key in "abc":
        kept.put(key, key.upper(), 2)
    assert kept.get("a") == "A"
    kept.put("d", "D", 2)  # b was used least lately
    assert [kept.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    kept.put("e", "E", 7)
    assert [kept.get(key) for key in "acde"] == [None, None, "D", "E"]
    kept.put("f", "F", 11)
    assert [kept.get(key) for key in "def"] == [None, None, None]
