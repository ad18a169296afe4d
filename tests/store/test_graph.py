"""Who follows whom, as intervals and as versioned segments: folded, split, kept and rewritten."""

from __future__ import annotations

import array
import itertools
import random

import pytest

from farm.audience import BitMap, unseal
from farm.errors import InvalidArgument, NotFound, ResourceExhausted
from farm.packed import LOW, each_once, in_order, packed, swapped
from farm.store import following, graph
from farm.store.graph import SEGMENT_MAX, TAIL_MAX
from farm.store.storage import TAIL
from farm.wire import Op
from tests.store.conftest import MakeStore
from tests.store.harness import Store


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments so small that a few people fold and split them."""
    monkeypatch.setattr(graph, "SEGMENT_MAX", 8)
    monkeypatch.setattr(graph, "TAIL_MAX", 4)


def current(store: Store, author: str) -> list[tuple[int, int]]:
    """(lower, size) of an author's current segments, having checked them."""
    (number,) = store.numbers(author)
    rows = store.storage.segments(number)
    together = BitMap()
    ranges = [row for row in rows if row.lower != TAIL]
    for row in rows:
        members = unseal(store.storage.members(row.id))
        assert len(members) == row.size
        assert not members & together, "in one segment only"
        together |= members
    for row, after in zip(ranges, [*ranges[1:], None], strict=False):
        members = unseal(store.storage.members(row.id))
        if members:
            assert members.min() >= row.lower
            assert after is None or members.max() < after.lower
    found = store.storage.author(number)
    assert found is not None
    assert found.followers == len(together)
    return [(row.lower, row.size) for row in rows]


def versions(store: Store, author: str) -> int:
    """How many segments of an author are stored, old ones too."""
    (number,) = store.numbers(author)
    database = store.storage.db  # type: ignore[attr-defined]
    return int(database.execute("select count(*) from segment where author = ?", (number,)).get)


# The verbs


def test_following_twice_and_unfollowing_twice(store: Store) -> None:
    assert store.follow("ann", "star")
    assert not store.follow("ann", "star")
    assert store.unfollow("ann", "star")
    assert not store.unfollow("ann", "star")
    assert not store.unfollow("ann", "nobody")
    assert store.follow("ann", "star")
    assert store.reading.user("star")[1] == 1  # type: ignore[index]
    assert store.reading.user("ann")[2] == 1  # type: ignore[index]


def test_a_mute_needs_no_follow_and_outlives_an_unfollow(store: Store) -> None:
    store.follow("ann", "star")
    store.follow("bob", "other")
    assert store.mute("bob", "star")
    assert not store.mute("bob", "star")
    store.follow("bob", "star")
    store.unfollow("bob", "star")
    store.follow("bob", "star")
    assert store.publish("p", "star").queued == 1
    assert store.unmute("bob", "star")
    assert not store.unmute("bob", "star")
    assert store.publish("q", "star").queued == 2


@pytest.mark.parametrize(("user", "author"), [("nobody", "star"), ("ann", "nobody")])
def test_a_mute_of_or_by_nobody_is_refused(store: Store, user: str, author: str) -> None:
    store.follow("ann", "star")
    with pytest.raises(NotFound, match="nobody"):
        store.mute(user, author)
    assert store.storage.number_of("nobody") is None


def test_reading_and_refusals_make_nobody_known(store: Store) -> None:
    store.inbox("ann")
    store.unfollow("ann", "star")
    store.unmute("ann", "star")
    store.publish("p", "ghost", must_be_known=False)
    assert store.storage.last_user() == 0
    assert not store.core._graph.has_users


def test_following_more_than_the_most_is_refused(make_store: MakeStore) -> None:
    store = make_store(following_max=3)
    for author in "abc":
        store.follow("ann", author)
    with pytest.raises(ResourceExhausted, match="3 authors"):
        store.follow("ann", "d")
    assert store.storage.number_of("d") is None
    assert not store.follow("ann", "a")  # which is no new one
    store.unfollow("ann", "b")
    assert store.follow("ann", "d")


# Imports


def test_an_import_counts_what_is_new_and_what_was_there(store: Store) -> None:
    store.follow("ann", "star")
    edges = [("ann", "star"), ("bob", "star"), ("cat", "star"), ("bob", "star"), ("star", "ann")]
    found = store.call(Op.IMPORT, [a for a, _ in edges], [b for _, b in edges])
    assert found == (3, 2, [])
    assert store.call(Op.IMPORT, [a for a, _ in edges], [b for _, b in edges]) == (0, 5, [])
    assert store.publish("p", "star").audience == 3
    assert store.inbox("cat") == ["p"]


