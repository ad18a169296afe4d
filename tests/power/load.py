"""Everything that a store is asked, at random: what is running when the power goes."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from farm.audience import BitMap
from farm.store import graph, sqlite
from farm.store.answers import Answering
from farm.store.sqlite_snapshot import DATABASE, connect
from farm.wire import Grant, LeaseOutcome, LeaseRequest, Op, OutcomesMessage
from tests.power.files import Machine
from tests.store.harness import Store, members, outcome

USERS = [f"u{number}" for number in range(30)]
AUTHORS = ["u0", "u1", "star", "whale"]
SESSIONS = ["w1", "w2"]
CHANNELS = ("simulated", "inbox")
RETENTION_S = 60
OK = 0


@dataclass(slots=True)
class Sent:
    """A post, and the code of its answer; None: there was none."""

    post: str
    author: str
    content: str
    sent_us: int
    code: int | None = None


class Load:
    """Groups of requests, each of which is one commit, and what else the store's process does."""

    def __init__(self, store: Store, machine: Machine, chance: random.Random, names: Names) -> None:
        self._store = store
        self._machine = machine
        self._chance = chance
        self._names = names
        self._granted: dict[str, list[Grant]] = {session: [] for session in SESSIONS}
        self._helper = connect(
            machine.directory / DATABASE, apsw.SQLITE_OPEN_READWRITE, vfs=machine.vfs
        )
        self.sent: list[Sent] = []
        self.codes = set[int]()  # of all answers

    def close(self) -> None:
        self._helper.close()

    def step(self) -> None:
        """One commit."""
        self._store.clock.pass_s(self._chance.choice([0.01, 0.2, 3.0]))
        operations = [self._operation() for _ in range(self._chance.choice([0, 1, 1, 2, 5]))]
        outcomes = self._outcomes() if self._chance.random() < 0.5 else []
        leases = self._requests() if self._chance.random() < 0.5 else []
        now_us = self._store.clock.wall_us()
        posts = {
            at: Sent(*operation[1:4], now_us)  # type: ignore[call-arg]
            for at, operation in enumerate(operations)
            if operation[0] is Op.PUBLISH
        }
        self.sent += posts.values()
        answers = self._store.group(operations, outcomes, leases)
        for at, post in posts.items():
            post.code = answers.results[at][0]
        self.codes |= {result[0] for result in answers.results}
        for session, answer in answers.leases.items():
            self._granted[session] += answer.grants

    def _operation(self) -> tuple[Any, ...]:
        chance = self._chance
        author = chance.choice(AUTHORS)
        some = [name for name in chance.sample(USERS, chance.randint(2, 20)) if name != author]
        user = some[0]
        makes: Sequence[Callable[[], tuple[Any, ...]]] = (
            lambda: (Op.PUBLISH, self._names.new(), author, self._content(), 0, False),
            lambda: (Op.PUBLISH, self._names.new(), author, self._content(), 0, False),
            lambda: (Op.FOLLOW, user, author),
            lambda: (Op.UNFOLLOW, user, author),
            lambda: (Op.MUTE, user, author),
            lambda: (Op.UNMUTE, user, author),
            lambda: (Op.IMPORT, some, [author] * len(some)),
            lambda: (Op.RETRACT, self._names.recent(chance)),
            lambda: (Op.MARK, user, self._notifications(user), chance.random() < 0.7),
            lambda: self._mark_up_to(user),
            self._replay,
            lambda: (Op.SESSION_DIED, chance.choice(SESSIONS)),
            lambda: (Op.SESSIONS, chance.sample(SESSIONS, 1)),
        )
        return chance.choice(makes)()

    def _content(self) -> str:
        return "x" * self._chance.choice([5, 50, 6_000]) + str(self._chance.random())

    def _notifications(self, user: str) -> list[str]:
        page = self._store.reading.inbox(user, 5, "", False)
        return [notification.id for notification in page.notifications]

    def _mark_up_to(self, user: str) -> tuple[Any, ...]:
        page = self._store.reading.inbox(user, 5, "", False).notifications
        return (Op.MARK_UP_TO, user, page[-1].cursor) if page else (Op.STATS,)

    def _replay(self) -> tuple[Any, ...]:
        storage, reading = self._store.storage, self._store.reading
        groups = Answering(storage, reading, CHANNELS).dead_letters(5, "").groups
        return (Op.REPLAY, groups[0].id, "", False) if groups else (Op.STATS,)

    def _requests(self) -> list[LeaseRequest]:
        self._store.core._gone.clear()  # the next one has the same name here
        return [
            self._store.request(
                session, self._chance.randint(1, 60), [g.lease for g in self._granted[session]]
            )
            for session in self._chance.sample(SESSIONS, self._chance.randint(1, 2))
        ]

    def _outcomes(self) -> list[OutcomesMessage]:
        session = self._chance.choice(SESSIONS)
        told, self._granted[session] = self._granted[session], []
        return [self._store.message(session, *map(self._outcome, told))] if told else []

    def _outcome(self, grant: Grant) -> LeaseOutcome:
        people = [*members(grant)]
        states = [self._chance.choice(("delivered", "delivered", "retry", "dead")) for _ in people]
        said = {
            state: BitMap(who for who, its in zip(people, states, strict=True) if its == state)
            for state in ("delivered", "retry", "dead")
        }
        return outcome(grant, **said, error=self._chance.choice(["no", "gone"]))  # type: ignore[arg-type]

    def between(self) -> None:
        """What happens between commits: checkpoints, and readers that are in their way."""
        lot = self._chance.random()
        if lot < 0.15:
            with contextlib.suppress(apsw.Error):
                self._helper.execute("pragma wal_checkpoint(passive)").fetchall()
        elif lot < 0.25:  # a reader's snapshot, which a checkpoint must leave whole
            if self._helper.in_transaction:
                self._helper.execute("commit")
            else:
                self._helper.execute("begin")
                self._helper.execute("select * from meta").fetchall()
        self._store.storage.checkpoint()


class Names:
    """Of posts, never the same again, whatever becomes of the store."""

    def __init__(self, prefix: str = "p") -> None:
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._given = ["none"]

    def new(self) -> str:
        self._given.append(f"{self._prefix}{next(self._numbers)}")
        return self._given[-1]

    def recent(self, chance: random.Random) -> str:
        return chance.choice(self._given[-20:])


@contextlib.contextmanager
def small_scale() -> Iterator[None]:
    """Segments that split and logs that begin anew all the time, as they do at a million people."""
    before = graph.SEGMENT_MAX, graph.TAIL_MAX, sqlite.LOG_PAGES_MAX, sqlite.RESTART_BUSY_MS
    graph.SEGMENT_MAX, graph.TAIL_MAX, sqlite.LOG_PAGES_MAX, sqlite.RESTART_BUSY_MS = 8, 4, 60, 0
    try:
        yield
    finally:
        graph.SEGMENT_MAX, graph.TAIL_MAX, sqlite.LOG_PAGES_MAX, sqlite.RESTART_BUSY_MS = before
