"""What people have read: the writer's side.

Everything up to a change is read, everything after it is not, but for single posts that are
*flipped*: read above the change, or unread below it. So marking a whole inbox is one number, and
single marks are a small set of ordinals for each author.
"""

from __future__ import annotations

from collections.abc import Sequence

from farm.audience import BitMap, between, seal, unseal
from farm.cursor import InboxCursors
from farm.errors import NotFound
from farm.limits import shown
from farm.store.history import History
from farm.store.storage import FOLLOW, PostRow, Storage


class Marks:
    """Marks notifications, within the writer's transaction."""

    def __init__(self, storage: Storage, cursors: InboxCursors) -> None:
        self._storage = storage
        self._cursors = cursors

    def mark(self, user_id: str, notification_ids: Sequence[str], read: bool) -> bool:  # noqa: FBT001
        """Marks single ones; what is no notification of this person is left alone. True where
        anything changed. Raises `NotFound`."""
        user = self._number(user_id)
        up_to = self._storage.read_up_to(user)
        flips: dict[int, BitMap] = {}
        for notification_id in notification_ids:
            post = self._post(user, notification_id)
            if post is not None:
                if post.author not in flips:
                    flips[post.author] = self._flipped(user, post.author)
                if (post.seq <= up_to) is read:
                    flips[post.author].discard(post.ordinal)
                else:
                    flips[post.author].add(post.ordinal)
        changed = False
        for author, flipped in flips.items():
            if flipped != self._flipped(user, author):
                self._storage.save_flipped(user, author, seal(flipped) if flipped else None)
                changed = True
        return changed

    def mark_up_to(self, user_id: str, token: str) -> bool:
        """Marks this one and all older ones as read. True where anything changed.

        Raises `InvalidArgument` (a cursor of somebody else's), `NotFound`.
        """
        cursor = self._cursors.read(user_id, token, "up_to")
        user = self._number(user_id)
        before = self._storage.read_up_to(user)
        up_to = max(before, cursor.change)
        changed = up_to != before
        for author, blob in self._storage.flipped(user):
            flipped = unseal(blob, f"what user {user} read of author {author}")
            row = self._storage.author(author)
            if row is None:
                continue
            # Up to the cursor all is read. Between it and an older, farther mark, flips hold on.
            last = History(self._storage, row).before(cursor.change + 1)
            left = flipped - between(flipped, 0, last)
            if left != flipped:
                self._storage.save_flipped(user, author, seal(left) if left else None)
                changed = True
        if up_to != before:
            self._storage.save_read_up_to(user, up_to)
        return changed

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
