"""The checker finds each promise that a history breaks, and nothing in one that breaks none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from farm.audience import BitMap
from farm.lifecycle import Part, State
from farm.schedule import Backoff
from farm.store import totals
from farm.store.dispatch import POISON
from farm.store.totals import Totals
from tests.checker import dump as dumps
from tests.checker.deliveries import Rules
from tests.checker.dump import Dump, Held, Stored
from tests.checker.history import Event, Kind, Recorder, read
from tests.checker.sometimes import DEAD_LETTER, LEASE_EXPIRY, USUAL
from tests.checker.verdict import Verdict, judge
from tests.store.harness import Store, members, open_sqlite, outcome

RULES = Rules(max_attempts=3, backoff=Backoff(1_000, 60_000), late_s=0.5)
ANN, BOB, CAT, EVE = 1, 2, 3, 4


class Scene:
    """Ann and Bob follow Eve, Cat does so no more. p1 reaches Ann at once and Bob at the second
    try; p2 reaches Ann and is given up for Bob; p3 is refused. Ann reads her inbox."""

    def __init__(self, path: Path | None = None) -> None:
        self.now_s = 100.0
        self.history = Recorder(self._tick, path)
        self.metrics: dict[str, int] = {totals.SENT: 3, totals.FAILED: 1}
        self.posts = [
            _stored(1, "p1", delivered=[ANN], retried=[BOB]),
            _stored(2, "p2", delivered=[ANN], dead=[BOB]),
        ]
        for user in ("ann", "bob", "cat"):
            self.call("follow", user=user, author="eve")
        self.call("unfollow", user="cat", author="eve")
        for post, failures in (("p1", 1), ("p2", 3)):
            self.publish(post)
            self.receive(post, ANN, 1, delivered=True)
            for attempt in range(1, failures + 1):
                self.receive(post, BOB, attempt, delivered=False)
                self.now_s += 0.75 * 2 ** (attempt - 1)
            if failures < RULES.max_attempts:
                self.receive(post, BOB, failures + 1, delivered=True)
        call = self.history.invoke(
            "publisher-1", "publish", post="p3", author="ghost", content="p3"
        )
        self.history.fail(call, code="NOT_FOUND")
        self.read("ann", "p2", "p1")

    def _tick(self) -> float:
        self.now_s += 0.001
        return self.now_s

    def call(self, operation: str, **values: Any) -> None:
        self.history.ok(self.history.invoke("somebody", operation, **values))

    def publish(self, post: str, author: str = "eve", **answer: Any) -> None:
        invoked = self.history.invoke(
            "publisher-1", "publish", post=post, author=author, content=post
        )
        self.history.ok(invoked, **{"queued": 2, "duplicate": False} | answer)

    def receive(self, post: str, user: int, attempt: int, *, delivered: bool) -> None:
        self.history.received(
            "worker 1", post=post, channel="simulated", users=[user], attempt=attempt,
            delivered=delivered,
        )  # fmt: skip

    def read(self, user: str, *posts: str) -> None:
        call = self.history.invoke("reader-1", "inbox", user=user)
        self.history.ok(call, posts=posts, whole=True)

    def drop(self, kind: Kind, **values: Any) -> None:
        """Takes out the events of a kind that have these values."""
        kept = [
            event for event in self.history.events
            if event.kind is not kind or not values.items() <= event.values.items()
        ]  # fmt: skip
        assert len(kept) < len(self.history.events)
        self.history.events[:] = kept

    def judge(self, *, leases: int = 0, breaches: tuple[str, ...] = (), sent: int = 3) -> Verdict:
        self.history.note("metrics", **self.metrics)
        dump = self.dump()._replace(leases=leases, breaches=[*breaches])
        dump.totals.counters[totals.SENT,] = sent
        return judge(self.history.events, dump, RULES, [DEAD_LETTER])

    def dump(self) -> Dump:
        kept = Totals()
        kept.counters = {
            (totals.SENT,): 3, (totals.FAILED,): 1, (totals.DEAD, "simulated"): 1,
            (totals.ATTEMPTS, "simulated", "delivered"): 3, (totals.RETRIES, "simulated"): 3,
            (totals.ATTEMPTS, "simulated", "failed"): 4,
        }  # fmt: skip
        users = {"ann": ANN, "bob": BOB, "cat": CAT, "eve": EVE}
        return Dump(self.posts, users, 0, kept, [])

    def change(self, at: int, **values: Any) -> None:
        self.posts[at] = self.posts[at]._replace(**values)


def _stored(
    seq: int, name: str, *, delivered: list[int], retried: list[int] | None = None,
    dead: list[int] | None = None,
) -> Stored:  # fmt: skip
    held = [
        Held("simulated", Part(State.DELIVERED, 1), "", BitMap(delivered)),
        Held("simulated", Part(State.DELIVERED, 2), "", BitMap(retried or ())),
        Held("simulated", Part(State.DEAD, 3, 1), "simulated failure", BitMap(dead or ())),
    ]
    audience = BitMap.union(*(one.members for one in held))
    return Stored(seq, name, "eve", name, 2, False, audience, [h for h in held if h.members])


def test_a_run_in_which_all_is_kept_is_valid() -> None:
    verdict = Scene().judge()
    assert verdict.result == "valid", str(verdict)
    assert verdict.exit_status == 0
    assert verdict.figures["posts acknowledged"] == 2
    assert verdict.figures["posts refused"] == 1
    assert verdict.figures["notifications"] == 4
    assert verdict.figures["attempts received"] == 7


def _lost(scene: Scene) -> None:
    scene.publish("p4")


def _other_content(scene: Scene) -> None:
    scene.change(0, content="p1, and more")


def _unretracted(scene: Scene) -> None:
    scene.call("retract", post="p1")


def _phantom(scene: Scene) -> None:
    scene.posts.append(_stored(9, "p9", delivered=[ANN, BOB]))


def _refused_and_stored(scene: Scene) -> None:
    scene.posts.append(_stored(3, "p3", delivered=[])._replace(author="ghost"))


def _twice(scene: Scene) -> None:
    scene.posts.append(scene.posts[1]._replace(seq=3))


def _new_twice(scene: Scene) -> None:
    scene.publish("p1")


def _other_answer(scene: Scene) -> None:
    scene.publish("p1", duplicate=True, queued=7)


def _follower_left_out(scene: Scene) -> None:
    scene.drop(Kind.RECEIVED, post="p1", users=[ANN])
    scene.change(0, audience=BitMap([BOB]), held=scene.posts[0].held[1:])


def _stranger_told(scene: Scene) -> None:
    scene.receive("p1", EVE, 1, delivered=True)
    held = Held("simulated", Part(State.DELIVERED, 1), "", BitMap([ANN, EVE]))
    scene.change(0, audience=BitMap([ANN, BOB, EVE]), held=[held, scene.posts[0].held[1]])


def _unfollower_told(scene: Scene) -> None:
    scene.receive("p1", CAT, 1, delivered=True)
    held = Held("simulated", Part(State.DELIVERED, 1), "", BitMap([ANN, CAT]))
    scene.change(0, audience=BitMap([ANN, BOB, CAT]), held=[held, scene.posts[0].held[1]])


def _sent_to_a_stranger(scene: Scene) -> None:
    scene.receive("p1", CAT, 1, delivered=True)


def _sent_and_not_stored(scene: Scene) -> None:
    scene.receive("p4", ANN, 1, delivered=True)


def _waits(scene: Scene) -> None:
    scene.change(0, held=[scene.posts[0].held[0], Held("simulated", Part(State.RETRYING, 1), "",
                                                       BitMap([BOB]))])  # fmt: skip


def _unproven(scene: Scene) -> None:
    scene.drop(Kind.RECEIVED, post="p1", users=[ANN])


def _failure_uncounted(scene: Scene) -> None:
    scene.drop(Kind.RECEIVED, post="p2", users=[BOB], attempt=2)


def _tried_after_the_end(scene: Scene) -> None:
    scene.now_s += 0.75
    scene.receive("p1", ANN, 2, delivered=True)


def _poison_without_a_death(scene: Scene) -> None:
    dead = Held("simulated", Part(State.DEAD, 3, 1), POISON, BitMap([BOB]))
    scene.change(1, held=[scene.posts[1].held[0], dead])


def _duplicate(scene: Scene) -> None:
    scene.receive("p1", ANN, 1, delivered=True)


def _two_duplicates_by_one_fault(scene: Scene) -> None:
    scene.history.fault("kill", ["worker 1"])
    _duplicate(scene)
    _duplicate(scene)


def _duplicate_by_another(scene: Scene) -> None:
    scene.history.fault("kill", ["worker 2"])
    _duplicate(scene)


def _early(scene: Scene) -> None:
    _move(scene, 2, -0.3)


def _late(scene: Scene) -> None:
    _move(scene, 2, +0.8)


def _move(scene: Scene, attempt: int, by_s: float) -> None:
    at, event = next(
        (at, event) for at, event in enumerate(scene.history.events)
        if event.kind is Kind.RECEIVED and event.values["attempt"] == attempt
    )  # fmt: skip
    scene.history.events[at] = event._replace(at_s=event.at_s + by_s)


def _page_with_a_hole(scene: Scene) -> None:
    scene.read("ann", "p2")


def _page_upside_down(scene: Scene) -> None:
    scene.read("ann", "p1", "p2")


def _page_with_one_twice(scene: Scene) -> None:
    scene.read("ann", "p2", "p2", "p1")


def _page_of_another(scene: Scene) -> None:
    scene.read("eve", "p2")


def _page_after_the_unfollow(scene: Scene) -> None:
    scene.call("unfollow", user="ann", author="eve")
    scene.read("ann", "p2", "p1")


def _page_of_the_muted(scene: Scene) -> None:
    scene.call("mute", user="ann", author="eve")
    scene.read("ann", "p2", "p1")


def _page_of_the_retracted(scene: Scene) -> None:
    scene.call("retract", post="p1")
    scene.change(0, retracted=True)
    scene.read("ann", "p2", "p1")


def _page_of_nothing_sent(scene: Scene) -> None:
    scene.read("ann", "p2", "p8", "p1")


def _scraped_otherwise(scene: Scene) -> None:
    scene.metrics[totals.SENT] = 2


@pytest.mark.parametrize(
    ("breaks", "check"),
    [
        (_lost, "acknowledged is durable"),
        (_other_content, "acknowledged is durable"),
        (_unretracted, "acknowledged is durable"),
        (_phantom, "nothing is made up"),
        (_refused_and_stored, "a refusal is never stored"),
        (_twice, "one post a key"),
        (_new_twice, "the same answer again"),
        (_other_answer, "the same answer again"),
        (_follower_left_out, "the audience of its time"),
        (_stranger_told, "the audience of its time"),
        (_unfollower_told, "the audience of its time"),
        (_sent_to_a_stranger, "the audience of its time"),
        (_sent_and_not_stored, "nothing is made up"),
        (_waits, "nothing is stuck"),
        (_unproven, "delivered only with proof"),
        (_failure_uncounted, "attempts are as counted"),
        (_tried_after_the_end, "attempts are as counted"),
        (_poison_without_a_death, "attempts are as counted"),
        (_duplicate, "duplicates have a cause"),
        (_two_duplicates_by_one_fault, "duplicates have a cause"),
        (_duplicate_by_another, "duplicates have a cause"),
        (_early, "retries are never early"),
        (_late, "retries come in time"),
        (_page_with_a_hole, "pages are complete"),
        (_page_upside_down, "pages descend"),
        (_page_with_one_twice, "pages descend"),
        (_page_of_another, "an inbox is one's own"),
        (_page_after_the_unfollow, "an inbox is one's own"),
        (_page_of_the_muted, "an inbox is one's own"),
        (_page_of_the_retracted, "an inbox is one's own"),
        (_page_of_nothing_sent, "nothing is made up"),
        (_scraped_otherwise, "counters equal the store"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_broken_promise_is_found(breaks: Callable[[Scene], None], check: str) -> None:
    scene = Scene()
    breaks(scene)
    verdict = scene.judge()
    assert verdict.result == "invalid"
    assert verdict.exit_status == 1
    assert check in {finding.check for finding in verdict.findings}, str(verdict)
    assert check in str(verdict)


def test_what_the_store_says_of_itself_counts() -> None:
    assert Scene().judge(leases=1).findings[0].check == "nothing is stuck"
    assert Scene().judge(breaches=("a row is odd",)).findings[0].what == "a row is odd"
    counted = Scene().judge(sent=4)
    assert "the sets hold 3" in str(counted)
    assert counted.result == "invalid"


@pytest.mark.parametrize("whom", ["worker 1", "store", "farm"])
def test_a_duplicate_is_explained_by_a_fault_that_hit_its_lease(whom: str) -> None:
    scene = Scene()
    scene.history.fault("kill", [whom])
    _duplicate(scene)
    verdict = scene.judge()
    assert verdict.result == "valid", str(verdict)
    assert verdict.figures["received twice"] == 1
    assert verdict.figures[f"attempts made again by kill {whom.partition(' ')[0]}"] == 1
    assert verdict.figures["faults: kill"] == 1


def test_a_fault_that_was_over_before_the_lease_explains_nothing() -> None:
    scene = Scene()
    scene.history.fault_ended(scene.history.fault("pause", ["worker 1"]))
    scene.now_s += RULES.lease_s + 1
    scene.publish("p4")
    scene.posts.append(_stored(4, "p4", delivered=[ANN, BOB]))
    for _ in range(2):
        scene.receive("p4", ANN, 1, delivered=True)
    checks = {finding.check for finding in scene.judge().findings}
    assert "duplicates have a cause" in checks


def test_a_call_of_unknown_outcome_may_have_happened_or_not() -> None:
    """Whoever is unsure whether they follow may be told or not; a post of unknown outcome is."""
    scene = Scene()
    scene.history.unknown(
        scene.history.invoke("somebody", "follow", user="eve", author="eve"), code="UNAVAILABLE"
    )
    invoked = scene.history.invoke("publisher-1", "publish", post="p4", author="eve", content="p4")
    scene.history.unknown(invoked, code="DEADLINE_EXCEEDED")
    assert scene.judge().result == "valid"
    _phantom(scene)
    scene.posts[-1] = _stored(4, "p4", delivered=[])._replace(audience=BitMap([ANN, BOB, EVE]))
    assert scene.judge().result == "valid", str(scene.judge())
    scene.history.invoke("somebody", "unfollow", user="ann", author="eve")  # and never an answer
    scene.read("ann")
    scene.read("ann", "p2", "p1")
    assert scene.judge().result == "valid", str(scene.judge())


def test_a_run_that_never_met_what_it_is_for_is_unknown() -> None:
    scene = Scene()
    dump = scene.dump()
    verdict = judge(scene.history.events, dump, RULES, [DEAD_LETTER, LEASE_EXPIRY])
    assert (verdict.result, verdict.exit_status) == ("unknown", 2)
    assert verdict.missing == [LEASE_EXPIRY.name]
    assert "never seen: a lease expiry" in str(verdict)


def test_each_usual_sight_is_seen_when_it_is_there() -> None:
    scene = Scene()
    dump = scene.dump()
    assert len(judge(scene.history.events, dump, RULES, USUAL).missing) == 3
    for name in (totals.EXPIRED, totals.STALE):
        dump.totals.add(1, name)
    call = scene.history.invoke("publisher-2", "publish", post="p4", author="eve", content="p4")
    scene.history.fault("kill", ["store"])
    scene.history.unknown(call, code="UNAVAILABLE")
    scene.publish("p4", duplicate=True)
    scene.posts.append(_stored(4, "p4", delivered=[ANN, BOB]))
    for user in (ANN, BOB):
        scene.receive("p4", user, 1, delivered=True)
    dump.totals.counters[totals.SENT,] += 2
    dump.totals.counters[totals.ATTEMPTS, "simulated", "delivered"] += 2
    assert judge(scene.history.events, dump, RULES, USUAL).result == "valid"


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    scene = Scene(path)
    with path.open() as lines:  # flushed before anything went out
        assert [*map(_plain, read(lines))] == [*map(_plain, scene.history.events)]
    scene.history.close()


def _plain(event: Event) -> Event:
    return event._replace(values={k: list(v) if isinstance(v, tuple) else v
                                  for k, v in event.values.items()})  # fmt: skip


def test_the_dump_of_a_store_is_what_the_store_holds(tmp_path: Path) -> None:
    store = Store(partial(open_sqlite, tmp_path))
    followers = store.followers("eve", 5)
    store.mute(followers[0], "eve")
    store.publish("p1", "eve")
    (grant,) = store.ask("w1", 100).grants
    one, *others = members(grant)
    store.tell("w1", outcome(grant, delivered=others, final=False))
    store.close()
    found = dumps.read(tmp_path)
    (post,) = found.posts
    by_state = {held.part.state: held.members for held in post.held}
    assert found.breaches == []
    assert found.leases == 1
    assert post.audience == BitMap(found.users[name] for name in followers)
    assert by_state[State.SUPPRESSED] == BitMap([found.users[followers[0]]])
    assert by_state[State.QUEUED] == BitMap([one])
    assert by_state[State.DELIVERED] == BitMap(others)
    assert found.totals.of(totals.SENT) == 3
