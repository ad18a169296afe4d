"""Who follows whom: the writer's side of relations, and followers as versioned segments.

The truth is in the relations (intervals of following and muting). Beside it, by author and in the
same transaction, the followers stand in segments: sealed sets of at most `SEGMENT_MAX` members, by
range of numbers. A segment that a post refers to is never changed; a new version takes its place.
New followers go into the author's tail, a small segment without a range, which is folded into the
others when it is full, so that a follow costs the rewriting of a small set whatever the audience.
"""

from __future__ import annotations

import array
import logging
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from farm.audience import HIGHEST, BitMap, between, seal, split, unseal
from farm.errors import Corrupt, InvalidArgument, NotFound, ResourceExhausted
from farm.failpoints import Point, passing
from farm.lifecycle import Reason
from farm.limits import shown
from farm.observe import log
from farm.packed import (
    AUTHOR,
    FOLLOWER,
    LOW,
    are_in_order,
    by_author,
    each_once,
    halves,
    in_order,
    swapped,
)
from farm.store.following import Following
from farm.store.history import sealed_seqs, seqs_of
from farm.store.presence import Presence
from farm.store.storage import (
    BLOCK,
    FOLLOW,
    MUTE,
    TAIL,
    AuthorRow,
    Deed,
    DeedRow,
    RelationRow,
    SegmentRow,
    Storage,
)

SEGMENT_MAX = 8_192
TAIL_MAX = 2_048
AUTHORS_CACHED_MAX = 50_000
DECODED_AUTHORS_MAX = 2_000


class Changes:
    """The one counter: what it hands out orders everything that anyone can see."""

    def __init__(self, newest: int) -> None:
        self.newest = newest

    def next(self) -> int:
        self.newest += 1
        return self.newest


@dataclass(slots=True, eq=False)
class Segment:
    """A current segment. `id` 0: not stored yet."""

    id: int
    lower: int
    since: int
    size: int
    members: BitMap | None = None
    dirty: bool = False


@dataclass(slots=True, eq=False)
class Author:
    """An author's row and current segments, the tail first, as the next commit will have them."""

    number: int
    id: str
    followers: int = 0
    last_seq: int = 0
    last_ordinal: int = 0
    newest: array.array[int] = field(default_factory=lambda: array.array("Q"))
    last_loss: int = 0
    expired: int = 0
    muted: BitMap = field(default_factory=BitMap)
    online: BitMap | None = None  # followers who are online, or were; None: not known
    segments: list[Segment] = field(default_factory=list)

    def __hash__(self) -> int:
        """By its number, so that sets are walked alike in each run, wherever in memory it lies."""
        return self.number

    @property
    def tail(self) -> Segment | None:
        return self.segments[0] if self.segments and self.segments[0].lower == TAIL else None


