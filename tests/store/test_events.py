"""Whoever listens, and stops and goes on wherever it may be, ends with what the inbox shows."""

from __future__ import annotations

import contextlib
import random

import pytest

from farm.cursor import END
from farm.errors import NotFound
from farm.lifecycle import State
from farm.store import events
from farm.store.core import DAY_US
from farm.store.events import events_after
from farm.wire import EventKind, Grant, Happened, Notification, Op
from tests.store.conftest import MakeStore
from tests.store.harness import Store, members, outcome

AUTHORS = ("bob", "cat", "dan")
DAY_S = DAY_US / 1e6
STEPS = 120


class Listener:
    """Somebody who follows their inbox, and may stop after any event."""

    def __init__(self, store: Store, user: str) -> None:
        self.user = user
        self.place = (store.storage.meta().change, END)
        self.shown: dict[str, Notification] = {}
        self.added: list[int] = []
        self.kinds: set[EventKind] = set()
        self._load(store)

    def listen(self, store: Store, most: int = 10**6, size: int = 7) -> bool:
        """Takes at most so many events; whether that was all there is."""
        while True:
            found = events_after(store.storage, store.reading, self.user, *self.place, size)
            for event in found.happened:
                if most == 0:
                    return False
                self._take(store, event)
                most -= 1
            self.place = max(self.place, (found.change, END))
            if not found.more:
                return True

    def _take(self, store: Store, event: Happened) -> None:
        place = (event.change, event.position)
        assert place > self.place, "in order, and nothing twice"
        self.place = place
        self.kinds.add(EventKind(event.kind))
        number = store.storage.number_of(self.user)
        name = f"{event.post:x}.{number:x}"
        match EventKind(event.kind):
            case EventKind.ADDED:
                assert event.notification is not None
                assert name not in self.shown, "added twice"
                self.shown[event.notification.id] = event.notification
            case EventKind.UPDATED:
                assert event.notification is not None
                assert event.notification.id in self.shown, "updated before it was added"
                self.shown[event.notification.id] = event.notification
            case EventKind.REMOVED:
                self.shown.pop(name, None)
            case EventKind.GAP:
                self.shown.clear()  # whatever was published before is gone
            case EventKind.RESET:
                self._load(store)
            case EventKind.LIVE:
                raise AssertionError("only a connection has a beginning")

    def _load(self, store: Store) -> None:
        page = store.reading.inbox(self.user, 1_000, "", False)
        self.shown = {one.id: one for one in page.notifications}

    def check(self, store: Store) -> None:
        page = store.reading.inbox(self.user, 1_000, "", False)
        expected = {one.id: _bare(one) for one in page.notifications}
        assert {name: _bare(one) for name, one in self.shown.items()} == expected


def _bare(one: Notification) -> tuple[object, ...]:
    """What a listener must know; when the next try is due says no event."""
    return (one.id, one.post_id, one.content, one.read, one.state, one.attempts)


class World:
    """Random things happen to a store."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self.store = store
        self.chance = chance
        self.posts: list[str] = []
        self.grants: list[Grant] = []

    def step(self) -> None:
        happens = self.chance.choices(
            (self.publish, self.work, self.mark, self.mark_up_to, self.mute, self.unmute,
             self.follow, self.unfollow, self.retract, self.age, self.burst, self.restart),
            (30, 25, 10, 4, 6, 8, 6, 3, 4, 3, 2, 1),
        )[0]  # fmt: skip
        happens()

    def publish(self) -> None:
        name = f"p{len(self.posts)}"
        self.posts.append(name)
        self.store.publish(name, self.chance.choice(AUTHORS))

    def burst(self) -> None:
        """More than one change may tell of."""
        for _ in range(60):
            self.publish()

    def work(self) -> None:
        for grant in self.store.ask("w", self.chance.choice((1, 3, 50))).grants:
            numbers = list(members(grant))
            self.chance.shuffle(numbers)
            cut = self.chance.randint(0, len(numbers))
            retry = self.chance.randint(0, cut)
            said = outcome(
                grant, retry=numbers[:retry], dead=numbers[retry:cut], others=State.DELIVERED
            )
            self.store.tell("w", said)

    def notification(self) -> str:
        user = self.store.storage.number_of("ann") or 0
        post = self.store.storage.post_by_id(self.chance.choice(self.posts or ["none"]))
        return f"{post.seq if post else 1:x}.{user:x}"

    def mark(self) -> None:
        names = [self.notification() for _ in range(self.chance.choice((1, 1, 3)))]
        self.store.call(Op.MARK, "ann", names, self.chance.random() < 0.7)

    def mark_up_to(self) -> None:
        page = self.store.reading.inbox("ann", 100, "", False)
        if page.notifications:
            cursor = self.chance.choice(page.notifications).cursor
            self.store.call(Op.MARK_UP_TO, "ann", cursor)

    def mute(self) -> None:
        self.store.mute("ann", self.chance.choice(AUTHORS))

    def unmute(self) -> None:
        self.store.unmute("ann", self.chance.choice(AUTHORS))

    def follow(self) -> None:
        self.store.follow("ann", self.chance.choice(AUTHORS))

    def unfollow(self) -> None:
        self.store.unfollow("ann", self.chance.choice(AUTHORS))

    def retract(self) -> None:
        if self.posts:
            with contextlib.suppress(NotFound):  # it may have expired
                self.store.call(Op.RETRACT, self.chance.choice(self.posts[-20:]))

    def age(self) -> None:
        """Some of the oldest posts go, if all of them are settled."""
        for _ in range(3):
            self.work()
        self.store.pass_s(self.chance.choice((0.2, 5, 12)) * DAY_S)
        self.store.pass_s(11)

    def restart(self) -> None:
        self.store.reopen()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    store = make_store(max_attempts=3)
    for author in AUTHORS:
        store.followers(author, 5)
        store.follow("ann", author)
    return store


@pytest.mark.parametrize("seed", range(16))
def test_listening_ends_with_what_the_inbox_shows(
    store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five listeners stop and go on at random places. Fault rows 119 and 120, of live events."""
    monkeypatch.setattr(events, "TOUCHES_AT_A_TIME", 5)  # else no test has so many
    print("seed", seed)
    chance = random.Random(seed)
    world = World(store, chance)
    listeners = [Listener(store, "ann") for _ in range(5)]
    for _ in range(STEPS):
        world.step()
        for often, listener in enumerate(listeners):
            if chance.random() < 1 / (1 + often * 3) and listener.listen(
                store, chance.choice((0, 1, 2, 5, 10**6)), chance.choice((1, 2, 7, 200))
            ):
                listener.check(store)
    for listener in listeners:
        assert listener.listen(store)
        listener.check(store)


def test_who_did_not_move_hears_nothing_of_others_who_did(store: Store) -> None:
    """Whoever goes on from behind their delivery is not told of it again when others are tried
    once more, however small the pages are."""
    for number in range(5):
        store.publish(f"p{number}", "bob")
    ann = store.storage.number_of("ann") or 0
    for grant in store.ask("w", 100).grants:
        others = [number for number in members(grant) if number != ann]
        store.tell("w", outcome(grant, retry=others[:2], others=State.DELIVERED))
    told = Listener(store, "ann")
    store.pass_s(0.2)
    for grant in store.ask("w", 100).grants:
        store.tell("w", outcome(grant, others=State.DELIVERED))
    for size in (1, 2, 100):
        again = Listener(store, "ann")
        again.place = told.place
        assert again.listen(store, size=size)
        assert again.kinds == set()
        again.check(store)
