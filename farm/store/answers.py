"""The answers operators need: why somebody was told or not, what publishing would do, and which
dead letters there are."""

from __future__ import annotations

from collections.abc import Sequence

from farm.audience import unseal
from farm.cursor import Signer
from farm.errors import NotFound
from farm.lifecycle import State
from farm.limits import shown
from farm.store.inbox import Reading
from farm.store.intake import INBOX
from farm.store.letters import group_id
from farm.store.sources import sources_of
from farm.store.storage import FOLLOW, DeadGroupRow, PostRow, Snapshot
from farm.wire import DeadLetterGroup, DeadLetters, Delivery, Explanation, Preview

SAMPLES_MAX = 10
START = (0, 0, 0, 0)  # before every part


class Answering:
    """Questions about posts and people, all of one moment."""

    def __init__(self, snapshot: Snapshot, reading: Reading, channels: Sequence[str]) -> None:
        self._snapshot = snapshot
        self._reading = reading
        self._channels = channels

    # Explain

    def explain(self, post_id: str, user_id: str) -> Explanation:
        """Why a person did, or did not, get a notification of a post."""
        post = self._snapshot.post_by_id(post_id)
        if post is None:
            return _not("POST_UNKNOWN", f"There is no post '{shown(post_id)}'.")
        number = self._snapshot.number_of(user_id)
        if number is None:
            return _not("USER_UNKNOWN", f"Nobody here has the id '{shown(user_id)}'.")
        deliveries = list(self._reading.deliveries(number, post))
        if not deliveries:
            return self._why_outside(post, number)
        code, reason = self._why_inside(post, number, deliveries)
        return Explanation(in_audience=True, code=code, reason=reason, deliveries=deliveries)

    def _why_outside(self, post: PostRow, user: int) -> Explanation:
        author = f"'{shown(post.author_id)}'"
        intervals = self._snapshot.relations(user, post.author, FOLLOW)
        if any(relation.since > post.seq for relation in intervals):
            return _not("FOLLOWED_LATER", f"They followed {author} only after the post.")
        if intervals:
            return _not("UNFOLLOWED", f"They had unfollowed {author} before the post.")
        return _not("NEVER_FOLLOWED", f"They never followed {author}.")

    def _why_inside(self, post: PostRow, user: int, deliveries: list[Delivery]) -> tuple[str, str]:
        author = f"'{shown(post.author_id)}'"
        if post.retracted:
            return "RETRACTED", "The post was retracted."
        relation = self._snapshot.relation(user, post.author, FOLLOW)
        if relation is None or relation.until or relation.since > post.seq:
            return "UNFOLLOWED", f"They were to be told, and have unfollowed {author} since."
        if post.author in self._snapshot.mutes(user):
            return "MUTED", f"They follow {author}, and mute them."
        sources = {source.number: source for source in sources_of(self._snapshot, user)}
        assert sources[post.author].shows(post.ordinal), "explain and the inbox disagree"
        for state, sentence in _SENTENCES.items():
            if any(delivery.state is state for delivery in deliveries):
                if state is State.SUPPRESSED:
                    return "MUTED", "They muted the author when it was their turn to be told."
                return "NOTIFIED", sentence
        return "NOTIFIED", "It is in their inbox."

    # Preview

    def preview(self, author_id: str) -> Preview:
        """What publishing would do now. Raises `NotFound`."""
        number = self._snapshot.number_of(author_id)
        if number is None:
            raise NotFound(f"author_id '{shown(author_id)}': unknown")
        author = self._snapshot.author(number)
        audience = author.followers if author is not None else 0
        muted = self._muted(number)
        return Preview(
            audience,
            {"muted": muted} if muted else {},
            {name: audience - muted for name in self._channels if name != INBOX},
        )

    def _muted(self, author: int) -> int:
        """How many of the followers mute the author."""
        blob = self._snapshot.muted_by(author)
        if blob is None:
            return 0
        muters = unseal(blob, f"those who mute author {author}")
        return sum(
            len(muters & unseal(self._snapshot.members(segment.id), f"segment {segment.id}"))
            for segment in self._snapshot.segments(author)
        )

    # Dead letters

    def dead_letters(self, size: int, token: str) -> DeadLetters:
        """A page, by channel and error. Raises `InvalidArgument` for a token that is not ours."""
        signer = Signer(self._snapshot.meta().secret)
        after = (0, 0)
        if token:
            payload = signer.read("dead letters", "", token, "page_token")
            after = (int.from_bytes(payload[:8], "big"), int.from_bytes(payload[8:], "big"))
        rows = self._snapshot.dead_groups(after, size + 1)
        next_token = ""
        if len(rows) > size:
            rows = rows[:size]
            place = rows[-1].channel.to_bytes(8, "big") + rows[-1].error.to_bytes(8, "big")
            next_token = signer.sign("dead letters", "", place)
        return DeadLetters([self._group(row) for row in rows], next_token)

    def _group(self, row: DeadGroupRow) -> DeadLetterGroup:
        names = {number: name for name, number in self._snapshot.channels().items()}
        parts = self._snapshot.dead_parts(row.channel, row.error, START, SAMPLES_MAX)
        users: dict[int, None] = {}
        posts: dict[str, None] = {}
        for part in parts:
            assert part.members is not None
            members = unseal(part.members, f"post {part.post} segment {part.segment}")
            users |= dict.fromkeys(members[:SAMPLES_MAX])
            post = self._snapshot.post(part.post)
            if post is not None:
                posts[post.id] = None
        return DeadLetterGroup(
            group_id(row.channel, row.error),
            names[row.channel],
            self._snapshot.error(row.error) or "",
            row.dead,
            row.first_us,
            row.last_us,
            self._snapshot.user_ids(list(users)[:SAMPLES_MAX]),
            list(posts),
        )


_SENTENCES = {
    State.DELIVERED: "They were told.",
    State.RETRYING: "They are to be told: a try failed, and another one follows.",
    State.QUEUED: "They are to be told: it waits for its turn.",
    State.DEAD: "Telling them failed for good; it is in their inbox all the same.",
    State.SUPPRESSED: "",
}


def _not(code: str, reason: str) -> Explanation:
    return Explanation(in_audience=False, code=code, reason=reason, deliveries=[])
