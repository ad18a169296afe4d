"""Live inboxes by hark.v1: what comes, in which order, and what a cut leaves out: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest

from farm.client import StoreClient
from farm.clock import SystemClock
from farm.live import Live
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets, socket_directory
from farm.wire import Event, EventKind
from gateway.inbox import InboxService, Watched, watched
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import ROOT, FarmProcess, StartFarm, wait_until
from tests.gateway.conftest import NewId
from tests.web.relay import Relay

pytestmark = pytest.mark.process
WITHIN_S = 20.0
Watch = hark_pb2.WatchNotificationsRequest
SETTLED = {hark_pb2.NOTIFICATION_STATUS_DELIVERED, hark_pb2.NOTIFICATION_STATUS_FAILED}


class Person:
    """Somebody who follows somebody, and what both can do."""

    def __init__(self, channel: grpc.Channel, user: str, author: str) -> None:
        self.id, self.author = user, author
        self.inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
        self._publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        self._graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
        self._graph.Follow(hark_pb2.FollowRequest(follower_id=user, author_id=author))

    def publish(self, contents: Iterable[str]) -> list[str]:
        """The ids of the posts."""
        posts = [hark_pb2.PublishPostRequest(author_id=self.author, content=c) for c in contents]
        done = self._publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=posts))
        return [one.ok.post_id for one in done.results]

    def retract(self, post_id: str) -> None:
        self._publisher.RetractPost(hark_pb2.RetractPostRequest(post_id=post_id))

    def mute(self) -> None:
        self._graph.Mute(hark_pb2.MuteRequest(user_id=self.id, author_id=self.author))

    def page(self) -> hark_pb2.ListNotificationsResponse:
        page: hark_pb2.ListNotificationsResponse = self.inbox.ListNotifications(
            hark_pb2.ListNotificationsRequest(user_id=self.id, page_size=100)
        )
        return page

    def watch(self, since: str = "") -> Any:
        """The stream behind its first event."""
        stream = self.inbox.WatchNotifications(
            Watch(user_id=self.id, since=since), timeout=WITHIN_S
        )
        live = next(stream)
        assert live.WhichOneof("event") == "live"
        assert live.cursor == since or not since
        return stream

    def wait_settled(self) -> None:
        wait_until(lambda: {one.status for one in self.page().notifications} <= SETTLED, 10)


@pytest.fixture
def person(channel: grpc.Channel, new_id: NewId) -> Person:
    return Person(channel, new_id(), new_id())


def next_of(stream: Any, kind: str) -> Any:
    """The next event of a kind, those before it left aside."""
    for event in stream:
        if event.WhichOneof("event") == kind:
            return event
    raise AssertionError(f"it ended without {kind}")


def numbers(count: int) -> list[str]:
    return [f"{number}" for number in range(count)]


def number_of(notification: hark_pb2.Notification) -> int:
    return int(notification.content.rpartition(": ")[2])


# What comes


def test_posts_come_in_their_order(person: Person) -> None:
    stream = person.watch()
    person.publish(numbers(30))
    added = [next_of(stream, "added") for _ in range(30)]
    assert [number_of(one.added) for one in added] == list(range(30))
    assert {one.added.user_id for one in added} == {person.id}
    assert len({one.cursor for one in added}) == 30
    newest_first = person.page().notifications
    assert [one.added.id for one in reversed(added)] == [one.id for one in newest_first]


def test_what_changes_comes_as_it_is_then(person: Person) -> None:
    stream = person.watch()
    (post,) = person.publish(["hello"])
    first = next_of(stream, "added").added
    while first.status not in SETTLED:
        first = next_of(stream, "updated").updated
    mark = hark_pb2.MarkReadRequest(user_id=person.id, notification_ids=[first.id])
    person.inbox.MarkRead(mark)
    read = next_of(stream, "updated").updated
    assert (read.id, read.read, read.status) == (first.id, True, first.status)
    person.retract(post)
    removed = next_of(stream, "removed").removed
    assert (removed.id, removed.reason) == (first.id, "retracted")


def test_what_changes_much_at_once_is_a_reset(person: Person) -> None:
    person.publish(numbers(101))
    stream = person.watch(person.page().live_cursor)
    person.mute()
    reset = next_of(stream, "reset")
    assert reset.reset.reason == "many_changed"
    assert not person.page().notifications
    assert person.watch(reset.cursor)


def test_a_gateway_knows_who_is_online(hark: FarmProcess, person: Person) -> None:
    before = subscribers(hark)
    streams = [person.watch() for _ in range(20)]
    wait_until(lambda: subscribers(hark) == before + 20)
    for one in streams:
        one.cancel()
    wait_until(lambda: subscribers(hark) == before)


def subscribers(hark: FarmProcess) -> float:
    with urllib.request.urlopen(f"http://{hark.http_address}/metrics") as answer:
        lines: list[str] = answer.read().decode().splitlines()
    return sum(
        float(line.split()[1]) for line in lines if line.startswith("hark_live_subscribers ")
    )


REFUSALS = {
    "nobody": (Watch(), "user_id: is 0 bytes long; must be 1 to 128 bytes of UTF-8"),
    "forged": (
        Watch(user_id="user1", since="x"),
        "since: was not given out here for this; leave it out",
    ),
}


@pytest.mark.parametrize("which", REFUSALS)
def test_refusals(person: Person, which: str) -> None:
    request, sentence = REFUSALS[which]
    with pytest.raises(grpc.RpcError) as refusal:
        next(person.inbox.WatchNotifications(request, timeout=WITHIN_S))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == sentence


def test_the_cursor_of_somebody_else_is_refused(person: Person) -> None:
    request = Watch(user_id="user1", since=person.page().live_cursor)
    with pytest.raises(grpc.RpcError) as refusal:
        next(person.inbox.WatchNotifications(request, timeout=WITHIN_S))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_silence_is_broken_by_heartbeats(hark: FarmProcess, person: Person) -> None:
    async with inbox_service(hark, heartbeat_s=0.05) as service:
        stream = service.watch_notifications(Watch(user_id=person.id))
        live = await anext(stream)
        for beat in [await anext(stream) for _ in range(3)]:
            assert (beat.WhichOneof("event"), beat.cursor) == ("heartbeat", live.cursor)
            assert abs(beat.heartbeat.seconds - time.time()) < 5
        await asyncio.to_thread(person.publish, ["x"])
        while (event := await anext(stream)).WhichOneof("event") != "added":
            assert event.WhichOneof("event") == "heartbeat"
        last = event.cursor
        while (event := await anext(stream)).WhichOneof("event") != "heartbeat":
            last = event.cursor
        assert event.cursor == last
        await stream.aclose()


@contextlib.asynccontextmanager
async def inbox_service(hark: FarmProcess, *, heartbeat_s: float) -> AsyncIterator[InboxService]:
    """One in this process, at the store of a farm."""
    sockets, addresses = Sockets(), Addresses(socket_directory(hark.data_dir))
    clock, metrics = SystemClock(), ProcessMetrics()
    store = StoreClient(
        sockets, addresses, name="test-watch", readers=1, clock=clock, metrics=metrics
    )
    live = Live(sockets, addresses, store, clock, metrics, session="test-watch", place="test-1")
    try:
        yield InboxService(store, live, clock, heartbeat_s=heartbeat_s)
    finally:
        await live.close()
        store.close()
        sockets.close()


EVENTS: dict[str, tuple[Event, Watched]] = {
    "live": (Event(EventKind.LIVE, "c"), Watched(live=hark_pb2.Live(), cursor="c")),
    "removed": (
        Event(EventKind.REMOVED, "c", id="1f.3", reason="expired"),
        Watched(removed=hark_pb2.Removed(id="1f.3", reason="expired"), cursor="c"),
    ),
    "gap": (
        Event(EventKind.GAP, "c", from_cursor="a", to_cursor="b"),
        Watched(gap=hark_pb2.Gap(from_cursor="a", to_cursor="b"), cursor="c"),
    ),
    "reset": (
        Event(EventKind.RESET, "c", reason="too_slow"),
        Watched(reset=hark_pb2.Reset(reason="too_slow"), cursor="c"),
    ),
}


@pytest.mark.parametrize("which", EVENTS)
def test_events_are_as_in_the_interface(which: str) -> None:
    event, message = EVENTS[which]
    assert watched(event) == message


# Cuts


def test_a_stream_goes_on_behind_any_of_its_events(person: Person) -> None:
    """Resumed behind each: what is known then, and what comes, make the inbox as it is."""
    begin = person.page().live_cursor
    stream = person.watch(begin)
    posts = person.publish(numbers(12))
    person.wait_settled()
    person.retract(posts[5])
    events = list(until_removed(stream))
    assert {one.WhichOneof("event") for one in events} >= {"added", "updated", "removed"}
    now = {one.id: (one.status, one.read) for one in person.page().notifications}
    for number in range(len(events) + 1):
        known, cursor = inbox_of(events[:number]), [begin, *(one.cursor for one in events)][number]
        resumed = person.watch(cursor)
        (last,) = person.publish(["the end"])
        after = list(until_added(resumed, last))
        added = [one.added.id for one in after if one.WhichOneof("event") == "added"]
        assert not set(added[:-1]) & set(known)
        whole = inbox_of(after, known)
        whole.pop(added[-1])
        assert whole == now
        person.retract(last)
        wait_until(lambda: len(person.page().notifications) == len(now))


def until_removed(stream: Any) -> Iterable[Any]:
    for event in stream:
        yield event
        if event.WhichOneof("event") == "removed":
            return


def until_added(stream: Any, post_id: str) -> Iterable[Any]:
    for event in stream:
        yield event
        if event.added.post_id == post_id:
            stream.cancel()
            return


def inbox_of(events: Iterable[Any], before: Any = ()) -> dict[str, tuple[int, bool]]:
    """What somebody knows by them."""
    known = dict(before)
    for event in events:
        match event.WhichOneof("event"):
            case "added":
                assert event.added.id not in known
                known[event.added.id] = (event.added.status, event.added.read)
            case "updated":
                if event.updated.id in known:
                    known[event.updated.id] = (event.updated.status, event.updated.read)
            case "removed":
                known.pop(event.removed.id, None)
            case _:
                pass
    return known


async def test_random_cuts_leave_nothing_out(hark: FarmProcess, person: Person) -> None:
    """The connection ends after some hundred bytes, wherever that is, again and again."""
    chance = random.Random(2026)
    known: dict[str, tuple[int, bool]] = {}
    order: list[int] = []
    cursor, cuts = person.page().live_cursor, 0
    writing = asyncio.create_task(asyncio.to_thread(write, person, POSTS))
    async with Relay(hark.grpc_address).running() as relay:
        while POSTS not in order:
            relay.back_bytes_max = chance.randrange(150, 900)
            request = Watch(user_id=person.id, since=cursor)
            async with contextlib.aclosing(until_cut(relay.address, request)) as events:
                async for event in events:
                    known = inbox_of([event], known)
                    if event.WhichOneof("event") == "added":
                        order.append(number_of(event.added))
                    cursor = event.cursor
                    if POSTS in order:
                        break
            cuts += 1
    await writing
    assert order == sorted(set(order))
    # What is taken back while nobody listens is never heard of.
    assert {number for number in range(POSTS) if number % 10 != 7} <= set(order)
    assert cuts > POSTS // 2, cuts

    assert known == {one.id: (one.status, one.read) for one in all_pages(person)}


POSTS = 100


def write(person: Person, posts: int) -> None:
    """So many posts, some of them read or taken back, and when all is settled a last one."""
    for number in range(posts):
        (post,) = person.publish([f"{number}"])
        if number % 10 == 3:
            newest = person.page().notifications[0]
            mark = hark_pb2.MarkReadRequest(user_id=person.id, notification_ids=[newest.id])
            person.inbox.MarkRead(mark)
        if number % 10 == 7:
            person.retract(post)
    wait_until(lambda: {one.status for one in all_pages(person)} <= SETTLED, 20)
    person.publish([f"{posts}"])


def all_pages(person: Person) -> list[hark_pb2.Notification]:
    found, cursor = [], ""
    while True:
        request = hark_pb2.ListNotificationsRequest(user_id=person.id, page_size=100, after=cursor)
        page = person.inbox.ListNotifications(request)
        found += page.notifications
        cursor = page.next_cursor
        if not cursor:
            return found


async def until_cut(address: str, request: Watch) -> AsyncGenerator[Any]:
    """What comes over a connection of its own before it ends."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for event in inbox.WatchNotifications(request, timeout=WITHIN_S):
                yield event


