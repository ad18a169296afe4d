"""The store against a naive model: after any sequence of requests, deaths and restarts they agree.

Segments are made small, so that they fold and split all the time.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from farm import wire
from farm.audience import BitMap, seal
from farm.errors import AlreadyExists, Internal, NotFound
from farm.lifecycle import State
from farm.store import graph, totals
from farm.store.answers import Answering
from farm.store.check import Check
from farm.store.sqlite_records import SqliteRecords
from farm.wire import LeaseAnswer, LeaseOutcome, LeaseRequest, Op, Outcome, OutcomesMessage
from tests.store.harness import Standing, Store, members, open_sqlite
from tests.store.model import WAITING, Model

USERS = [f"u{number}" for number in range(10)]
AUTHORS = ["u0", "u1", "star"]
SESSIONS = ["w1", "w2", "w3"]
BREAKS_THE_GROUP = (Op.IMPORT, ["u1"], ["u2", "u3"])

PAIRS = [(user, author) for user in USERS for author in AUTHORS if user != author]

# Drawn at once, so that what is generated never hangs on what the store did.
chances = st.integers(0, 2**32).map(random.Random)
pairs = st.sampled_from(PAIRS)
requests = st.one_of(
    st.tuples(st.just(Op.FOLLOW), pairs),
    st.tuples(st.just(Op.FOLLOW), pairs),
    st.tuples(st.just(Op.UNFOLLOW), pairs),
    st.tuples(st.just(Op.MUTE), pairs),
    st.tuples(st.just(Op.UNMUTE), pairs),
    st.tuples(st.just(Op.PUBLISH), st.sampled_from([*AUTHORS, "ghost"])),
    st.tuples(st.just(Op.PUBLISH), st.sampled_from(AUTHORS)),
    st.tuples(st.just(Op.IMPORT), st.lists(pairs, max_size=8)),
)


class Farm(RuleBasedStateMachine):
    """One store, a few workers that may die, and everything they may say.

    Fault rows 119 and 120 are among what it comes upon; `test_orders.py` tries all their orders.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="hark-test-"))
        self.limits = graph.SEGMENT_MAX, graph.TAIL_MAX
        self.messages: list[OutcomesMessage] = []
        self.users_of: dict[bytes, list[str]] = {}
        self.published: list[tuple[str, str]] = []
        self.received_us: dict[str, int] = {}
        self.retractions: dict[str, tuple[int, int]] = {}

    @initialize(
        channels=st.sampled_from([("simulated",), ("simulated", "inbox"), ("a", "simulated")]),
        limits=st.sampled_from([(3, 2), (4, 3), (8_192, 2_048), (2, 1)]),
        crowd=st.booleans(),
    )
    def begin(self, channels: tuple[str, ...], limits: tuple[int, int], crowd: bool) -> None:
        graph.SEGMENT_MAX, graph.TAIL_MAX = limits
        opener = partial(open_sqlite, self.directory)
        self.store = Store(opener, channels=channels, max_attempts=3)
        self.model = Model(channels, 3, self.store.rules.terms.lease.lease_ms / 1000)
        if crowd:
            self.together([(Op.IMPORT, PAIRS)], broken=False)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.drain()
            self.store.close()
        graph.SEGMENT_MAX, graph.TAIL_MAX = self.limits
        shutil.rmtree(self.directory)

    # What clients ask

    @rule(asked=st.lists(requests, min_size=1, max_size=6), broken=st.integers(0, 9))
    def ask_together(self, asked: list[tuple[Op, Any]], broken: int) -> None:
        self.together(asked, broken=broken == 0)

    @rule(asked=requests)
    def ask_one(self, asked: tuple[Op, Any]) -> None:
        self.together([asked], broken=False)

    @rule(author=st.sampled_from(AUTHORS))
    def post(self, author: str) -> None:
        self.together([(Op.PUBLISH, author)], broken=False)

    def together(self, asked: list[tuple[Op, Any]], *, broken: bool) -> None:
        """One group. A request in it that breaks all of it is blamed alone."""
        operations = [self.operation(*one) for one in asked]
        where = len(operations) // 2
        if broken:
            operations.insert(where, BREAKS_THE_GROUP)
        results = self.store.group(operations).results
        if broken:
            assert results.pop(where)[0] == Internal.code
            self.model.restart(self.now_s)
        for operation, result in zip([o for o in operations if o is not BREAKS_THE_GROUP], results,
                                     strict=True):  # fmt: skip
            self.expect(operation, result)
        self.model.expire(self.now_s)

    def operation(self, op: Op, about: Any) -> tuple[Any, ...]:
        if op is Op.PUBLISH:
            name = f"p{len(self.published)}"
            self.published.append((name, about))
            return (op, name, about, "hello", 0, about != "ghost")
        if op is Op.IMPORT:
            return (op, [user for user, _ in about], [author for _, author in about])
        return (op, *about)

    def expect(self, operation: tuple[Any, ...], result: Any) -> None:
        """The model does the same, and must answer the same."""
        op, *about = operation
        match op:
            case Op.PUBLISH if about[1] not in self.model.known and about[4]:
                assert result[0] == NotFound.code
            case Op.PUBLISH:
                post = self.model.publish(about[0], about[1])
                assert wire.value_of(result).queued == post.queued
                self.received_us[about[0]] = self.store.clock.wall_us()
            case Op.FOLLOW:
                assert wire.value_of(result) == self.model.follow(*about)
            case Op.UNFOLLOW:
                assert wire.value_of(result) == self.model.unfollow(*about)
            case Op.MUTE if not {*about} <= self.model.known:
                assert result[0] == NotFound.code
            case Op.MUTE:
                assert wire.value_of(result) == self.model.mute(*about)
            case Op.UNMUTE:
                assert wire.value_of(result) == self.model.unmute(*about)
            case _:
                edges = list(zip(*about, strict=True))
                new = sum(self.model.follow(*edge) for edge in edges)
                assert wire.value_of(result) == (new, len(edges) - new, [])

    @rule(chance=chances, same=st.booleans())
    def publish_again(self, chance: random.Random, same: bool) -> None:
        if not self.model.posts:
            return
        name = chance.choice(sorted(self.model.posts))
        author, _, queued = self.model.posts[name]
        (result,) = self.store.group(
            [(Op.PUBLISH, name, author, "hello" if same else "other", 5, False)]
        ).results
        if same:
            assert wire.value_of(result)[1::2] == (queued, True)
        else:
            assert result[0] == AlreadyExists.code
        self.model.expire(self.now_s)

    @rule(chance=chances, in_the_same=st.booleans())
    def retract(self, chance: random.Random, in_the_same: bool) -> None:
        """Some post, perhaps again, perhaps one of the same commit."""
        names = sorted(self.model.posts)
        operations = []
        if in_the_same:
            operations = [self.operation(Op.PUBLISH, "star")]
            names = [operations[0][1]]
        if not names or (in_the_same and "star" not in self.model.known):
            return
        name = chance.choice(names)
        *results, answer = self.store.group([*operations, (Op.RETRACT, name)]).results
        for operation, result in zip(operations, results, strict=True):
            self.expect(operation, result)
        if name not in self.retractions:
            self.retractions[name] = self.model.retract(name)
        assert wire.value_of(answer) == self.retractions[name]
        self.model.expire(self.now_s)

    @rule(user=st.sampled_from(USERS), chance=chances, read=st.booleans())
    def mark(self, user: str, chance: random.Random, read: bool) -> None:
        """Single ones, also such as this person does not see, or are somebody else's."""
        names = sorted(self.model.posts)
        if not names or user not in self.model.known:
            return
        some = chance.sample(names, chance.randint(1, min(3, len(names))))
        storage = self.store.storage
        number, other = storage.number_of(user), (storage.number_of(USERS[0]) or 0) + 500
        rows = [storage.post_by_id(name) for name in some]
        ids = [f"{row.seq:x}.{number:x}" for row in rows if row is not None]
        self.store.call(Op.MARK, user, [*ids, f"1.{other:x}", "x", f"{2**70:x}.{number:x}"], read)
        self.model.mark(user, some, read=read)
        self.model.expire(self.now_s)

    @rule(user=st.sampled_from(USERS), chance=chances)
    def mark_up_to(self, user: str, chance: random.Random) -> None:
        page = self.store.reading.inbox(user, 100, "", False).notifications
        if page:
            one = chance.choice(page)
            self.store.call(Op.MARK_UP_TO, user, one.cursor)
            self.model.mark_up_to(user, one.post_id)
            self.model.expire(self.now_s)

    @rule(chance=chances, dry_run=st.booleans())
    def replay(self, chance: random.Random, dry_run: bool) -> None:
        groups = self.answering.dead_letters(50, "").groups
        if groups:
            group = chance.choice(groups)
            answer = wire.Replayed(*self.store.call(Op.REPLAY, group.id, "", dry_run))
            standing = dict(self.model.standing)
            expected = self.model.replay(group.channel, group.error)
            if dry_run:
                self.model.standing = standing
            assert (answer.replayed, answer.skipped, answer.next_place) == (*expected, "")
            assert answer.replayed + sum(answer.skipped.values()) == group.dead
            self.model.expire(self.now_s)

    @property
    def answering(self) -> Answering:
        return Answering(self.store.storage, self.store.reading, self.model.channels)

    # What workers do

    @property
    def now_s(self) -> float:
        return self.store.clock.monotonic_s()

    @rule(
        session=st.sampled_from(SESSIONS),
        want=st.integers(0, 12),
        forget=st.booleans(),
        post=st.booleans(),
    )
    def lease(self, session: str, want: int, forget: bool, post: bool) -> None:
        """A session asks, perhaps having lost an answer, perhaps in the commit of a post."""
        held = self.model.of(session)
        held = held[: len(held) // 2] if forget else held
        operations = [self.operation(Op.PUBLISH, "star")] if post else []
        request = self.store.request(session, want, held)
        answers = self.store.group(operations, leases=[request])
        for operation, result in zip(operations, answers.results, strict=True):
            self.expect(operation, result)
        self.answered([request], answers.leases)

    @rule(wants=st.lists(st.integers(1, 40), min_size=3, max_size=3))
    def lease_all_at_once(self, wants: list[int]) -> None:
        asked = [
            self.store.request(session, want, self.model.of(session))
            for session, want in zip(SESSIONS, wants, strict=True)
        ]
        self.answered(asked, self.store.group(leases=asked).leases)

    def answered(self, asked: list[LeaseRequest], answers: dict[str, LeaseAnswer]) -> None:
        """Checks what was given, and notes it. Nobody is left waiting for work."""
        self.model.expire(self.now_s)
        lost = {r.session: self.model.renew(r.session, r.held, self.now_s) for r in asked}
        self.suppress_the_lost()
        for session, answer in answers.items():
            assert sorted(answer.lost) == lost[session]
            for grant in answer.grants:
                self.model.grant(session, grant, self.store.ids(members(grant)), self.now_s)
        for request in asked:
            assert request.session in answers or not lost[request.session]
            self.store.core.give_up_waiting(request.session)

    def suppress_the_lost(self) -> None:
        """Who has left may be found at any lease; that they have left must be true."""
        for name in self.model.posts:
            for channel, standings in self.store.audience(name).items():
                for user, now in standings.items():
                    key = (name, channel, user)
                    before = self.model.standing[key]
                    if now.state is State.SUPPRESSED and before.state in WAITING:
                        assert self.model.lost(key)
                        self.model.standing[key] = Standing(State.SUPPRESSED, before.attempts)
                        self.model.deaths.pop(key, None)

    @rule(session=st.sampled_from(SESSIONS), chance=chances)
    def tell(self, session: str, chance: random.Random) -> None:
        """A session tells of some of its leases: a part, all, too much, or twice over."""
        own = self.model.of(session)
        if own:
            chosen = chance.sample(own, chance.randint(1, min(3, len(own))))
            said = [self.outcome_of(lease, chance) for lease in chosen]
            self.messages.append(self.store.message(session, *said))
            self.send([self.messages[-1]] * chance.choice([1, 1, 2]))

    def outcome_of(self, lease: int, chance: random.Random) -> LeaseOutcome:
        users = sorted(user for _, _, user in self.model.leases[lease].keys)
        outcomes = []
        for state in (State.RETRYING, State.DELIVERED, State.DEAD):
            some = chance.sample(users, chance.randint(0, len(users)))
            if some and chance.random() < 0.6:
                blob = seal(BitMap(self.store.numbers(*some)))
                self.users_of[blob] = some
                outcomes.append(Outcome(state, f"because {state}", blob))
        if chance.random() < 0.4:
            others = chance.choice([State.DELIVERED, State.RETRYING])
            outcomes.append(Outcome(others, "all others", None))
        return LeaseOutcome(lease, chance.random() < 0.5, outcomes)

    @rule(chance=chances)
    def tell_again(self, chance: random.Random) -> None:
        """What was told before comes late, doubled and in another order."""
        if self.messages:
            self.send(chance.choices(self.messages, k=chance.randint(1, 3)))

    def send(self, messages: list[OutcomesMessage]) -> None:
        self.store.group(outcomes=messages)
        for message in messages:
            self.model.apply(message, self.users_of)
        self.model.expire(self.now_s)

    # What goes wrong

    @rule(session=st.sampled_from(SESSIONS))
    def die(self, session: str) -> None:
        self.store.die(session)
        self.model.die(session)
        self.store.core._gone.clear()  # the next one has the same name here
        self.model.expire(self.now_s)

    @rule(living=st.lists(st.sampled_from(SESSIONS), unique=True))
    def keep(self, living: list[str]) -> None:
        self.store.call(Op.SESSIONS, living)
        for session in set(SESSIONS) - set(living):
            for lease in self.model.of(session):
                self.model.take_back(lease)
        self.model.expire(self.now_s)

    @rule(seconds=st.sampled_from([0.02, 0.06, 0.2, 5.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.store.pass_s(seconds)
        self.model.expire(self.now_s)

    @rule(days=st.sampled_from([16, 31]))
    def grow_old(self, days: int) -> None:
        """Posts whose time is over go, oldest first, but none before what still waits."""
        self.store.pass_s(days * 86_400)
        for _ in range(10):
            self.store.pass_s(11.0)
        self.model.expire(self.now_s)
        self.forget_the_expired()
        oldest = min(self.model.posts, key=lambda name: self.model.posts[name].moment, default=None)
        if oldest is not None:
            assert not self.is_old(oldest) or not self.model.settled(oldest)

    def is_old(self, name: str) -> bool:
        age_us = self.store.clock.wall_us() - self.received_us[name]
        return age_us >= self.store.rules.retention_us

    def forget_the_expired(self) -> None:
        """Those that the store has removed: it may have done so at any turn."""
        kept = [self.store.storage.post(seq) for seq in self.store.storage.posts_after(0, 10_000)]
        names = {post.id for post in kept if post is not None}
        in_order = sorted(self.model.posts, key=lambda name: self.model.posts[name].moment)
        gone = [name for name in in_order if name not in names]
        assert gone == in_order[: len(gone)], "the oldest first"
        for name in gone:
            assert self.is_old(name)
            assert self.model.settled(name)
            self.model.expire_post(name)

    @rule()
    def restart(self) -> None:
        self.store.reopen()
        self.model.restart(self.now_s)

    # What must hold after each step

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "store"):
            self.forget_the_expired()
            self.store.check()
            self.people_agree()
            self.counters_agree()

    def people_agree(self) -> None:
        for name in self.model.posts:
            found = self.store.audience(name)
            expected = {k: s for k, s in self.model.standing.items() if k[0] == name}
            stored = {(name, c, u): s for c, users in found.items() for u, s in users.items()}
            assert stored == expected
        for user in USERS:
            page = self.store.reading.inbox(user, 100, "", False)
            assert [n.post_id for n in page.notifications] == self.model.inbox(user)
            unread = [n.post_id for n in page.notifications if not n.read]
            assert unread == [n for n in self.model.inbox(user) if (user, n) not in self.model.read]
            assert page.unread == len(unread) == self.store.reading.unread(user)
            only = self.store.reading.inbox(user, 100, "", True).notifications
            assert [n.post_id for n in only] == unread
            self.explanations_agree(user, {n.post_id for n in page.notifications})
            for shown in page.notifications:
                stands = {
                    c: self.model.standing[shown.post_id, c, user] for c in self.model.channels
                }
                assert {d.channel: (d.state, d.attempts) for d in shown.deliveries} == stands
        leased = {row.id for row in self.store.storage.leases() if row.session}
        assert leased == set(self.model.leases)

    def explanations_agree(self, user: str, seen: set[str]) -> None:
        if user not in self.model.known:
            return
        for name, post in self.model.posts.items():
            said = self.answering.explain(name, user)
            states = [s.state for k, s in self.model.standing.items() if k[::2] == (name, user)]
            assert said.in_audience is bool(states)
            assert [delivery.state for delivery in said.deliveries] == states
            if name in seen:
                suppressed = all(state is State.SUPPRESSED for state in states)
                assert said.code == ("MUTED" if suppressed else "NOTIFIED")
            elif not states:
                assert said.code in {"NEVER_FOLLOWED", "FOLLOWED_LATER", "UNFOLLOWED"}
            elif name in self.model.retracted:
                assert said.code == "RETRACTED"
            elif post.moment > self.model.following.get((user, post.author), 2**60):
                assert said.code == "MUTED"
            else:
                assert said.code == "UNFOLLOWED"

    def counters_agree(self) -> None:
        states = [standing.state for standing in self.model.standing.values()]
        assert self.store.waiting() == (states.count(State.QUEUED), states.count(State.RETRYING))
        sent = states.count(State.DELIVERED) + self.model.expired[State.DELIVERED]
        assert self.store.counter(totals.SENT) == sent
        assert self.store.counter(totals.FAILED) == self.model.failed
        dead = sum(group.dead for group in self.answering.dead_letters(50, "").groups)
        assert dead == states.count(State.DEAD)
        tried = sum(standing.attempts for standing in self.model.standing.values())
        tried += self.model.expired_tries
        counted = sum(
            self.store.counter(totals.ATTEMPTS, channel, result)
            for channel in self.model.channels
            for result in ("delivered", "failed")
        )
        assert counted == tried

    def drain(self) -> None:
        """Nobody is stuck: with a worker that delivers, all are settled in the end."""
        self.store.call(Op.SESSIONS, [])
        for _ in range(500):
            if self.store.waiting() == (0, 0):
                break
            self.store.clock.pass_s(1.0)
            answer = self.store.ask("last", 1_000)
            said = [LeaseOutcome(g.lease, True, [Outcome(2, "", None)]) for g in answer.grants]
            self.store.tell("last", *said)
        assert self.store.waiting() == (0, 0)
        self.store.check()
        with SqliteRecords.open(self.directory) as records:
            assert [str(breach) for breach in Check(records, lambda _: None).breaches()] == []


class LongFarm(Farm):
    """The same for longer, by `make test-all`."""


def _bounded(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        # A failure shows its steps at once; making them fewer could take minutes.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TestFarm = Farm.TestCase
TestFarm.settings = _bounded(40, 30)
TestLongFarm = pytest.mark.slow(pytest.mark.timeout(3_600)(LongFarm.TestCase))
TestLongFarm.settings = _bounded(1_500, 50)
