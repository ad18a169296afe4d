"""What gateway, web and tools call: the store and the supervisor as methods.

Writes are batched naturally: one request is in flight, and what is asked meanwhile goes out
together in the next, so load makes batches larger, not waits longer. Every reader has such a lane
of its own. A caller that gives up (a deadline, a cancelled call) never breaks the batch it is in.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import itertools
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Sequence
from functools import cache
from typing import Any, NamedTuple

from farm import wire
from farm.clock import Clock
from farm.errors import (
    HarkError,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    from_code,
)
from farm.limits import (
    MARKS_PER_CALL_MAX,
    NOTIFICATION_ID_CHARACTERS_MAX,
    check_content,
    check_created_at,
    check_id,
    check_not_self,
    check_text,
    check_token,
)
from farm.observe import ProcessMetrics, log
from farm.sockets import Addresses, Asker, Sockets
from farm.wire import Kind, Op, Query

ASK_TIMEOUT_S = 1.0  # then the same request is asked again
# From one request to the next while several callers come at a time, unless so many wait sooner:
# with more of them a request costs each of them hardly less.
GATHER_S = 0.003
GATHER_OPERATIONS = 12
GIVE_UP_S = 10.0  # then whoever is in it is told "unknown"
RETRY_AFTER_MS = 1_000
STEP_ASIDE_S = 0.25  # for so long many posts are refused at once, after most of so many were
MANY_POSTS = 100
BATCH_OPERATIONS_MAX = 4_096
# In one request: a reader answers all of them together, and reads the next ones while this process
# shows the answers. With all that wait in one, each would wait for the other to end.
READ_OPERATIONS_MAX = 16
# And what came last may go beyond it: an import of 16 MiB still leaves the request far below what
# the other side takes, and one that is larger would be sent again and again to nobody.
BATCH_BYTES_MAX = 8 * 1024 * 1024
# Beside those in flight. More writes would be answered late, so they are refused instead, at once;
# reads are bounded by whoever asks, and very many may ask at once for what they missed.
WRITES_WAITING_MAX = 1_024
READS_WAITING_MAX = 100_000

_FIELDS = ("post_id", "author_id", "content", "created_at")

# Operations that stay together, their size in bytes, and where their results go.
_Waiting = tuple[Sequence[Sequence[Any]], int, "asyncio.Future[Sequence[Any]]"]


class NewPost(NamedTuple):
    """A post to publish, as `StoreClient.publish` takes it."""

    post_id: str
    author_id: str
    content: str
    created_at_us: int | None


class Lane:
    """One request in flight to one server; what comes meanwhile is the next one.

    A store that answers at once would get a request from each caller of a crowd, and sending those
    costs this process more than all else it does for them. So after a batch of several the next
    one gathers for a moment; a caller who comes alone never waits.
    """

    def __init__(
        self,
        asker: Asker,
        kind: Kind,
        client: str,
        clock: Clock,
        *,
        operations_max: int,
        waiting_max: int,
    ) -> None:
        self._asker = asker
        self._kind = kind
        self._client = client
        self._clock = clock
        self._operations_max = operations_max
        self._waiting_max = waiting_max
        self._looks = wire.KnownLooks(wire.look)
        self._requests = itertools.count(1)
        self._waiting: deque[_Waiting] = deque()
        self._operations_waiting = 0
        self._silent_since_s: float | None = None  # the first question that has no answer yet
        self._wake = asyncio.Event()
        self._enough = asyncio.Event()  # gathered, for a request
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name=f"lane {kind.name.lower()}")

    @property
    def waiting(self) -> int:
        return self._operations_waiting

    def silent_s(self) -> float:
        """For how long nothing was answered although it was asked for; 0 while all was."""
        since_s = self._silent_since_s
        return 0.0 if since_s is None else self._clock.monotonic_s() - since_s

    def close(self) -> None:
        self._task.cancel()
        self._asker.close()

    async def call(self, operation: Sequence[Any]) -> Any:
        """What the operation answered; raises what it refused with."""
        return wire.value_of((await self.call_many((operation,)))[0])

    def call_many(self, operations: Sequence[Sequence[Any]]) -> asyncio.Future[Sequence[Any]]:
        """The results of operations that travel in one request, for `wire.value_of`. Raises
        `ResourceExhausted`, at once."""
        self.check_room()
        # Packed only to be weighed: it takes a microsecond, and no guess is right for all of them.
        size = len(wire.pack(self._kind, operations))
        future: asyncio.Future[Sequence[Any]] = self._loop.create_future()
        self._waiting.append((operations, size, future))
        self._operations_waiting += len(operations)
        self._wake.set()
        if self._operations_waiting >= GATHER_OPERATIONS:
            self._enough.set()
        return future

    def check_room(self) -> None:
        """Raises `ResourceExhausted` where so much waits that more would wait too long."""
        if self._operations_waiting >= self._waiting_max:
            raise ResourceExhausted(
                f"{self._operations_waiting} operations wait here already; ask again later",
                retry_after_ms=RETRY_AFTER_MS,
            )

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            started_s = self._clock.monotonic_s()
            batch = self._next_batch()
            if batch:
                await self._settle(batch)
            gather_s = started_s + GATHER_S - self._clock.monotonic_s()
            if len(batch) > 1 and gather_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(gather_s):
                        await self._enough.wait()

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        operations_left, bytes_left = self._operations_max, BATCH_BYTES_MAX
        while self._waiting and bytes_left > 0 and operations_left > 0:
            entry = self._waiting.popleft()
            self._operations_waiting -= len(entry[0])
            if not entry[2].cancelled():
                batch.append(entry)
                operations_left -= len(entry[0])
                bytes_left -= entry[1]
        if not self._waiting:
            self._wake.clear()
        if self._operations_waiting < GATHER_OPERATIONS:
            self._enough.clear()
        return batch

    async def _settle(self, batch: list[_Waiting]) -> None:
        """Asks for all of them and hands out the answers, or to each the same error."""
        operations = [operation for together, _, _ in batch for operation in together]
        try:
            results = await self._ask(operations)
        except HarkError as error:
            results = [wire.failed(error)] * len(operations)
        except Exception as error:  # noqa: BLE001
            # Whatever cannot be packed, sent or read must not end the lane for all who come after.
            log(logging.ERROR, "a request or its answer is broken", why=error)
            broken = Internal("the store and this process do not understand each other")
            results = [wire.failed(broken)] * len(operations)
        start = 0
        for together, _, future in batch:
            end = start + len(together)
            if not future.done():
                future.set_result(results[start:end])
            start = end

    async def _ask(self, operations: list[Sequence[Any]]) -> list[Any]:
        """The results. The same request is asked again, under its id, until `GIVE_UP_S`."""
        request = next(self._requests)
        payload = wire.pack(self._kind, self._client, request, operations)
        if self._silent_since_s is None:  # else also those before it had none
            self._silent_since_s = self._clock.monotonic_s()
        for _ in range(int(GIVE_UP_S / ASK_TIMEOUT_S)):
            with contextlib.suppress(Unavailable):
                kind, body = await self._asker.ask(payload, ASK_TIMEOUT_S)
                self._silent_since_s = None
                if kind is Kind.ANSWERS and body[0] == request and len(body[1]) == len(operations):
                    return wire.results_in(body, self._looks)
                if kind is Kind.FAULT:
                    raise Internal(f"the store did not understand: {body[0]}")
        raise Unavailable("the store does not answer; ask again with the same id")


class StoreClient:
    """The store, as its domain's verbs. Every method may raise `Unavailable`: ask again."""

    def __init__(
        self,
        sockets: Sockets,
        addresses: Addresses,
        *,
        name: str,
        readers: int,
        clock: Clock,
        metrics: ProcessMetrics,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        # The counter of an outcome; found by its labels anew, it took as long again as to count.
        self._published = cache(metrics.posts_published.labels)
        self._full_until_s: float | None = None  # from then on one call of many posts may try
        self._many_in_flight = 0
        self._writes = Lane(
            sockets.asker(addresses.store),
            Kind.WRITE,
            name,
            clock,
            operations_max=BATCH_OPERATIONS_MAX,
            waiting_max=WRITES_WAITING_MAX,
        )
        self._reads = [
            Lane(
                sockets.asker(addresses.reader(number)),
                Kind.READ,
                name,
                clock,
                operations_max=READ_OPERATIONS_MAX,
                waiting_max=READS_WAITING_MAX,
            )
            for number in range(1, readers + 1)
        ]

    def close(self) -> None:
        for lane in (self._writes, *self._reads):
            lane.close()

    def silent_s(self) -> float:
        """For how long the store has answered no write although there was one; 0 while it does."""
        return self._writes.silent_s()

    def _write(self, op: Op, *arguments: Any) -> Awaitable[Any]:
        return self._writes.call((op, *arguments))

    async def _read(self, query: Query, *arguments: Any) -> Any:
        return wire.value_of(await self._asked(query, *arguments))

    async def _read_looks(self, query: Query, *arguments: Any) -> tuple[Any, wire.Looks]:
        """What was read, and the looks of posts that it names by their places."""
        result = await self._asked(query, *arguments)
        return wire.value_of(result), result[2]

    async def _asked(self, query: Query, *arguments: Any) -> Sequence[Any]:
        for argument in arguments:
            if isinstance(argument, str):
                check_text(argument)
        lane = min(self._reads, key=lambda lane: lane.waiting)
        results = await lane.call_many(((query, *arguments),))
        result: Sequence[Any] = results[0]
        return result

    # Posts

    def admit(self, posts: int) -> None:
        """As `check_room`, where so many posts have come; if they are refused, they are counted."""
        try:
            self.check_room()
        except ResourceExhausted as refusal:
            self._published(_metric_of(refusal)).inc(posts)
            raise

    def check_room(self) -> None:
        """Raises `ResourceExhausted` where many posts would wait too long, or where the store has
        just refused most of as many, before anything is done for them. After a moment one call at
        a time finds out whether it still does."""
        self._writes.check_room()
        until_s = self._full_until_s
        if until_s is not None and (self._many_in_flight or self._clock.monotonic_s() < until_s):
            raise ResourceExhausted(
                "most posts are refused now; ask again later", retry_after_ms=RETRY_AFTER_MS
            )

    async def publish(
        self,
        post_id: str,
        author_id: str,
        content: str,
        created_at_us: int | None,
        *,
        must_be_known: bool = True,
        fields: tuple[str, str, str, str] = _FIELDS,
    ) -> wire.Published:
        """Makes a post and its fan-out durable. `created_at_us` None: now. `fields`: how the caller
        names them, for messages. Unless `must_be_known`, an unknown author has no audience.

        Raises `InvalidArgument`, `NotFound` (author), `AlreadyExists` (the id, with another author
        or content), `ResourceExhausted` (backlog or disk full): surely not stored.
        """
        started_s = self._clock.monotonic_s()
        outcome = "cancelled"
        try:
            check_id(fields[0], post_id)
            check_id(fields[1], author_id)
            check_content(fields[2], content)
            if created_at_us is None:
                created_at_us = self._clock.wall_us()
            check_created_at(fields[3], created_at_us)
            answer = wire.Published(
                *await self._write(
                    Op.PUBLISH, post_id, author_id, content, created_at_us, must_be_known
                )
            )
            outcome = "duplicate" if answer.duplicate else "ok"
            return answer
        except HarkError as error:
            outcome = error.name.lower()
            raise _in_words_of(fields, error) from None
        finally:
            self._published(outcome).inc()
            self._metrics.publish_duration.observe(self._clock.monotonic_s() - started_s)

    async def publish_many(self, posts: Sequence[NewPost]) -> list[wire.Published | HarkError]:
        """Publishes posts in one commit. Each has its own outcome, in order: what `publish` would
        return, or raise. Raises `Unavailable` where nobody answered for any of them.
        """
        started_s = self._clock.monotonic_s()
        told = Counter(cancelled=len(posts))
        try:
            outcomes = await self._publish_together(posts)
            told = Counter(map(_metric_of, outcomes))
            return outcomes
        except HarkError as error:
            told = Counter({_metric_of(error): len(posts)})
            raise
        finally:
            for name, count in told.items():
                self._published(name).inc(count)
            self._metrics.publish_duration.observe(self._clock.monotonic_s() - started_s)

    async def _publish_together(self, posts: Sequence[NewPost]) -> list[wire.Published | HarkError]:
        now_us = self._clock.wall_us()
        checked = [_checked(post, now_us) for post in posts]
        operations = [one for one in checked if not isinstance(one, HarkError)]
        self._many_in_flight += 1
        try:
            answers = await self._writes.call_many(operations) if operations else ()
        finally:
            self._many_in_flight -= 1
        if answers and all(answer[0] == Unavailable.code for answer in answers):
            raise from_code(*answers[0])
        answered = [_outcome(answer) for answer in answers]
        self._note_whether_full(answered)
        waiting = iter(answered)
        return [one if isinstance(one, HarkError) else next(waiting) for one in checked]

    def _note_whether_full(self, answered: Sequence[wire.Published | HarkError]) -> None:
        """By a new post that was taken; known ones are answered also where no new ones are."""
        refused = sum(isinstance(one, ResourceExhausted) for one in answered)
        if 2 * refused > max(len(answered), MANY_POSTS):
            self._full_until_s = self._clock.monotonic_s() + STEP_ASIDE_S
        elif any(isinstance(one, wire.Published) and not one.duplicate for one in answered):
            self._full_until_s = None

    async def post(self, post_id: str) -> wire.Post | None:
        """The post with its ledger, or None."""
        row = await self._read(Query.POST, post_id)
        return None if row is None else wire.post(row)

    async def retract(self, post_id: str) -> wire.Retracted:
        """Stops what waits and hides what was delivered; final. Again: the same answer.

        Raises `NotFound`.
        """
        check_id("post_id", post_id)
        return wire.Retracted(*await self._write(Op.RETRACT, post_id))

    async def preview(self, author_id: str) -> wire.Preview:
        """What publishing would do now. Raises `NotFound`."""
        check_id("author_id", author_id)
        return wire.Preview(*await self._read(Query.PREVIEW, author_id))

    async def explain(self, post_id: str, user_id: str) -> wire.Explanation:
        """Why a person did, or did not, get a notification of a post; also of unknown ones."""
        check_id("post_id", post_id)
        check_id("user_id", user_id)
        return wire.explanation(await self._read(Query.EXPLAIN, post_id, user_id))

    # Who follows whom

    async def follow(self, follower_id: str, author_id: str) -> bool:
        """True where it is new. Raises `InvalidArgument`, `ResourceExhausted` (too many)."""
        check_id("follower_id", follower_id)
        check_id("author_id", author_id)
        check_not_self("follower_id", follower_id, author_id)
        return bool(await self._write(Op.FOLLOW, follower_id, author_id))

    async def unfollow(self, follower_id: str, author_id: str) -> bool:
        """True where it ended a following."""
        check_id("follower_id", follower_id)
        check_id("author_id", author_id)
        return bool(await self._write(Op.UNFOLLOW, follower_id, author_id))

    async def mute(self, user_id: str, author_id: str) -> bool:
        """True where it is new. Raises `NotFound` where one of them is unknown."""
        check_id("user_id", user_id)
        check_id("author_id", author_id)
        check_not_self("user_id", user_id, author_id)
        return bool(await self._write(Op.MUTE, user_id, author_id))

    async def unmute(self, user_id: str, author_id: str) -> bool:
        """True where it ended a mute."""
        check_id("user_id", user_id)
        check_id("author_id", author_id)
        return bool(await self._write(Op.UNMUTE, user_id, author_id))

    async def import_edges(self, followers: list[str], authors: list[str]) -> wire.Imported:
        """Many follows in one commit, ids checked before; safe to send again."""
        row = await self._write(Op.IMPORT, followers, authors)
        return wire.Imported(row[0], row[1], [(at, why) for at, why in row[2]])

    async def number_people(self, user_ids: list[str]) -> list[int]:
        """The number of each, ids checked before; those who are new get one."""
        numbers: list[int] = await self._write(Op.NUMBER, user_ids)
        return numbers

    async def import_numbered(
        self, by_author: array.array[int], by_follower: array.array[int]
    ) -> tuple[int, array.array[int]]:
        """Many follows in one commit, each `author << 32 | follower`, and the same ones swapped, or
        none of these; all in order, none twice. How many are new, and those with which somebody
        would follow too many. Safe to send again."""
        both = by_author.tobytes(), by_follower.tobytes()
        row = await self._write(Op.IMPORT_NUMBERED, *both)
        return row[0], array.array("Q", row[1])

    async def import_known(self, digest: str) -> bool:
        """Whether a file of this SHA-256 was imported before."""
        return bool(await self._write(Op.IMPORT_KNOWN, digest))

    async def import_finished(self, digest: str) -> None:
        await self._write(Op.IMPORT_FINISHED, digest)

    async def followers(self, author_id: str, size: int, token: str) -> wire.People:
        """A page of followers. Raises `InvalidArgument` (token)."""
        check_id("author_id", author_id)
        check_token("page_token", token)
        return wire.People(*await self._read(Query.FOLLOWERS, author_id, size, token))

    async def following(self, user_id: str, size: int, token: str) -> wire.People:
        check_id("user_id", user_id)
        check_token("page_token", token)
        return wire.People(*await self._read(Query.FOLLOWING, user_id, size, token))

    async def user(self, user_id: str) -> wire.User | None:
        row = await self._read(Query.USER, user_id)
        return None if row is None else wire.User(*row)

    async def user_ids(self, sealed_numbers: bytes) -> list[str]:
        """The ids of a sealed set of user numbers, in ascending order of the numbers."""
        ids: list[str] = await self._read(Query.USER_IDS, sealed_numbers)
        return ids

    # Inbox

    async def inbox(
        self, user_id: str, size: int, after: str = "", *, unread_only: bool = False
    ) -> wire.InboxPage:
        """A page, newest first; empty for an unknown user. Raises `InvalidArgument` (after)."""
        check_token("after", after)
        asked = self._read_looks(Query.INBOX, user_id, size, after, unread_only)
        return wire.inbox_page(*await asked)

    async def delivered(self, user_id: str, size: int) -> list[wire.Notification]:
        """The newest `size` that were delivered, newest first."""
        return wire.notifications(*await self._read_looks(Query.DELIVERED, user_id, size))

    async def newest(self, user_id: str, size: int) -> list[wire.Notification]:
        """The newest, newest first, without cursors: half the work of a page with its count."""
        found, looks = await self._read_looks(Query.NEWEST, user_id, size)
        return wire.newest(found, user_id, looks)

    async def unread(self, user_id: str) -> int:
        """How many visible notifications are not marked as read; 0 of an unknown user."""
        return int(await self._read(Query.UNREAD, user_id))

    async def mark(self, user_id: str, notification_ids: list[str], *, read: bool) -> int:
        """Marks at most 1,000 as read or unread; another person's are left alone, and so is what
        is too long for an id: that does not travel. Returns how many are unread then.

        Raises `InvalidArgument`, `NotFound` (user).
        """
        check_id("user_id", user_id)
        if len(notification_ids) > MARKS_PER_CALL_MAX:
            raise InvalidArgument(
                f"notification_ids: are {len(notification_ids)}; at most {MARKS_PER_CALL_MAX}"
            )
        for notification_id in notification_ids:
            check_text(notification_id)
        fitting = [one for one in notification_ids if len(one) <= NOTIFICATION_ID_CHARACTERS_MAX]
        await self._write(Op.MARK, user_id, fitting, read)
        return await self.unread(user_id)

    async def mark_up_to(self, user_id: str, cursor: str) -> int:
        """Marks this one and all older ones as read. Returns how many are unread then.

        Raises `InvalidArgument` (a cursor of somebody else's), `NotFound` (user).
        """
        check_id("user_id", user_id)
        await self._write(Op.MARK_UP_TO, user_id, check_token("up_to", cursor))
        return await self.unread(user_id)

    # Live events, for `farm.live`

    async def online(
        self, session: str, place: str, came: list[str], went: list[str]
    ) -> wire.Online:
        """Says who is online at this process, which takes frames at `place`; also that it lives."""
        return wire.Online(*await self._write(Op.ONLINE, session, place, came, went))

    async def events(self, user_id: str, change: int, position: int, size: int) -> wire.Events:
        """Up to `size` events of somebody's inbox after a place in it."""
        return wire.events(*await self._read_looks(Query.EVENTS, user_id, change, position, size))

    async def shown(self, news: list[wire.News]) -> list[list[wire.Alike]]:
        """For each of the news, to whom the post looks how now."""
        return wire.alike(*await self._read_looks(Query.SHOWN, news))

    # Operations

    async def dead_letters(self, size: int, token: str = "") -> wire.DeadLetters:
        """A page of dead letters by channel and error. Raises `InvalidArgument` (token)."""
        check_token("page_token", token)
        return wire.dead_letters(await self._read(Query.DEAD_LETTERS, size, token))

    async def replay(self, group_id: str, *, dry_run: bool = False) -> wire.Replayed:
        """Gives the dead letters of a group another try, less those who are not to be told any
        more. In steps, so that nobody waits for a large group. Raises `NotFound`."""
        check_text(group_id)
        replayed, skipped, place = 0, Counter[str](), ""
        while True:
            step = wire.Replayed(*await self._write(Op.REPLAY, group_id, place, dry_run))
            replayed += step.replayed
            skipped.update(step.skipped)
            place = step.next_place
            if not place:
                return wire.Replayed(replayed, dict(skipped), "")

    async def stats(self) -> wire.Stats:
        """The store's totals and state; cheap, whatever is stored."""
        return wire.stats(await self._write(Op.STATS))

    async def sweep(self) -> wire.Sweep:
        """What the background sweep last found."""
        return wire.Sweep(*await self._reads[0].call((Query.SWEEP,)))  # only the first one sweeps

    async def begin_backup(self, target: str) -> None:
        """Lets the store begin a copy of itself in a new file, named by its whole path. Raises
        `InvalidArgument`, `AlreadyExists`, `ResourceExhausted` (another is being made)."""
        await self._write(Op.BACKUP, check_text(target))

    async def backup_progress(self) -> tuple[int, int]:
        """(pages copied, pages in all) of the newest, equal once it is there. Raises `NotFound`,
        `ResourceExhausted` (no room: there is no file)."""
        copied, total = await self._write(Op.BACKUP_PROGRESS)
        return copied, total

    async def sessions(self, living: list[str]) -> None:
        """Tells the store which worker sessions live; the leases of others come back uncounted."""
        await self._write(Op.SESSIONS, living)

    async def session_died(self, session: str) -> None:
        """Tells the store that a worker died with its leases."""
        await self._write(Op.SESSION_DIED, session)


def _in_words_of(fields: Sequence[str], error: HarkError) -> HarkError:
    """The error with the caller's name of the field it speaks of; the store knows its own."""
    for ours, theirs in zip(_FIELDS, fields, strict=True):
        if ours != theirs and error.message.startswith(f"{ours} "):
            return from_code(
                error.code, theirs + error.message.removeprefix(ours), error.retry_after_ms
            )
    return error


def _checked(post: NewPost, now_us: int) -> tuple[Any, ...] | HarkError:
    """The operation that publishes it, or why it cannot be."""
    post_id, author_id, content, created_at_us = post
    try:
        check_id("post_id", post_id)
        check_id("author_id", author_id)
        check_content("content", content)
        time_us = now_us if created_at_us is None else check_created_at("created_at", created_at_us)
    except InvalidArgument as refusal:
        return refusal
    return (Op.PUBLISH, post_id, author_id, content, time_us, True)


def _outcome(answer: Sequence[Any]) -> wire.Published | HarkError:
    return wire.Published(*answer[1]) if answer[0] == 0 else from_code(*answer)


def _metric_of(outcome: wire.Published | HarkError) -> str:
    if isinstance(outcome, HarkError):
        return outcome.name.lower()
    return "duplicate" if outcome.duplicate else "ok"


class FarmClient:
    """The supervisor: which processes there are, and how many workers there shall be."""

    def __init__(self, sockets: Sockets, addresses: Addresses) -> None:
        self._asker = sockets.asker(addresses.supervisor)
        self._turn = asyncio.Lock()  # a REQ socket has one question at a time

    def close(self) -> None:
        self._asker.close()

    async def state(self) -> wire.FarmState:
        """Raises `Unavailable` while the supervisor does not answer."""
        return await self._ask(None)

    async def set_workers(self, workers: int) -> wire.FarmState:
        """Raises `InvalidArgument` outside 1 to 64. Answers before new ones serve."""
        return await self._ask(workers)

    async def _ask(self, workers: int | None) -> wire.FarmState:
        async with self._turn:
            kind, body = await self._asker.ask(wire.pack(Kind.FARM, workers), 2.0)
        if kind is not Kind.FARM:
            raise Internal(f"the supervisor did not understand: {body[0]}")
        return wire.farm_state(wire.value_of(body[0]))
