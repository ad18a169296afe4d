"""Live inboxes: what changes in the inbox of a person who is online, as it happens.

    async with live.watch("ann", since) as events:
        async for event in events:
            ...

The first event is LIVE. What happened after `since` comes first, then what happens.

Nothing here must be kept. Every watcher knows its place in the inbox, and whenever it may have
missed anything (at its start, when a frame of the store's was lost, when it took events too slowly
for its queue, when the person changed their own inbox) it is *behind*: it reads from its place on,
until it has caught up. Meanwhile its queue takes what comes, so nothing falls in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from farm.audience import unseal
from farm.client import StoreClient
from farm.clock import Clock
from farm.cursor import END, Cursor, InboxCursors
from farm.errors import ResourceExhausted, Unavailable
from farm.failpoints import Point, passing
from farm.observe import ProcessMetrics, log
from farm.sockets import Addresses, Sockets
from farm.wire import (
    Alike,
    Concern,
    Event,
    EventKind,
    Frame,
    Happened,
    Kind,
    News,
    Notification,
    Online,
    WireError,
    frame,
    unpack,
)

WATCHERS_MAX = 20_000
QUEUED_MAX = 256  # events of one watcher; beyond it reads them again when it takes more
BEHIND_S_MAX = 30.0  # a watcher that cannot catch up for so long is too slow
PAGE = 100  # events read at a time
SAY_EVERY_S = 1.0
CHANGED_MAX = 250  # people in one message to the store, which looks up whom each of them follows
GIVE_UP_S = 10.0  # then who wants to watch is told that the store does not answer
NEWS_MAX = 1_000  # asked of a reader at a time
NEWS_BYTES_MAX = 1024 * 1024  # of the people whom they concern; a reader takes half a second

# What news of a post become; the others concern a person.
_KINDS = {
    Concern.ADDED: EventKind.ADDED,
    Concern.UPDATED: EventKind.UPDATED,
    Concern.REMOVED: EventKind.REMOVED,
}

Place = tuple[int, int]  # change, position


class _Item(NamedTuple):
    """An event before it is anybody's."""

    place: Place
    kind: EventKind
    post: int
    reason: str
    notification: Notification | None
    shape: int


class ProcessEnds(Unavailable):
    """Whoever watches here does better to go on at another process."""

    def __init__(self) -> None:
        super().__init__("this process ends; go on at another one")


@dataclass(eq=False, slots=True)
class _Watcher:
    """One stream of a person's events. All up to its place has been handed out."""

    place: Place = (0, 0)
    queue: deque[_Item] = field(default_factory=deque)
    behind: bool = False
    following: bool = False  # has all that frames told of until now, in its queue or handed out
    overflowed_s: float | None = None  # when its queue was full; until it has caught up
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def fall_behind(self, dispatched: int) -> None:
        """It has to read from its place on, which is at least where frames were dispatched to."""
        self.leave(dispatched)
        self.queue.clear()
        self.behind = True
        self.wake.set()

    def leave(self, dispatched: int) -> None:
        """It does not have all that frames tell from now on."""
        if self.following:
            reached = self.queue[0].place[0] - 1 if self.queue else dispatched
            self.place = max(self.place, (min(reached, dispatched), END))
        self.following = False

    def put(self, item: _Item, now_s: float) -> None:
        if self.behind:
            return
        if len(self.queue) < QUEUED_MAX:
            self.queue.append(item)
            self.wake.set()
        else:
            self.overflowed_s = self.overflowed_s or now_s
            self.fall_behind(item.place[0] - 1)


@dataclass(eq=False, slots=True)
class _Person:
    """Somebody who is online here."""

    user_id: str
    number: int = 0  # unknown
    watchers: set[_Watcher] = field(default_factory=set)
    registered: asyncio.Event = field(default_factory=asyncio.Event)  # the store has heard so
    since: int = 0  # frames have this person from this change on
    told_of: bool = False  # the store that runs has heard so


