"""Reading: inboxes, posts, people. The inbox is asked, not written.

Who sees what, `sources.py` says; list and count both come from it. A page is found by merging the
newest posts of the authors whom a person follows, so N posts need at most N authors.
"""

from __future__ import annotations

import heapq
import sys
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from farm.audience import BitMap, unseal
from farm.cursor import END, InboxCursors, Signer
from farm.errors import Corrupt
from farm.lifecycle import REST, Part, Reason, State, part_of
from farm.store.ledger import ledger_of
from farm.store.sources import Seen, Source
from farm.store.storage import NO_SEQ, PartRow, PostRow, Snapshot
from farm.wire import Delivery, InboxPage, Look, Newest, Notification, People, Post, User

SEGMENTS_CACHED_MAX = 1_024
KEPT_KIB_MAX = 16 * 1024  # of posts, and as much of where people stand
DELIVERED_LOOKED_AT_MAX = 2_000

# With several channels a notification is what the first of these says that any channel says.
_FIRST_SAYS = (
    State.DELIVERED, State.RETRYING, State.QUEUED, State.DEAD, State.SUPPRESSED, State.RETRACTED,
)  # fmt: skip

_STATES = {state.value: state for state in State}

_Shown = tuple[PostRow, Source]  # a post, and whose it is as far as a person sees it
_ByChannel = list[tuple[str, list[PartRow]]]
_Standing = tuple[str, PartRow]  # a channel, and the part in which somebody is there


class _Batches:
    """The batches of one post and segment: where its people are, channel by channel."""

    def __init__(self, members: BitMap, by_channel: _ByChannel) -> None:
        self.members = members
        self.looks: dict[object, Look] = {}  # by whether it is read, and the parts
        self._by_channel = by_channel
        self.undivided = all(len(rows) == 1 and rows[0].part == REST for _, rows in by_channel)

    @property
    def kib(self) -> int:
        """What it takes; a member of a segment two bytes, though posts have segments in common."""
        kib = 1 + (len(self.members) >> 9)
        if not self.undivided:
            parts = (row for _, rows in self._by_channel for row in rows)
            kib += sum(len(row.members or b"") for row in parts) >> 10
        return kib

    def standing(self, number: int) -> list[_Standing]:
        return [(name, _part_with(number, rows)) for name, rows in self._by_channel]

    def key(self, number: int, *, read: bool) -> object:
        """The same for all to whom the post looks alike; where nobody is an exception, `read`."""
        return (read, *(row.part for _, row in self.standing(number)))


def look_of(post: PostRow, deliveries: list[Delivery], *, read: bool) -> Look:
    """How a post looks to anybody to whom it went like this."""
    if len(deliveries) == 1:
        _, state, attempts, _, _ = deliveries[0]
    else:
        states = {delivery.state for delivery in deliveries}
        state = next((state for state in _FIRST_SAYS if state in states), State.QUEUED)
        attempts = max((delivery.attempts for delivery in deliveries), default=0)
    return Look(
        post.seq, post.id, post.author_id, post.content, post.created_at_us,
        read, state, attempts, deliveries,
    )  # fmt: skip


def _part_with(number: int, rows: list[PartRow]) -> PartRow:
    """The row of the part of a batch in which a person of its segment is."""
    if len(rows) == 1 and rows[0].part == REST:
        return rows[0]
    for row in rows:
        if row.part != REST and row.members is not None:
            what = f"post {row.post} segment {row.segment} part {row.part}"
            if number in unseal(row.members, what):
                return row
    return next(row for row in rows if row.part == REST)


class SegmentCache:
    """Decoded segments. One that a post refers to never changes, so nothing is ever stale."""

    def __init__(self) -> None:
        self._members: OrderedDict[int, BitMap] = OrderedDict()

    def members(self, snapshot: Snapshot, segment: int) -> BitMap:
        members = self._members.get(segment)
        if members is None:
            members = unseal(snapshot.members(segment), f"segment {segment}")
            self._members[segment] = members
            if len(self._members) > SEGMENTS_CACHED_MAX:
                self._members.popitem(last=False)
        else:
            self._members.move_to_end(segment)
        return members