def test_an_import_beyond_the_most_is_rejected_by_position(make_store: MakeStore) -> None:
    store = make_store(following_max=2)
    store.follow("ann", "a")
    added, there, rejections = store.call(
        Op.IMPORT, ["ann", "bob", "ann", "ann", "ann"], ["a", "b", "b", "c", "c"]
    )
    assert (added, there) == (2, 1)
    assert [at for at, _ in rejections] == [3, 4]
    assert "2 authors" in rejections[0][1]
    assert store.reading.user("ann")[2] == 2  # type: ignore[index]


def numbered(*edges: tuple[int, int]) -> tuple[bytes, bytes]:
    """Follower and author each: by author, and by follower."""
    made = each_once(packed(array.array("I", itertools.chain.from_iterable(edges))))
    return made.tobytes(), in_order(swapped(made)).tobytes()


def in_disorder(*edges: tuple[int, int]) -> bytes:
    return packed(array.array("I", itertools.chain.from_iterable(edges))).tobytes()


def test_an_import_by_number_does_what_one_by_name_does(store: Store) -> None:
    assert store.call(Op.NUMBER, ["ann", "bob", "star"]) == [1, 2, 3]
    assert store.call(Op.NUMBER, ["cat", "star", "ann", "cat"]) == [4, 3, 1, 4]
    ann, bob, star, cat = 1, 2, 3, 4
    edges = numbered((bob, star), (ann, star), (star, ann))
    assert store.call(Op.IMPORT_NUMBERED, *edges) == (3, b"")
    assert store.call(Op.IMPORT_NUMBERED, *edges) == (0, b"")
    store.publish("p", "star")
    again, _ = numbered((ann, star), (cat, ann), (cat, star))  # one of which is there already
    assert store.call(Op.IMPORT_NUMBERED, again, b"") == (2, b"")
    assert store.publish("q", "star").audience == 3
    assert store.inbox("ann") == ["q", "p"]
    assert store.inbox("cat") == ["q"], "what was there before is none of theirs"
    assert current(store, "ann") == [(TAIL, 2)]
    assert current(store, "star") == [(TAIL, 3)]


@pytest.mark.parametrize(
    "edges",
    [
        (b"1234567", b"1234567"),
        numbered((1, 3)),
        numbered((3, 1)),
        numbered((1, 0)),
        (numbered((1, 2))[0], numbered((1, 2), (2, 1))[1]),
        (numbered((1, 3))[0], b""),
        (numbered((3, 1))[0], b""),
        (in_disorder((1, 2), (2, 1)), numbered((1, 2), (2, 1))[1]),
        (numbered((1, 2), (2, 1))[0], in_disorder((2, 1), (2, 1))),
    ],
)
def test_an_import_of_what_cannot_be_is_refused(store: Store, edges: tuple[bytes, bytes]) -> None:
    """Of numbers that nobody has, and of edges that do not stand in order in both ways."""
    store.call(Op.NUMBER, ["ann", "bob"])
    with pytest.raises(InvalidArgument, match="edges: "):
        store.call(Op.IMPORT_NUMBERED, *edges)


@pytest.mark.parametrize("reopened", [False, True])
def test_who_follows_many_by_few_at_a_time_ends_at_the_most(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, *, reopened: bool
) -> None:
    """Though nobody is counted who gets few at a time: it is known how many those can be."""
    monkeypatch.setattr(following, "FEW", 2)
    store = make_store(following_max=9)
    people = store.call(Op.NUMBER, [f"p{number}" for number in range(40)])
    model = {person: set[int]() for person in people}
    for chance in (random.Random(seed) for seed in range(30)):
        wanted = {(chance.choice(people[:8]), chance.choice(people)) for _ in range(9)}
        edges = [(who, whom) for who, whom in wanted if who != whom]
        added, beyond = store.call(Op.IMPORT_NUMBERED, *numbered(*edges))
        refused = {(edge & LOW, edge >> 32) for edge in array.array("Q", beyond)}
        new = {edge for edge in edges if edge[1] not in model[edge[0]]}
        assert refused <= new
        assert added == len(new - refused)
        for who, whom in new - refused:
            model[who].add(whom)
        for who, _ in refused:
            assert len(model[who]) == 9, "only those are refused who have no room"
        if reopened:
            store.reopen()
    assert max(map(len, model.values())) == 9
    for who, authors in model.items():
        assert set(store.storage.followed_by(who)) == authors
    assert sum(store.storage.following_counts(people).values()) == sum(map(len, model.values()))


def test_nobody_who_gets_many_at_once_is_overlooked() -> None:
    """Wherever those stand in the row, though not each place of it is looked at."""
    for before, count in itertools.product(range(40), (1, 2, 3, following.FEW)):
        row = [*range(before), *[99] * (count + 1), *range(100, 110)]
        assert set(following._more_often_than(count, row)) == {99}


