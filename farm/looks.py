"""Notifications as people see them: whose each is, and how it looks.

Many people see the same posts, and nearly all of them see them alike. So how a post looks is an
object of its own, which those who read it at one moment have in common: readers make it once, send
it once, and what shows it writes it once. Most look the same for long, and people read them again.
So whoever gets them keeps them, by the bytes in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from farm.lifecycle import State

# Of those that are kept.
KEPT_MAX = 8_192
KEPT_BYTES_MAX = 2_048  # of one
WRITTEN_MAX = 2  # by as many queries, of one
WRITTEN_CHARACTERS_MAX = 4_096  # by one query, of one


class Delivery(NamedTuple):
    """One channel's part of a notification."""

    channel: str
    state: State
    attempts: int
    last_error: str | None
    next_attempt_us: int | None


@dataclass(slots=True)
class Look:
    """How a post looks to all to whom it went alike: the same for many, and one for all of them.

    Whoever shows it keeps in `written` what they made of it, for the next who sees it.
    """

    seq: int  # the post's, in notification ids
    post_id: str
    author_id: str
    content: str
    created_at_us: int
    read: bool
    state: State
    attempts: int
    deliveries: list[Delivery]
    written: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)
    packed: bytes = field(default=b"", compare=False, repr=False)  # as it goes over the wire

    @property
    def text(self) -> str:
        """What a person reads; every interface shows this as the notification's content."""
        return f"New post from {self.author_id}: {self.content}"


class KnownLooks:
    """Looks that came, and what was written of them: one that comes again in the same bytes looks
    as before, whatever has happened in between. What is large is not kept, nor are too many."""

    def __init__(self, made: Callable[[bytes], Look]) -> None:
        self._made = made
        self._known: dict[bytes, Look] = {}

    def of(self, packed: bytes) -> Look:
        look = self._known.get(packed)
        if look is None:
            look = self._made(packed)
            if len(packed) <= KEPT_BYTES_MAX:
                look.written = _Written()
                if len(self._known) >= KEPT_MAX:
                    self._known.clear()
                self._known[packed] = look
        return look


class _Written(dict[object, Any]):
    """What was written last of a look that is kept."""

    def __setitem__(self, who: object, texts: Sequence[str]) -> None:
        if sum(map(len, texts)) <= WRITTEN_CHARACTERS_MAX:
            if len(self) >= WRITTEN_MAX:
                self.clear()
            super().__setitem__(who, texts)


class Notification(NamedTuple):
    """Whose it is, and how it looks."""

    id: str
    user_id: str
    cursor: str
    look: Look

    @property
    def post_id(self) -> str:
        return self.look.post_id

    @property
    def author_id(self) -> str:
        return self.look.author_id

    @property
    def content(self) -> str:
        return self.look.content

    @property
    def text(self) -> str:
        return self.look.text

    @property
    def created_at_us(self) -> int:
        return self.look.created_at_us

    @property
    def read(self) -> bool:
        return self.look.read

    @property
    def state(self) -> State:
        return self.look.state

    @property
    def attempts(self) -> int:
        return self.look.attempts

    @property
    def deliveries(self) -> list[Delivery]:
        return self.look.deliveries


class Newest(NamedTuple):
    """The newest that a person of this number sees, newest first."""

    number: int
    looks: list[Look]