class PostCache:
    """What is known of posts beyond a moment: first what they were when they were read, and
    verified. Nothing of a post changes but whether it is retracted, and no seq is given twice: so
    nothing else of one is ever stale. Whether a post is still there to see, its author's list says,
    which is not kept."""

    def __init__(self) -> None:
        self._posts: dict[int, PostRow] = {}
        self._batches: dict[tuple[PartRow, ...], _Batches] = {}
        self._kib = 0

    def posts(self, snapshot: Snapshot, seqs: list[int]) -> dict[int, PostRow]:
        """Those that are there, and others."""
        missing = [seq for seq in seqs if seq not in self._posts]
        if missing:
            read = snapshot.posts(missing)
            kib = sum(map(_kib_of, read.values()))
            if self._kib + kib > KEPT_KIB_MAX:
                self._forget()
                if len(missing) < len(seqs):
                    return self.posts(snapshot, seqs)
            self._posts.update(read)
            self._kib += kib
        return self._posts

    def batches(self, seq: int, members: BitMap, by_channel: _ByChannel) -> _Batches:
        """A post's, of these rows. Where nobody is an exception and the rows are as they were
        before, they are what was made of them then, with how the post looks."""
        rows = tuple([row for _, some in by_channel for row in some])
        found = self._batches.get(rows)
        if found is None:
            found = _Batches(members, by_channel)
            if self._kib > KEPT_KIB_MAX:
                self._forget()
            post = self._posts.get(seq)
            if post is not None and found.undivided:
                # It may look read and unread, and each look is kept as it is and as it is sent.
                self._kib += found.kib + 4 * _kib_of(post)
                self._batches[rows] = found
        return found

    def _forget(self) -> None:
        self._posts, self._batches, self._kib = {}, {}, 0


def _kib_of(post: PostRow) -> int:
    return 1 + (sys.getsizeof(post.content) >> 10)


