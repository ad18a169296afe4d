"""Leases out, outcomes in: whole and in parts, late and doubled, through deaths and restarts."""

from __future__ import annotations

import pytest

from farm import wire
from farm.lifecycle import REST, State, part_of
from farm.limits import CONTENT_BYTES_MAX
from farm.store import totals
from farm.store.dispatch import POISON
from farm.store.turns import PICKS_MAX
from farm.wire import Grant, Kind, LeaseOutcome, Op
from tests.store.conftest import MakeStore
from tests.store.harness import Standing, Store, members, outcome

LEASE_S = 10.0


def standing(store: Store, post: str, user: str) -> Standing:
    return store.audience(post)["simulated"][user]


def all_delivered(grant: Grant) -> LeaseOutcome:
    return outcome(grant, others=State.DELIVERED)


def all_failed(grant: Grant) -> LeaseOutcome:
    return outcome(grant, others=State.RETRYING)


def deliver_all(store: Store, session: str = "w1", rounds: int = 100) -> None:
    """A worker that delivers everything, until nobody waits."""
    for _ in range(rounds):
        if store.waiting() == (0, 0):
            return
        store.clock.pass_s(1.0)
        store.tell(session, *map(all_delivered, store.ask(session, 10_000).grants))
    raise AssertionError(f"still waiting: {store.waiting()}")


# Leases


def test_an_answer_holds_no_more_leases_than_a_message_can(store: Store) -> None:
    """Each with its post, which may be long: what is too long for a message reaches nobody, again
    and again."""
    store.followers("star", 1)
    content, posts = "x" * CONTENT_BYTES_MAX, PICKS_MAX + 10
    store.group((Op.PUBLISH, f"p{number}", "star", content, 0, True) for number in range(posts))
    answers = [store.ask(session, 10_000) for session in ("w1", "w2")]
    assert [len(answer.grants) for answer in answers] == [PICKS_MAX, 10]
    assert len(wire.pack(Kind.GRANTS, *answers[0])) < wire.MESSAGE_BYTES_MAX / 2


def test_a_whole_batch_delivered_leaves_one_narrow_row(store: Store) -> None:
    store.followers("star", 1_000)
    store.publish("p", "star", "hello")
    (grant,) = store.ask("w1", 5_000).grants
    assert (grant.recipients, grant.attempt, grant.post_id) == (1_000, 0, "p")
    assert (grant.author_id, grant.content, grant.channel) == ("star", "hello", "simulated")
    assert len(members(grant)) == 1_000
    store.tell("w1", all_delivered(grant))
    (row,) = store.storage.parts_of_post(grant.seq)
    assert (row.part, row.state, row.members) == (REST, State.DELIVERED, None)
    assert store.storage.leases() == []
    assert store.counter(totals.SENT) == 1_000
    store.check()


def test_parts_of_a_batch_go_to_several_sessions_and_never_overlap(store: Store) -> None:
    store.followers("star", 100)
    store.publish("p", "star")
    answers = [store.ask(session, 30) for session in ("w1", "w2", "w3", "w4", "w5")]
    sizes = [sum(grant.recipients for grant in answer.grants) for answer in answers]
    assert sizes == [30, 30, 30, 10, 0]
    people = [name for answer in answers for name in store.granted(answer)]
    assert len(people) == len(set(people)) == 100
    for session, answer in zip(("w1", "w2", "w3", "w4"), answers, strict=False):
        store.tell(session, *map(all_delivered, answer.grants))
    assert store.waiting() == (0, 0)
    store.check()


def test_a_crowd_does_not_hold_up_small_authors(store: Store) -> None:
    """In one answer of 2,000, everybody of twenty small authors is served beside the crowd."""
    store.followers("whale", 20_000)
    store.publish("big", "whale")
    small = [f"small{number}" for number in range(20)]
    for author in small:
        store.followers(author, 5)
        store.publish(f"of {author}", author)
    answer = store.ask("w1", 2_000)
    served = {grant.post_id for grant in answer.grants}
    assert served == {"big", *(f"of {author}" for author in small)}
    assert sum(grant.recipients for grant in answer.grants) <= 2_000


def test_a_small_batch_is_not_cut_for_the_last_of_what_was_asked_for(store: Store) -> None:
    """Up to an eighth more; who asks for few gets no more than that."""
    store.followers("star", 11)
    for number in range(20):
        store.publish(f"p{number}", "star")
    whole = store.ask("w1", 100).grants
    assert [grant.recipients for grant in whole] == [11] * 10
    cut = store.ask("w2", 15).grants
    assert [grant.recipients for grant in cut] == [11, 4]
    store.check()


