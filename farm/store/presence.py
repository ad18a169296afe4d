"""Who is online, at which process, and what a commit means to them.

Only people who are online cost anything. A post, or a change to it, is intersected with those of
its author's followers who are online, and only where there are any. What concerns somebody goes in
one frame to each process at which such people are. Frames chain: each names the change up to which
the one before it told, so a process notices a frame that it never got.

All of this lives in memory only. Whoever misses anything, also by the death of the store, reads it
from the database. So what would be too much to tell is not told: the chain breaks there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farm.audience import BitMap, seal
from farm.errors import InvalidArgument
from farm.limits import shown
from farm.store.storage import PostRow
from farm.wire import Concern, Frame, News

SESSION_HOLDS_S = 10.0
TOLD_PER_COMMIT_MAX = 1_000_000  # people, each as often as there is news of them
UNHEARD_BYTES_MAX = 16 * 1024 * 1024  # of frames to a process that has not said a word since

_PLACE = re.compile(r"[\w -]{1,13}", re.ASCII)  # a name beside those of other sockets


@dataclass(slots=True)
class Session:
    """The people who are online at one process."""

    place: str  # where the process takes frames
    since: int  # no other session of this process, in whatever life of the store, has the same
    until_s: float
    told: int  # frames have told of everything up to this change
    unheard_bytes: int = 0  # of frames since it was heard
    numbers: BitMap = field(default_factory=BitMap)
    unknown: set[str] = field(default_factory=set)  # ids that nobody has yet


class Presence:
    """People who are online. Survives a rollback, but for the news collected meanwhile."""

    def __init__(self) -> None:
        self.numbers = BitMap()  # everybody who is online anywhere
        self._sessions: dict[str, Session] = {}
        self._unknown: set[str] = set()
        self._news: list[tuple[News, BitMap]] = []
        self._told = 0  # people, by these
        self._named: dict[str, int] = {}

    # Coming and going

    def heard(self, session: str, place: str, change: int, now_s: float) -> tuple[int, int]:
        """A process says that it is there: since when it is known, and up to which change frames
        have told it. Raises `InvalidArgument` where no socket can be at the place."""
        if not _PLACE.fullmatch(place):
            raise InvalidArgument(f"place '{shown(place)}': is none where a process takes frames")
        here = self._sessions.get(session)
        if here is None:
            here = self._sessions[session] = Session(place, round(now_s * 1e6), 0.0, change)
        here.until_s, here.unheard_bytes = now_s + SESSION_HOLDS_S, 0
        return here.since, here.told

    def come(self, session: str, numbers: Mapping[str, int], user_ids: Iterable[str]) -> None:
        """These people are online there from now on; `numbers` has those that are known."""
        here = self._sessions[session]
        user_ids = set(user_ids)
        here.numbers |= BitMap(numbers[user_id] for user_id in user_ids & numbers.keys())
        self.numbers |= here.numbers
        here.unknown |= user_ids - numbers.keys()
        self._unknown |= here.unknown

    def go(self, session: str, numbers: Mapping[str, int], user_ids: Iterable[str]) -> None:
        """These people are not online there any more."""
        gone = set(user_ids)
        if gone:
            here = self._sessions[session]
            here.numbers -= BitMap(numbers[user_id] for user_id in gone & numbers.keys())
            here.unknown -= gone
            self._count_again()

    def expire(self, now_s: float) -> None:
        """Forgets processes that have said nothing for long."""
        gone = [name for name, here in self._sessions.items() if here.until_s < now_s]
        for name in gone:
            del self._sessions[name]
        if gone:
            self._count_again()

    def _count_again(self) -> None:
        sessions = self._sessions.values()
        self.numbers = BitMap.union(*(here.numbers for here in sessions)) if sessions else BitMap()
        self._unknown = set().union(*(here.unknown for here in sessions))

    # News

    def tell(
        self, concern: Concern, change: int, post: PostRow, users: BitMap, reason: str = ""
    ) -> None:
        """Something happened to a post that these people, all of them online, see or saw."""
        if users:
            self._add(News(concern, change, post.seq, post.author, reason, b""), users)

    def tell_person(self, user: int, change: int) -> None:
        """A person did something to their own inbox."""
        if user in self.numbers:
            self._add(News(Concern.PERSON, change, 0, 0, "", b""), BitMap((user,)))

    def _add(self, news: News, users: BitMap) -> None:
        self._told += len(users)
        if self._told <= TOLD_PER_COMMIT_MAX:
            self._news.append((news, users))

    def name(self, numbers: Mapping[str, int]) -> None:
        """These people got numbers in this transaction."""
        self._named.update((name, numbers[name]) for name in self._unknown & numbers.keys())

    def forget_news(self, change: int) -> None:
        """Of a transaction that was undone; the newest change is this one again."""
        self._forget()
        self._named.clear()
        for here in self._sessions.values():
            here.told = min(here.told, change)

    @property
    def named(self) -> list[int]:
        """The numbers that people who are online got in this transaction."""
        return list(self._named.values())

    def settle_names(self, change: int) -> None:
        """They count from now on, after the commit; what it meant to them they read."""
        for user_id, number in self._named.items():
            for here in self._sessions.values():
                if user_id in here.unknown:
                    here.unknown.discard(user_id)
                    here.numbers.add(number)
            self._unknown.discard(user_id)
            self.numbers.add(number)
            self._add(News(Concern.NAMED, change, number, 0, user_id, b""), BitMap((number,)))
        self._named.clear()

    def frames(self, change: int) -> list[tuple[str, Frame]]:
        """What the commit that ended with this change means to each process, by its place."""
        frames: list[tuple[str, Frame]] = []
        if not self._told:
            return frames
        if self._told > TOLD_PER_COMMIT_MAX:
            self._forget()
            return [(here.place, _gap(name, here, change)) for name, here in self._sessions.items()]
        # Stable, so that what one change did stays as it was told.
        self._news.sort(key=lambda one: one[0].change)
        for name, here in self._sessions.items():
            mine = [
                news._replace(users=seal(users))
                for news, everybody in self._news
                if (users := everybody & here.numbers)
            ]
            if mine:
                here.unheard_bytes += sum(len(news.users) for news in mine)
                if here.unheard_bytes > UNHEARD_BYTES_MAX:
                    frames.append((here.place, _gap(name, here, change)))
                else:
                    frames.append((here.place, Frame(name, here.told, change, mine)))
                    here.told = change
        self._forget()
        return frames

    def _forget(self) -> None:
        self._news.clear()
        self._told = 0


def _gap(name: str, here: Session, change: int) -> Frame:
    """A frame without the news: it does not go on from the one before, so all of them are read."""
    here.told = change
    return Frame(name, change, change, [])