# Too slow, and the end


def test_who_reads_late_misses_nothing(person: Person) -> None:
    stream = person.watch()
    for first in range(0, 1_000, 200):  # more than HTTP/2 lets be on its way, and than is kept
        person.publish([f"{'x' * 8_192}: {n}" for n in range(first, first + 200)])
    assert [number_of(next_of(stream, "added").added) for _ in range(1_000)] == [*range(1_000)]


@pytest.mark.slow
def test_who_does_not_read_is_not_waited_for_in_memory(hark: FarmProcess, person: Person) -> None:
    stream = person.watch()
    (gateway,), before = hark.pids("gateway"), 0.0
    for first in range(0, 16_000, 200):
        person.publish([f"{'x' * 16_000}: {n}" for n in range(first, first + 200)])
        if first == 4_000:  # what it needs for its work, it has by now
            before = resident_mb(gateway)
    assert resident_mb(gateway) - before < 64  # of 192 that nobody has read
    stream.cancel()


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_who_watches_is_sent_elsewhere_by_sigterm(farm: StartFarm) -> None:
    hark = farm("--workers", "1")
    with grpc.insecure_channel(hark.grpc_address) as channel:
        inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
        streams = [inbox.WatchNotifications(Watch(user_id="user2"), timeout=20) for _ in range(50)]
        for one in streams:
            assert next(one).WhichOneof("event") == "live"
        hark.signal(signal.SIGTERM)
        begin_s = time.monotonic()
        for one in streams:
            with pytest.raises(grpc.RpcError) as end:
                next(one)
            assert end.value.code() is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - begin_s < 3.5  # calls are waited for 4 s, and these were not
        assert hark.wait() == 0
    assert "Traceback" not in hark.log()


