"""The store without its sockets: groups of requests in, answers out, one transaction a group.

Outcomes are applied, then operations in the order they came; what waits in the collecting parts is
written, leases are granted, and all of it is committed. Only then does anybody hear of it. What is
in memory is a cache of what is stored: after a rollback it is thrown away and read again.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm import wire
from farm.clock import Clock, SteadyClock
from farm.cursor import InboxCursors
from farm.errors import HarkError, Internal, Refused
from farm.failpoints import Point, passing
from farm.observe import log
from farm.store import totals
from farm.store.dispatch import Dispatch, Terms
from farm.store.graph import Changes, Graph
from farm.store.intake import Intake
from farm.store.letters import Letters
from farm.store.marks import Marks
from farm.store.presence import Presence
from farm.store.retention import Retention
from farm.store.retraction import Retractions
from farm.store.storage import CommitUnknown, Storage, StorageFull
from farm.store.totals import Rate, Totals
from farm.wire import Frame, Grant, LeaseAnswer, LeaseRequest, Online, Op, OutcomesMessage, Stats

DAY_US = 86_400_000_000
DISK_LOOK_EVERY_S = 0.5
GONE_REMEMBERED_MAX = 1_000
HEARD_MAX = 100  # messages of a session
SESSIONS_REMEMBERED_MAX = 1_000
NEED_NO_ROOM = {
    Op.ONLINE, Op.STATS, Op.SESSIONS, Op.SESSION_DIED, Op.IMPORT_KNOWN, Op.BACKUP_PROGRESS,
}  # fmt: skip
FULL_PAUSE_S = 1.0  # nothing is leased for so long after the disk was found full


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the store is told at its start."""

    channels: tuple[str, ...]
    following_max: int
    backlog_max: int
    disk_reserve_bytes: int
    retention_us: int = 30 * DAY_US
    terms: Terms


@dataclass(slots=True)
class Group:
    """Requests that share a commit, and what is answered to each."""

    operations: list[list[Any]] = field(default_factory=list)
    outcomes: list[OutcomesMessage] = field(default_factory=list)
    leases: list[LeaseRequest] = field(default_factory=list)
    more: bool = False  # wait to be read, and among them perhaps reports that came in time

    def halves(self) -> tuple[Group, Group]:
        """One to run after the other, so that all is done in the same order: outcomes first."""
        outcomes = len(self) // 2
        operations = max(outcomes - len(self.outcomes), 0)
        leases = max(operations - len(self.operations), 0)
        return (
            Group(
                self.operations[:operations], self.outcomes[:outcomes], self.leases[:leases],
                more=True,
            ),
            Group(
                self.operations[operations:], self.outcomes[outcomes:], self.leases[leases:],
                more=self.more,
            ),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.operations) + len(self.outcomes) + len(self.leases)


@dataclass(slots=True)
class Answers:
    """A result for each operation, in order, and the lease requests that can be answered now: this
    group's and earlier ones, by session. Those without work are parked. And frames, by the place of
    those who are online."""

    results: list[Any] = field(default_factory=list)
    leases: dict[str, LeaseAnswer] = field(default_factory=dict)
    frames: list[tuple[str, Frame]] = field(default_factory=list)


# By session: what it asked, the leases it has lost, and what it gets.
_Given = dict[str, tuple[LeaseRequest, list[int], list[Grant]]]


