"""Whoever is told by frames knows what the inbox shows, however late the frames are looked at."""

from __future__ import annotations

import random
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from farm.audience import unseal
from farm.cursor import END
from farm.lifecycle import State
from farm.store.alike import alike
from farm.store.core import Answers
from farm.store.inbox import SegmentCache
from farm.wire import (
    Concern,
    EventKind,
    Frame,
    Happened,
    LeaseRequest,
    News,
    Online,
    Op,
    OutcomesMessage,
    value_of,
)
from tests.store.harness import Store, open_sqlite, outcome
from tests.store.test_events import AUTHORS, Listener, World

STEPS = 150
PEOPLE = ("ann", "joe", "new")
KINDS = {
    Concern.ADDED: EventKind.ADDED,
    Concern.UPDATED: EventKind.UPDATED,
    Concern.REMOVED: EventKind.REMOVED,
}


class Frames(Store):
    """A store that keeps the frames it sends, and hears of a process with each group."""

    def __init__(self, *arguments: Any, **rules: Any) -> None:
        self.frames: deque[Frame] = deque()
        super().__init__(*arguments, **rules)

    def group(
        self,
        operations: Iterable[Sequence[Any]] = (),
        outcomes: Iterable[OutcomesMessage] = (),
        leases: Iterable[LeaseRequest] = (),
    ) -> Answers:
        alive: tuple[Any, ...] = (Op.ONLINE, "here", "place", [], [])
        answers = super().group([*operations, alive], outcomes, leases)
        answers.results.pop()
        self.frames += [frame for _, frame in answers.frames]
        return answers


class Told(Listener):
    """Somebody to whom frames are handed, and who reads only what frames leave out."""

    def __init__(self, store: Store, user: str) -> None:
        super().__init__(store, user)
        self.counts: Counter[EventKind] = Counter()

    def look(self, store: Store, news: News) -> None:
        """As the state is now, which may be later than the news."""
        number = store.storage.number_of(self.user) or 0
        if news.concern in (Concern.PERSON, Concern.NAMED):
            if number in unseal(news.users):
                self.listen(store)
            return
        kind = KINDS[Concern(news.concern)]
        place = (news.change, news.post if news.reason == "expired" else 0)
        for notification, users in alike(store.storage, store.reading, SegmentCache(), news):
            if number in unseal(users) and place > self.place:
                mine = notification and notification._replace(
                    id=f"{news.post:x}.{number:x}", user_id=self.user
                )
                self.counts[kind] += 1
                self._take(store, Happened(kind, *place, news.post, news.reason, mine))


class Process:
    """Where some people are online. It may leave frames for later, and may lose some."""

    def __init__(self, store: Frames) -> None:
        self._store = store
        answer = Online(*store.call(Op.ONLINE, "here", "place", [*PEOPLE], []))
        self._received = answer.told
        self.people = [Told(store, user) for user in PEOPLE]

    def take(self, count: int, *, losing: int = 0) -> None:
        for _ in range(min(losing, len(self._store.frames) - 1)):
            self._store.frames.popleft()
        for _ in range(min(count, len(self._store.frames))):
            frame = self._store.frames.popleft()
            missing = frame.after != self._received
            self._received = frame.change
            for one in self.people:
                if missing:
                    one.listen(self._store)
                for news in frame.news:
                    one.look(self._store, news)

    def check(self) -> None:
        for one in self.people:
            one.check(self._store)


class Crowd(World):
    """Random things happen, several at once."""

    def __init__(self, store: Frames, chance: random.Random) -> None:
        super().__init__(store, chance)

    def restart(self) -> None:
        """Frames do not outlive it."""

    def several(self) -> None:
        operations = [self._operation() for _ in range(self.chance.randint(2, 8))]
        grants = self.store.ask("w", self.chance.choice((3, 50))).grants
        said = [
            outcome(grant, others=self.chance.choice((State.DELIVERED, State.RETRYING)))
            for grant in grants
        ]
        message = self.store.message("w", *said)
        answers = self.store.group(operations, [message], [self.store.request("w", 0)])
        for result in answers.results:
            if result[0] == 0:
                value_of(result)

    def _operation(self) -> tuple[Any, ...]:
        author, user = self.chance.choice(AUTHORS), self.chance.choice(PEOPLE)
        op = self.chance.choice(
            (Op.PUBLISH, Op.PUBLISH, Op.FOLLOW, Op.UNFOLLOW, Op.MUTE, Op.UNMUTE, Op.RETRACT)
        )
        if op is Op.PUBLISH:
            self.posts.append(f"p{len(self.posts)}")
            return (op, self.posts[-1], author, "hello", 0, True)
        if op is Op.RETRACT:
            return (op, self.chance.choice(self.posts[-5:] or ["none"]))
        return (op, user, author)


@pytest.fixture
def store() -> Iterator[Frames]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as directory:
        made = Frames(partial(open_sqlite, Path(directory)), max_attempts=3)
        for author in AUTHORS:
            made.followers(author, 5)
            made.follow("ann", author)
        made.follow("joe", "bob")
        yield made
        made.close()


@pytest.mark.parametrize("losses", [False, True], ids=["all come", "some are lost"])
@pytest.mark.parametrize("seed", range(6))
def test_frames_tell_what_the_inbox_shows(store: Frames, seed: int, *, losses: bool) -> None:
    """Fault rows 119 to 121, of frames: in one commit and in several."""
    chance = random.Random(seed)
    world = Crowd(store, chance)
    here = Process(store)
    for _ in range(STEPS):
        chance.choices((world.step, world.several), (2, 1))[0]()
        losing = chance.choice((0, 0, 0, 1, 3)) if losses else 0
        here.take(chance.choice((0, 1, 10**6)), losing=losing)
        if not store.frames and not losses:
            here.check()
    store.publish("the end", "bob")
    here.take(10**6)
    for one in here.people:
        one.listen(store)
    here.check()
    if not losses:
        assert all(here.people[0].counts[kind] for kind in KINDS.values())


def test_who_is_at_the_newest_place_is_told_nothing_twice(store: Frames) -> None:
    here = Process(store)
    store.publish("p1", "bob")
    for one in here.people:
        one.place = (store.storage.meta().change, END)
    here.take(1)
    assert not any(one.counts for one in here.people)