def test_whoever_is_about_to_watch_is_sent_elsewhere_by_sigterm(farm: StartFarm) -> None:
    """Ended while its first event is on its way, a call is refused like any other."""
    hark = farm("--workers", "1")
    with grpc.insecure_channel(hark.grpc_address) as channel:
        inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
        streams = [inbox.WatchNotifications(Watch(user_id="user2"), timeout=20) for _ in range(500)]
        assert next(streams[0]).WhichOneof("event") == "live"
        hark.signal(signal.SIGTERM)
        for one in streams:
            with pytest.raises(grpc.RpcError) as end:
                list(one)
            assert end.value.code() is grpc.StatusCode.UNAVAILABLE
        assert hark.wait() == 0
    assert "Traceback" not in hark.log()


@pytest.mark.slow
def test_who_is_gone_without_a_word_is_found_out(hark: FarmProcess, person: Person) -> None:
    """By pings that nobody answers. Who pings often and asks nothing stays welcome."""
    before = subscribers(hark)
    options = [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_permit_without_calls", 1)]
    states: list[grpc.ChannelConnectivity] = []
    with grpc.insecure_channel(hark.grpc_address, options) as polite:
        polite.subscribe(states.append, try_to_connect=True)
        stream = person.inbox.WatchNotifications(Watch(user_id=person.id))
        command = [sys.executable, "-m", "farm", "--grpc", hark.grpc_address, "inbox", "user2"]
        process = subprocess.Popen([*command, "--watch"], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: subscribers(hark) == before + 2, 10)
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: subscribers(hark) == before + 1, 25)
        finally:
            process.kill()
            process.wait()
        polite.unsubscribe(states.append)
    assert next_of(stream, "heartbeat").cursor
    assert states[-1] is grpc.ChannelConnectivity.READY
    assert states.count(grpc.ChannelConnectivity.READY) == 1
