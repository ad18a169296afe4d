"""The store's process killed between two of its steps, and a second one beside the first."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from farm import wire
from farm.client import STEP_ASIDE_S, NewPost, StoreClient
from farm.errors import Internal, ResourceExhausted
from farm.observe import ProcessMetrics
from farm.sockets import Sockets
from farm.store.sqlite_schema import SCHEMA_VERSION
from farm.store.sqlite_snapshot import DATABASE
from farm.wire import Grant, Kind, Op, Published
from tests.farm_process import ROOT
from tests.faults.conftest import StartStore
from tests.store.harness import ManualClock, make_first_version, open_sqlite
from tests.store.store_process import StoreProcess

pytestmark = pytest.mark.process
CALLERS = 64


def publish(post: str) -> tuple[Any, ...]:
    return (Op.PUBLISH, post, "star", "hello", 0, True)


def replies(store: StoreProcess) -> int:
    """How many have come by now."""
    count = 0
    while store._asker.poll(0):
        store._asker.recv_multipart()
        count += 1
    return count


def lease(session: str, number: int) -> bytes:
    return wire.pack(Kind.LEASE, session, number, 10, [], [], [])


def test_an_answer_to_a_question_asked_anew_since_is_nobodys(start_store: StartStore) -> None:
    """A group that is run in halves, for one request in it fails, may give work to a question that
    its worker asks anew in the other half. Fault rows 33 and 117."""
    store = start_store()
    store.write((Op.FOLLOW, "ann", "star"), publish("p"))
    store.pause()
    store.send("breaks", wire.pack(Kind.WRITE, "c", 1, [(Op.IMPORT, ["a"], [])]))
    store.send("first", lease("w1", 1))
    store.send("other", lease("w2", 1))
    store.send("anew", lease("w1", 2))
    store.go_on()
    answers = dict(store.receive() for _ in range(2))
    assert {*answers} == {"breaks", "other"}
    assert [result[0] for result in answers["breaks"][1][1]] == [Internal.code]
    assert [grant.post_id for grant in granted(answers["other"])] == ["p"]
    store.send("post", wire.pack(Kind.WRITE, "c", 2, [publish("q")]))
    answers = dict(store.receive() for _ in range(2))
    assert [grant.post_id for grant in granted(answers["anew"])] == ["q"]


def granted(answer: tuple[Kind, list[Any]]) -> list[Grant]:
    kind, body = answer
    assert kind is Kind.GRANTS
    return list(wire.unpack_lease_answer(body).grants)


@pytest.mark.parametrize("told", [0, 31, 63])
def test_answers_that_a_kill_cut_off_are_given_again(start_store: StartStore, told: int) -> None:
    """64 callers share a commit; so many of them hear of it, then the store is killed. Each asks
    again, and is told what the first answer would have been. Fault row 34."""
    # The first answer is to those who follow.
    store = start_store(failpoints=f"store.reply:kill:{told + 2}")
    store.write((Op.FOLLOW, "ann", "star"), (Op.FOLLOW, "bob", "star"))
    requests = [
        wire.pack(Kind.WRITE, f"caller {number}", 1, [publish(f"p{number}")])
        for number in range(CALLERS)
    ]
    store.pause()
    for number, request in enumerate(requests):
        store._asker.send_multipart([str(number).encode(), b"", request])
    store.go_on()
    assert store.wait() < 0
    assert replies(store) <= told  # what was said last may not have left
    store.start_again()
    answers = [wire.value_of(result) for _, (_, (result,)) in store.ask_all(requests)]
    assert [answer[:3] for answer in answers] == [[f"p{n}", 2, 2] for n in range(CALLERS)]
    # All of those in the commit; a few may have come too late for it.
    assert sum(duplicate for *_, duplicate in answers) > told
    stats = wire.stats(wire.value_of(store.write((Op.STATS,))[0]))
    assert stats.backlog == 2 * CALLERS


def test_a_write_that_comes_late_is_not_done_again(start_store: StartStore) -> None:
    """Its client has asked for something else since, and has the answer."""
    store = start_store()
    follow = wire.pack(Kind.WRITE, "caller", 1, [(Op.FOLLOW, "ann", "star")])
    unfollow = wire.pack(Kind.WRITE, "caller", 2, [(Op.UNFOLLOW, "ann", "star")])
    store.ask_all([follow, unfollow])
    store._asker.send_multipart([b"", follow])
    assert wire.value_of(store.write((Op.FOLLOW, "ann", "star"))[0]) is True
    assert replies(store) == 0


async def test_after_most_of_many_posts_were_refused_as_many_more_are_not_even_sent(
    start_store: StartStore,
) -> None:
    """While each single one is asked for; later one call finds out for all. Fault row 10."""
    store, sockets, clock = start_store(backlog_max=10), Sockets(), ManualClock()
    store.write((Op.IMPORT, [f"follower {number}" for number in range(10)], ["star"] * 10))
    client = StoreClient(
        sockets, store.addresses, name="caller", readers=0, clock=clock, metrics=ProcessMetrics()
    )
    client.check_room()
    posts = [NewPost(f"p{number}", "star", "hello", None) for number in range(200)]
    outcomes = await client.publish_many(posts)
    assert [type(one) for one in outcomes[1:]] == [ResourceExhausted] * 199
    with pytest.raises(ResourceExhausted, match="most posts are refused now"):
        client.check_room()
    with pytest.raises(ResourceExhausted, match="10 notifications wait"):
        await client.publish("q", "star", "hello", None)
    clock.pass_s(STEP_ASIDE_S)
    client.check_room()
    one = asyncio.create_task(client.publish_many(posts[:1]))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted, match="most posts are refused now"):
        client.check_room()
    (duplicate,) = await one
    assert isinstance(duplicate, Published), duplicate
    client.check_room()
    client.close()
    sockets.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_second_store_says_why_it_ends_and_takes_nothing_away(
    start_store: StartStore, tmp_path: Path, stopped: bool
) -> None:
    """Neither the database nor the socket's path, which a bind would take from who has it. Fault
    rows 27 and 46."""
    first = start_store()
    first.write((Op.FOLLOW, "ann", "star"))
    if stopped:
        first.pause()
    second = start_store(tmp_path / "data")
    assert second.wait() == 1
    assert "another store has this database open; stop it first" in second.log_path.read_text()
    first.go_on()
    (result,) = first.write(publish("p"))
    assert wire.value_of(result)[0] == "p"
    assert first.alive


# Opens one database after the other, each by a process that is killed one statement later.
OPENING = """
import os, random, sys
from pathlib import Path
from farm import failpoints
from farm.store.sqlite import SqliteStorage

