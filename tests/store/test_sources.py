"""Counts that are subtractions, against counting one by one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from farm.audience import BitMap
from farm.store.sources import Source
from farm.wire import Op
from tests.store.harness import Store, open_sqlite

LAST = 30
ordinals = st.frozensets(st.integers(1, LAST))
up_to_last = st.integers(0, LAST)


@settings(max_examples=500, deadline=None)
@given(up_to_last, up_to_last, ordinals, ordinals)
def test_counts_are_what_the_list_has(
    base: int, read_up_to: int, retracted: frozenset[int], flipped: frozenset[int]
) -> None:
    source = Source(
        None,  # type: ignore[arg-type] # nothing is read for what is asked here
        number=1,
        last_seq=LAST,
        last_ordinal=LAST,
        expired=0,
        newest=None,
        base=base,
        read_up_to=max(base, read_up_to),
        retracted=BitMap(retracted),
        flipped=BitMap(flipped),
    )
    seen = [number for number in range(1, LAST + 1) if number > base and number not in retracted]
    assert [number for number in range(LAST + 2) if source.shows(number)] == seen
    assert source.visible == len(seen)
    unread = [number for number in seen if (number <= read_up_to) == (number in flipped)]
    assert [number for number in seen if not source.is_read(number)] == unread
    assert source.unread == len(unread)
    for number in range(base, LAST + 1):
        for unread_only, some in ((False, seen), (True, unread)):
            newest = max((one for one in some if one <= number), default=base)
            assert source.newest_shown(number, unread_only=unread_only) == newest


def test_a_mark_holds_over_a_mute_and_a_restart(tmp_path: Path) -> None:
    store = Store(partial(open_sqlite, tmp_path))
    store.follow("ann", "bob")
    for number in range(70):  # more than an author's row keeps
        store.publish(f"p{number}", "bob")
    page = store.reading.inbox("ann", 10, "", False)
    assert page.unread == 70
    store.call(Op.MARK_UP_TO, "ann", page.notifications[4].cursor)
    store.call(Op.MARK, "ann", [page.notifications[0].id], True)
    store.call(Op.MARK, "ann", [page.notifications[9].id], False)
    store.mute("ann", "bob")
    assert store.reading.unread("ann") == 0
    store.unmute("ann", "bob")
    store.reopen()
    shown = store.reading.inbox("ann", 10, "", False)
    assert [n.read for n in shown.notifications] == [True] + [False] * 3 + [True] * 5 + [False]
    assert shown.unread == 4
    only = [n.post_id for n in store.reading.inbox("ann", 10, "", True).notifications]
    assert only == ["p68", "p67", "p66", "p60"]
    store.close()
