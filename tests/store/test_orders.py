"""The same few requests in every order, and in every division into commits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from farm.lifecycle import State
from farm.store.answers import Answering
from farm.store.core import DAY_US
from farm.wire import Op
from tests.store.conftest import MakeStore
from tests.store.harness import Standing, Store
from tests.store.model import Model

Operation = tuple[Any, ...]
CHANNELS = ("inbox",)  # what is delivered at once can expire


def divided(operations: Sequence[Operation], cuts: Sequence[bool]) -> Iterator[Sequence[Operation]]:
    """The commits, where each two operations are in one or are cut apart."""
    places = [0, *(n for n, cut in enumerate(cuts, 1) if cut), len(operations)]
    return (operations[a:b] for a, b in itertools.pairwise(places))


def test_following_again_and_again_between_posts(make_store: MakeStore) -> None:
    """Fault row 119: follow, publish, unfollow, publish, follow, publish, in one commit and in
    several: audience, list, count and explanation agree with the model."""
    store = make_store(channels=CHANNELS)
    for number, cuts in enumerate(itertools.product((False, True), repeat=5)):
        user, other, author = f"ann{number}", f"eve{number}", f"bob{number}"
        store.follow(other, author)
        first, second, third = (f"{which}{number}" for which in ("first", "second", "third"))
        operations: list[Operation] = [
            (Op.FOLLOW, user, author),
            (Op.PUBLISH, first, author, "hello", 0, True),
            (Op.UNFOLLOW, user, author),
            (Op.PUBLISH, second, author, "hello", 0, True),
            (Op.FOLLOW, user, author),
            (Op.PUBLISH, third, author, "hello", 0, True),
        ]
        model = Model(CHANNELS, 1, 1.0)
        model.follow(other, author)
        for commit in divided(operations, cuts):
            assert all(result[0] == 0 for result in store.group(commit).results)
            for operation in commit:
                follow_model(model, operation)
            agree(store, model, user)
            agree(store, model, other)
        assert store.inbox(user) == [third]
        answering = Answering(store.storage, store.reading, CHANNELS)
        codes = [answering.explain(post, user).code for post in (first, second, third)]
        assert codes == ["UNFOLLOWED", "FOLLOWED_LATER", "NOTIFIED"]


def test_counts_are_never_negative(make_store: MakeStore) -> None:
    """Fault row 120: publish, retract, read singly, unfollow and expire in any order: the count is
    what the list has, and both are the model's."""
    store = make_store(channels=CHANNELS)
    for number, order in enumerate(itertools.permutations(range(5))):
        user, author = f"ann{number}", f"bob{number}"
        posts = [f"{number}-{which}" for which in range(3)]
        model = Model(CHANNELS, 1, 1.0)
        begin: list[Operation] = [
            (Op.FOLLOW, user, author),
            *((Op.PUBLISH, post, author, "hello", 0, True) for post in posts[:2]),
        ]
        store.group(begin)
        for operation in begin:
            follow_model(model, operation)
        shown = store.reading.inbox(user, 10, "", False).notifications
        steps: list[Operation | None] = [
            (Op.PUBLISH, posts[2], author, "hello", 0, True),
            (Op.RETRACT, posts[1]),
            (Op.MARK, user, [one.id for one in shown], True),
            (Op.UNFOLLOW, user, author),
            None,  # time passes
        ]
        for step in (steps[n] for n in order):
            if step is None:
                expire(store, model)
            else:
                store.group([step])
                follow_model(model, step)
            agree(store, model, user)


def expire(store: Store, model: Model) -> None:
    store.pass_s(31 * DAY_US / 1e6)
    for _ in range(3):
        store.pass_s(11)
    assert store.storage.posts_after(0, 1) == [], "all is old"
    for name in list(model.posts):
        model.expire_post(name)


def follow_model(model: Model, operation: Operation) -> None:
    op, *about = operation
    match op:
        case Op.PUBLISH:
            model.publish(about[0], about[1])
        case Op.FOLLOW:
            model.follow(*about)
        case Op.UNFOLLOW:
            model.unfollow(*about)
        case Op.RETRACT if about[0] in model.posts:
            model.retract(about[0])
        case Op.MARK:
            # The ids are those of the two posts of the beginning.
            model.mark(about[0], [name for name in model.posts if name[-1] != "2"], read=True)
        case _:
            pass


def agree(store: Store, model: Model, user: str) -> None:
    """What the user sees is what the model says."""
    expected = model.inbox(user)
    assert store.inbox(user) == expected
    unread = [name for name in expected if (user, name) not in model.read]
    page = store.reading.inbox(user, 100, "", True)
    assert [one.post_id for one in page.notifications] == unread
    assert page.unread == len(unread) == store.reading.unread(user)
    answering = Answering(store.storage, store.reading, CHANNELS)
    for name in model.posts:
        told = model.standing.get((name, CHANNELS[0], user))
        assert store.audience(name).get(CHANNELS[0], {}).get(user) == told
        explained = answering.explain(name, user)
        assert explained.in_audience is (told is not None)
        assert (explained.code == "NOTIFIED") is (name in expected)
        if told is not None:
            assert told == Standing(State.DELIVERED, 1)