for number, name in enumerate(sys.argv[1:], 1):
    child = os.fork()
    if not child:
        failpoints.arm(f"store.schema:kill:{number}")
        SqliteStorage.create_or_open(Path(name), chance=random.Random(1), now_us=0).close()
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""
PLACES = 40


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A kill takes nothing that was written, so a disk that is slow would show nothing more."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-test-") as directory:
        yield Path(directory)


@pytest.mark.parametrize(("version", "statements_min"), [(0, 25), (1, 5)])
def test_a_kill_at_any_statement_leaves_the_old_tables_or_the_new_ones(
    in_memory: Path, version: int, statements_min: int
) -> None:
    """When a database is made, and when one of the first version gets what it lacks; the next
    start ends what was begun. Fault row 30."""
    places = [in_memory / str(number) for number in range(PLACES)]
    for place in places:
        place.mkdir()
        if version:
            make_first_version(place / DATABASE)
    before = state_of(places[0])
    done = subprocess.run(
        [sys.executable, "-c", OPENING, *map(str, places)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    killed = [status != "0" for status in done.stdout.split()]
    statements = sum(killed)
    assert statements_min <= statements < PLACES
    assert killed == [True] * statements + [False] * (PLACES - statements)
    after = state_of(places[-1])
    assert after[0] == SCHEMA_VERSION
    for place in places[:statements]:
        assert state_of(place) == before, place
        open_sqlite(place).close()
        assert state_of(place) == after, place


def state_of(place: Path) -> tuple[int, dict[str, str], int]:
    """The version, all tables and indexes, and how many people there are."""
    database = apsw.Connection(str(place / DATABASE))
    named = dict(database.execute("select name, sql from sqlite_schema where sql is not null"))
    people = database.execute("select count(*) from user").get if "user" in named else 0
    version = database.pragma("user_version")
    database.close()
    return version, named, people