def test_turns_among_large_authors_are_equal(store: Store) -> None:
    for author in ("a", "b", "c"):
        store.followers(author, 4_000)
        store.publish(f"of {author}", author)
    shares = dict.fromkeys(("of a", "of b", "of c"), 0)
    for number in range(6):
        for grant in store.ask(f"w{number}", 1_000).grants:
            shares[grant.post_id] += grant.recipients
    assert sum(shares.values()) == 6_000
    assert max(shares.values()) - min(shares.values()) <= 2 * 512


def test_a_request_without_work_waits_and_gets_the_next_post(store: Store) -> None:
    store.follow("ann", "star")
    request = store.request("w1", 10)
    assert store.group(leases=[request]).leases == {}
    publish = (Op.PUBLISH, "p", "star", "hello", 0, True)
    answer = store.group([publish]).leases["w1"]
    assert answer.request == request.request
    assert store.granted(answer) == ["ann"]
    assert store.core.give_up_waiting("w1") is None  # it was answered


def test_a_lease_ends_when_its_session_asks_no_more(store: Store) -> None:
    store.followers("star", 5)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 10).grants
    store.pass_s(LEASE_S - 0.1)
    assert store.ask("w2", 10).grants == []
    assert store.ask("w1", 0, [grant.lease]).lost == []  # asks on: it holds for one more term
    store.pass_s(LEASE_S - 0.1)
    assert store.ask("w2", 10).grants == []
    store.pass_s(0.2)
    assert store.counter(totals.EXPIRED) == 1
    assert len(store.granted(store.ask("w2", 10))) == 5
    assert store.ask("w1", 0, [grant.lease]).lost == [grant.lease]


def test_who_seems_to_wait_after_its_time_is_given_nothing(store: Store) -> None:
    """The store stood still for longer than a lease, and whoever had asked it before is gone."""
    store.followers("star", 5)
    assert store.group(leases=[store.request("w1", 10)]).leases == {}
    store.clock.pass_s(LEASE_S + 1)
    publish = (Op.PUBLISH, "p", "star", "hello", 0, True)
    assert store.group([publish], leases=[store.request("w2", 1)]).leases.keys() == {"w2"}
    store.pass_s(LEASE_S + 1)
    assert len(store.granted(store.ask("w3", 10))) == 5


def test_what_a_session_does_not_name_never_reached_it(store: Store) -> None:
    """The answer was lost: asking again gives the same people, and there is one lease, not two.
    Fault row 117."""
    store.followers("star", 50)
    store.publish("p", "star")
    lost = store.ask("w1", 20)
    again = store.ask("w1", 20)
    assert store.granted(again) == store.granted(lost)
    assert len(store.storage.leases()) == 1
    store.tell("w1", *map(all_delivered, lost.grants))
    assert store.waiting() == (50, 0)  # the first lease is nobody's
    assert store.counter(totals.STALE) == 1
    store.check()


def test_a_question_that_tells_how_leases_ended_waits_for_work(store: Store) -> None:
    """And the answer, once there is work, says that what was told is durable."""
    store.followers("star", 10)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 100).grants
    told = store.message("w1", all_delivered(grant))
    question = store.request("w1", 100, ended=[grant.lease])
    assert store.group(outcomes=[told], leases=[question]).leases == {}
    assert store.counter(totals.SENT) == 10
    published = (Op.PUBLISH, "q", "star", "hello", store.clock.wall_us(), True)
    answer = store.group([published]).leases["w1"]
    assert (answer.acknowledged, answer.lost) == ([told.number], [])
    assert [grant.post_id for grant in answer.grants] == ["q"]


def test_a_lease_whose_last_outcome_is_on_its_way_is_not_given_to_another(store: Store) -> None:
    """However long that takes, as long as its session asks on."""
    store.followers("star", 10)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 100).grants
    for _ in range(3):
        store.clock.pass_s(LEASE_S / 2)
        store.group(leases=[store.request("w1", 0, ended=[grant.lease])])
        assert store.ask("w2", 100).grants == []
    store.tell("w1", all_delivered(grant))
    assert store.counter(totals.SENT) == 10
    assert store.counter(totals.STALE) == 0


