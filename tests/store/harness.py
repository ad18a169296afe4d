"""A store without its sockets, for tests: the real core on a real database, and a clock by hand.

def test_something(store: Store) -> None:          # the fixture is in conftest.py
    store.follow("ann", "bob")
    store.publish("p1", "bob")
    (grant,) = store.ask("w1", 100).grants
    store.tell("w1", outcome(grant, delivered=store.members(grant)))
    assert store.ledger("p1")["simulated"].delivered == 1
    store.reopen()                                 # as a killed process comes back
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from farm import wire
from farm.audience import BitMap, seal, unseal
from farm.clock import SystemClock
from farm.lifecycle import REST, Part, State, part_of
from farm.schedule import Backoff, LeaseTerms
from farm.store import totals
from farm.store.core import DAY_US, Answers, Core, Group, Rules
from farm.store.dispatch import Terms
from farm.store.inbox import Reading, SegmentCache
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_schema import APPLICATION_ID, SCHEMA
from farm.store.sqlite_snapshot import DATABASE
from farm.store.storage import Storage
from farm.wire import Grant, LeaseAnswer, LeaseOutcome, LeaseRequest, Op, Outcome, OutcomesMessage

START_US = 1_700_000_000_000_000
OpenStorage = Callable[[], Storage]


class ManualClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self._passed_s = 0.0

    def pass_s(self, seconds: float) -> None:
        self._passed_s += seconds

    def wall_us(self) -> int:
        return START_US + round(self._passed_s * 1e6)

    def monotonic_s(self) -> float:
        return 1_000.0 + self._passed_s


RAISES = (Op.IMPORT, ["one"], ["two", "lists", "of other lengths"])  # in an unforeseen way


class MovedClock(SystemClock):
    """Goes on, and forward where a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


def open_sqlite(directory: Path) -> Storage:
    return SqliteStorage.create_or_open(directory, chance=random.Random(7), now_us=START_US)


def make_first_version(path: Path) -> None:
    """A database as the first Hark made it, with somebody in it."""
    database = apsw.Connection(str(path))
    database.pragma("application_id", APPLICATION_ID)
    database.pragma("journal_mode", "wal")
    for _ in database.execute(resources.files("farm.store").joinpath(SCHEMA[0]).read_text("utf-8")):
        pass
    database.execute("insert into meta values(1, 77, x'00', 5, 0, x'80')")
    database.execute("insert into user values(1, 'ann')")
    database.pragma("user_version", 1)
    database.close()