class Reading:
    """The questions that readers answer, all of one moment, however long that lasts."""

    def __init__(
        self, snapshot: Snapshot, segments: SegmentCache, posts: PostCache | None = None
    ) -> None:
        self._snapshot = snapshot
        self._segments = segments
        self._posts = posts or PostCache()
        self._channels = snapshot.channels()
        self._meta = snapshot.meta()
        self._signer = Signer(self._meta.secret)
        self._cursors = InboxCursors(self._meta.incarnation, self._meta.secret)
        self._known_batches: dict[int, list[_Batches]] = {}  # by post, one for each segment
        self._known_kib = 0

    # Inboxes

    def inbox(self, user_id: str, size: int, after: str, unread_only: bool) -> InboxPage:  # noqa: FBT001
        """A page, newest first. Raises `InvalidArgument` for a cursor of somebody else's, or of
        another store."""
        before = NO_SEQ
        if after:
            place = self._cursors.read(user_id, after, "after")
            # Behind everything that a change did comes also what it published.
            before = place.change + 1 if place.position == END else place.change
        live = self._cursors.sign(user_id, self._meta.change, END)
        number = self._snapshot.number_of(user_id)
        if number is None:
            return InboxPage([], has_more=False, unread=0, live_cursor=live)
        seen = Seen(self._snapshot, number)
        found = self._first(size + 1, seen, before, unread_only=unread_only)
        return InboxPage(
            self._notifications(user_id, number, found[:size]),
            has_more=len(found) > size,
            unread=seen.unread,
            live_cursor=live,
        )

    def newest(self, user_id: str, size: int) -> Newest | None:
        """How the newest look; None to an unknown person. Half the work of a page."""
        number = self._snapshot.number_of(user_id)
        if number is None:
            return None
        found = self._first(size, Seen(self._snapshot, number), NO_SEQ, unread_only=False)
        return Newest(number, self._looks(number, found))

    def unread(self, user_id: str) -> int:
        """How many the list of unread ones would have; 0 of an unknown person."""
        number = self._snapshot.number_of(user_id)
        if number is None:
            return 0
        return Seen(self._snapshot, number).unread

    def delivered(self, user_id: str, size: int) -> list[Notification]:
        """The newest that were delivered, newest first."""
        number = self._snapshot.number_of(user_id)
        if number is None:
            return []
        seen = Seen(self._snapshot, number)
        found: list[Notification] = []
        looked_at = 0
        for some in self._shown(seen, NO_SEQ, size, unread_only=False):
            notifications = self._notifications(user_id, number, some)
            found += [one for one in notifications if one.state is State.DELIVERED]
            looked_at += len(some)
            if len(found) >= size or looked_at >= DELIVERED_LOOKED_AT_MAX:
                break
        return found[:size]

    def _first(self, count: int, seen: Seen, before: int, *, unread_only: bool) -> list[_Shown]:
        """So many of the visible posts below `before`, newest first, or as many as there are."""
        found: list[_Shown] = []
        for some in self._shown(seen, before, count, unread_only=unread_only):
            found += some
            if len(found) >= count:
                break
        return found[:count]

    def _shown(
        self, seen: Seen, before: int, together: int, *, unread_only: bool
    ) -> Iterator[list[_Shown]]:
        """The visible posts below `before`, newest first, so many at a time."""
        merged = _merged(seen.by_last_post(together), before, unread_only=unread_only)
        while places := list(islice(merged, together)):
            posts = self._posts.posts(self._snapshot, [seq for seq, _ in places])
            some = [(posts[seq], source) for seq, source in places if seq in posts]
            for post, source in some:
                if post.author != source.number:
                    raise Corrupt(f"author {source.number} lists a post of another")
            yield some

    def notification(
        self, user_id: str, number: int, post: PostRow, source: Source
    ) -> Notification:
        """How a post that the source has looks to the person."""
        return self._notifications(user_id, number, [(post, source)])[0]

    def _notifications(self, user_id: str, number: int, shown: list[_Shown]) -> list[Notification]:
        cursor = self._cursors.signer_of(user_id)
        return [
            Notification(f"{look.seq:x}.{number:x}", user_id, cursor(look.seq), look)
            for look in self._looks(number, shown)
        ]

    def _looks(self, number: int, shown: list[_Shown]) -> list[Look]:
        """How these posts look to the person; one look for all to whom a post looks alike."""
        near = self._batches(number, [post.seq for post, _ in shown])
        looks = []
        for post, source in shown:
            read = source.is_read(post.ordinal)
            batches = near.get(post.seq)
            if batches is None:
                looks.append(look_of(post, [], read=read))
                continue
            key = read if batches.undivided else batches.key(number, read=read)
            look = batches.looks.get(key)
            if look is None:
                deliveries = [self._delivery(*one) for one in batches.standing(number)]
                look = batches.looks[key] = look_of(post, deliveries, read=read)
                self._known_kib += 2 * _kib_of(post)  # as it is, and as it is sent
            looks.append(look)
        return looks

    def deliveries(self, number: int, post: PostRow) -> Iterator[Delivery]:
        """In which set the person is, channel by channel."""
        for one in self._standing(number, post):
            yield self._delivery(*one)

    def moved_at(self, number: int, post: PostRow) -> int:
        """The newest change that may have put the person in another set; others of the post may
        have moved since."""
        return max((row.changed for _, row in self._standing(number, post)), default=0)

    def _standing(self, number: int, post: PostRow) -> list[_Standing]:
        batches = self._batches(number, [post.seq]).get(post.seq)
        return [] if batches is None else batches.standing(number)

    def _batches(self, number: int, seqs: list[int]) -> dict[int, _Batches]:
        """By post, the batches in which the person is."""
        found: dict[int, _Batches] = {}
        unknown = []
        for seq in seqs:
            for batches in self._known_batches.get(seq, ()):
                if number in batches.members:
                    found[seq] = batches
                    break
            else:
                unknown.append(seq)
        if unknown and self._learn(number, unknown):
            found |= self._batches(number, unknown)
        return found

    def _learn(self, number: int, seqs: list[int]) -> bool:
        """Reads the batches of these posts in which the person is; False where there are none.

        Many people whose inboxes are read at one moment are in the same batches.
        """
        if self._known_kib > KEPT_KIB_MAX:
            self._known_batches.clear()
            self._known_kib = 0
        near: dict[tuple[int, int], dict[int, list[PartRow]]] = {}
        for row in self._snapshot.parts_near(seqs, number):
            if number in self._segments.members(self._snapshot, row.segment):
                by_channel = near.setdefault((row.post, row.segment), {})
                by_channel.setdefault(row.channel, []).append(row)
        for (seq, segment), by_channel in near.items():
            named = [(n, by_channel[c]) for n, c in self._channels.items() if c in by_channel]
            members = self._segments.members(self._snapshot, segment)
            batches = self._posts.batches(seq, members, named)
            self._known_batches.setdefault(seq, []).append(batches)
            self._known_kib += batches.kib
        return bool(near)

    def _delivery(self, channel: str, row: PartRow) -> Delivery:
        if row.part == REST:
            state = _STATES[row.state]
            return Delivery(channel, state, 1 if state is State.DELIVERED else 0, None, None)
        return self.in_part(channel, row, part_of(row.part))

    def in_part(self, channel: str, row: PartRow, part: Part) -> Delivery:
        """How it went on a channel for the members of a part."""
        error = self._snapshot.error(row.error) if row.error else None
        if part.state is State.SUPPRESSED:
            error = Reason(part.detail).name.lower()
        return Delivery(channel, part.state, part.attempt, error, row.due_us)

    # Posts and people

    def post(self, post_id: str) -> Post | None:
        """A post with its ledger."""
        row = self._snapshot.post_by_id(post_id)
        if row is None:
            return None
        ledger = ledger_of(self._snapshot, row, self._members)
        return Post(
            row.id, row.author_id, row.content, row.created_at_us, bool(row.retracted),
            row.audience, list(ledger),
        )  # fmt: skip

    def unaccounted(self, seq: int) -> int:
        """Of all channels of one post; 0 of one that is gone meanwhile."""
        row = self._snapshot.post(seq)
        if row is None:
            return 0
        return sum(c.unaccounted for c in ledger_of(self._snapshot, row, self._members))

    def user(self, user_id: str) -> User | None:
        number = self._snapshot.number_of(user_id)
        if number is None:
            return None
        author = self._snapshot.author(number)
        return User(
            user_id,
            author.followers if author is not None else 0,
            self._snapshot.following_count(number),
            Seen(self._snapshot, number).unread,
        )

    def followers(self, author_id: str, size: int, token: str) -> People:
        """A page of followers, by number. Raises `InvalidArgument` for another's token."""
        after = 0
        if token:
            payload = self._signer.read("followers", author_id, token, "page_token")
            after = int.from_bytes(payload, "big")
        number = self._snapshot.number_of(author_id)
        author = None if number is None else self._snapshot.author(number)
        if number is None or author is None:
            return People([], "", 0)
        page = self._followers_after(number, after, size + 1)
        more = len(page) > size
        page = page[:size]
        next_token = ""
        if more:
            next_token = self._signer.sign("followers", author_id, page[-1].to_bytes(4, "big"))
        return People(self._snapshot.user_ids(page), next_token, author.followers)

    def _followers_after(self, author: int, after: int, count: int) -> list[int]:
        """The lowest `count` numbers above `after`, the tail's and those of the ranges merged."""
        found = BitMap()
        for segment in self._snapshot.segments(author):
            if len(found) >= count and segment.lower > found[count - 1]:
                break
            members = unseal(self._snapshot.members(segment.id), f"segment {segment.id}")
            found |= members[members.rank(after) :]
        return list(found[:count])

    def following(self, user_id: str, size: int, token: str) -> People:
        """A page of authors followed, by id. Raises `InvalidArgument` for another's token."""
        after = ""
        if token:
            after = self._signer.read("following", user_id, token, "page_token").decode()
        number = self._snapshot.number_of(user_id)
        if number is None:
            return People([], "", 0)
        ids = self._snapshot.following_ids(number, after, size + 1)
        total = self._snapshot.following_count(number)
        next_token = ""
        if len(ids) > size:
            ids = ids[:size]
            next_token = self._signer.sign("following", user_id, ids[-1].encode())
        return People(ids, next_token, total)

    def user_ids(self, sealed_numbers: bytes) -> list[str]:
        return self._snapshot.user_ids(list(unseal(sealed_numbers, "numbers")))

    def _members(self, segment: int) -> BitMap:
        return self._segments.members(self._snapshot, segment)


