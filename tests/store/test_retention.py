"""What is older than the retention goes, with all that only it needed; the rest stays as it was."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from farm.audience import BitMap
from farm.errors import Corrupt
from farm.lifecycle import State
from farm.store.answers import Answering
from farm.store.check import Check
from farm.store.core import DAY_US
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_records import SqliteRecords
from tests.store.harness import Store, open_sqlite, outcome

DAY_S = DAY_US / 1e6
POSTS = 130  # more than an author's row keeps, and more than two steps


@pytest.fixture
def old(tmp_path: Path) -> Store:
    """130 posts delivered to ann but for one that is dead, and a follower who came in between."""
    store = Store(partial(open_sqlite, tmp_path), max_attempts=1)
    store.follow("ann", "bob")
    for number in range(POSTS):
        if number == 70:
            store.follow("cat", "bob")
        store.publish(f"p{number}", "bob")
    for grant in store.ask("w", 10_000).grants:
        others = State.RETRYING if grant.post_id == "p3" else State.DELIVERED
        store.tell("w", outcome(grant, others=others))
    assert store.waiting() == (0, 0)
    return store


def let_pass(store: Store, days: float) -> None:
    """Time goes by, and the store is asked often enough to take all its steps."""
    store.pass_s(days * DAY_S)
    for _ in range(2 + POSTS // 50):
        store.pass_s(11)


def breaches(tmp_path: Path) -> list[str]:
    with SqliteRecords.open(tmp_path) as records:
        return [str(breach) for breach in Check(records, lambda _: None).breaches()]


def test_all_goes_and_what_comes_after_is_seen(old: Store, tmp_path: Path) -> None:
    """Every post of an author goes, and then one more is published. Fault row 123."""
    assert [g.dead for g in Answering(old.storage, old.reading, []).dead_letters(9, "").groups] == [
        1
    ]
    let_pass(old, 29)
    assert len(old.storage.posts_after(0, 1_000)) == POSTS
    let_pass(old, 1)
    assert old.storage.posts_after(0, 1_000) == []
    assert Answering(old.storage, old.reading, []).dead_letters(9, "").groups == []
    bob = old.storage.number_of("bob") or 0
    assert [s.until for s in (old.storage.segment(s.id) for s in old.storage.segments(bob))] == [0]
    page = old.reading.inbox("ann", 10, "", False)
    assert (page.notifications, page.unread) == ([], 0)
    old.reopen()
    old.publish("new", "bob")
    for user in ("ann", "cat"):
        assert old.inbox(user) == ["new"]
        assert old.reading.unread(user) == 1
    assert breaches(tmp_path) == []


def test_the_list_of_what_is_gone_stays_as_long_as_cursors_from_before(
    old: Store, tmp_path: Path
) -> None:
    """Who was away hears which notifications went, so where they stood is kept that long."""
    let_pass(old, 30)
    bob = old.storage.number_of("bob") or 0
    assert old.storage.author_block(bob, 1) is not None
    assert len(old.storage.expiries(1)) == -(-POSTS // 50)
    old.publish("new", "bob")
    (grant,) = old.ask("w", 10_000).grants
    old.tell("w", outcome(grant, others=State.DELIVERED))
    let_pass(old, 31)
    assert old.storage.author_block(bob, 1) is None
    assert [e.horizon for e in old.storage.expiries(1)][1:] == [grant.seq]
    touched = old.storage.touched(grant.seq, 2**60, BitMap([bob]), 99)
    assert [post for _, post in touched] == [grant.seq]
    assert breaches(tmp_path) == []


def test_a_damaged_list_of_who_posted_what_went_stays_and_stops_nobody(old: Store) -> None:
    """It is looked at whenever posts go, in the commit of whoever asks for anything then."""
    let_pass(old, 30)
    (_, damaged, *_) = old.storage.expiries(1)
    assert isinstance(old.storage, SqliteStorage)
    statement = "update expiry set authors = zeroblob(30) where change = ?"
    old.storage.db.execute(statement, (damaged.change,))
    old.publish("new", "bob")
    (grant,) = old.ask("w", 10_000).grants
    old.tell("w", outcome(grant, others=State.DELIVERED))
    old.clock.pass_s(31 * DAY_S)
    assert old.follow("dan", "bob")
    let_pass(old, 0)
    assert old.storage.posts_after(0, 9) == []
    changes = [step.change for step in old.storage.expiries(1)]
    assert (changes[0], len(changes)) == (damaged.change, 3), "and what was gone since"


def test_half_goes_and_pages_end_where_it_ends(old: Store, tmp_path: Path) -> None:
    let_pass(old, 20)
    for number in range(40):
        old.publish(f"q{number}", "bob")
    for grant in old.ask("w", 10_000).grants:
        old.tell("w", outcome(grant, others=State.DELIVERED))
    let_pass(old, 11)
    expected = [f"q{number}" for number in reversed(range(40))]
    assert old.inbox("ann") == expected
    page = old.reading.inbox("ann", 7, "", False)
    while page.has_more:
        page = old.reading.inbox("ann", 7, page.notifications[-1].cursor, False)
    assert [shown.post_id for shown in page.notifications] == expected[35:]
    assert old.reading.unread("cat") == 40
    assert breaches(tmp_path) == []


def test_a_lease_of_which_nobody_is_left_goes_with_its_post(tmp_path: Path) -> None:
    """Else the store would look for the post at its next start."""
    store = Store(partial(open_sqlite, tmp_path), retention_us=1_000_000)
    store.follow("ann", "bob")
    store.publish("p", "bob")
    (grant,) = store.ask("w", 10).grants
    store.tell("w", outcome(grant, others=State.DELIVERED, final=False))
    assert len(store.storage.leases()) == 1
    store.pass_s(2)
    assert store.storage.posts_after(0, 9) == []
    assert store.storage.leases() == []
    assert store.ask("w", 0, held=[grant.lease]).lost == [grant.lease]
    store.reopen()
    assert breaches(tmp_path) == []


def test_who_followed_behind_the_last_post_keeps_nothing_of_it(tmp_path: Path) -> None:
    """What the post referred to ended when they came, which was after the author's last post."""
    store = Store(partial(open_sqlite, tmp_path), channels=("inbox",))
    store.follow("ann", "bob")
    store.publish("p", "bob")
    bob = store.storage.number_of("bob") or 0
    (referred,) = store.storage.segments(bob)
    store.follow("cat", "bob")
    let_pass(store, 31)
    with pytest.raises(Corrupt, match="missing"):
        store.storage.segment(referred.id)
    store.publish("q", "bob")
    assert store.inbox("ann") == store.inbox("cat") == ["q"]
    assert breaches(tmp_path) == []


def test_nothing_goes_before_what_still_waits(old: Store) -> None:
    old.publish("waits", "bob")
    old.publish("behind", "bob")
    grants = {grant.post_id: grant for grant in old.ask("w", 10_000).grants}
    old.tell("w", outcome(grants["behind"], others=State.DELIVERED))
    old.tell("w", outcome(grants["waits"], final=True))
    let_pass(old, 31)
    assert old.inbox("cat") == ["behind", "waits"]
    (grant,) = old.ask("w", 10_000).grants
    old.tell("w", outcome(grant, others=State.DELIVERED))
    let_pass(old, 1)
    assert old.inbox("cat") == []
