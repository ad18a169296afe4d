"""What a store must be able to do, in the words of the domain; an engine says how.

`Storage` is the writer's side: one process, one transaction at a time. `Snapshot` is the readers'.
Sets travel as sealed blobs (`farm.audience`), times in microseconds of store time, states and parts
as `farm.lifecycle` names them. Nothing here is SQL, and nothing asks for what PostgreSQL could not
do. One conformance suite, `tests/store/test_conformance.py`, runs against every engine.

Any method may raise `StorageFull` (no room: the transaction is over and stored nothing) or
`Corrupt` (the bytes are not what was written).
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from farm.audience import BitMap
from farm.errors import ResourceExhausted

TAIL = -1  # `lower` of the small segment that takes a hot author's new followers
FOLLOW, MUTE = 0, 1  # kinds of relation
DEEDS_KEPT_MAX = 100  # of one person
EVENTS_PER_CHANGE_MAX = 100  # a change that moves more of a person's is told as a whole
NO_SEQ = 2**63 - 1  # above every seq
BLOCK = 32  # seqs in a side block of an author; the row keeps 32 to 63


class StorageFull(ResourceExhausted):
    """The disk has no room. The transaction it happened in has stored nothing."""


class CommitUnknown(Exception):
    """A commit raised: nobody knows whether it is durable. The process must end and reopen."""


class Meta(NamedTuple):
    """What is known of the store as a whole, durable with every commit."""

    incarnation: int  # another one after a restore
    secret: bytes  # signs cursors
    change: int  # the newest number handed out
    now_us: int  # the newest store time
    totals: bytes  # msgpack of `totals.Totals`


class AuthorRow(NamedTuple):
    """`newest` holds the last 32 to 63 seqs, ascending and sealed (see `history.py`)."""

    number: int
    followers: int
    last_seq: int
    last_ordinal: int
    newest: bytes
    last_loss: int  # the change of the newest unfollow or mute
    expired: int = 0  # ordinals up to this one are no longer kept


class SegmentRow(NamedTuple):
    """A version of a part of an author's followers. `until` 0: current."""

    id: int
    author: int
    lower: int  # the range of numbers begins here; TAIL: any
    since: int
    until: int
    size: int


class PostRow(NamedTuple):
    seq: int
    id: str
    author: int  # 0: nobody Hark knows
    author_id: str
    ordinal: int  # among the author's posts, from 1
    created_at_us: int
    received_at_us: int
    audience: int
    queued: int  # the audience less those suppressed, as first answered
    retracted: int  # the change that did it, or 0
    content: str


class PartRow(NamedTuple):
    """A part of a batch. The rest (part 0) has no members."""

    post: int
    channel: int
    segment: int
    part: int
    state: int
    due_us: int | None  # of a retry that waits for its time
    error: int  # number of the newest error, or 0
    changed: int
    members: bytes | None


class LeaseRow(NamedTuple):
    """A lease on the members of one part that lie in [low, high]. No session: suspected by
    `deaths` deaths, waiting to be tried apart from others."""

    id: int
    session: str
    post: int
    channel: int
    segment: int
    part: int
    low: int
    high: int
    deaths: int


class RelationRow(NamedTuple):
    user: int
    author: int
    kind: int
    since: int
    until: int  # 0: still so
    base: int  # the author's last ordinal at `since`


# An author whose posts a person sees, as far as pages and counts ask: number, last_seq,
# last_ordinal, expired and newest (None where it was not asked for) of the author's row, the sealed
# ordinals of what they retracted, since and base of the following. It has no names because a page
# may go through thousands, and names cost a third more.
Followed = tuple[int, int, int, int, bytes | None, bytes | None, int, int]


class DeadGroupRow(NamedTuple):
    channel: int
    error: int
    dead: int
    first_us: int
    last_us: int


class Deed(IntEnum):
    """What people do to their own inbox."""

    MUTED = 1
    UNMUTED = 2
    UNFOLLOWED = 3
    MARKED = 4


class DeedRow(NamedTuple):
    """`author`: of all but MARKED. `low`, `high`: what was published after `low` and up to `high`
    was marked as read. `seqs` has single posts that were marked, as 64-bit little-endian numbers;
    None: too many to be named."""

    user: int
    change: int
    kind: Deed
    author: int = 0
    low: int = 0
    high: int = 0
    seqs: bytes | None = b""


class ExpiryRow(NamedTuple):
    """A step of the retention: from `change` on, posts up to `horizon` are gone. `authors`: the
    sealed set of those whose posts went."""

    change: int
    horizon: int
    authors: bytes


BatchKey = tuple[int, int, int]  # post, channel, segment
PartKey = tuple[int, int, int, int]  # and part


