"""Publishing: what one post writes, within the writer's transaction.

One row for the post and, for each segment and channel, one narrow row for the batch; the people
are already there. Rows are collected and written together when the group of requests is complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from farm.audience import seal
from farm.errors import AlreadyExists, NotFound, ResourceExhausted
from farm.failpoints import Point, passing
from farm.lifecycle import REST, Part, Reason, State
from farm.limits import shown
from farm.store import totals
from farm.store.graph import Author, Changes, Graph
from farm.store.presence import Presence
from farm.store.storage import PartRow, PostRow, Storage
from farm.store.totals import Totals
from farm.wire import Concern, Published

INBOX = "inbox"  # the channel on which nothing is sent
RETRY_AFTER_MS = 5_000

Fresh = dict[tuple[int, int], int]  # of a post just taken: batches by channel and segment, sizes


class Intake:
    """Takes posts. Make a new one after a rollback."""

    def __init__(
        self,
        storage: Storage,
        graph: Graph,
        changes: Changes,
        kept: Totals,
        presence: Presence,
        *,
        channels: dict[str, int],
        backlog_max: int,
    ) -> None:
        self._storage = storage
        self._graph = graph
        self._changes = changes
        self._totals = kept
        self._presence = presence
        self._channels = channels
        self._sending = [number for name, number in channels.items() if name != INBOX]
        self._states = [
            (number, State.DELIVERED if name == INBOX else State.QUEUED)
            for name, number in channels.items()
        ]
        self._backlog_max = backlog_max
        self._told = 0  # people, by this group's posts
        self._posts: dict[str, PostRow] = {}  # of this group, by id
        self._looked_up: dict[str, int] = {}  # of this group: the seq, 0 where it is new
        self._parts: list[PartRow] = []
        self._fresh: dict[int, Fresh] = {}
        self.refusing_because = ""  # set from outside: no room on disk

    def look_up(self, post_ids: Sequence[str]) -> None:
        """Finds out which of a group's posts are known, all at once."""
        self._looked_up.update(dict.fromkeys(post_ids, 0))
        self._looked_up.update(self._storage.seqs_of(post_ids))

    def _stored(self, post_id: str) -> PostRow | None:
        """The post of this id, if an earlier group has stored one."""
        if post_id not in self._looked_up:
            self.look_up([post_id])
        seq = self._looked_up[post_id]
        return self._storage.post(seq) if seq else None

    def publish(
        self, post_id: str, author_id: str, content: str, created_at_us: int, now_us: int,
        *, must_be_known: bool,
    ) -> Published:  # fmt: skip
        """Takes one post. Raises `NotFound`, `AlreadyExists`, `ResourceExhausted`."""
        before = self._posts.get(post_id) or self._stored(post_id)
        if before is not None:
            return _again(before, author_id, content)
        author = self._graph.find(author_id)
        if author is None and must_be_known:
            raise NotFound(
                f"author_id '{shown(author_id)}': unknown; an author is known who has, or ever "
                "had, a follower or somebody to follow"
            )
        audience = author.followers if author is not None else 0
        self._admit(audience * len(self._sending))
        if author is not None:
            self._graph.settle(author)
        seq = self._changes.next()
        queued, ordinal = audience, 0
        if author is not None:
            ordinal = self._graph.published(author, seq)
            queued -= self._fan_out(author, seq)
        post = self._posts[post_id] = PostRow(
            seq, post_id, author.number if author is not None else 0, author_id, ordinal,
            created_at_us, now_us, audience, queued, 0, content,
        )  # fmt: skip
        if author is not None and self._presence.numbers:
            self._presence.tell(Concern.ADDED, seq, post, self._graph.online(author))
        return Published(post_id, queued, audience, duplicate=False)

    def flush(self) -> tuple[list[PostRow], dict[int, Fresh]]:
        """Writes the group's posts. Returns them and, by seq, the batches of those of which
        everybody is queued."""
        posts, fresh = list(self._posts.values()), self._fresh
        self._looked_up.clear()
        if posts:
            self._storage.add_posts(posts)
            passing(Point.STORE_FANOUT)
            self._storage.save_parts(self._parts)
            self._count(posts)
            self._posts, self._parts, self._fresh = {}, [], {}
        return posts, fresh

    def why_refusing(self) -> str:
        """Why posts are refused now; empty: they are not."""
        if self.refusing_because:
            return self.refusing_because
        backlog = self._backlog()
        if backlog >= self._backlog_max:
            return f"{backlog} notifications wait, of at most {self._backlog_max}"
        return ""

    def _backlog(self) -> int:
        """Notifications that wait, the group's own included."""
        waiting = self._totals.of(totals.QUEUED) + self._totals.of(totals.RETRYING)
        return waiting + self._told * len(self._sending)

    def _admit(self, more: int) -> None:
        """A post whose own audience is beyond the most is taken while nothing else waits."""
        backlog = self._backlog()
        if not self.refusing_because and (backlog + more <= self._backlog_max or not backlog):
            return
        why = self.why_refusing()
        if not why:
            why = f"{backlog} notifications wait, {more} more are too many of {self._backlog_max}"
        raise ResourceExhausted(f"{why}; try again later", retry_after_ms=RETRY_AFTER_MS)

    def _fan_out(self, author: Author, seq: int) -> int:
        """The batches of a post; returns how many people are suppressed from the start."""
        if author.muted:
            return self._fan_out_muted(author, seq)
        fresh: Fresh = {}
        for segment in author.segments:
            if segment.size:
                for number, state in self._states:
                    self._parts.append(
                        PartRow(seq, number, segment.id, REST, state, None, 0, seq, None)
                    )
                    if state is State.QUEUED:
                        fresh[number, segment.id] = segment.size
        self._fresh[seq] = fresh
        self._told += author.followers
        return 0

    def _fan_out_muted(self, author: Author, seq: int) -> int:
        """The same where some mute the author: they are in a part of their own."""
        suppressed_people = 0
        part = Part(State.SUPPRESSED, 0, Reason.MUTED)
        for segment in author.segments:
            if not segment.size:
                continue
            muted = self._graph.members(author, segment) & author.muted
            suppressed_people += len(muted)
            for number, state in self._states:
                rest = State.DELIVERED if len(muted) == segment.size else state
                self._parts.append(PartRow(seq, number, segment.id, REST, rest, None, 0, seq, None))
                if muted:
                    self._parts.append(
                        PartRow(
                            seq, number, segment.id, part.key, part.state, None, 0, seq, seal(muted)
                        )
                    )
        for name in self._channels:
            reason = Reason.MUTED.name.lower()
            self._totals.add(suppressed_people, totals.SUPPRESSED, name, reason)
        self._told += author.followers - suppressed_people
        return suppressed_people

    def _count(self, posts: list[PostRow]) -> None:
        """The group's posts and the people they tell, all at once."""
        for audience, count in Counter(post.audience for post in posts).items():
            self._totals.observe(totals.AUDIENCE, audience, count)
        for name in self._channels:
            if name == INBOX:
                self._totals.add(self._told, totals.SENT)
                self._totals.add(self._told, totals.ATTEMPTS, name, "delivered")
                self._totals.observe(totals.END_TO_END, 0.0, self._told)
            else:
                self._totals.add(self._told, totals.QUEUED)
        self._told = 0


def _again(before: PostRow, author_id: str, content: str) -> Published:
    """The first answer again. Raises `AlreadyExists` where the post is another one."""
    if before.author_id != author_id:
        raise AlreadyExists(
            f"post_id '{shown(before.id)}': published before by another author; use a new id"
        )
    if before.content != content:
        raise AlreadyExists(
            f"post_id '{shown(before.id)}': published before with other content; use a new id"
        )
    return Published(before.id, before.queued, before.audience, duplicate=True)