class Graph:
    """Follows, unfollows, mutes and imports, within the writer's transaction.

    What it knows in memory is a cache, and belongs to the transaction: after a rollback, make a
    new one.
    """

    def __init__(
        self, storage: Storage, changes: Changes, presence: Presence, *, following_max: int
    ) -> None:
        self._storage = storage
        self._presence = presence
        self._changes = changes
        self._by_id: dict[str, Author] = {}
        self._by_number: dict[int, Author] = {}
        self._touched: set[Author] = set()  # rows to save
        self._dirty: set[Author] = set()  # segments to save
        self._decoded: set[Author] = set()
        self._last_user = storage.last_user()
        self._following = Following(storage, following_max, nobody_yet=not self._last_user)
        self._newest_loss = changes.newest  # of anybody; at the start, not known to be older

    @property
    def has_users(self) -> bool:
        return self._last_user > 0

    # The verbs

    def follow(self, follower_id: str, author_id: str) -> bool:
        """True where it is new. Raises `ResourceExhausted` beyond `following_max` authors."""
        numbers = self._storage.numbers_of((follower_id, author_id))
        follower = numbers.get(follower_id)
        if follower is not None:
            author_number = numbers.get(author_id)
            if author_number is not None and self._open(follower, author_number, FOLLOW):
                return False
        else:
            follower = self._new_user(follower_id)
        if self._following.room(follower) <= 0:
            raise ResourceExhausted(
                f"follower_id '{shown(follower_id)}': follows {self._following.most} authors, "
                "which is the most; unfollow one first"
            )
        if author_id not in numbers:
            self._new_user(author_id)
        author = self._known(author_id)
        change = self._changes.next()
        self._storage.add_relations(
            [RelationRow(follower, author.number, FOLLOW, change, 0, author.last_ordinal)]
        )
        self._add(author, BitMap((follower,)))
        return True

    def unfollow(self, follower_id: str, author_id: str) -> bool:
        """True where it ended a following."""
        row, author = self._relation(follower_id, author_id, FOLLOW)
        if row is None or author is None:
            return False
        change = self._changes.next()
        self._storage.close_relation(row, change)
        self._remove(author, row.user)
        author.last_loss = self._newest_loss = change
        self._touched.add(author)
        self._did(Deed.UNFOLLOWED, row.user, author, change)
        return True

    def mute(self, user_id: str, author_id: str) -> bool:
        """True where it is new. Raises `NotFound` where one of them is unknown."""
        numbers = self._storage.numbers_of((user_id, author_id))
        for name, value in (("user_id", user_id), ("author_id", author_id)):
            if value not in numbers:
                raise NotFound(f"{name} '{shown(value)}': nobody here has this id")
        user, author = numbers[user_id], self._known(author_id)
        if self._open(user, author.number, MUTE):
            return False
        change = self._changes.next()
        self._storage.add_relations([RelationRow(user, author.number, MUTE, change, 0, 0)])
        author.muted.add(user)
        self._storage.save_muted_by(author.number, seal(author.muted))
        author.last_loss = self._newest_loss = change
        self._touched.add(author)
        self._did(Deed.MUTED, user, author, change)
        return True

    def unmute(self, user_id: str, author_id: str) -> bool:
        """True where it ended a mute."""
        row, author = self._relation(user_id, author_id, MUTE)
        if row is None or author is None:
            return False
        change = self._changes.next()
        self._storage.close_relation(row, change)
        self._did(Deed.UNMUTED, row.user, author, change)
        author.muted.discard(row.user)
        self._storage.save_muted_by(author.number, seal(author.muted) if author.muted else None)
        return True

    def import_edges(
        self, followers: Sequence[str], authors: Sequence[str]
    ) -> tuple[int, int, list[tuple[int, str]]]:
        """Many follows as one change: (added, there already, rejections by position)."""
        numbers = self._number_all((*followers, *authors))
        edges = [
            numbers[author] << 32 | numbers[follower]
            for follower, author in zip(followers, authors, strict=True)
        ]
        ordered = each_once(array.array("Q", edges))
        added, beyond = self._import(ordered, in_order(swapped(ordered)))
        rejections = [
            (at, f"'{shown(followers[at])}' follows {self._following.most} authors already")
            for at, edge in enumerate(edges if beyond else ())
            if edge in beyond
        ]
        return added, len(edges) - added - len(rejections), rejections

    def number_people(self, user_ids: Sequence[str]) -> list[int]:
        """The number of each; those who are new get one in the order they come."""
        numbers = self._number_all(user_ids)
        return [numbers[user_id] for user_id in user_ids]

    def import_numbered(self, edges: bytes, by_follower: bytes) -> tuple[int, bytes]:
        """Many follows as one change, by people's numbers, each edge eight bytes: `author << 32 |
        follower`, and the same edges swapped, each in order; or none of these, and they are sorted
        here. How many are new, and those with which somebody would follow too many.

        Raises `InvalidArgument` where one of the numbers was never given out.
        """
        if len(edges) % 8 or len(by_follower) not in (0, len(edges)):
            sizes = f"{len(edges)} and {len(by_follower)} bytes"
            raise InvalidArgument(f"edges: are {sizes}; must be as many, eight bytes each")
        one_way = array.array("Q", edges)
        other_way = array.array("Q", by_follower) or in_order(swapped(one_way))
        for one in (one_way, other_way):
            if not are_in_order(one):
                raise InvalidArgument("edges: are not in order, or one is there twice")
            if one and not 0 < one[0] >> 32 <= one[-1] >> 32 <= self._last_user:
                raise InvalidArgument("edges: one of them has a number that nobody has")
        added, beyond = self._import(one_way, other_way)
        return added, array.array("Q", sorted(beyond)).tobytes()

    def _did(self, deed: Deed, user: int, author: Author, change: int) -> None:
        self._storage.add_deed(DeedRow(user, change, deed, author.number))
        self._presence.tell_person(user, change)

    # What others ask

    def find(self, user_id: str) -> Author | None:
        """A known person as an author."""
        author = self._by_id.get(user_id)
        if author is None:
            number = self._storage.number_of(user_id)
            if number is None:
                return None
            author = self._load(number, user_id)
        return author

    def numbered(self, number: int) -> Author:
        """The author of a number that was given out."""
        found = self._by_number.get(number)
        return found or self._load(number, self._storage.user_ids([number])[0])

    def published(self, author: Author, seq: int) -> int:
        """Notes a post of the author; returns its ordinal."""
        author.last_seq = seq
        author.last_ordinal += 1
        author.newest.append(seq)
        if len(author.newest) == 2 * BLOCK:
            first = author.last_ordinal - 2 * BLOCK + 1
            block = sealed_seqs(author.newest[:BLOCK])
            self._storage.add_author_blocks([(author.number, first, block)])
            author.newest = author.newest[BLOCK:]
        self._touched.add(author)
        return author.last_ordinal

    def expired(self, author: Author, ordinal: int) -> None:
        """Notes that the author's posts up to this one are no longer kept."""
        author.expired = ordinal
        self._touched.add(author)

    def lost_any(self, author: int, seq: int) -> bool:
        """Whether anybody unfollowed or muted the author since post `seq`. Cheap: asked of every
        batch that is leased."""
        if self._newest_loss <= seq:
            return False
        cached = self._by_number.get(author)
        if cached is not None:
            return cached.last_loss > seq
        row = self._storage.author(author)
        return row is not None and row.last_loss > seq

    def lost(self, author: Author, seq: int, members: BitMap) -> list[tuple[Reason, BitMap]]:
        """Who of the members, once the audience of post `seq`, is not to be told any more."""
        if author.last_loss <= seq:
            return []
        muted = members & author.muted
        left = members - muted
        for segment in author.segments:
            left -= self._members(author, segment)
        return [(Reason.MUTED, muted), (Reason.UNFOLLOWED, left)]

    def members(self, author: Author, segment: Segment) -> BitMap:
        return self._members(author, segment)

    # Who is online

    def online(self, author: Author) -> BitMap:
        """The author's followers who are online and do not mute the author."""
        online = self._presence.numbers
        if not online:
            return online
        if author.online is None:
            author.online = BitMap()
            for segment in author.segments:
                try:
                    author.online |= online & self._members(author, segment)
                except Corrupt as error:
                    # To be told live is the least of it; what others were sent must be counted.
                    log(logging.ERROR, "who follows cannot be read, and is not told", why=error)
        if not author.online:
            return author.online
        return (author.online & online) - author.muted

    def came_online(self, user: int) -> None:
        """Those whom this person follows have one more follower online."""
        for number in self._storage.followed_by(user):
            author = self._by_number.get(number)
            if author is not None and author.online is not None:
                author.online.add(user)

    # Segments

    def settle(self, author: Author) -> None:
        """Writes the author's changed segments, so that a post may refer to the current ones."""
        if author not in self._dirty:
            return
        self._dirty.discard(author)
        tail = author.tail
        if tail is not None and tail.size >= TAIL_MAX:
            self._fold(author, tail)
        for segment in author.segments:
            if segment.dirty:
                self._write(author, segment)
        author.segments = [s for s in author.segments if s.size or s.lower == 0]

    def flush(self) -> None:
        """Writes what is not written yet; the transaction may then commit."""
        for author in list(self._dirty):
            self.settle(author)
        self._storage.save_authors(
            AuthorRow(
                author.number,
                author.followers,
                author.last_seq,
                author.last_ordinal,
                sealed_seqs(author.newest),
                author.last_loss,
                author.expired,
            )
            for author in sorted(self._touched, key=lambda author: author.number)
        )
        self._touched.clear()
        self._bound_memory()

    def _bound_memory(self) -> None:
        if len(self._decoded) > DECODED_AUTHORS_MAX:
            for author in self._decoded:
                for segment in author.segments:
                    segment.members = None
            self._decoded.clear()
        if len(self._by_number) > AUTHORS_CACHED_MAX:
            self._by_id.clear()
            self._by_number.clear()
            self._decoded.clear()

    def _members(self, author: Author, segment: Segment) -> BitMap:
        if segment.members is None:
            blob = self._storage.members(segment.id)
            segment.members = unseal(blob, f"segment {segment.id}")
            self._decoded.add(author)
        return segment.members

    def _add(self, author: Author, members: BitMap) -> None:
        """Members who are in no segment of the author yet."""
        tail = author.tail
        if tail is None:
            tail = Segment(0, TAIL, 0, 0, BitMap())
            author.segments.insert(0, tail)
        held = self._members(author, tail)
        held |= members
        tail.members, tail.size, tail.dirty = held, len(held), True
        author.followers += len(members)
        if author.online is not None:
            author.online |= members & self._presence.numbers
        self._touch(author)

    def _remove(self, author: Author, member: int) -> None:
        for segment in author.segments:
            members = self._members(author, segment)
            if member in members:
                members.discard(member)
                segment.size, segment.dirty = len(members), True
                author.followers -= 1
                if author.online is not None:
                    author.online.discard(member)
                self._touch(author)
                return

    def _touch(self, author: Author) -> None:
        self._touched.add(author)
        self._dirty.add(author)
        self._decoded.add(author)

    def _fold(self, author: Author, tail: Segment) -> None:
        """Moves the tail's members into the segments of their ranges, splitting what is too big."""
        ranges = author.segments[1:] or [Segment(0, 0, 0, 0, BitMap())]
        newcomers = self._members(author, tail)
        folded: list[Segment] = []
        for segment, after in zip(ranges, [*ranges[1:], None], strict=True):
            high = HIGHEST if after is None else after.lower - 1
            mine = between(newcomers, segment.lower, high)
            if mine:
                segment.members = self._members(author, segment) | mine
                segment.dirty = True
                folded += _split(segment)
            else:
                folded.append(segment)
        tail.members, tail.size, tail.dirty = BitMap(), 0, True
        author.segments = [tail, *folded]

    def _write(self, author: Author, segment: Segment) -> None:
        """Stores a changed segment: in place where no post refers to it, else as a new version."""
        segment.dirty = False
        referred = segment.id != 0 and author.last_seq >= segment.since
        members = self._members(author, segment)
        segment.size = len(members)
        gone = not segment.size and segment.lower != 0
        if segment.id and referred:
            self._storage.close_segment(segment.id, self._changes.newest)
        elif segment.id and gone:
            self._storage.drop_segment(segment.id)
        elif segment.id:
            self._storage.rewrite_segment(segment.id, segment.size, seal(members))
            return
        if not gone:
            segment.since = self._changes.newest
            row = SegmentRow(0, author.number, segment.lower, segment.since, 0, segment.size)
            segment.id = self._storage.add_segment(row, seal(members))

    # People

    def _load(self, number: int, user_id: str) -> Author:
        row = self._storage.author(number)
        author = Author(number, user_id)
        if row is not None:
            author.followers, author.last_seq, author.last_ordinal = row[1:4]
            author.newest = seqs_of(row.newest, number)
            author.last_loss, author.expired = row.last_loss, row.expired
            author.segments = [
                Segment(s.id, s.lower, s.since, s.size) for s in self._storage.segments(number)
            ]
        blob = self._storage.muted_by(number)
        if blob is not None:
            author.muted = unseal(blob, f"those who mute {user_id}")
        self._by_id[user_id] = self._by_number[number] = author
        return author

    def _known(self, user_id: str) -> Author:
        author = self.find(user_id)
        if author is None:
            raise NotFound(f"'{shown(user_id)}': nobody here has this id")
        return author

    def _new_user(self, user_id: str) -> int:
        self._last_user += 1
        self._storage.add_users([(self._last_user, user_id)])
        self._presence.name({user_id: self._last_user})
        return self._last_user

    def _number_all(self, user_ids: Iterable[str]) -> dict[str, int]:
        """The numbers of all of them, new ones in the order they come."""
        unique = dict.fromkeys(user_ids)
        numbers = self._storage.numbers_of(tuple(unique)) if self._last_user else {}
        new = [user_id for user_id in unique if user_id not in numbers]
        first = self._last_user + 1
        self._storage.add_users(enumerate(new, first))
        self._last_user += len(new)
        numbers.update(zip(new, range(first, first + len(new)), strict=True))
        self._presence.name(numbers)
        return numbers

    def _open(self, user: int, author: int, kind: int) -> bool:
        row = self._storage.relation(user, author, kind)
        return row is not None and row.until == 0

    def _relation(
        self, user_id: str, author_id: str, kind: int
    ) -> tuple[RelationRow | None, Author | None]:
        """The relation if it is open, and its author."""
        numbers = self._storage.numbers_of((user_id, author_id))
        if len(numbers) < 2:
            return None, None
        row = self._storage.relation(numbers[user_id], numbers[author_id], kind)
        if row is None or row.until:
            return None, None
        return row, self._known(author_id)

    # Imports

    def _import(
        self, edges: array.array[int], by_follower: array.array[int]
    ) -> tuple[int, set[int]]:
        """How many of the edges are new, and those beyond what their followers may have.

        Sorted by author for the segments and by follower for the relations, so that each page of
        the database is written about once. An edge is a number here, author << 32 | follower, and
        what is done for each of them is done by the array: nothing else is as quick.
        """
        known = self._with_row(edges)
        new = self._without_known(edges, known)
        if len(new) < len(edges):
            by_follower = in_order(swapped(new))
        by_follower, beyond = self._within_following_max(by_follower)
        if beyond:
            new = in_order(swapped(by_follower))
        change = self._changes.next()
        ordinals: dict[int, int] = {}
        first_followers: list[tuple[int, BitMap]] = []
        for number, followers in by_author(new):
            if number in known:
                one = self.numbered(number)
                ordinals[number] = one.last_ordinal
                self._add(one, BitMap(followers))
            else:
                first_followers.append((number, BitMap(followers)))
        self._add_authors(first_followers, change)
        passing(Point.STORE_IMPORT)
        self._relate(by_follower, change, ordinals)
        return len(new), beyond

    def _with_row(self, edges: array.array[int]) -> set[int]:
        """Those of the authors who have a row, or will have one."""
        authors = set(BitMap(halves(edges, AUTHOR)))
        return self._storage.authors_among(authors) | (self._by_number.keys() & authors)

    def _without_known(self, edges: array.array[int], known: set[int]) -> array.array[int]:
        """Those of the edges that are new; `known` are the authors whom anybody may follow yet."""
        new = array.array("Q")
        looked_up_to = 0
        for number in sorted(known):
            author = self.numbered(number)
            if author.segments:
                first = bisect_left(edges, number << 32, looked_up_to)
                last = bisect_left(edges, (number + 1) << 32, first)
                held = [self._members(author, segment) for segment in author.segments]
                members = BitMap(halves(edges[first:last], FOLLOWER)).difference(*held)
                new += edges[looked_up_to:first]
                new.extend([number << 32 | follower for follower in members])
                looked_up_to = last
        return new + edges[looked_up_to:]

    def _within_following_max(
        self, by_follower: array.array[int]
    ) -> tuple[array.array[int], set[int]]:
        """Splits off those of the swapped edges, in order, with which a follower would follow too
        many; those are as they were before they were swapped."""
        room = self._following.scarce_room(halves(by_follower, AUTHOR))
        kept = array.array("Q")
        beyond: set[int] = set()
        if not room:
            return by_follower, beyond
        for edge in by_follower:
            left = room.get(edge >> 32, 1)
            if left > 0:
                kept.append(edge)
            else:
                beyond.add((edge & LOW) << 32 | edge >> 32)
            if edge >> 32 in room:
                room[edge >> 32] = left - 1
        return kept, beyond

    def _add_authors(self, followers: list[tuple[int, BitMap]], change: int) -> None:
        """Authors whom nobody followed before, by number: rows alone, for nobody asks for them now
        who would then find them in memory."""
        no_posts = sealed_seqs(array.array("Q"))
        self._storage.save_authors(
            AuthorRow(number, len(members), 0, 0, no_posts, 0, 0) for number, members in followers
        )
        self._storage.add_segments(
            (SegmentRow(0, number, lower, change, 0, len(some)), seal(some))
            for number, members in followers
            for lower, some in _first_segments(members)
        )

    def _relate(self, by_follower: array.array[int], change: int, ordinals: dict[int, int]) -> None:
        """Writes the relations; those to authors who have posted begin at their newest post."""
        posted = {number for number, ordinal in ordinals.items() if ordinal}
        if posted:
            self._storage.add_relations(
                RelationRow(edge >> 32, edge & LOW, FOLLOW, change, 0, ordinals[edge & LOW])
                for edge in by_follower
                if edge & LOW in posted
            )
            others = [edge for edge in by_follower if edge & LOW not in posted]
            by_follower = array.array("Q", others)
        self._storage.add_follows(by_follower, change)


def _first_segments(members: BitMap) -> list[tuple[int, BitMap]]:
    """The followers of an author who had none: the tail, or what it is folded into at once."""
    if len(members) < TAIL_MAX:
        return [(TAIL, members)]
    first, *others = split(members, SEGMENT_MAX)
    return [(0, first), *((one.min(), one) for one in others)]


def _split(segment: Segment) -> list[Segment]:
    """The segment, or several where it is too big; the first keeps its range's beginning."""
    assert segment.members is not None
    first, *others = split(segment.members, SEGMENT_MAX)
    segment.members, segment.size = first, len(first)
    return [segment, *(Segment(0, one.min(), 0, len(one), one, dirty=True) for one in others)]