def _merged(
    some: Iterator[list[Source]], before: int, *, unread_only: bool
) -> Iterator[tuple[int, Source]]:
    """The seqs of the visible posts below `before`, newest first.

    The authors come by their last posts: those who did not come yet have posted nothing as new as
    the last post of the last who came.
    """
    heap: list[tuple[int, int, Source]] = []
    reached = NO_SEQ
    while True:
        while reached and (not heap or -heap[0][0] < reached):
            more = next(some, [])
            heap += [top for source in more if (top := _top(source, before)) is not None]
            heapq.heapify(heap)
            reached = more[-1].last_seq if more else 0
        if not heap:
            return
        seq, ordinal, source = heap[0]
        shown = ordinal
        if unread_only or source.retracted:  # else all are shown, and nothing is looked for
            shown = source.newest_shown(ordinal, unread_only=unread_only)
        if shown == ordinal:
            yield -seq, source
            shown = ordinal - 1
        if shown > source.base:
            heapq.heapreplace(heap, (-source.history.seq(shown), shown, source))
        else:
            heapq.heappop(heap)


def _top(source: Source, before: int) -> tuple[int, int, Source] | None:
    """An author's newest post below `before`, shown or not: its seq, negated, and its ordinal."""
    ordinal, seq = source.last_ordinal, source.last_seq
    if seq >= before:
        ordinal = source.history.before(before)
        seq = source.history.seq(ordinal)
    return (-seq, ordinal, source) if ordinal > source.base else None
