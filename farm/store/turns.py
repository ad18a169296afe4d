"""Whose turn it is: deficit round robin over authors, so that no author's million starves others.

Each author with something to send earns `QUANTUM` recipients a turn. A batch of up to `SLICE_MAX`
is never cut but by the end of what was asked for: its author gets it at once and then sits out the
turns that it cost, so shares stay equal and small posts stay one lease. Leases that are whole
batches need no sets of their own, so an eighth more than was asked for may come, too. What is kept
here is an order only; what is ready stands in the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from farm.store.batches import Batch
from farm.store.storage import BatchKey, Storage

QUANTUM = 64  # recipients
SLICE_MAX = 1_024  # of a larger batch so many at once
EXTRA = 8  # one part in so many
PICKS_MAX = 1_024  # parts at once: each comes with its post, and all go out in one message
OPEN_POSTS_MAX = 20_000  # posts whose ready parts are remembered; those of others are looked up

ReadyPart = tuple[int, int, int]  # channel, segment, part


class Turns:
    """The authors in turn, and of each the posts in order."""

    def __init__(self, storage: Storage, channels: Sequence[int]) -> None:
        self._storage = storage
        self._channels = channels
        self._ring: deque[int] = deque()
        self._posts: dict[int, deque[int]] = {}
        self._waiting: set[int] = set()
        self._open: dict[int, deque[ReadyPart]] = {}  # of posts begun or just published
        self._debt: dict[int, int] = {}  # recipients that an author had beyond its turns
        for author, post in storage.waiting_posts(channels):
            self.add(author, post)

    def add(self, author: int, post: int, ready: Iterable[ReadyPart] | None = None) -> None:
        """Something of the post is ready, perhaps again; all that is, where the caller knows."""
        self._open.pop(post, None)
        if ready is not None and len(self._open) < OPEN_POSTS_MAX:
            self._open[post] = deque(ready)
        if post in self._waiting:
            return
        self._waiting.add(post)
        if author in self._posts:
            self._posts[author].append(post)
        else:
            self._posts[author] = deque((post,))
            self._ring.append(author)

    def take(
        self, want: int, load: Callable[[BatchKey], Batch | None]
    ) -> list[tuple[Batch, int, int]]:
        """About `want` recipients, as (batch, part, how many), fairly by author, of `PICKS_MAX`
        parts at most; none of batches that `load` finds broken."""
        extra = want // EXTRA
        picked: dict[tuple[BatchKey, int], tuple[Batch, int, int]] = {}
        while want > 0 and self._ring and len(picked) < PICKS_MAX:
            author = self._ring[0]
            credit = QUANTUM - self._debt.pop(author, 0)
            if len(self._ring) == 1:
                credit = want
            if credit > 0:
                served = self._serve(author, credit, want, extra, picked, load)
                want -= served
                credit -= served
            if not self._posts[author]:
                del self._posts[author]
                self._ring.popleft()
                continue
            if credit < 0:
                self._debt[author] = -credit
            self._ring.rotate(-1)
        return list(picked.values())

    def _serve(
        self,
        author: int,
        credit: int,
        most: int,
        extra: int,
        picked: dict[tuple[BatchKey, int], tuple[Batch, int, int]],
        load: Callable[[BatchKey], Batch | None],
    ) -> int:
        """Picks from one author's posts in order until the credit is used up, at most `most`, and
        `extra` where that saves a cut; returns how many recipients."""
        posts, used = self._posts[author], 0
        credit = min(credit, most)
        while posts and used < credit and len(picked) < PICKS_MAX:
            post = posts[0]
            parts = self._open.get(post)
            if parts is None:
                parts = deque(self._storage.ready_parts(post, self._channels))
                self._open[post] = parts
            while parts and used < credit and len(picked) < PICKS_MAX:
                channel, segment, part = parts[0]
                batch = load((post, channel, segment))
                if batch is None:
                    parts.popleft()
                    continue
                before = picked.get((batch.key, part), (batch, part, 0))[2]
                free = batch.free_size(part) - before
                count = min(free, max(credit - used, SLICE_MAX))
                if count < free or count > most - used + extra:
                    count = min(count, most - used)
                if count > 0:
                    picked[batch.key, part] = (batch, part, before + count)
                    used += count
                if count == free or count <= 0:
                    parts.popleft()
            if not parts:
                posts.popleft()
                self._waiting.discard(post)
                self._open.pop(post, None)
        return used
