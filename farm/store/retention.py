"""Removing what is older than the retention: oldest first, in small steps, never what is unsettled.

A post goes with its batches, and with those versions of segments that only it and older posts
referred to. Its author's row remembers the ordinal up to which posts are gone, so lists and counts
begin above it. Who follows whom stays.
"""

from __future__ import annotations

import logging

from farm.audience import BitMap, seal, unseal
from farm.errors import Corrupt
from farm.failpoints import Point, passing
from farm.lifecycle import State
from farm.observe import log
from farm.store.dispatch import Dispatch
from farm.store.graph import Changes, Graph
from farm.store.presence import Presence
from farm.store.storage import NO_SEQ, ExpiryRow, PostRow, Storage
from farm.wire import Concern

POSTS_PER_STEP = 50
STEP_EVERY_S = 0.02
FIRST_LOOK_S = 1.0
LOOK_EVERY_S = 10.0


class Retention:
    """Steps that the writer takes between requests."""

    def __init__(
        self,
        storage: Storage,
        graph: Graph,
        dispatch: Dispatch,
        changes: Changes,
        presence: Presence,
        *,
        retention_us: int,
        now_s: float,
    ) -> None:
        self._storage = storage
        self._graph = graph
        self._dispatch = dispatch
        self._changes = changes
        self._presence = presence
        self._retention_us = retention_us
        self.next_s = now_s + FIRST_LOOK_S

    def step(self, now_us: int, now_s: float) -> None:
        """Removes some posts, if it is time and there are any."""
        if now_s < self.next_s:
            return
        removed: list[PostRow] = []
        for post in self._storage.oldest_posts(POSTS_PER_STEP):
            young = post.received_at_us > now_us - self._retention_us
            if young or self._storage.is_waiting(post.seq):
                break
            try:
                self._remove(post)
            except Corrupt as error:
                log(logging.ERROR, "an old post cannot be removed", post=post.id, why=error)
                break
            removed.append(post)
            passing(Point.STORE_RETENTION)
        if removed:
            self._note(removed)
        full = len(removed) == POSTS_PER_STEP
        self.next_s = now_s + (STEP_EVERY_S if full else LOOK_EVERY_S)

    def _note(self, removed: list[PostRow]) -> None:
        """Keeps what is gone since when, for as long as there are cursors from before, and tells
        those who look at an inbox."""
        change, horizon = self._changes.next(), removed[-1].seq
        authors = BitMap(post.author for post in removed if post.author)
        self._storage.add_expiry(ExpiryRow(change, horizon, seal(authors)))
        self._storage.drop_before(horizon)
        if self._presence.numbers:
            for post in removed:
                if post.author and not post.retracted:  # else it is hidden already
                    online = self._graph.online(self._graph.numbered(post.author))
                    self._presence.tell(Concern.REMOVED, change, post, online, "expired")

    def _remove(self, post: PostRow) -> None:
        """Raises `Corrupt` before it has changed anything."""
        parts = self._storage.parts_of_post(post.seq)
        dead = [
            (part.channel, part.error, len(unseal(part.members, f"post {post.seq}")))
            for part in parts
            if part.state == State.DEAD and part.members is not None
        ]
        author = self._graph.numbered(post.author) if post.author else None
        for letters in dead:
            self._dispatch.forget_dead(*letters)
        self._dispatch.forget({part[:3] for part in parts})
        if author is not None:
            self._graph.expired(author, post.ordinal)
            # Behind the last post nobody needs a version that is not the current one.
            needed_by = NO_SEQ if post.seq == author.last_seq else post.seq
            self._storage.drop_versions(post.author, needed_by)
        self._storage.drop_post(post.seq)
