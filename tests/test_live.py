"""`Live` before a real store: whatever it could miss, it reads, and nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from farm.audience import BitMap, seal
from farm.client import NewPost, StoreClient
from farm.config import Child, Settings
from farm.errors import Corrupt, Internal, InvalidArgument, Unavailable
from farm.live import BEHIND_S_MAX, QUEUED_MAX, SAY_EVERY_S, Live
from farm.observe import ProcessMetrics
from farm.sockets import Sockets
from farm.wire import Alike, Event, EventKind, News, Online, Op
from tests.farm_process import wait_until
from tests.gateway.gateway_process import ChildProcess
from tests.store.harness import MovedClock
from tests.store.store_process import StoreProcess

pytestmark = pytest.mark.process

WITHIN_S = 20
POSTS_MEANWHILE = 40
FRAMES_LOST = 5_000  # more than the sockets between store and process hold
MISSING = "everybody who is online reads what may be missing"


class Here:
    """A process at which people are online: this one."""

    def __init__(self, store: StoreProcess) -> None:
        self.clock = MovedClock()
        self._sockets = Sockets()
        metrics = ProcessMetrics()
        self.client = StoreClient(
            self._sockets, store.addresses, name="here", readers=1, clock=self.clock,
            metrics=metrics,
        )  # fmt: skip
        self.live = Live(
            self._sockets, store.addresses, self.client, self.clock, metrics,
            session="here", place="here",
        )  # fmt: skip
        self._numbers = itertools.count()

    async def close(self) -> None:
        await self.live.close()
        self.client.close()
        self._sockets.close()

    async def publish(self, author: str, count: int = 1) -> list[str]:
        """The ids of so many posts, of one commit."""
        names = [f"{author} {next(self._numbers)}" for _ in range(count)]
        await self.client.publish_many([NewPost(name, author, "hello", None) for name in names])
        return names

    async def inbox(self, user: str) -> list[str]:
        """The ids of its notifications, oldest first."""
        found: list[str] = []
        cursor, more = "", True
        while more:
            page = await self.client.inbox(user, 100, cursor)
            found += [one.id for one in page.notifications]
            cursor, more = page.notifications[-1].cursor, page.has_more
        return found[::-1]


@pytest.fixture
def store() -> Iterator[StoreProcess]:
    """With a reader."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as directory:
        made = StoreProcess(Path(directory))
        settings = Settings(data_dir=directory, log_format="text")
        sockets = str(Path(directory) / "sockets")
        child = Child(role="reader", number=1, name="reader", sockets=sockets, settings=settings)
        wait_until((Path(directory) / "hark.db").exists, WITHIN_S)
        reader = ChildProcess(Path(directory), "farm.store.reader", child)
        yield made
        reader.process.kill()
        reader.process.wait()
        made.close()


@pytest.fixture
async def here(store: StoreProcess) -> AsyncIterator[Here]:
    made = Here(store)
    await made.client.follow("ann", "bob")
    yield made
    await made.close()


async def until(events: AsyncIterator[Event], last: Callable[[Event], bool]) -> list[Event]:
    """What comes, up to the first of which this is true."""
    found: list[Event] = []
    async with asyncio.timeout(WITHIN_S):
        async for event in events:
            found.append(event)
            if last(event):
                return found
    return found


def is_of(post_id: str) -> Callable[[Event], bool]:
    return lambda event: event.notification is not None and event.notification.post_id == post_id


def added(events: list[Event]) -> list[str]:
    return [e.notification.id for e in events if e.kind == EventKind.ADDED and e.notification]


async def test_a_place_lives_on_in_its_cursor(here: Here) -> None:
    async with here.live.watch("ann") as events:
        first = await anext(events)
        assert first.kind == EventKind.LIVE
        posts = await here.publish("bob", 5)
        found = await until(events, is_of(posts[-1]))
    cursor = found[2].cursor
    async with here.live.watch("ann", cursor) as events:
        live, *rest = await until(events, is_of(posts[-1]))
    assert (live.kind, live.cursor) == (EventKind.LIVE, cursor)
    assert added(rest) == added(found)[3:]
    with pytest.raises(InvalidArgument):
        async with here.live.watch("eve", cursor):
            pass


