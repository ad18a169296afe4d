"""Reading: inboxes, posts, people. The inbox is asked, not written.

Who sees what, `sources.py` says; list and count both come from it. A page is found by merging the
newest posts of the authors whom a person follows, so N posts need at most N authors.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from farm.audience import BitMap, unseal
from farm.cursor import END, InboxCursors, Signer
from farm.errors import Corrupt
from farm.lifecycle import REST, Part, Reason, State, part_of
from farm.store.ledger import ledger_of
from farm.store.sources import Source, sources_of
from farm.store.storage import NO_SEQ, PartRow, PostRow, Snapshot
from farm.wire import Delivery, InboxPage, Notification, People, Post, User

SEGMENTS_CACHED_MAX = 1_024
DELIVERED_LOOKED_AT_MAX = 2_000

# With several channels a notification is what the first of these says that any channel says.
_FIRST_SAYS = (
    State.DELIVERED, State.RETRYING, State.QUEUED, State.DEAD, State.SUPPRESSED, State.RETRACTED,
)  # fmt: skip


def looks(post: PostRow, deliveries: list[Delivery], *, read: bool) -> Notification:
    """How a post looks to anybody to whom it went like this; without ids and cursor."""
    states = {delivery.state for delivery in deliveries}
    return Notification(
        "",
        "",
        post.id,
        post.author_id,
        post.content,
        post.created_at_us,
        read=read,
        state=next((state for state in _FIRST_SAYS if state in states), State.QUEUED),
        attempts=max((delivery.attempts for delivery in deliveries), default=0),
        cursor="",
        deliveries=deliveries,
    )


def _part_with(number: int, rows: list[PartRow]) -> PartRow:
    """The row of the part of a batch in which a person of its segment is."""
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


class Reading:
    """The questions that readers answer, all of one moment."""

    def __init__(self, snapshot: Snapshot, segments: SegmentCache) -> None:
        self._snapshot = snapshot
        self._segments = segments
        self._channels = snapshot.channels()
        self._meta = snapshot.meta()
        self._signer = Signer(self._meta.secret)
        self._cursors = InboxCursors(self._meta.incarnation, self._meta.secret)

    # Inboxes

    def inbox(self, user_id: str, size: int, after: str, unread_only: bool) -> InboxPage:  # noqa: FBT001
        """A page, newest first. Raises `InvalidArgument` for a cursor of somebody else's."""
        before = self._cursors.read(user_id, after, "after").change if after else NO_SEQ
        live = self._cursors.sign(user_id, self._meta.change, END)
        number = self._snapshot.number_of(user_id)
        if number is None:
            return InboxPage([], has_more=False, unread=0, live_cursor=live)
        sources = list(sources_of(self._snapshot, number, before))
        unread = sum(source.unread for source in sources)
        merged = self._merge(sources, before, unread_only=unread_only)
        found = list(islice(merged, size + 1))
        return InboxPage(
            [self.notification(user_id, number, *one) for one in found[:size]],
            has_more=len(found) > size,
            unread=unread,
            live_cursor=live,
        )

    def unread(self, user_id: str) -> int:
        """How many the list of unread ones would have; 0 of an unknown person."""
        number = self._snapshot.number_of(user_id)
        if number is None:
            return 0
        return sum(source.unread for source in sources_of(self._snapshot, number))

    def delivered(self, user_id: str, size: int) -> list[Notification]:
        """The newest that were delivered, newest first."""
        number = self._snapshot.number_of(user_id)
        found: list[Notification] = []
        if number is not None:
            sources = list(sources_of(self._snapshot, number))
            merged = self._merge(sources, NO_SEQ, unread_only=False)
            for post, source in islice(merged, DELIVERED_LOOKED_AT_MAX):
                notification = self.notification(user_id, number, post, source)
                if notification.state is State.DELIVERED:
                    found.append(notification)
                if len(found) == size:
                    break
        return found

    def _merge(
        self, sources: list[Source], before: int, *, unread_only: bool
    ) -> Iterator[tuple[PostRow, Source]]:
        """The visible posts below `before`, newest first."""
        heap = [top for source in sources if (top := _top(source, before)) is not None]
        heapq.heapify(heap)
        while heap:
            seq, ordinal, source = heap[0]
            shown = source.newest_shown(ordinal, unread_only=unread_only)
            if shown == ordinal:
                post = self._snapshot.post(-seq)
                if post is not None:
                    if post.author != source.number:
                        raise Corrupt(f"author {source.number} lists a post of another")
                    yield post, source
                shown = ordinal - 1
            if shown > source.base:
                heapq.heapreplace(heap, (-source.history.seq(shown), shown, source))
            else:
                heapq.heappop(heap)

    def notification(
        self, user_id: str, number: int, post: PostRow, source: Source
    ) -> Notification:
        """How a post that the source has looks to the person."""
        deliveries = list(self.deliveries(number, post))
        return looks(post, deliveries, read=source.is_read(post.ordinal))._replace(
            id=f"{post.seq:x}.{number:x}",
            user_id=user_id,
            cursor=self._cursors.sign(user_id, post.seq),
        )

    def deliveries(self, number: int, post: PostRow) -> Iterator[Delivery]:
        """In which set the person is, channel by channel."""
        for name, row in self._standing(number, post):
            if row.part == REST:
                state = State(row.state)
                yield Delivery(name, state, 1 if state is State.DELIVERED else 0, None, None)
            else:
                yield self.in_part(name, row, part_of(row.part))

    def moved_at(self, number: int, post: PostRow) -> int:
        """The newest change that may have put the person in another set; others of the post may
        have moved since."""
        return max((row.changed for _, row in self._standing(number, post)), default=0)

    def _standing(self, number: int, post: PostRow) -> Iterator[tuple[str, PartRow]]:
        """The part in which the person is, channel by channel."""
        for segment in self._snapshot.segment_at(post.author, post.seq, number):
            if number in self._segments.members(self._snapshot, segment):
                for name, channel in self._channels.items():
                    rows = self._snapshot.parts((post.seq, channel, segment))
                    if rows:
                        yield name, _part_with(number, rows)
                return

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
            sum(source.unread for source in sources_of(self._snapshot, number)),
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


def _top(source: Source, before: int) -> tuple[int, int, Source] | None:
    """An author's newest post below `before`, shown or not: its seq, negated, and its ordinal."""
    ordinal, seq = source.last_ordinal, source.last_seq
    if seq >= before:
        ordinal = source.history.before(before)
        seq = source.history.seq(ordinal)
    return (-seq, ordinal, source) if ordinal > source.base else None
