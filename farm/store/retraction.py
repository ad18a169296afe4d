"""Retracting a post: what waits is stopped, what was delivered is hidden; final.

The batch is the point of decision: whoever is still in a waiting part at this commit counts as
stopped, and what a worker reports of them later finds nobody there.
"""

from __future__ import annotations

from farm.audience import BitMap, seal, unseal
from farm.errors import NotFound
from farm.lifecycle import State
from farm.limits import shown
from farm.store.batches import Batch
from farm.store.dispatch import Dispatch
from farm.store.graph import Changes, Graph
from farm.store.presence import Presence
from farm.store.storage import PostRow, Storage
from farm.wire import Concern, Retracted


class Retractions:
    """Retracts posts, within the writer's transaction."""

    def __init__(
        self, storage: Storage, graph: Graph, dispatch: Dispatch, changes: Changes,
        presence: Presence,
    ) -> None:  # fmt: skip
        self._storage = storage
        self._graph = graph
        self._presence = presence
        self._dispatch = dispatch
        self._changes = changes

    def retract(self, post_id: str) -> Retracted:
        """Again: the same answer. Raises `NotFound`."""
        post = self._storage.post_by_id(post_id)
        if post is None:
            raise NotFound(f"post_id '{shown(post_id)}': there is no such post")
        if post.retracted:
            return Retracted(*(self._storage.retraction(post.seq) or (0, 0)))
        by_segment: dict[int, list[Batch]] = {}
        for channel, segment in self._storage.batches(post.seq):
            batch = self._dispatch.open((post.seq, channel, segment))
            by_segment.setdefault(segment, []).append(batch)
        change = self._changes.next()
        stopped = hidden = 0
        for batches in by_segment.values():
            more_stopped, more_hidden = self._stop(batches, change)
            stopped += more_stopped
            hidden += more_hidden
        self._storage.retract(post.seq, change, stopped, hidden)
        if post.author:
            self._hide(post, change)
        return Retracted(stopped, hidden)

    def _stop(self, batches: list[Batch], change: int) -> tuple[int, int]:
        """Stops a segment's batches, one a channel; how many people were waiting on some and told
        on none, and how many were told."""
        if len(batches) == 1:  # the usual case needs no sets
            told = batches[0].delivered_size()
            return self._dispatch.stop(batches[0], change), told
        waiting, delivered = BitMap(), BitMap()
        for batch in batches:
            batch.blob = batch.blob or self._storage.members(batch.key[2])
            waiting |= batch.members_in(State.QUEUED, State.RETRYING)
            delivered |= batch.members_in(State.DELIVERED)
            self._dispatch.stop(batch, change)
        return len(waiting - delivered), len(delivered)

    def _hide(self, post: PostRow, change: int) -> None:
        """Takes the post out of inboxes and counts, and tells those who look at one."""
        blob = self._storage.retracted_of(post.author)
        what = f"retracted posts of author {post.author}"
        ordinals = BitMap() if blob is None else unseal(blob, what)
        ordinals.add(post.ordinal)
        self._storage.save_retracted_of(post.author, seal(ordinals))
        self._storage.add_touched([(change, post.seq, post.author)])
        online = self._graph.online(self._graph.numbered(post.author))
        self._presence.tell(Concern.REMOVED, change, post, online, "retracted")