def test_an_imported_file_is_remembered(store: Store) -> None:
    assert not store.call(Op.IMPORT_KNOWN, "digest")
    store.call(Op.IMPORT_FINISHED, "digest")
    store.reopen()
    assert store.call(Op.IMPORT_KNOWN, "digest")


# Segments


def test_newcomers_wait_in_the_tail_until_it_is_full(store: Store) -> None:
    store.followers("star", TAIL_MAX - 1)
    assert current(store, "star") == [(TAIL, TAIL_MAX - 1)]
    store.follow("last", "star")
    assert current(store, "star") == [(0, TAIL_MAX)]
    store.follow("next", "star")
    assert current(store, "star") == [(TAIL, 1), (0, TAIL_MAX)]


def test_a_large_import_is_split_evenly(store: Store) -> None:
    store.followers("star", 3 * SEGMENT_MAX + 1)
    sizes = [size for _, size in current(store, "star")]
    assert len(sizes) == 4
    assert max(sizes) <= SEGMENT_MAX
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.usefixtures("small")
def test_the_tail_is_folded_into_the_ranges_it_falls_into(store: Store) -> None:
    people = store.followers("other", 60)  # numbers in this order
    store.call(Op.IMPORT, people[::3], ["star"] * 20)
    before = current(store, "star")
    assert [lower == TAIL for lower, _ in before] == [False] * 3
    store.call(Op.IMPORT, people[1::3], ["star"] * 20)
    after = current(store, "star")
    assert sum(size for _, size in after) == 40
    assert max(size for _, size in after) <= 8
    for name in people[2::3]:
        store.follow(name, "star")
    assert sum(size for _, size in current(store, "star")) == 60


@pytest.mark.usefixtures("small")
def test_a_segment_is_rewritten_until_a_post_refers_to_it(store: Store) -> None:
    for number in range(3):
        store.follow(f"early{number}", "star")
    assert versions(store, "star") == 1
    store.publish("p", "star")
    store.follow("ann", "star")  # folds: the tail of p is kept, a range comes
    assert versions(store, "star") == 2
    store.unfollow("ann", "star")
    store.unfollow("early0", "star")
    assert versions(store, "star") == 2  # nobody refers to the range, so it is rewritten
    assert sorted(store.audience("p")["simulated"]) == ["early0", "early1", "early2"]
    store.publish("q", "star")
    store.unfollow("early1", "star")
    assert versions(store, "star") == 3
    assert sorted(store.audience("q")["simulated"]) == ["early1", "early2"]


@pytest.mark.usefixtures("small")
def test_when_everybody_leaves_and_returns(store: Store) -> None:
    people = store.followers("star", 30)
    store.publish("p", "star")
    for name in people:
        store.unfollow(name, "star")
    assert [size for _, size in current(store, "star")] in ([], [0])
    assert store.publish("q", "star").audience == 0
    for name in people:
        store.follow(name, "star")
    assert store.publish("r", "star").audience == 30
    assert sum(size for _, size in current(store, "star")) == 30
    assert len(store.audience("p")["simulated"]) == 30
    store.check()


@pytest.mark.usefixtures("small")
def test_audiences_are_right_however_followers_come_and_go(store: Store) -> None:
    """Ten thousand changes scaled down: each post's audience is who followed at that moment."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    people = [f"f{number}" for number in range(60)]
    follows: set[str] = set()
    audiences: list[set[str]] = []
    for _ in range(600):
        name = chance.choice(people)
        if name in follows:
            follows.discard(name)
            assert store.unfollow(name, "star"), seed
        else:
            follows.add(name)
            assert store.follow(name, "star"), seed
        if follows and chance.random() < 0.1:
            store.publish(f"p{len(audiences)}", "star")
            audiences.append(set(follows))
        if chance.random() < 0.02:
            current(store, "star")
            store.reopen()
    for number, audience in enumerate(audiences):
        assert set(store.audience(f"p{number}")["simulated"]) == audience, seed
    store.check()


@pytest.mark.usefixtures("small")
def test_memory_that_is_let_go_is_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "AUTHORS_CACHED_MAX", 2)
    monkeypatch.setattr(graph, "DECODED_AUTHORS_MAX", 1)
    for number in range(40):
        for author in ("a", "b", "c", "d"):
            store.follow(f"f{number}", author)
            if number % 9 == 3:
                store.unfollow(f"f{number - 1}", author)
                store.mute(f"f{number}", author)
    for author in ("a", "b", "c", "d"):
        assert store.publish(f"of {author}", author)[1:3] == (30, 35)
    store.check()