class Snapshot(Protocol):
    """Reading, at one moment."""

    def meta(self) -> Meta: ...
    def channels(self) -> dict[str, int]: ...
    def errors(self) -> dict[int, str]:
        """Every error fingerprint, by number."""

    def error(self, number: int) -> str | None:
        """One of them."""

    def number_of(self, user_id: str) -> int | None: ...
    def numbers_of(self, user_ids: Sequence[str]) -> dict[str, int]:
        """Of those that are known."""

    def user_ids(self, numbers: Sequence[int]) -> list[str]:
        """In the order of the numbers, which all exist."""

    def author(self, number: int) -> AuthorRow | None: ...
    def authors_among(self, numbers: Iterable[int]) -> set[int]:
        """Those of the numbers that have an author's row."""

    def author_block(self, number: int, ordinal: int) -> bytes | None:
        """The 32 seqs of an author's posts in which this ordinal lies, sealed."""

    def muted_by(self, author: int) -> bytes | None:
        """Sealed set of those who mute the author."""

    def segments(self, author: int) -> list[SegmentRow]:
        """The current ones, the tail first, then by range."""

    def segment(self, segment: int) -> SegmentRow: ...
    def members(self, segment: int) -> bytes: ...
    def relation(self, user: int, author: int, kind: int) -> RelationRow | None:
        """The newest."""

    def seen(self, user: int, reached: int) -> Iterator[Followed]:
        """The authors whose posts a user sees: those followed and not muted who have posted since;
        `newest` of those who have posted from the seq `reached` on."""

    def seen_last(self, user: int, below: int, limit: int) -> list[Followed]:
        """Of the same those whose last post lies below a seq, the newest first, all with
        `newest`."""

    def seen_oddly(self, user: int, up_to: int, reached: int) -> Iterator[Followed]:
        """Of the same those who have retracted something, of whom the user has marked single posts,
        or who have posted before and after the change `up_to`. The others' posts are unread
        altogether, or all read."""

    def unread_plainly(self, user: int, up_to: int) -> tuple[int, int]:
        """How many posts of all others are unread, where those up to `up_to` are read; and how many
        odd ones there are."""

    def followed_by(self, user: int) -> list[int]:
        """The authors whom the user follows."""

    def following_ids(self, user: int, after: str, size: int) -> list[str]: ...
    def following_count(self, user: int) -> int: ...
    def following_counts(self, users: Iterable[int]) -> dict[int, int]:
        """The same of many."""

    def mutes(self, user: int) -> set[int]:
        """Authors whom the user mutes."""

    def relations(self, user: int, author: int, kind: int) -> list[RelationRow]:
        """All between the two, the oldest first."""

    def read_up_to(self, user: int) -> int:
        """The change up to which everything is read but for what is flipped; 0: none."""

    def flipped(self, user: int) -> list[tuple[int, bytes]]:
        """(author, sealed ordinals) wherever a person has any."""

    def flipped_of(self, user: int, author: int) -> bytes | None: ...
    def retracted_of(self, author: int) -> bytes | None: ...
    def retraction(self, post: int) -> tuple[int, int] | None:
        """(stopped, hidden) as first answered."""

    def dead_groups(self, after: tuple[int, int], limit: int) -> list[DeadGroupRow]:
        """By channel and error, those above `after` that have any dead."""

    def dead_group(self, channel: int, error: int) -> DeadGroupRow | None: ...
    def dead_parts(self, channel: int, error: int, after: PartKey, limit: int) -> list[PartRow]:
        """A group's parts by post, segment and part."""

    def deeds(self, user: int, change: int) -> list[DeedRow]:
        """A person's from this change on, oldest first."""

    def expiries(self, change: int) -> list[ExpiryRow]:
        """From this change on, and the newest before it; oldest first."""

    def touched(
        self, change: int, until: int, authors: BitMap, limit: int
    ) -> list[tuple[int, int]]:
        """(change, post) in the order of changes, from this one on and below `until`: those that
        concerned posts up to it of these authors."""

    def read_marks(self, author: int, users: BitMap) -> list[tuple[int, bytes]]:
        """(user, sealed ordinals flipped) of those of the users who have any of the author's."""

    def read_beyond(self, users: BitMap, seq: int) -> BitMap:
        """Those of the users who have marked everything up to this seq or a later one."""

    def following_since(self, author: int, users: BitMap, seq: int, change: int = NO_SEQ) -> BitMap:
        """Those of the users who followed the author since before this seq, and at this change;
        without one: follow now."""

    def post(self, seq: int) -> PostRow | None: ...
    def posts(self, seqs: Sequence[int]) -> dict[int, PostRow]:
        """By seq, those that are there."""

    def post_by_id(self, post_id: str) -> PostRow | None: ...
    def seqs_of(self, post_ids: Sequence[str]) -> dict[str, int]:
        """Of those that were published; narrower than reading the posts."""

    def posts_after(self, seq: int, limit: int) -> list[int]:
        """Seqs in ascending order."""

    def batches(self, post: int) -> list[tuple[int, int]]:
        """(channel, segment) of a post's batches."""

    def parts_of_post(self, post: int) -> list[PartRow]: ...
    def parts(self, batch: BatchKey) -> list[PartRow]: ...
    def parts_near(self, posts: Sequence[int], number: int) -> list[PartRow]:
        """Of the posts' batches in which the user could be: those of the tail, and of one range,
        as they were when the post was published."""


