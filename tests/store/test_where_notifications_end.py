"""Where a notification ends when its person, its post or its channel changes on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm import wire
from farm.lifecycle import State
from farm.store.letters import group_id
from farm.wire import Op, Replayed
from tests.store.conftest import MakeStore
from tests.store.harness import Standing, Store, members, outcome

TOLD = Standing(State.DELIVERED, 2)  # the first try fails for everybody
AT_ONCE, BEFORE_THE_FIRST, BEFORE_THE_SECOND = (Standing(State.SUPPRESSED, n) for n in (0, 0, 1))

# What a follower does before the post, before the first try and before the second, and their end.
PEOPLE: dict[str, tuple[tuple[Op, ...], tuple[Op, ...], tuple[Op, ...], Standing]] = {
    "stays": ((), (), (), TOLD),
    "has muted": ((Op.MUTE,), (), (), AT_ONCE),
    "had muted": ((Op.MUTE, Op.UNMUTE), (), (), TOLD),
    "unmutes later": ((Op.MUTE,), (Op.UNMUTE,), (), AT_ONCE),
    "mutes": ((), (Op.MUTE,), (), BEFORE_THE_FIRST),
    "mutes for a while": ((), (Op.MUTE, Op.UNMUTE), (), TOLD),
    "mutes late": ((), (), (Op.MUTE,), BEFORE_THE_SECOND),
    "mutes late, for a while": ((), (), (Op.MUTE, Op.UNMUTE), TOLD),
    "mutes, and unmutes too late": ((), (Op.MUTE,), (Op.UNMUTE,), BEFORE_THE_FIRST),
    "leaves": ((), (Op.UNFOLLOW,), (), BEFORE_THE_FIRST),
    "leaves and returns": ((), (Op.UNFOLLOW, Op.FOLLOW), (), TOLD),
    "leaves late": ((), (), (Op.UNFOLLOW,), BEFORE_THE_SECOND),
    "leaves late and returns": ((), (), (Op.UNFOLLOW, Op.FOLLOW), TOLD),
    "leaves and mutes": ((), (Op.UNFOLLOW, Op.MUTE), (), BEFORE_THE_FIRST),
}


def test_everybody_ends_as_they_wish_at_their_turn(store: Store) -> None:
    """Fault row 55: who mutes or leaves is not told any more, and nobody waits for ever."""
    for name in PEOPLE:
        store.follow(name, "star")

    def people_act(turn: int) -> None:
        for name, (*acts, _) in PEOPLE.items():
            for op in acts[turn]:
                store.call(op, name, "star")

    def all_are_tried(state: State) -> None:
        said = [outcome(grant, others=state) for grant in store.ask("w", 100).grants]
        store.tell("w", *said)

    people_act(0)
    store.publish("p", "star")
    people_act(1)
    all_are_tried(State.RETRYING)
    people_act(2)
    store.pass_s(1.0)
    all_are_tried(State.DELIVERED)
    assert store.waiting() == (0, 0)
    assert store.audience("p")["simulated"] == {name: end for name, (*_, end) in PEOPLE.items()}
    store.check()


@pytest.mark.parametrize("author", ["lonely", "left", "ghost"])
def test_a_post_to_nobody_is_settled_at_once(store: Store, author: str) -> None:
    """Fault row 55: nobody follows the author yet, nobody does any more, or nobody knows them."""
    store.follow("lonely", "star")
    store.follow("fan", "left")
    store.unfollow("fan", "left")
    published = store.publish("p", author, must_be_known=author != "ghost")
    assert published.queued == 0
    assert store.waiting() == (0, 0)
    assert store.ask("w", 10).grants == []
    found = store.reading.post("p")
    assert found is not None
    assert (found.audience, found.ledger) == (0, [])
    store.check()


def test_what_waits_for_a_channel_waits_until_the_channel_is_back(make_store: MakeStore) -> None:
    """Fault row 55: a channel goes and another comes while a post is under way."""
    store = make_store(channels=("push", "simulated"))
    people = store.followers("star", 3)
    store.publish("before", "star")
    store.rules = replace(store.rules, channels=("simulated", "webhook"))
    store.reopen()
    store.publish("after", "star")
    deliver_all(store)
    assert store.waiting() == (3, 0)
    assert set(store.ledger("after")) == {"simulated", "webhook"}
    told, waits = Standing(State.DELIVERED, 1), Standing(State.QUEUED, 0)
    before = store.audience("before")
    assert before == {
        "push": dict.fromkeys(people, waits),
        "simulated": dict.fromkeys(people, told),
    }
    store.rules = replace(store.rules, channels=("push",))
    store.reopen()
    deliver_all(store)
    assert store.waiting() == (0, 0)
    assert store.audience("before")["push"] == dict.fromkeys(people, told)
    store.check()


def deliver_all(store: Store) -> None:
    while grants := store.ask("w", 100).grants:
        store.tell("w", *(outcome(grant, others=State.DELIVERED) for grant in grants))


@pytest.mark.parametrize(("sent", "failed", "under_way"), [
    (0, 0, 0), (1, 0, 0), (0, 0, 20), (7, 3, 4), (10, 0, 10), (0, 20, 0), (19, 0, 1), (20, 0, 0),
])  # fmt: skip
def test_a_post_retracted_half_way(store: Store, sent: int, failed: int, under_way: int) -> None:
    """Fault row 56: what was sent stays sent, all else is stopped, in flight or not; finally."""
    people = store.followers("star", 20)
    store.publish("p", "star")
    grants = store.ask("w", sent + failed + under_way).grants if sent + failed + under_way else []
    for grant in grants:
        leased = list(members(grant))
        store.tell("w", outcome(grant, delivered=leased[:sent], retry=leased[sent : sent + failed],
                                final=False))  # fmt: skip
    answer = store.call(Op.RETRACT, "p")
    assert tuple(answer) == (20 - sent, sent)
    assert store.storage.leases() == []
    late = [outcome(grant, others=State.DELIVERED) for grant in grants]
    store.tell("w", *late)
    store.pass_s(60.0)
    assert store.ask("w", 100).grants == []
    store.reopen()
    assert tuple(store.call(Op.RETRACT, "p")) == (20 - sent, sent)
    ledger = store.ledger("p")["simulated"]
    assert (ledger.delivered, ledger.retracted, store.waiting()) == (sent, 20 - sent, (0, 0))
    for name in people:
        page = store.reading.inbox(name, 10, "", False)
        assert (page.notifications, page.unread) == ([], 0)
    store.check()


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("channels", [("simulated",), ("simulated", "other")])
def test_dead_letters_of_a_retracted_post_stay_dead(
    make_store: MakeStore, channels: tuple[str, ...], *, together: bool
) -> None:
    """Whether the replay comes in the commit of the retraction or in a later one."""
    store = make_store(channels=channels, max_attempts=1)
    store.followers("star", 3)
    store.publish("p", "star")
    failed = [outcome(grant, others=State.RETRYING) for grant in store.ask("w", 100).grants]
    store.tell("w", *failed)
    (*_, group) = store.storage.dead_groups((0, 0), 9)
    both = [(Op.RETRACT, "p"), (Op.REPLAY, group_id(group.channel, group.error), "", False)]
    commits = [both] if together else [[one] for one in both]
    (*_, replayed) = [result for commit in commits for result in store.group(commit).results]
    assert wire.value_of(replayed) == Replayed(0, {"retracted": 3}, "")
    assert store.ask("w", 100).grants == []
    assert [ledger.dead for ledger in store.ledger("p").values()] == [3] * len(channels)
    store.check()