def test_the_same_request_gets_the_same_answer(store: Store) -> None:
    """What of it still holds, that is. Fault row 117."""
    store.followers("star", 20)
    store.publish("p", "star")
    store.publish("q", "star")
    request = store.request("w1", 40)
    given = store.group(leases=[request]).leases["w1"]
    first, second = given.grants
    assert store.group(leases=[request]).leases["w1"].grants == [first, second]
    store.tell("w1", all_delivered(first))
    assert store.group(leases=[request]).leases["w1"].grants == [second]
    assert store.ask("w2", 40).grants == []
    store.check()


def test_a_request_that_comes_late_takes_nothing_back(store: Store) -> None:
    """It says what was held when it was sent; and nobody waits for its answer. Fault row 117."""
    store.followers("star", 20)
    store.publish("p", "star")
    late = store.request("w1", 10)
    (grant,) = store.ask("w1", 10).grants
    assert store.group(leases=[late]).leases == {}
    assert store.ask("w1", 0, [grant.lease]).lost == []
    store.check()


def test_a_session_that_died_gets_nothing_any_more(store: Store) -> None:
    """What it had asked before may be read after the news of its death."""
    store.followers("star", 5)
    store.die("w1")
    store.publish("p", "star")
    assert store.group(leases=[store.request("w1", 10)]).leases == {}
    assert len(store.granted(store.ask("w2", 10))) == 5


# Outcomes


def test_outcomes_in_pieces_move_only_whom_they_name(store: Store) -> None:
    store.followers("star", 10)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 10).grants
    numbers = list(members(grant))
    store.tell("w1", outcome(grant, delivered=numbers[:3], final=False))
    store.tell("w1", outcome(grant, retry=numbers[3:5], final=False))
    assert store.waiting() == (5, 2)
    store.check()
    store.tell("w1", outcome(grant, dead=numbers[5:6], error="gone"))
    found = store.ledger("p")["simulated"]
    assert (found.delivered, found.retrying, found.dead, found.queued) == (3, 2, 1, 4)
    store.check()
    (rest,) = store.ask("w2", 10).grants  # those not named went back untried
    assert (list(members(rest)), rest.attempt) == (numbers[6:], 0)


def test_a_doubled_outcome_changes_nothing(store: Store) -> None:
    """Fault row 118, of doubled ones."""
    store.followers("star", 10)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 10).grants
    numbers = list(members(grant))
    message = store.message(
        "w1", outcome(grant, delivered=numbers[:6], retry=numbers[6:], final=False)
    )
    store.group(outcomes=[message])
    once = store.audience("p"), store.core._totals.counters.copy()
    store.group(outcomes=[message, message])
    assert (store.audience("p"), store.core._totals.counters) == once
    store.check()


def test_who_is_said_to_be_both_delivered_and_failed_is_delivered(store: Store) -> None:
    """Fault row 118, of overlapping ones."""
    store.followers("star", 4)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 10).grants
    one, two, three, four = members(grant)
    said = outcome(grant, retry=[one, two, three], dead=[one, two], delivered=[one])
    store.tell("w1", said._replace(outcomes=said.outcomes[::-1]))
    states = {user: found.state for user, found in store.audience("p")["simulated"].items()}
    assert [states[name] for name in store.ids([one, two, three, four])] == [
        State.DELIVERED,
        State.DEAD,
        State.RETRYING,
        State.QUEUED,
    ]
    store.check()


def test_outcomes_that_overtake_each_other(store: Store) -> None:
    """The last message comes first; the earlier one then is stale and does no harm. Fault row 118,
    of reordered ones."""
    store.followers("star", 6)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 10).grants
    numbers = list(members(grant))
    first = store.message("w1", outcome(grant, retry=numbers[:2], final=False))
    last = store.message("w1", outcome(grant, delivered=numbers[2:]))
    store.group(outcomes=[last])
    store.group(outcomes=[first])
    assert store.waiting() == (2, 0)
    assert store.counter(totals.STALE) == 1
    deliver_all(store)
    assert store.counter(totals.SENT) == 6
    store.check()


def test_nobody_outside_of_a_lease_is_moved_by_its_outcome(store: Store) -> None:
    store.followers("star", 10)
    store.publish("p", "star")
    (mine,) = store.ask("w1", 4).grants
    (others,) = store.ask("w2", 4).grants
    store.tell("w1", outcome(mine, delivered=members(others)))
    assert store.waiting() == (10, 0)
    store.tell("w1", all_delivered(others))  # another session's lease
    assert store.waiting() == (10, 0)
    store.check()