class Storage(Snapshot, Protocol):
    """Writing. Everything between `begin` and `commit` is stored whole or not at all."""

    def begin(self) -> None: ...
    def commit(self) -> None:
        """Durable when it returns. Raises `CommitUnknown`, or `StorageFull`: surely not stored."""

    def rollback(self) -> None: ...
    def close(self) -> None: ...

    def save_meta(self, meta: Meta) -> None: ...
    def add_channel(self, name: str) -> int: ...
    def add_error(self, text: str) -> int: ...

    def add_users(self, users: Iterable[tuple[int, str]]) -> None: ...
    def last_user(self) -> int: ...
    def save_authors(self, rows: Iterable[AuthorRow]) -> None: ...
    def add_author_blocks(self, rows: Iterable[tuple[int, int, bytes]]) -> None: ...
    def save_muted_by(self, author: int, members: bytes | None) -> None: ...

    def save_read_up_to(self, user: int, change: int) -> None: ...
    def save_flipped(self, user: int, author: int, ordinals: bytes | None) -> None: ...
    def retract(self, post: int, change: int, stopped: int, hidden: int) -> None: ...
    def save_retracted_of(self, author: int, ordinals: bytes) -> None: ...
    def add_deed(self, row: DeedRow) -> None:
        """Keeps the newest `DEEDS_KEPT_MAX` of each person."""

    def save_dead_groups(self, rows: Iterable[DeadGroupRow]) -> None: ...

    def add_relations(self, rows: Iterable[RelationRow]) -> None: ...
    def add_follows(self, edges: array.array[int], change: int) -> None:
        """Relations that begin with this change, to authors who have not posted, each `user << 32 |
        author`: what `add_relations` would do with their rows, many times as fast."""

    def close_relation(self, row: RelationRow, until: int) -> None: ...

    def add_segment(self, row: SegmentRow, members: bytes) -> int:
        """The new segment's id (that of `row` is not looked at)."""

    def add_segments(self, rows: Iterable[tuple[SegmentRow, bytes]]) -> None:
        """Many, of which nobody needs the ids now."""

    def rewrite_segment(self, segment: int, size: int, members: bytes) -> None:
        """Only of a segment that no post refers to."""

    def close_segment(self, segment: int, until: int) -> None: ...
    def drop_segment(self, segment: int) -> None: ...

    def add_posts(self, rows: Iterable[PostRow]) -> None: ...
    def save_parts(self, rows: Iterable[PartRow]) -> None:
        """Adds or replaces."""

    def set_rest(self, rows: Iterable[tuple[int, int, int, int, int]]) -> None:
        """Of batches' rests: (state, changed, post, channel, segment)."""

    def oldest_posts(self, limit: int) -> list[PostRow]: ...
    def is_waiting(self, post: int) -> bool:
        """Whether anybody of the post is queued or retrying."""

    def drop_post(self, seq: int) -> None:
        """With its batches."""

    def drop_versions(self, author: int, seq: int) -> None:
        """Versions of an author's segments that only posts up to this one needed."""

    def add_expiry(self, row: ExpiryRow) -> None: ...
    def drop_before(self, change: int) -> None:
        """What only cursors below this change needed: older expiries with the side blocks of posts
        that went by them, and older touches."""

    def add_touched(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """(change, post, author)"""

    def drop_parts(self, keys: Iterable[PartKey]) -> None: ...

    def waiting_posts(self, channels: Sequence[int]) -> Iterator[tuple[int, int]]:
        """(author, post) of those with somebody to send to now, oldest first."""

    def oldest_waiting(self) -> int | None:
        """The oldest post with somebody queued or retrying."""

    def ready_parts(self, post: int, channels: Sequence[int]) -> list[tuple[int, int, int]]:
        """(channel, segment, part) of a post that could be leased now."""

    def due_parts(self, now_us: int, limit: int) -> list[PartKey]:
        """Retries whose time has come, the oldest first."""

    def next_due_us(self) -> int | None: ...

    def leases(self) -> list[LeaseRow]: ...
    def add_leases(self, rows: Iterable[LeaseRow]) -> None: ...
    def drop_leases(self, ids: Iterable[int]) -> None: ...

    def import_known(self, digest: str) -> bool: ...
    def add_import(self, digest: str) -> None: ...

    def free_bytes(self) -> int:
        """How much more can be stored, as far as disk and limits of the process say."""

    def disk_bytes(self) -> int: ...
    def begin_backup(self, target: Path) -> None:
        """Begins a copy of the store, one at a time. Raises `Refused`."""

    def backup_progress(self) -> tuple[int, int]:
        """(pages copied, pages in all) of the newest, equal once it is there. Raises `Refused`."""

    def step_backup(self) -> bool:
        """Copies some more, if a copy is being made; called between transactions. True where there
        is more to copy at once, and not only when the disk has followed."""

    def checkpoint(self) -> None:
        """Keeps the log of changes bounded; called between transactions."""