def damage_page(directory: Path, table: str) -> None:
    """Zeroes a page in the middle of a table, of a database that nobody has open."""
    path = directory / DATABASE
    database = apsw.Connection(str(path))
    leaves: list[Any] = database.execute(
        "select pgoffset, pgsize from dbstat where name = ? and pagetype = 'leaf' order by path",
        (table,),
    ).fetchall()
    database.close()
    start, size = leaves[len(leaves) // 2]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(size))


class Standing(NamedTuple):
    """Where somebody of an audience stands on one channel."""

    state: State
    attempts: int


class Store:
    """See the module."""

    def __init__(
        self,
        open_storage: OpenStorage,
        *,
        channels: Sequence[str] = ("simulated",),
        following_max: int = 10_000,
        backlog_max: int = 10**9,
        disk_reserve_bytes: int = 0,
        max_attempts: int = 4,
        backoff_ms: int = 100,
        backoff_cap_ms: int = 30_000,
        seed: int | None = None,
        retention_us: int = 30 * DAY_US,
    ) -> None:
        terms = Terms(Backoff(backoff_ms, backoff_cap_ms), max_attempts, LeaseTerms(), seed)
        self.rules = Rules(
            channels=tuple(channels),
            following_max=following_max,
            backlog_max=backlog_max,
            disk_reserve_bytes=disk_reserve_bytes,
            retention_us=retention_us,
            terms=terms,
        )
        self.clock = ManualClock()
        self._open_storage = open_storage
        self._messages = self._requests = 0
        self.storage = open_storage()
        self.core = self._new_core()

    def _new_core(self) -> Core:
        return Core(self.storage, self.clock, random.Random(3), self.rules)

    def reopen(self) -> None:
        """Ends the process, as far as memory goes, and starts again from what is on disk."""
        self.storage.close()
        self.storage = self._open_storage()
        self.core = self._new_core()

    def close(self) -> None:
        self.storage.close()

    # Writing

    def group(
        self,
        operations: Iterable[Sequence[Any]] = (),
        outcomes: Iterable[OutcomesMessage] = (),
        leases: Iterable[LeaseRequest] = (),
    ) -> Answers:
        """Requests that share a commit."""
        return self.core.run(Group([[*one] for one in operations], [*outcomes], [*leases]))

    def call(self, op: Op, *arguments: Any) -> Any:
        """One operation's value; raises what it refuses with."""
        return wire.value_of(self.group([(op, *arguments)]).results[0])

    def follow(self, follower: str, author: str) -> bool:
        return bool(self.call(Op.FOLLOW, follower, author))

    def unfollow(self, follower: str, author: str) -> bool:
        return bool(self.call(Op.UNFOLLOW, follower, author))

    def mute(self, user: str, author: str) -> bool:
        return bool(self.call(Op.MUTE, user, author))

    def unmute(self, user: str, author: str) -> bool:
        return bool(self.call(Op.UNMUTE, user, author))

    def followers(self, author: str, count: int, prefix: str = "f") -> list[str]:
        """Gives the author so many followers, f1 and so on, in one import."""
        people = [f"{prefix}{number}" for number in range(1, count + 1)]
        self.call(Op.IMPORT, people, [author] * count)
        return people

    def publish(
        self, post: str, author: str, content: str = "hello", *, must_be_known: bool = True
    ) -> wire.Published:
        now_us = self.clock.wall_us()
        published: wire.Published = self.call(
            Op.PUBLISH, post, author, content, now_us, must_be_known
        )
        return published

    # Working

    def request(
        self, session: str, want: int, held: Iterable[int] = (), ended: Iterable[int] = ()
    ) -> LeaseRequest:
        self._requests += 1
        return LeaseRequest(session, self._requests, want, [*held], [*ended])

    def ask(self, session: str, want: int, held: Iterable[int] = ()) -> LeaseAnswer:
        """What a session is given; where there is no work, the answer after its patience."""
        answers = self.group(leases=[self.request(session, want, held)]).leases
        answer = answers.get(session) or self.core.give_up_waiting(session)
        assert answer is not None
        return answer

    def message(self, session: str, *leases: LeaseOutcome) -> OutcomesMessage:
        self._messages += 1
        return OutcomesMessage(session, self._messages, [*leases], [], 0.0)

    def tell(self, session: str, *leases: LeaseOutcome) -> None:
        self.group(outcomes=[self.message(session, *leases)])

    def die(self, session: str) -> None:
        self.call(Op.SESSION_DIED, session)

    def pass_s(self, seconds: float) -> None:
        """Time passes, and the store does what is due by then."""
        self.clock.pass_s(seconds)
        self.group()

    # Looking

    @property
    def reading(self) -> Reading:
        return Reading(self.storage, SegmentCache())

    def ids(self, numbers: Iterable[int]) -> list[str]:
        return self.storage.user_ids([*numbers])

    def numbers(self, *user_ids: str) -> BitMap:
        return BitMap(self.storage.numbers_of(user_ids).values())

    def granted(self, answer: LeaseAnswer) -> list[str]:
        """Who is in an answer's grants, as often as they are in one."""
        return sorted(name for grant in answer.grants for name in self.ids(members(grant)))

    def ledger(self, post: str) -> dict[str, wire.ChannelLedger]:
        found = self.reading.post(post)
        assert found is not None
        return {channel.channel: channel for channel in found.ledger}

    def inbox(self, user: str, size: int = 100) -> list[str]:
        return [n.post_id for n in self.reading.inbox(user, size, "", False).notifications]

    def counter(self, *key: str) -> int:
        """A total as it is on disk."""
        return totals.Totals(self.storage.meta().totals).of(*key)

    def waiting(self) -> tuple[int, int]:
        return self.counter(totals.QUEUED), self.counter(totals.RETRYING)

    def audience(self, post: str) -> dict[str, dict[str, Standing]]:
        """By channel, where each of a post's audience stands; from the sets, by this code alone.

        Fails where somebody is in two sets or outside of their segment.
        """
        row = self.storage.post_by_id(post)
        assert row is not None
        found: dict[str, dict[str, Standing]] = {}
        names = {number: name for name, number in self.storage.channels().items()}
        parts = self.storage.parts_of_post(row.seq)
        for channel, segment in sorted({(part.channel, part.segment) for part in parts}):
            everybody = set(unseal(self.storage.members(segment)))
            standings = found.setdefault(names[channel], {})
            for part in parts:
                if (part.channel, part.segment) == (channel, segment) and part.part != REST:
                    assert part.members is not None
                    mine = set(unseal(part.members))
                    assert mine, f"{part_of(part.part)} is stored though it is empty"
                    assert mine <= everybody, "in two parts, or not of the audience"
                    everybody -= mine
                    self._stand(standings, mine, part_of(part.part))
            (rest,) = (p for p in parts if (*p[1:4],) == (channel, segment, REST))
            state = State(rest.state)
            self._stand(standings, everybody, Part(state, int(state is State.DELIVERED)))
        return found

    def _stand(self, standings: dict[str, Standing], numbers: set[int], part: Part) -> None:
        for name in self.ids(sorted(numbers)):
            assert name not in standings, f"{name} is in two segments"
            standings[name] = Standing(part.state, part.attempt)

    def check(self) -> None:
        """Every invariant that can be seen in the sets alone, over all posts."""
        queued = retrying = 0
        for seq in self.storage.posts_after(0, 100_000):
            row = self.storage.post(seq)
            assert row is not None
            by_channel = self.audience(row.id)
            for channel, ledger in self.ledger(row.id).items():
                states = [standing.state for standing in by_channel[channel].values()]
                assert len(states) == row.audience
                assert ledger.unaccounted == 0
                assert ledger.queued == states.count(State.QUEUED)
                assert ledger.retrying == states.count(State.RETRYING)
                assert ledger.delivered == states.count(State.DELIVERED)
                assert ledger.dead == states.count(State.DEAD)
                assert sum(ledger.suppressed.values()) == states.count(State.SUPPRESSED)
                queued, retrying = queued + ledger.queued, retrying + ledger.retrying
        assert self.waiting() == (queued, retrying)


def members(grant: Grant) -> BitMap:
    return unseal(grant.members)


def outcome(
    grant: Grant,
    *,
    delivered: Iterable[int] = (),
    retry: Iterable[int] = (),
    dead: Iterable[int] = (),
    others: State | None = None,
    final: bool = True,
    error: str = "no",
) -> LeaseOutcome:
    """What came of a grant. `others`: of all that nothing else is said of."""
    said = [
        Outcome(state, "" if state is State.DELIVERED else error, seal(BitMap(some)))
        for state, some in (
            (State.DELIVERED, [*delivered]),
            (State.RETRYING, [*retry]),
            (State.DEAD, [*dead]),
        )
        if some
    ]
    if others is not None:
        said.append(Outcome(others, "" if others is State.DELIVERED else error, None))
    return LeaseOutcome(grant.lease, final, said)