class Live:
    """The people who are online at this process."""

    def __init__(
        self, sockets: Sockets, addresses: Addresses, store: StoreClient, clock: Clock,
        metrics: ProcessMetrics, *, session: str, place: str,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._session = session
        self._place = place
        self._frames = sockets.async_puller(addresses.live(place))
        self._people: dict[str, _Person] = {}
        self._by_number: dict[int, _Person] = {}
        self._changed: set[str] = set()  # people who came or went since the store was told
        self._say = asyncio.Event()
        self._watchers = 0
        self._known_since: int | None = None  # by the store
        self._received = 0  # frames came up to this change
        self._promised = 0  # and up to this one by the next time
        self._dispatched = 0  # and were handed on up to this one
        self._sure = 0  # of those, the ones surely of the store that was heard last
        self._dispatching = False
        self._cursors: InboxCursors | None = None  # until the store was heard
        self._shapes = itertools.count(1)
        self._closing = False
        self._tasks = [
            asyncio.create_task(self._say_who_is_here(), name="presence"),
            asyncio.create_task(self._take_frames(), name="frames"),
        ]

    async def close(self) -> None:
        """Ends every watch with `Unavailable`."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for person in self._people.values():
            person.registered.set()
            for watcher in person.watchers:
                watcher.wake.set()
        self._frames.close()

    # Watching

    @contextlib.asynccontextmanager
    async def watch(self, user_id: str, since: str = "") -> AsyncIterator[AsyncIterator[Event]]:
        """The events after `since`, a live cursor or an event's; empty: from now on.

        Entering raises `InvalidArgument` (a cursor of somebody else's), `ResourceExhausted` (too
        many are online here), `ProcessEnds`, `Unavailable`. The events end after a RESET with
        reason `too_slow`; else they raise: `ProcessEnds` (resume elsewhere), `Unavailable` when
        nobody answers what is to be read (resume), or whatever reading raises.
        """
        if self._closing:
            raise ProcessEnds
        if self._watchers >= WATCHERS_MAX:
            raise ResourceExhausted(
                f"{WATCHERS_MAX} inboxes are watched here, as many as may be", retry_after_ms=1_000
            )
        self._watchers += 1
        self._metrics.live_subscribers.inc()
        person, watcher = self._come(user_id), _Watcher()
        person.watchers.add(watcher)
        try:
            cursors = await self._registered(person)
            cursor = cursors.read_of_any(user_id, since, "since") if since else None
            async with contextlib.aclosing(self._events(person, watcher, cursors, cursor)) as found:
                yield found
        finally:
            person.watchers.discard(watcher)
            self._go(person)
            self._watchers -= 1
            self._metrics.live_subscribers.dec()

    async def _events(
        self, person: _Person, watcher: _Watcher, cursors: InboxCursors, cursor: Cursor | None
    ) -> AsyncGenerator[Event]:
        now = (max(self._dispatched, person.since), END)
        other_store = cursor is not None and cursor.incarnation != cursors.incarnation
        if cursor is None or other_store:
            watcher.place, watcher.following = now, person.told_of and not watcher.behind
        else:
            watcher.place = (cursor.change, cursor.position)
            watcher.fall_behind(self._dispatched)
        yield Event(EventKind.LIVE, cursors.sign(person.user_id, *watcher.place))
        if other_store:
            yield _reset(cursors, person, now, "other_store")
        while not self._closing:
            if watcher.behind:
                async for event in self._catch_up(person, watcher, cursors):
                    yield event
                if self._is_too_slow(watcher):
                    newest = max(watcher.place, (self._dispatched, END))
                    yield _reset(cursors, person, newest, "too_slow")
                    return
            elif watcher.queue:
                item = watcher.queue.popleft()
                if item.place > watcher.place:
                    watcher.place = item.place
                    yield _event_of(cursors, person, item)
            else:
                watcher.wake.clear()
                await watcher.wake.wait()
        raise ProcessEnds

    async def _catch_up(
        self, person: _Person, watcher: _Watcher, cursors: InboxCursors
    ) -> AsyncGenerator[Event]:
        """Reads on from the watcher's place to the newest, while its queue takes what comes."""
        watcher.behind = False
        more = True
        while more and not self._closing and not self._is_too_slow(watcher):
            found = await self._store.events(person.user_id, *watcher.place, PAGE)
            for one in found.happened:
                before, watcher.place = watcher.place, (one.change, one.position)
                yield _told_of(cursors, person.user_id, found.number, one, before)
            more = found.more
            if found.number and not person.number:
                # The frame that named the person was lost, or is about to come. Until now frames
                # went by, so what they told is read as well.
                self._number(person, found.number)
                more = True
            else:
                watcher.place = max(watcher.place, (found.change, END))
        if not watcher.behind and not more:
            watcher.following, watcher.overflowed_s = person.told_of, None

    def _is_too_slow(self, watcher: _Watcher) -> bool:
        since_s = watcher.overflowed_s
        return since_s is not None and self._clock.monotonic_s() - since_s > BEHIND_S_MAX

    # Who is here

    def _come(self, user_id: str) -> _Person:
        person = self._people.get(user_id)
        if person is None:
            person = self._people[user_id] = _Person(user_id)
            self._changed.add(user_id)
            self._say.set()
        return person

    def _go(self, person: _Person) -> None:
        if not person.watchers and self._people.get(person.user_id) is person:
            del self._people[person.user_id]
            self._by_number.pop(person.number, None)
            self._changed.add(person.user_id)
            self._say.set()

    async def _registered(self, person: _Person) -> InboxCursors:
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await person.registered.wait()
        except TimeoutError:
            raise Unavailable("the store does not answer; ask again") from None
        if self._closing or self._cursors is None:
            raise ProcessEnds
        return self._cursors

    async def _say_who_is_here(self) -> None:
        """Tells the store who came and who went, and every second that this process lives."""
        while True:
            with contextlib.suppress(TimeoutError):
                waits = self._people or self._changed
                async with asyncio.timeout(SAY_EVERY_S if waits else None):
                    await self._say.wait()
            self._say.clear()
            changed = list(itertools.islice(self._changed, CHANGED_MAX))
            self._changed.difference_update(changed)
            if len(changed) == CHANGED_MAX:
                self._say.set()
            came = [user_id for user_id in changed if user_id in self._people]
            went = [user_id for user_id in changed if user_id not in self._people]
            try:
                self._heard(await self._store.online(self._session, self._place, came, went), came)
            except Exception as error:  # noqa: BLE001
                # Whatever it was, who comes later must not wait for ever; nor is it gone at once.
                log(logging.WARNING, "the store was not told who is online", why=error)
                self._changed.update(changed)
                self._say.clear()

    def _heard(self, answer: Online, came: list[str]) -> None:
        self._cursors = InboxCursors(answer.incarnation, answer.secret)
        if answer.since != self._known_since:
            # The store has started anew, or has not heard of this process for long: of those here
            # it knows the ones it was just told of.
            self._known_since = answer.since
            self._received = self._promised = max(self._received, answer.told)
            for user_id in self._people.keys() - set(came):
                self._forget(self._people[user_id])
            if self._changed:
                self._say.set()
        elif not self._dispatching:  # else more may wait in the socket
            if self._received < self._promised:
                self._all_behind("a frame was lost")
                self._received = self._promised
            self._promised = max(self._promised, answer.told)
            self._sure = max(self._sure, min(self._dispatched, answer.told))
        for user_id, number in zip(came, answer.numbers, strict=True):
            person = self._people.get(user_id)
            if person is not None:
                self._register(person, number, answer.change)

    def _forget(self, person: _Person) -> None:
        """Frames do not have this person any more, until the store has heard again."""
        person.told_of = False
        for watcher in person.watchers:
            watcher.leave(self._sure)
        self._by_number.pop(person.number, None)
        self._changed.add(person.user_id)

    def _register(self, person: _Person, number: int, change: int) -> None:
        if person.registered.is_set():
            for watcher in person.watchers:
                watcher.fall_behind(self._dispatched)
        person.since, person.told_of = change, True
        if number or person.number:
            self._number(person, number or person.number)
        person.registered.set()

    def _number(self, person: _Person, number: int) -> None:
        """From now on frames have this person, if the person is here still and the store knows.

        A frame may overtake the answer that says so. What it tells such a person is read after the
        answer; were it handed out, it would be taken for all that there was until then.
        """
        person.number = number
        if person.told_of and self._people.get(person.user_id) is person:
            self._by_number[number] = person

    def _all_behind(self, why: str) -> None:
        log(logging.INFO, "everybody who is online reads what may be missing", why=why)
        for person in self._people.values():
            for watcher in person.watchers:
                watcher.fall_behind(self._dispatched)

    # Frames

    async def _take_frames(self) -> None:
        while True:
            news: list[News] = []
            for payload in await self._frames.receive():
                passing(Point.LIVE_FRAME)
                received = self._understood(payload)
                if received is not None and self._is_new(received):
                    if received.after != self._received and self._cursors is not None:
                        self._all_behind("a frame was lost")
                    self._received = max(self._received, received.change)
                    news += received.news
            self._dispatching = True
            try:
                await self._dispatch(news)
            except Exception as error:  # noqa: BLE001
                # Whatever it was, who is online must not wait for ever for what comes after it.
                log(logging.ERROR, "news could not be handed on", why=error)
                self._all_behind("news could not be handed on")
            self._dispatching = False
            self._dispatched = self._received

    def _is_new(self, received: Frame) -> bool:
        """Whether it tells of anything that was not taken for lost, and read, before it came."""
        return received.session == self._session and received.change > self._received

    def _understood(self, payload: bytes) -> Frame | None:
        try:
            kind, body = unpack(payload)
            return frame(body) if kind is Kind.FRAME else None
        except WireError as error:
            log(logging.WARNING, "a frame was not understood", why=error)
            return None

    async def _dispatch(self, news: list[News]) -> None:
        """Hands news to those whom they concern, in order. How posts look to them is asked of many
        at once."""
        of_posts = [one for one in news if one.concern in _KINDS]
        looks = [look for some in _portions(of_posts) for look in await self._store.shown(some)]
        of_post = iter(looks)
        for one in news:
            if one.concern == Concern.NAMED:
                self._name(one.reason, one.post)
            elif one.concern == Concern.PERSON:
                for number in unseal(one.users, "people who are online"):
                    for watcher in self._watchers_of(number):
                        watcher.fall_behind(self._dispatched)
            else:
                self._hand_out(one, next(of_post))

    def _hand_out(self, news: News, looks: list[Alike]) -> None:
        """An event of a post to each who watches."""
        now_s = self._clock.monotonic_s()
        # What expires does so many at a time; all else is a change of its own.
        place = (news.change, news.post if news.reason == "expired" else 0)
        kind = _KINDS[Concern(news.concern)]
        for notification, users in looks:
            shape = next(self._shapes)
            item = _Item(place, kind, news.post, news.reason, notification, shape)
            for number in unseal(users, "people who are online"):
                for watcher in self._watchers_of(number):
                    watcher.put(item, now_s)

    def _watchers_of(self, number: int) -> Iterable[_Watcher]:
        person = self._by_number.get(number)
        return () if person is None else person.watchers

    def _name(self, user_id: str, number: int) -> None:
        """Somebody of whom nobody knew anything until now."""
        person = self._people.get(user_id)
        if person is not None:
            self._number(person, number)
            for watcher in person.watchers:
                watcher.fall_behind(self._dispatched)


def _portions(news: list[News]) -> Iterator[list[News]]:
    """So many at a time as a reader answers soon."""
    portion: list[News] = []
    size = 0
    for one in news:
        if portion and (len(portion) == NEWS_MAX or size + len(one.users) > NEWS_BYTES_MAX):
            yield portion
            portion, size = [], 0
        portion.append(one)
        size += len(one.users)
    if portion:
        yield portion


def _event_of(cursors: InboxCursors, person: _Person, item: _Item) -> Event:
    cursor = cursors.sign(person.user_id, *item.place)
    name = f"{item.post:x}.{person.number:x}"
    if item.notification is None:
        return Event(item.kind, cursor, id=name, reason=item.reason)
    at_post = item.place == (item.post, 0)  # as what was published is
    page_cursor = cursor if at_post else cursors.sign(person.user_id, item.post)
    mine = item.notification._replace(id=name, user_id=person.user_id, cursor=page_cursor)
    return Event(item.kind, cursor, mine, shape=item.shape)


def _told_of(
    cursors: InboxCursors, user_id: str, number: int, one: Happened, before: Place
) -> Event:
    """An event that was read."""
    cursor = cursors.sign(user_id, one.change, one.position)
    match one.kind:
        case EventKind.GAP:
            gap_from = cursors.sign(user_id, *before)
            return Event(EventKind.GAP, cursor, from_cursor=gap_from, to_cursor=cursor)
        case EventKind.REMOVED:
            name = f"{one.post:x}.{number:x}"
            return Event(EventKind.REMOVED, cursor, id=name, reason=one.reason)
        case kind:
            return Event(EventKind(kind), cursor, one.notification, reason=one.reason)


def _reset(cursors: InboxCursors, person: _Person, place: Place, reason: str) -> Event:
    return Event(EventKind.RESET, cursors.sign(person.user_id, *place), reason=reason)
