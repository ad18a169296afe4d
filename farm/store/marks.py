"""What people have read: the writer's side.

Everything up to a change is read, everything after it is not, but for single posts that are
*flipped*: read above the change, or unread below it. So marking a whole inbox is one number, and
single marks are a small set of ordinals for each author.
"""

from __future__ import annotations

import array
from collections.abc import Sequence

from farm.audience import BitMap, between, seal, unseal
from farm.cursor import InboxCursors
from farm.errors import NotFound
from farm.limits import shown
from farm.store.graph import Changes
from farm.store.history import History
from farm.store.presence import Presence
from farm.store.storage import (
    EVENTS_PER_CHANGE_MAX,
    FOLLOW,
    Deed,
    DeedRow,
    PostRow,
    Storage,
)


class Marks:
    """Marks notifications, within the writer's transaction."""

    def __init__(
        self, storage: Storage, cursors: InboxCursors, changes: Changes, presence: Presence
    ) -> None:
        self._storage = storage
        self._cursors = cursors
        self._changes = changes
        self._presence = presence

    def mark(self, user_id: str, notification_ids: Sequence[str], read: bool) -> bool:  # noqa: FBT001
        """Marks single ones; what is no notification of this person is left alone. True where
        anything changed. Raises `NotFound`."""
        user = self._number(user_id)
        up_to = self._storage.read_up_to(user)
        flips: dict[int, BitMap] = {}
        seqs = array.array("Q")
        for notification_id in notification_ids:
            post = self._post(user, notification_id)
            if post is not None:
                if post.author not in flips:
                    flips[post.author] = self._flipped(user, post.author)
                flip = (post.seq <= up_to) is not read
                if flip is not (post.ordinal in flips[post.author]):
                    flips[post.author] ^= BitMap((post.ordinal,))
                    seqs.append(post.seq)
        for author, flipped in flips.items():
            self._storage.save_flipped(user, author, seal(flipped) if flipped else None)
        if seqs:
            self._note(user, 0, 0, seqs)
        return bool(seqs)

    def mark_up_to(self, user_id: str, token: str) -> bool:
        """Marks this one and all older ones as read. True where anything changed.

        Raises `InvalidArgument` (a cursor of somebody else's, or of another store), `NotFound`.
        """
        cursor = self._cursors.read(user_id, token, "up_to")
        user = self._number(user_id)
        before = self._storage.read_up_to(user)
        # A directory that was put back as it once was has given out cursors of changes to come.
        up_to = max(before, min(cursor.change, self._changes.newest))
        seqs = array.array("Q")
        for author, blob in self._storage.flipped(user):
            flipped = unseal(blob, f"what user {user} read of author {author}")
            row = self._storage.author(author)
            if row is None:
                continue
            # Up to the cursor all is read. Between it and an older, farther mark, flips hold on.
            history = History(self._storage, row)
            gone = between(flipped, 0, history.before(cursor.change + 1))
            if gone:
                left = flipped - gone
                self._storage.save_flipped(user, author, seal(left) if left else None)
                seqs.extend(filter(None, map(history.seq, gone)))
        if up_to != before:
            self._storage.save_read_up_to(user, up_to)
        elif not seqs:
            return False
        self._note(user, before, up_to, seqs)
        return True

    def _note(self, user: int, low: int, high: int, seqs: array.array[int]) -> None:
        """Keeps what was marked, for those of the person's inboxes that are looked at."""
        change = self._changes.next()
        named = seqs.tobytes() if len(seqs) <= EVENTS_PER_CHANGE_MAX else None
        self._storage.add_deed(DeedRow(user, change, Deed.MARKED, 0, low, high, named))
        self._presence.tell_person(user, change)

    def _number(self, user_id: str) -> int:
        number = self._storage.number_of(user_id)
        if number is None:
            raise NotFound(f"user_id '{shown(user_id)}': nobody here has this id")
        return number

    def _post(self, user: int, notification_id: str) -> PostRow | None:
        """The post of a notification, if it is this person's and they follow the author since."""
        seq, dot, number = notification_id.partition(".")
        try:
            if not dot or int(number, 16) != user:
                return None
            post = self._storage.post(int(seq, 16))
        except (ValueError, OverflowError):
            return None
        if post is None:
            return None
        relation = self._storage.relation(user, post.author, FOLLOW)
        follows = relation is not None and not relation.until and relation.since < post.seq
        return post if follows else None

    def _flipped(self, user: int, author: int) -> BitMap:
        blob = self._storage.flipped_of(user, author)
        what = f"what user {user} read of author {author}"
        return BitMap() if blob is None else unseal(blob, what)