def test_outcomes_are_acknowledged_when_they_are_durable(store: Store) -> None:
    store.followers("star", 4)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 4).grants
    message = store.message("w1", all_delivered(grant))
    store.group(outcomes=[message])
    assert store.ask("w1", 0, [grant.lease]).acknowledged == [message.number]
    assert store.ask("w1", 0).acknowledged == []


# Retries


def test_retries_come_due_within_half_and_whole_of_the_delay(make_store: MakeStore) -> None:
    store = make_store(backoff_ms=1_000)
    store.followers("star", 4_000)
    store.publish("p", "star")
    for attempt, delay_s in ((1, 1.0), (2, 2.0), (3, 4.0)):
        grants = store.ask("w1", 10_000).grants
        assert {grant.attempt for grant in grants} == {attempt - 1}
        store.tell("w1", *map(all_failed, grants))
        seq = grants[0].seq
        dues = [row.due_us for row in store.storage.parts_of_post(seq) if row.due_us is not None]
        now_us = store.core._clock.now_us()
        waits_s = [(due_us - now_us) / 1e6 for due_us in dues]
        assert len(dues) == 8
        assert delay_s / 2 <= min(waits_s)
        assert max(waits_s) <= delay_s
        store.pass_s(delay_s / 2 - 0.001)
        assert store.ask("w1", 10_000).grants == []
        store.pass_s(delay_s / 2 + 0.001)
    assert store.granted(store.ask("w1", 10_000)) == sorted(store.audience("p")["simulated"])
    store.check()


def test_the_last_try_that_fails_is_the_end(make_store: MakeStore) -> None:
    store = make_store(max_attempts=4, backoff_ms=10)
    store.followers("star", 20)
    store.publish("p", "star")
    for _ in range(4):
        store.tell("w1", *map(all_failed, store.ask("w1", 100).grants))
        store.check()
        store.pass_s(1.0)
    assert set(store.audience("p")["simulated"].values()) == {Standing(State.DEAD, 4)}
    assert store.counter(totals.ATTEMPTS, "simulated", "failed") == 80
    assert store.counter(totals.RETRIES, "simulated") == 60
    assert store.counter(totals.FAILED) == store.counter(totals.DEAD, "simulated") == 20
    assert store.ask("w1", 100).grants == []


def test_dead_letters_lie_together_by_cause(store: Store) -> None:
    store.followers("star", 9)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 10).grants
    numbers = list(members(grant))
    store.tell("w1", outcome(grant, dead=numbers[:2], error="gone", final=False))
    store.tell("w1", outcome(grant, dead=numbers[2:6], error="blocked", final=False))
    store.tell("w1", outcome(grant, dead=numbers[6:7], error="gone"))
    errors = store.storage.errors()
    rows = [row for row in store.storage.parts_of_post(grant.seq) if row.state == State.DEAD]
    assert sorted(errors[part_of(row.part).detail] for row in rows) == ["blocked", "gone"]
    page = store.reading.inbox(store.ids(numbers[6:7])[0], 1, "", False)
    assert page.notifications[0].deliveries[0].last_error == "gone"
    store.check()


def test_rows_of_a_retry_storm_are_bounded(make_store: MakeStore) -> None:
    """One in ten fails again and again: sets of the same slot join, whenever they failed."""
    store = make_store(backoff_ms=100)
    store.followers("star", 20_000)
    store.publish("p", "star")
    most = 0
    while store.waiting() != (0, 0):
        for grant in store.ask("w1", 700).grants:
            failing = [number for number in members(grant) if number % 10 == 0]
            store.tell("w1", outcome(grant, retry=failing, others=State.DELIVERED))
        store.clock.pass_s(0.007)
        row = store.storage.post_by_id("p")
        assert row is not None
        most = max(most, len(store.storage.parts_of_post(row.seq)))
    segments = len(store.storage.segments(*store.numbers("star")))
    assert segments == 3
    assert most <= segments * (1 + 3 * (16 + 2) + 2)
    assert store.ledger("p")["simulated"].dead == 2_000
    store.check()


