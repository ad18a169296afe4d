"""Looks that are kept where they are shown, and what was written of them."""

from __future__ import annotations

from farm import looks, wire
from farm.lifecycle import State
from farm.looks import Delivery, KnownLooks, Look


def packed(
    seq: int = 7, *, content: str = "hello", read: bool = False, due_us: int | None = None
) -> bytes:
    """A look as a reader sends it."""
    deliveries = [Delivery("inbox", State.DELIVERED, 1, None, due_us)]
    look = Look(seq, f"p{seq}", "star", content, 5, read, State.DELIVERED, 1, deliveries)
    found = wire.Newest(3, [look])
    _, body = wire.unpack(wire.pack_answers(1, [wire.ok(found)]))
    return bytes(body[2][0])


def known_looks() -> KnownLooks:
    return KnownLooks(wire.look)


def test_a_look_that_comes_again_is_the_one_that_came_before() -> None:
    known = known_looks()
    look = known.of(packed())
    look.written["query"] = ("text",)
    assert known.of(packed()) is look
    assert known.of(packed()).written == {"query": ("text",)}


def test_one_that_differs_in_anything_is_another() -> None:
    known = known_looks()
    look = known.of(packed())
    look.written["query"] = ("text",)
    for other in (packed(read=True), packed(8), packed(content="Hello"), packed(due_us=9)):
        assert known.of(other) != look
        assert known.of(other).written == {}
        assert known.of(other) == wire.look(other)


def test_what_is_large_is_not_kept() -> None:
    """It is made anew, and all that is shown at one moment may be kept in it."""
    known = known_looks()
    large = packed(content="x" * looks.KEPT_BYTES_MAX)
    look = known.of(large)
    assert known.of(large) == look
    assert known.of(large) is not look
    look.written["query"] = ("x" * looks.KEPT_BYTES_MAX * 10,)
    assert look.written


def test_no_more_looks_are_kept_than_there_is_room_for() -> None:
    known = known_looks()
    kept = [known.of(packed(seq)) for seq in range(looks.KEPT_MAX)]
    assert known.of(packed(0)) is kept[0]
    newest = known.of(packed(looks.KEPT_MAX))
    assert known.of(packed(0)) is not kept[0]
    assert known.of(packed(looks.KEPT_MAX)) is newest


def test_little_is_kept_of_what_was_written_of_a_look_that_is_kept() -> None:
    """The newest of few queries, and nothing long: a query may ask for a field a hundred times."""
    look = known_looks().of(packed())
    look.written["long"] = ("x" * looks.WRITTEN_CHARACTERS_MAX, "y")
    assert look.written == {}
    for number in range(10):
        look.written[number] = ("text",)
        assert look.written[number] == ("text",)
        assert len(look.written) <= looks.WRITTEN_MAX