class Core:
    """The writer's state and what each request does to it."""

    def __init__(self, storage: Storage, clock: Clock, chance: random.Random, rules: Rules) -> None:
        self._storage = storage
        self._chance = chance
        self._rules = rules
        self._clock = SteadyClock(clock, floor_us=storage.meta().now_us)
        self._acknowledged: dict[str, list[int]] = {}
        self._heard: dict[str, deque[int]] = {}  # the last messages of each session, by number
        self._parked: dict[str, LeaseRequest] = {}
        self._given: dict[str, LeaseAnswer] = {}  # the last answer of each session
        self._gone: dict[str, None] = {}  # sessions whose death was heard of, the newest last
        self._looked_s = self._full_until_s = float("-inf")
        self._presence = Presence()
        self._add_channels()
        self._read()
        self._now_us = self._clock.now_us()  # of the group that runs
        self._refusing = False
        self.commit_s = 0.0  # how long the newest commit took
        self._rate = Rate(self._clock.monotonic_s(), self._totals.of(totals.SENT))

    def _add_channels(self) -> None:
        known = self._storage.channels()
        self._storage.begin()
        for name in self._rules.channels:
            if name not in known:
                self._storage.add_channel(name)
        self._storage.commit()

    def _read(self) -> None:
        """Everything in memory, from the store: at the start and after a rollback."""
        storage, rules = self._storage, self._rules
        self._meta = storage.meta()
        self._totals = Totals(self._meta.totals)
        self._changes = Changes(self._meta.change)
        channels = storage.channels()
        self._presence.forget_news(self._meta.change)
        self._graph = Graph(
            storage, self._changes, self._presence, following_max=rules.following_max
        )
        self._intake = Intake(
            storage,
            self._graph,
            self._changes,
            self._totals,
            self._presence,
            channels={name: channels[name] for name in rules.channels},
            backlog_max=rules.backlog_max,
        )
        self._dispatch = Dispatch(
            storage,
            self._graph,
            self._changes,
            self._totals,
            self._presence,
            channels=channels,
            enabled=rules.channels,
            terms=rules.terms,
            chance=self._chance,
            now_s=self._clock.monotonic_s(),
        )
        cursors = InboxCursors(self._meta.incarnation, self._meta.secret)
        self._marks = Marks(storage, cursors, self._changes, self._presence)
        self._retractions = Retractions(
            storage, self._graph, self._dispatch, self._changes, self._presence
        )
        self._letters = Letters(storage, self._graph, self._dispatch)
        self._retention = Retention(
            storage,
            self._graph,
            self._dispatch,
            self._changes,
            self._presence,
            retention_us=rules.retention_us,
            now_s=self._clock.monotonic_s(),
        )
        self._does = self._verbs()
        self._looked_s = float("-inf")

    # Groups

    def run(self, group: Group) -> Answers:
        """Applies and commits a group. Raises `CommitUnknown`: the process must end.

        A request that fails in an unforeseen way takes the group's transaction with it; then each
        half of the group gets one of its own, and so on until it is alone.
        """
        self._look_at_disk()
        try:
            return self._run(group)
        except CommitUnknown:
            raise
        except StorageFull as error:
            self._recover(error)
            return self._without_room(group, error)
        except Exception as error:  # noqa: BLE001
            self._recover(error)
            if len(group) <= 1:
                return self._blame(group, error)
        answers = Answers()
        for half in group.halves():
            of_half = self.run(half)
            answers.results += of_half.results
            answers.leases |= of_half.leases
            answers.frames += of_half.frames
        return answers

    def _without_room(self, group: Group, error: StorageFull) -> Answers:
        """Nothing of the group was stored, and what needs room is refused for sure, not tried one
        by one; what needs none is run once more, and so are outcomes, which set room free."""
        small = [operation for operation in group.operations if operation[0] in NEED_NO_ROOM]
        again = Group(small, group.outcomes, group.leases, group.more)
        if len(again) == len(group):
            if not group.outcomes:
                return Answers([wire.failed(error) for _ in group.operations])
            again.outcomes = []
        answers = self.run(again) if again else Answers()
        told = iter(answers.results)
        answers.results = [
            next(told) if operation[0] in NEED_NO_ROOM else wire.failed(error)
            for operation in group.operations
        ]
        return answers

    def _run(self, group: Group) -> Answers:
        now_us, now_s = self._clock.now_us(), self._clock.monotonic_s()
        self._now_us = now_us
        self._storage.begin()
        self._intake.look_up([op[1] for op in group.operations if op[0] == Op.PUBLISH])
        # Outcomes first: a worker's last report counts before its death, a delivery before a
        # retraction.
        counted: set[tuple[str, int]] = set()
        for message in group.outcomes:
            self._take_outcomes(message, now_us, counted)
        self._dispatch.flush()
        results = [self._operate(operation) for operation in group.operations]
        self._write_posts()
        self._dispatch.flush()
        requests, again = self._sort_out(group.leases)
        if now_s < self._full_until_s:
            leases = self._park(requests)
        else:
            leases = self._lease(requests, now_us, now_s, expire=not group.more)
        self._graph.flush()
        for number in self._presence.named:
            self._graph.came_online(number)
        self._save_meta(now_us)
        committing_s = self._clock.monotonic_s()
        self._storage.commit()
        self.commit_s = self._clock.monotonic_s() - committing_s
        for message in group.outcomes:
            self._acknowledged.setdefault(message.session, []).append(message.number)
            heard = self._heard.pop(message.session, None) or deque(maxlen=HEARD_MAX)
            heard.append(message.number)
            self._heard[message.session] = heard  # the one heard of last stands last
        while len(self._heard) > SESSIONS_REMEMBERED_MAX:
            oldest = next(iter(self._heard))
            del self._heard[oldest]
            self._acknowledged.pop(oldest, None)
        self._rate.note(now_s, self._totals.of(totals.SENT))
        self._tell_of_refusing()
        return Answers(
            results,
            again | {s: self._answer(s, *given) for s, given in leases.items()},
            self._frames(now_s),
        )

    def _frames(self, now_s: float) -> list[tuple[str, Frame]]:
        """What the commit means to people who are online. Nothing is read here any more: an error
        would undo in memory what is durable."""
        self._presence.expire(now_s)
        self._presence.settle_names(self._changes.newest)
        return self._presence.frames(self._changes.newest)

    def _tell_of_refusing(self) -> None:
        """Once when posts begin to be refused, and once when they are taken again."""
        refusing = bool(self._intake.why_refusing())
        if refusing != self._refusing:
            self._refusing = refusing
            if refusing:
                log(logging.WARNING, "posts are refused", why=self._intake.why_refusing())
            else:
                log(logging.WARNING, "posts are taken again")

    def _recover(self, error: Exception) -> None:
        """Undoes the transaction, and everything in memory with it."""
        self._storage.rollback()
        if isinstance(error, StorageFull):
            self._full_until_s = self._clock.monotonic_s() + FULL_PAUSE_S
            log(logging.WARNING, "the disk is full; nothing of this group was stored")
        self._read()

    def _blame(self, group: Group, error: Exception) -> Answers:
        """The one request of a group, or the housekeeping, that failed."""
        if isinstance(error, HarkError):
            log(logging.ERROR, "a request failed", why=error)
        else:
            error_id = f"{self._chance.getrandbits(48):012x}"
            log(logging.ERROR, "a request failed", error_id=error_id, kind=type(error).__name__)
            logging.getLogger("hark").debug("traceback", exc_info=error)
            if not group:
                raise error
            error = Internal(f"the store failed at this; its log has error {error_id}")
        return Answers([wire.failed(error) for _ in group.operations])

    # Operations

    def _operate(self, operation: list[Any]) -> Any:
        """The result of one operation; a refusal is one too, and has written nothing."""
        try:
            return wire.ok(self._does[operation[0]](*operation[1:]))
        except StorageFull:
            raise
        except Refused as refusal:
            return wire.failed(refusal)

    def _verbs(self) -> dict[int, Callable[..., Any]]:
        """What each operation does, with what is in memory now."""
        return {
            Op.PUBLISH: self._publish,
            Op.RETRACT: self._retract,
            Op.FOLLOW: self._graph.follow,
            Op.UNFOLLOW: self._graph.unfollow,
            Op.MUTE: self._graph.mute,
            Op.UNMUTE: self._graph.unmute,
            Op.IMPORT: self._graph.import_edges,
            Op.NUMBER: self._graph.number_people,
            Op.IMPORT_NUMBERED: self._graph.import_numbered,
            Op.IMPORT_FINISHED: self._storage.add_import,
            Op.IMPORT_KNOWN: self._storage.import_known,
            Op.MARK: self._marks.mark,
            Op.MARK_UP_TO: self._marks.mark_up_to,
            Op.REPLAY: self._letters.replay,
            Op.BACKUP: self._begin_backup,
            Op.BACKUP_PROGRESS: self._storage.backup_progress,
            Op.ONLINE: self._online,
            Op.STATS: self._stats,
            Op.SESSIONS: self._keep_sessions,
            Op.SESSION_DIED: self._session_died,
        }

    def _publish(
        self,
        post_id: str,
        author_id: str,
        content: str,
        created_at_us: int,
        known: bool,  # noqa: FBT001
    ) -> wire.Published:
        return self._intake.publish(
            post_id, author_id, content, created_at_us, self._now_us, must_be_known=known
        )

    def _begin_backup(self, target: str) -> None:
        self._storage.begin_backup(Path(target))

    def _retract(self, post_id: str) -> wire.Retracted:
        self._write_posts()
        return self._retractions.retract(post_id)

    def _write_posts(self) -> None:
        """The posts that intake has collected are there from now on, for all that follows."""
        self._dispatch.add_posts(*self._intake.flush())

    # Leases and outcomes

    def _take_outcomes(
        self, message: OutcomesMessage, now_us: int, counted: set[tuple[str, int]]
    ) -> None:
        """Whoever is told of twice is moved once, by their sets; how long sending took is in no
        set, so a message that came before, or stands in `counted`, adds nothing to that."""
        applied = [
            self._dispatch.apply(message.session, outcome, now_us) for outcome in message.leases
        ]
        passing(Point.STORE_OUTCOMES)
        name = (message.session, message.number)
        before = name in counted or message.number in self._heard.get(message.session, ())
        if any(applied) and not before:
            counted.add(name)
            self._totals.merge(
                totals.ATTEMPT_DURATION, message.duration_counts, message.duration_sum_s
            )

    def _sort_out(
        self, requests: Sequence[LeaseRequest]
    ) -> tuple[list[LeaseRequest], dict[str, LeaseAnswer]]:
        """The newest request of each session; and to one that was answered before and is asked
        again, the same answer. One from before that comes late: what it says is held is no longer
        so, and nobody waits for its answer."""
        newest: dict[str, LeaseRequest] = {}
        for request in requests:
            known = newest.get(request.session) or self._parked.get(request.session)
            if known is None or request.request >= known.request:
                newest[request.session] = request
        again: dict[str, LeaseAnswer] = {}
        for session, request in list(newest.items()):
            given = self._given.get(session)
            if given is not None and request.request <= given.request:
                del newest[session]
                if request.request == given.request:
                    held = [grant for grant in given.grants if grant.lease in self._dispatch.leases]
                    again[session] = given._replace(grants=held)
        return list(newest.values()), again

    def _park(self, requests: Sequence[LeaseRequest]) -> _Given:
        """Nobody gets anything now; they wait."""
        self._parked |= {r.session: r for r in requests if r.session not in self._gone}
        return {}

    def _lease(
        self, requests: Sequence[LeaseRequest], now_us: int, now_s: float, *, expire: bool
    ) -> _Given:
        """Hands out work to those who ask and those who waited; what each gets."""
        for session in self._dispatch.expire(now_s) if expire else ():
            # Where this process stood still, it may seem to wait; what it got now would never end.
            self._parked.pop(session, None)
        self._dispatch.promote(now_us)
        self._retention.step(now_us, now_s)
        given: _Given = {}
        for request in requests:
            if request.session in self._gone:
                continue
            lost = self._dispatch.renew(request, now_s)
            self._parked[request.session] = request
            if lost or not request.want:
                given[request.session] = (request, lost, [])
        for session, request in self._parked.items():
            if not request.want or not self._dispatch.is_heard(session):
                continue
            if grants := self._dispatch.grant(session, request.want):
                lost = given[session][1] if session in given else []
                given[session] = (request, lost, grants)
        self._dispatch.flush()
        if any(grants for _, _, grants in given.values()):
            passing(Point.STORE_LEASE)
        return given

    def _answer(
        self, session: str, request: LeaseRequest, lost: list[int], grants: list[Grant]
    ) -> LeaseAnswer:
        """To a session that is parked no longer."""
        self._parked.pop(session, None)
        acknowledged = self._acknowledged.pop(session, [])
        lease_ms = self._rules.terms.lease.lease_ms
        answer = LeaseAnswer(request.request, lease_ms, acknowledged, lost, grants)
        self._given[session] = answer
        return answer

    def give_up_waiting(self, session: str) -> LeaseAnswer | None:
        """The answer without work to a session that has waited long enough; None: it is gone."""
        request = self._parked.get(session)
        return None if request is None else self._answer(session, request, [], [])

    # People who are online

    def _online(self, session: str, place: str, came: list[str], went: list[str]) -> Online:
        now_s = self._clock.monotonic_s()
        since, told = self._presence.heard(session, place, self._changes.newest, now_s)
        numbers = self._storage.numbers_of([*came, *went])
        self._presence.go(session, numbers, went)
        self._presence.come(session, numbers, came)
        for user_id in came:
            if user_id in numbers:
                self._graph.came_online(numbers[user_id])
        return Online(
            since, told, self._changes.newest, [numbers.get(user_id, 0) for user_id in came],
            self._meta.incarnation, self._meta.secret,
        )  # fmt: skip

    def _session_died(self, session: str) -> None:
        # What it asked before its death may still arrive; it must not be given work any more.
        self._gone[session] = None
        if len(self._gone) > GONE_REMEMBERED_MAX:
            del self._gone[next(iter(self._gone))]
        self._forget(session)
        self._dispatch.session_died(session, self._now_us)

    def _keep_sessions(self, living: list[str]) -> None:
        known = {*self._parked, *self._given, *self._acknowledged, *self._heard}
        for session in known - {*living}:
            self._forget(session)
        self._dispatch.keep_sessions(living)

    def _forget(self, session: str) -> None:
        self._parked.pop(session, None)
        self._given.pop(session, None)
        self._acknowledged.pop(session, None)
        self._heard.pop(session, None)

    @property
    def poll_s(self) -> float:
        """How long a lease request may wait for work."""
        return self._rules.terms.lease.poll_ms / 1000

    # Housekeeping

    def idle_s(self) -> float:
        """How long nothing need be done, were nobody to ask for anything."""
        now_s = self._clock.monotonic_s()
        waits = [1.0, self._retention.next_s - now_s]
        if self._dispatch.next_due_us is not None:
            waits.append((self._dispatch.next_due_us - self._clock.now_us()) / 1e6)
        if (end_s := self._dispatch.next_end_s()) is not None:
            waits.append(end_s - now_s)
        return max(min(waits), self._full_until_s - now_s, 0.0)

    def _look_at_disk(self) -> None:
        """Posts are refused before the disk is full: on a full one even deleting fails."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < DISK_LOOK_EVERY_S:
            return
        self._looked_s = now_s
        free, reserve = self._storage.free_bytes(), self._rules.disk_reserve_bytes
        why = ""
        if now_s < self._full_until_s:
            why = "the disk is full"
        elif free < reserve:
            why = f"the disk has {free >> 20} MB free, less than the reserve of {reserve >> 20} MB"
        self._intake.refusing_because = why

    def _save_meta(self, now_us: int) -> None:
        if not self._totals.changed and self._changes.newest == self._meta.change:
            return
        self._totals.changed = False
        self._meta = self._meta._replace(
            change=self._changes.newest, now_us=now_us, totals=self._totals.pack()
        )
        self._storage.save_meta(self._meta)

    def _stats(self) -> Stats:
        kept = self._totals
        queued, retrying = kept.of(totals.QUEUED), kept.of(totals.RETRYING)
        leases = sum(map(len, self._dispatch.by_session.values()))
        oldest_s = self._dispatch.oldest_seconds(self._now_us)
        gauges: list[tuple[str, list[str], float]] = [
            ("hark_queue_notifications", ["queued"], queued),
            ("hark_queue_notifications", ["retrying"], retrying),
            ("hark_queue_oldest_seconds", [], oldest_s),
            ("hark_leases", [], leases),
            ("hark_store_disk_bytes", [], self._storage.disk_bytes()),
        ]
        return Stats(
            counters=kept.metric_counters(self._rules.channels),
            gauges=gauges,
            histograms=kept.histograms(),
            backlog=queued + retrying,
            oldest_seconds=oldest_s,
            deliveries_per_second=self._rate.per_second(self._clock.monotonic_s()),
            refusing_because=self._intake.why_refusing(),
            sent=kept.of(totals.SENT),
            failed_attempts=kept.sum_of(totals.ATTEMPTS, outcome="failed"),
            retries=kept.sum_of(totals.RETRIES),
            attempt_mean_seconds=kept.mean(totals.ATTEMPT_DURATION),
            has_users=self._graph.has_users,
        )
