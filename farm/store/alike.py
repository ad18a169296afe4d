"""How a post looks to many people at once: in groups of those to whom it looks the same.

One post concerns everybody of its audience who is online, and most of them see the same state. So
live events of a post are made once for a group, by set algebra, and not person by person.
"""

from __future__ import annotations

from collections.abc import Iterator

from farm.audience import BitMap, seal, unseal
from farm.lifecycle import REST, State, part_of
from farm.store.inbox import Reading, SegmentCache, look_of
from farm.store.storage import PostRow, Snapshot
from farm.wire import Alike, Concern, Delivery, News, Notification

_Groups = list[tuple[list[Delivery], BitMap]]


def alike(
    snapshot: Snapshot, reading: Reading, segments: SegmentCache, news: News
) -> Iterator[Alike]:
    """Those of the people whom the news concern, by how the post looks to them now. Of one that was
    removed: who saw it."""
    users = unseal(news.users, "people who are online")
    if news.concern == Concern.REMOVED:
        # Also of those who unfollowed since: what an unfollow hid is told without it.
        saw = snapshot.following_since(news.author, users, news.post, news.change)
        yield Alike(None, seal(saw))
        return
    if news.concern == Concern.UPDATED:
        users = snapshot.following_since(news.author, users, news.post)
    post = snapshot.post(news.post)
    if post is None or post.retracted:
        return
    read = _who_read(snapshot, post, users)
    for deliveries, some in _by_deliveries(snapshot, reading, segments, post, users):
        for is_read, members in ((True, some & read), (False, some - read)):
            if members:
                look = look_of(post, deliveries, read=is_read)
                yield Alike(Notification("", "", "", look), seal(members))


def _who_read(snapshot: Snapshot, post: PostRow, users: BitMap) -> BitMap:
    read = snapshot.read_beyond(users, post.seq)
    flipped = BitMap(
        user
        for user, ordinals in snapshot.read_marks(post.author, users)
        if post.ordinal in unseal(ordinals, f"what user {user} read of author {post.author}")
    )
    return read ^ flipped


def _by_deliveries(
    snapshot: Snapshot, reading: Reading, segments: SegmentCache, post: PostRow, users: BitMap
) -> _Groups:
    """The users by how it went on every channel."""
    by_channel: dict[int, list[int]] = {}
    for channel, segment in snapshot.batches(post.seq):
        by_channel.setdefault(channel, []).append(segment)
    groups: _Groups = [([], users)]
    for name, channel in snapshot.channels().items():
        on_channel: _Groups = []
        for segment in by_channel.get(channel, ()):
            mine = users & segments.members(snapshot, segment)
            if mine:
                on_channel += _in_batch(snapshot, reading, name, (post.seq, channel, segment), mine)
        groups = [
            ([*so_far, *more], both)
            for so_far, before in groups
            for more, here in on_channel or [([], users)]
            if (both := before & here)
        ]
    return groups


def _in_batch(
    snapshot: Snapshot, reading: Reading, name: str, batch: tuple[int, int, int], users: BitMap
) -> _Groups:
    """The users, all of the batch, by the part in which they are."""
    found: _Groups = []
    rest = State.QUEUED
    for row in snapshot.parts(batch):
        if row.part == REST or row.members is None:
            rest = State(row.state)
            continue
        some = users & unseal(row.members, f"post {row.post} segment {row.segment} part {row.part}")
        if some:
            found.append(([reading.in_part(name, row, part_of(row.part))], some))
            users = users - some
    if users:
        attempts = 1 if rest is State.DELIVERED else 0
        found.append(([Delivery(name, rest, attempts, None, None)], users))
    return found