@pytest.mark.parametrize("noticed", ["by the next frame", "without another"])
async def test_lost_frames_are_noticed_and_what_they_told_is_read(
    here: Here, store: StoreProcess, noticed: str,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Fault row 121, of frames: the sockets hold so many, and this process stands still meanwhile.
    Among what is lost is the number of somebody who follows for the first time."""
    if noticed == "by the next frame":
        monkeypatch.setattr("farm.live.SAY_EVERY_S", WITHIN_S)
    caplog.set_level(logging.INFO, "hark")
    async with here.live.watch("ann") as events, here.live.watch("new") as of_new:
        assert (await anext(events)).kind == (await anext(of_new)).kind == EventKind.LIVE
        for number in range(FRAMES_LOST):
            if number == FRAMES_LOST - 100:
                store.write((Op.FOLLOW, "new", "bob"))
            store.write((Op.PUBLISH, f"lost {number}", "bob", "hello", 0, True))
        assert MISSING not in caplog.text
        last = f"lost {FRAMES_LOST - 1}"
        async with asyncio.timeout(WITHIN_S / 2):
            while noticed == "by the next frame" and MISSING not in caplog.text:
                (last,) = await here.publish("bob")
        found, found_by_new = await until(events, is_of(last)), await until(of_new, is_of(last))
        assert added(found) == await here.inbox("ann")
        assert added(found_by_new) == await here.inbox("new")
        assert MISSING in caplog.text
        (last,) = await here.publish("bob")
        assert len(await until(of_new, is_of(last))) == 1


async def test_who_takes_events_late_reads_what_was_too_much_for_the_queue(here: Here) -> None:
    posts: list[str] = []
    async with here.live.watch("ann") as events, here.live.watch("ann") as quick:
        assert (await anext(events)).kind == (await anext(quick)).kind == EventKind.LIVE
        for _ in range(3):
            posts = await here.publish("bob", QUEUED_MAX)
            assert len(added(await until(quick, is_of(posts[-1])))) == QUEUED_MAX
        assert added(await until(events, is_of(posts[-1]))) == await here.inbox("ann")
        (post,) = await here.publish("bob")
        for stream in (events, quick):
            (event,) = await until(stream, is_of(post))
            assert event.kind == EventKind.ADDED


async def test_who_never_catches_up_is_told_to_load_anew(here: Here) -> None:
    async with here.live.watch("ann") as events, here.live.watch("ann") as quick:
        assert (await anext(events)).kind == (await anext(quick)).kind == EventKind.LIVE
        posts = await here.publish("bob", QUEUED_MAX + 1)
        await until(quick, is_of(posts[-1]))
        here.clock.ahead_s += BEHIND_S_MAX + 1
        (reset,) = await until(events, lambda _: False)
        assert (reset.kind, reset.reason) == (EventKind.RESET, "too_slow")
        (post,) = await here.publish("bob")
        assert await until(quick, is_of(post)), "who keeps up goes on"
    async with here.live.watch("ann", reset.cursor) as events:
        found = await until(events, is_of(post))
    assert added(found) == (await here.inbox("ann"))[-len(added(found)) :]


async def test_somebody_unknown_is_there_from_their_first_follow_on(
    here: Here, store: StoreProcess
) -> None:
    """In the same commit as their coming, too: then their number comes before the answer."""
    for number in range(6):
        user, author = f"new {number}", f"author {number}"
        store.pause()
        watching = here.live.watch(user)
        coming = asyncio.ensure_future(watching.__aenter__())
        follow = (Op.FOLLOW, user, author)
        following = asyncio.create_task(asyncio.to_thread(store.write, follow))
        await asyncio.wait([coming, following], timeout=0.05)
        store.go_on()
        events, _ = await coming, await following
        assert (await anext(events)).kind == EventKind.LIVE
        posts = [*await here.publish(author), *await here.publish(author)]
        found = await until(events, is_of(posts[-1]))
        assert added(found) == await here.inbox(user)
        await here.client.retract(posts[0])
        (removed,) = await until(events, lambda event: event.kind == EventKind.REMOVED)
        assert removed.id == added(found)[0]
        await watching.__aexit__(None, None, None)


async def test_a_store_that_starts_again_hears_who_is_here(
    here: Here, store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are more than are told of at once, and posts come all the while."""
    monkeypatch.setattr("farm.live.CHANGED_MAX", 2)
    people = [f"fan {number}" for number in range(60)]
    await here.client.import_edges(people, ["bob"] * len(people))
    async with contextlib.AsyncExitStack() as stack:
        watches = [here.live.watch(user) for user in people]
        streams = await asyncio.gather(*map(stack.enter_async_context, watches))
        for stream in streams:
            assert (await anext(stream)).kind == EventKind.LIVE
        store.start_again()
        store.write((Op.PUBLISH, "while nobody is known", "bob", "hello", 0, True))
        posts = ["while nobody is known"]
        for _ in range(POSTS_MEANWHILE):
            posts += await here.publish("bob")
        found = await asyncio.gather(*(until(stream, is_of(posts[-1])) for stream in streams))
        for some in found:
            assert [e.notification.post_id for e in some if e.notification] == posts
        (post,) = await here.publish("bob")
        for stream in streams:
            (event,) = await until(stream, is_of(post))
            assert event.shape, "it came with a frame"


async def test_who_heard_nothing_for_long_has_missed_nothing_when_the_store_starts_again(
    here: Here, store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although what was between their last event and now is gone by then."""
    online, beats = here.client.online, asyncio.Queue[None]()

    async def counted(session: str, place: str, came: list[str], went: list[str]) -> Online:
        answer = await online(session, place, came, went)
        beats.put_nowait(None)
        return answer

    await here.client.follow("eve", "cat")
    async with here.live.watch("ann") as events, here.live.watch("eve") as others:
        assert (await anext(events)).kind == (await anext(others)).kind == EventKind.LIVE
        for post in [*await here.publish("cat", 1), *await here.publish("cat", 1)]:
            await until(others, is_of(post))
        found = await here.client.inbox("eve", 1)
        seq = int(found.notifications[0].id.partition(".")[0], 16)
        monkeypatch.setattr(here.client, "online", counted)
        for _ in range(2):
            await asyncio.wait_for(beats.get(), WITHIN_S)
        with contextlib.closing(apsw.Connection(str(store.log_path.with_name("hark.db")))) as db:
            db.set_busy_timeout(WITHIN_S * 1_000)
            db.execute("insert into expiry values(?, ?, ?)", (seq, seq - 1, seal(BitMap())))
        store.start_again()
        (post,) = await here.publish("bob")
        assert [event.kind for event in await until(events, is_of(post))] == [EventKind.ADDED]


async def test_a_frame_of_a_new_store_overtakes_its_answer(
    here: Here, store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened while the store knew nobody comes first all the same."""
    online, shown = here.client.online, here.client.shown
    published, taken = asyncio.Event(), asyncio.Event()

    async def late(session: str, place: str, came: list[str], went: list[str]) -> Online:
        if came:
            await published.wait()
        answer = await online(session, place, came, went)
        if came:
            await taken.wait()
        return answer

    async def noticed(news: list[News]) -> list[list[Alike]]:
        looks = await shown(news)
        taken.set()
        return looks

    async with here.live.watch("ann") as events:
        assert (await anext(events)).kind == EventKind.LIVE
        monkeypatch.setattr(here.client, "online", late)
        monkeypatch.setattr(here.client, "shown", noticed)
        store.start_again()
        posts = await here.publish("bob")
        published.set()
        while not taken.is_set():
            posts += await here.publish("bob")
        found = await until(events, is_of(posts[-1]))
        assert added(found) == await here.inbox("ann")


async def test_news_of_many_people_are_asked_for_in_portions(
    here: Here, store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader answers so many at once, and no later than it is cut; nobody waits longer."""
    shown = here.client.shown
    asked: list[int] = []

    async def counted(news: list[News]) -> list[list[Alike]]:
        asked.append(sum(len(one.users) for one in news))
        return await shown(news)

    monkeypatch.setattr("farm.live.NEWS_BYTES_MAX", 100)
    monkeypatch.setattr(here.client, "shown", counted)
    async with here.live.watch("ann") as events:
        assert (await anext(events)).kind == EventKind.LIVE
        posts = await here.publish("bob", 100)
        found = [e.notification for e in await until(events, is_of(posts[-1])) if e.shape]
    assert [one.post_id for one in found if one] == posts
    assert len(asked) > 1
    assert max(asked) <= 100


async def test_a_store_that_refuses_is_not_asked_all_the_time(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once it does not, everybody is told of who came meanwhile."""
    online = here.client.online
    refused = itertools.count()
    enough = asyncio.Event()

    async def refuse(*_: Any) -> Online:
        if next(refused):
            enough.set()
        raise Internal("no")

    monkeypatch.setattr(here.client, "online", refuse)
    watching = here.live.watch("ann")
    coming = asyncio.ensure_future(watching.__aenter__())
    before_s = here.clock.monotonic_s()
    await asyncio.wait_for(enough.wait(), WITHIN_S)
    assert here.clock.monotonic_s() - before_s > SAY_EVERY_S / 2
    monkeypatch.setattr(here.client, "online", online)
    assert (await anext(await coming)).kind == EventKind.LIVE
    await watching.__aexit__(None, None, None)


async def test_a_damaged_row_costs_an_answer_and_not_the_reader(
    here: Here, store: StoreProcess
) -> None:
    await here.client.follow("eve", "cat")
    await here.publish("bob")
    with contextlib.closing(apsw.Connection(str(store.log_path.with_name("hark.db")))) as database:
        database.execute("update author set newest = x'0102' where last_seq > 0")
    with pytest.raises(Corrupt):
        await here.client.events("ann", 1, 0, 10)
    assert await here.client.unread("eve") == 0


async def test_whoever_watches_is_sent_elsewhere_when_the_process_ends(here: Here) -> None:
    async with here.live.watch("ann") as events:
        assert (await anext(events)).kind == EventKind.LIVE
        waiting = asyncio.ensure_future(anext(events))
        await here.live.close()
        with pytest.raises(Unavailable):
            await waiting
    before_s = here.clock.monotonic_s()
    with pytest.raises(Unavailable, match="another"):
        async with here.live.watch("late"):
            pass
    assert here.clock.monotonic_s() - before_s < 1, "at once, as the process has not long to go"