def test_few_retries_of_a_batch_are_due_together_and_each_batch_at_its_own_time(
    store: Store,
) -> None:
    """Each of eight moments would be a set to store and a lease to hand out, for two of them."""
    store.followers("star", 16)
    posts = [f"p{number}" for number in range(30)]
    for post in posts:
        store.publish(post, "star")
    store.tell("w1", *map(all_failed, store.ask("w1", 1_000).grants))
    sizes: list[int] = []
    moments: set[int] = set()
    for moment in range(30):
        store.pass_s(0.01)
        grants = store.ask("w1", 1_000).grants
        store.tell("w1", *map(all_delivered, grants))
        sizes += [grant.recipients for grant in grants]
        moments |= {moment} if grants else set()
    assert sizes == [16] * len(posts)
    assert len(moments) >= 5
    store.check()


def test_a_lease_on_retries_is_what_it_was_after_a_restart(store: Store) -> None:
    """More retries come due while some are leased; they must not become part of that lease."""
    store.followers("star", 400)
    store.publish("p", "star")
    store.tell("w1", *map(all_failed, store.ask("w1", 1_000).grants))
    store.pass_s(0.07)
    early = store.ask("w1", 1_000)
    assert 0 < len(store.granted(early)) < 400
    store.pass_s(0.1)
    store.reopen()
    store.tell("w1", *map(all_delivered, early.grants))
    assert store.ledger("p")["simulated"].delivered == len(store.granted(early))
    store.check()


# Suppressed between publishing and sending


def test_who_mutes_or_unfollows_before_the_lease_is_not_told(store: Store) -> None:
    for name in ("stays", "mutes", "leaves", "returns", "unmutes"):
        store.follow(name, "star")
    store.publish("p", "star")
    store.mute("mutes", "star")
    store.unfollow("leaves", "star")
    store.unfollow("returns", "star")
    store.follow("returns", "star")
    store.mute("unmutes", "star")
    store.unmute("unmutes", "star")
    assert store.granted(store.ask("w1", 100)) == ["returns", "stays", "unmutes"]
    assert store.ledger("p")["simulated"].suppressed == {"muted": 1, "unfollowed": 1}
    assert store.counter(totals.SUPPRESSED, "simulated", "muted") == 1
    assert store.counter(totals.SUPPRESSED, "simulated", "unfollowed") == 1
    store.check()


def test_who_mutes_between_two_tries_is_not_tried_again(store: Store) -> None:
    store.followers("star", 3)
    store.publish("p", "star")
    store.tell("w1", *map(all_failed, store.ask("w1", 10).grants))
    store.mute("f2", "star")
    store.pass_s(1.0)
    assert store.granted(store.ask("w1", 10)) == ["f1", "f3"]
    assert standing(store, "p", "f2") == Standing(State.SUPPRESSED, 1)
    store.check()


def test_when_everybody_has_left_nothing_waits(store: Store) -> None:
    store.followers("star", 3)
    store.publish("p", "star")
    for name in ("f1", "f2", "f3"):
        store.unfollow(name, "star")
    assert store.ask("w1", 10).grants == []
    assert store.waiting() == (0, 0)
    store.check()


# Deaths and restarts


def test_one_recipient_that_kills_its_worker_is_dead_after_three_deaths(store: Store) -> None:
    store.followers("star", 1_000)
    store.publish("p", "star")
    (poison,) = store.numbers("f700")
    deaths = 0
    for number in range(1_000):
        if store.waiting() == (0, 0):
            break
        session = f"w{number}"
        grants = store.ask(session, 10_000).grants
        if any(poison in members(grant) for grant in grants):
            deaths += 1
            store.die(session)
        else:
            store.tell(session, *map(all_delivered, grants))
        store.check()
    assert deaths == 3
    ledger = store.ledger("p")["simulated"]
    assert (ledger.delivered, ledger.dead) == (999, 1)
    (shown,) = store.reading.inbox("f700", 1, "", False).notifications
    assert shown.deliveries[0].last_error == POISON


def test_one_who_kills_workers_is_found_though_not_each_death_is_told(store: Store) -> None:
    """The leases of the others end by themselves; what was suspected before still is."""
    store.followers("star", 100)
    store.publish("p", "star")
    (poison,) = store.numbers("f70")
    deaths = 0
    for number in range(1_000):
        if store.waiting() == (0, 0):
            break
        session = f"w{number}"
        grants = store.ask(session, 10_000).grants
        if not any(poison in members(grant) for grant in grants):
            store.tell(session, *map(all_delivered, grants))
        elif (deaths := deaths + 1) % 2:
            store.die(session)
        else:
            store.pass_s(LEASE_S + 1)
        store.check()
    assert deaths == 5
    ledger = store.ledger("p")["simulated"]
    assert (ledger.delivered, ledger.dead) == (99, 1)


