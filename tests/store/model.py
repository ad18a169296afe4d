"""What the store promises, as naively as can be: a dict with an entry for each notification."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from farm.lifecycle import State
from farm.store.dispatch import POISON
from farm.wire import Grant, OutcomesMessage
from tests.store.harness import Standing

Key = tuple[str, str, str]  # post, channel, user
WAITING = (State.QUEUED, State.RETRYING)


class ModelPost(NamedTuple):
    author: str
    moment: int  # of its publishing
    queued: int


@dataclass(slots=True)
class ModelLease:
    session: str
    keys: set[Key]
    attempt: int
    end_s: float
    deaths: int


@dataclass(slots=True)
class Model:
    channels: tuple[str, ...]
    max_attempts: int
    lease_s: float
    moment: int = 0
    known: set[str] = field(default_factory=set)
    following: dict[tuple[str, str], int] = field(default_factory=dict)  # since which moment
    muted: set[tuple[str, str]] = field(default_factory=set)
    posts: dict[str, ModelPost] = field(default_factory=dict)
    standing: dict[Key, Standing] = field(default_factory=dict)
    leases: dict[int, ModelLease] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)  # numbers of leases
    deaths: dict[Key, int] = field(default_factory=dict)  # of those suspected and not leased
    errors: dict[Key, str] = field(default_factory=dict)  # the newest
    failed: int = 0  # ever
    expired: Counter[State] = field(default_factory=Counter)  # what went with its post
    expired_tries: int = 0
    retracted: set[str] = field(default_factory=set)
    read: set[tuple[str, str]] = field(default_factory=set)  # user, post

    # Who follows whom

    def follow(self, user: str, author: str) -> bool:
        self.moment += 1
        self.known |= {user, author}
        return self.following.setdefault((user, author), self.moment) == self.moment

    def unfollow(self, user: str, author: str) -> bool:
        return self.following.pop((user, author), None) is not None

    def mute(self, user: str, author: str) -> bool:
        new = (user, author) not in self.muted
        self.muted.add((user, author))
        return new

    def unmute(self, user: str, author: str) -> bool:
        known = (user, author) in self.muted
        self.muted.discard((user, author))
        return known

    def inbox(self, user: str) -> list[str]:
        seen = [
            (post.moment, name)
            for name, post in self.posts.items()
            if post.moment > self.following.get((user, post.author), 2**60)
            and (user, post.author) not in self.muted
            and name not in self.retracted
        ]
        return [name for _, name in sorted(seen, reverse=True)]

    # What is read

    def mark(self, user: str, names: list[str], *, read: bool) -> None:
        for name in names:
            post = self.posts[name]
            if post.moment > self.following.get((user, post.author), 2**60):
                (self.read.add if read else self.read.discard)((user, name))

    def mark_up_to(self, user: str, last: str) -> None:
        moment = self.posts[last].moment
        self.read |= {(user, name) for name, post in self.posts.items() if post.moment <= moment}

    # Posts and what becomes of them

    def publish(self, name: str, author: str) -> ModelPost:
        self.moment += 1
        audience = [user for user, followed in self.following if followed == author]
        loud = [user for user in audience if (user, author) not in self.muted]
        for user in audience:
            for channel in self.channels:
                state = State.DELIVERED if channel == "inbox" else State.QUEUED
                state = state if user in loud else State.SUPPRESSED
                self.standing[name, channel, user] = Standing(state, int(state is State.DELIVERED))
        self.posts[name] = ModelPost(author, self.moment, len(loud))
        return self.posts[name]

    def retract(self, name: str) -> tuple[int, int]:
        """(stopped, hidden), people."""
        keys = [key for key in self.standing if key[0] == name]
        waiting = {key[2] for key in keys if self.standing[key].state in WAITING}
        told = {key[2] for key in keys if self.standing[key].state is State.DELIVERED}
        for key in keys:
            self.deaths.pop(key, None)
            if self.standing[key].state in WAITING:
                self.standing[key] = Standing(State.RETRACTED, self.standing[key].attempts)
        for number in [n for n, lease in self.leases.items() if set(keys) & lease.keys]:
            self.end(number)
        self.retracted.add(name)
        return len(waiting - told), len(told)

    def settled(self, name: str) -> bool:
        states = [standing.state for key, standing in self.standing.items() if key[0] == name]
        return not any(state in WAITING for state in states)

    def expire_post(self, name: str) -> None:
        del self.posts[name]
        for key in [key for key in self.standing if key[0] == name]:
            standing = self.standing.pop(key)
            self.expired[standing.state] += 1
            self.expired_tries += standing.attempts

    def replay(self, channel: str, error: str) -> tuple[int, dict[str, int]]:
        """(replayed, skipped by reason)."""
        replayed, skipped = 0, Counter[str]()
        for key, standing in self.standing.items():
            if standing.state is State.DEAD and (key[1], self.errors[key]) == (channel, error):
                pair = (key[2], self.posts[key[0]].author)
                if key[0] in self.retracted:
                    skipped["retracted"] += 1
                elif pair in self.muted:
                    skipped["muted"] += 1
                elif pair not in self.following:
                    skipped["unfollowed"] += 1
                else:
                    self.standing[key] = Standing(State.RETRYING, standing.attempts)
                    replayed += 1
        return replayed, dict(skipped)

    def lost(self, key: Key) -> bool:
        """Whether the person is not to be told of the post any more."""
        pair = (key[2], self.posts[key[0]].author)
        return pair in self.muted or pair not in self.following

    def apply(self, message: OutcomesMessage, users_of: dict[bytes, list[str]]) -> None:
        order = (State.DELIVERED, State.DEAD, State.RETRYING)
        for said in message.leases:
            lease = self.leases.get(said.lease)
            if lease is None or lease.session != message.session:
                continue
            for one in sorted(
                said.outcomes, key=lambda o: (o.members is None, order.index(State(o.state)))
            ):
                users = None if one.members is None else users_of[one.members]
                for key in lease.keys:
                    if self.left(lease, key) and (users is None or key[2] in users):
                        self.settle(key, State(one.state), one.error)
            if said.final:
                self.end(said.lease)

    def left(self, lease: ModelLease, key: Key) -> bool:
        standing = self.standing[key]
        return standing.state in WAITING and standing.attempts == lease.attempt

    def settle(self, key: Key, state: State, error: str) -> None:
        self.errors[key] = error
        tries = self.standing[key].attempts + 1
        if state is State.RETRYING and tries >= self.max_attempts:
            state = State.DEAD
        self.failed += state is State.DEAD
        self.standing[key] = Standing(state, tries)

    # Leases

    def grant(self, session: str, grant: Grant, users: list[str], now_s: float) -> None:
        """Checks that this could be given to the session, and notes it."""
        keys = {(grant.post_id, grant.channel, user) for user in users}
        held = {
            key for lease in self.leases.values() for key in lease.keys if self.left(lease, key)
        }
        assert keys
        assert not keys & held, "nobody is leased twice"
        assert all(self.standing[key].state in WAITING for key in keys)
        assert {self.standing[key].attempts for key in keys} == {grant.attempt}
        assert not any(map(self.lost, keys)), "who has left is not told"
        deaths = {self.deaths.pop(key, 0) for key in keys}
        assert len(deaths) == 1, "the suspected stay by themselves"
        assert grant.lease not in self.used, "a late outcome would be taken for this one's"
        self.used.add(grant.lease)
        died, end_s = deaths.pop(), now_s + self.lease_s
        self.leases[grant.lease] = ModelLease(session, keys, grant.attempt, end_s, died)
        together = [lease for lease in self.leases.values() if lease.session == session]
        if any(lease.deaths for lease in together):
            assert all(lease.deaths for lease in together), "the suspected go to a free session"
            assert sum(len(lease.keys) for lease in together) <= (32 if died == 1 else 1)

    def expire(self, now_s: float) -> None:
        for number in [number for number, held in self.leases.items() if held.end_s < now_s]:
            self.take_back(number)

    def renew(self, session: str, held: list[int], now_s: float) -> list[int]:
        """The leases of those held that the session lost."""
        for number in self.of(session):
            if number in held:
                self.leases[number].end_s = now_s + self.lease_s
            else:
                self.end(number)
        return sorted(set(held) - set(self.of(session)))

    def of(self, session: str) -> list[int]:
        return [number for number, lease in self.leases.items() if lease.session == session]

    def take_back(self, number: int) -> None:
        """From a session that is gone. What was suspected stays so: perhaps the session died of it,
        and nobody was there to tell."""
        lease = self.leases[number]
        if lease.deaths:
            left = {key for key in lease.keys if self.left(lease, key)}
            self.deaths |= dict.fromkeys(left, lease.deaths)
        self.end(number)

    def end(self, lease: int) -> None:
        del self.leases[lease]

    def die(self, session: str) -> None:
        for number in self.of(session):
            lease = self.leases.pop(number)
            keys = {key for key in lease.keys if self.left(lease, key)}
            if lease.deaths == 2 and len(keys) == 1:
                self.settle(keys.pop(), State.DEAD, POISON)
            self.deaths |= dict.fromkeys(keys, lease.deaths + 1)

    def restart(self, now_s: float) -> None:
        """Every lease holds for one more term."""
        for lease in self.leases.values():
            lease.end_s = now_s + self.lease_s