@pytest.mark.parametrize(("followers", "deaths", "together"), [(100, 1, 32), (30, 2, 1)])
def test_what_is_suspected_is_tried_in_small_groups(
    store: Store, followers: int, deaths: int, together: int
) -> None:
    store.followers("star", followers)
    store.publish("p", "star")
    for number in range(deaths):
        assert store.ask(f"w{number}", 100).grants
        store.die(f"w{number}")
    answer = store.ask("calm", 100)
    assert len(store.granted(answer)) == together
    assert store.ask("calm", 100, [grant.lease for grant in answer.grants]).grants == []


def test_suspicion_outlives_a_restart_and_a_long_wait(store: Store) -> None:
    store.followers("star", 100)
    store.publish("p", "star")
    assert store.ask("w1", 100).grants
    store.die("w1")
    store.reopen()
    store.pass_s(3 * LEASE_S)
    assert len(store.granted(store.ask("w2", 100))) == 32
    assert store.counter(totals.EXPIRED) == 1


def test_other_work_goes_on_while_some_is_suspected(store: Store) -> None:
    """One session is kept free for the suspected; who holds other work gets more of it."""
    for author in ("a", "b"):
        store.followers(author, 600)
        store.publish(f"of {author}", author)
    first, second = store.ask("w1", 100), store.ask("w2", 100)
    assert store.ask("w0", 100).grants
    store.die("w0")
    kept_free = store.ask("w1", 100, [grant.lease for grant in first.grants])
    goes_on = store.ask("w2", 100, [grant.lease for grant in second.grants])
    assert kept_free.grants == []
    assert len(store.granted(goes_on)) == 100
    store.tell("w1", *map(all_delivered, first.grants))
    assert len(store.granted(store.ask("w1", 100))) == 32
    deliver_all(store, "w3")


def test_a_killed_farm_counts_no_attempt_and_poisons_nobody(store: Store) -> None:
    store.followers("star", 5_000)
    store.publish("p", "star")
    for number in range(4):
        grants = store.ask(f"w{number}", 10_000).grants
        assert sum(grant.recipients for grant in grants) == 5_000
        assert {grant.attempt for grant in grants} == {0}
        store.reopen()
        store.call(Op.SESSIONS, [])  # as a supervisor that starts says it
    assert set(store.audience("p")["simulated"].values()) == {Standing(State.QUEUED, 0)}
    store.check()


def test_leases_hold_over_a_restart_of_the_store(store: Store) -> None:
    store.followers("star", 100)
    store.publish("p", "star")
    (whole,) = store.ask("w1", 40).grants
    (part,) = store.ask("w2", 40).grants
    store.tell("w2", outcome(part, delivered=list(members(part))[:7], final=False))
    store.reopen()
    store.check()
    assert len(store.granted(store.ask("w3", 1_000))) == 20  # the others are held still
    store.tell("w1", all_delivered(whole))
    store.tell("w2", outcome(part, others=State.RETRYING))
    ledger = store.ledger("p")["simulated"]
    assert (ledger.delivered, ledger.retrying, ledger.queued) == (47, 33, 20)
    store.check()


def test_after_a_restart_every_lease_holds_for_one_term(store: Store) -> None:
    store.followers("star", 10)
    store.publish("p", "star")
    (grant,) = store.ask("w1", 10).grants
    store.pass_s(LEASE_S - 1)
    store.reopen()
    store.pass_s(LEASE_S - 0.1)
    assert store.ask("w2", 10).grants == []
    store.pass_s(0.2)
    assert len(store.granted(store.ask("w2", 10))) == 10
    store.tell("w1", all_delivered(grant))
    assert store.counter(totals.SENT) == 0


def test_lease_numbers_are_not_used_again_while_somebody_may_know_them(store: Store) -> None:
    """The old worker's late outcome must not be taken for that of another's new lease. Fault row
    118, of late ones."""
    store.followers("star", 10)
    store.publish("p", "star")
    (old,) = store.ask("w1", 10).grants
    store.call(Op.SESSIONS, [])
    store.reopen()
    (new,) = store.ask("w1", 10).grants
    store.tell("w1", outcome(old, retry=members(old)))
    assert store.waiting() == (10, 0)
    assert new.lease != old.lease
