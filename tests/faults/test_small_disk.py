"""The store's own process with hardly any room: what it refuses is refused for sure, what is under
way goes on, and it needs nothing but room."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farm import wire
from farm.audience import seal, unseal
from farm.errors import ResourceExhausted
from farm.lifecycle import State
from farm.store.sqlite_snapshot import DATABASE
from farm.wire import Grant, Kind, LeaseOutcome, Op, Outcome
from tests.farm_process import wait_until
from tests.faults.conftest import StartStore
from tests.faults.disks import Ballast, mounted
from tests.store.store_process import StoreProcess

pytestmark = pytest.mark.process
RESERVE_BYTES = 2**20
CONTENT = "x" * 3_000
FOLLOWERS = 1_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=8m") as place:
        yield place


def publish(post: str, content: str = CONTENT) -> tuple[Any, ...]:
    return (Op.PUBLISH, post, "star", content, 0, True)


def code(store: StoreProcess, post: str) -> int:
    """Of the answer to a post; 0: taken."""
    number: int = store.write(publish(post))[0][0]
    return number


def with_followers(store: StoreProcess) -> StoreProcess:
    people = [f"f{number}" for number in range(FOLLOWERS)]
    store.write((Op.IMPORT, people, ["star"] * FOLLOWERS))
    return store


def stats(store: StoreProcess) -> wire.Stats:
    return wire.stats(wire.value_of(store.write((Op.STATS,))[0]))


def lease(store: StoreProcess, want: int) -> list[Grant]:
    kind, body = store.ask(wire.pack(Kind.LEASE, "w1", 1, want, [], [], []))
    assert kind is Kind.GRANTS
    return list(wire.unpack_lease_answer(body).grants)


def deliver(store: StoreProcess, grants: list[Grant]) -> None:
    """Reports half of each as delivered and half as failed, which takes more room."""
    leases = []
    for grant in grants:
        members = unseal(grant.members)
        failed = type(members)(list(members)[::2])
        said = [
            Outcome(State.RETRYING, "no", seal(failed)),
            Outcome(State.DELIVERED, "", None),
        ]
        leases.append(LeaseOutcome(grant.lease, True, said))
    store.push(wire.pack(Kind.OUTCOMES, "w1", 1, leases, [], 0.0))


def squeeze_the_disk(store: StoreProcess, disk: Path) -> Callable[[], None]:
    ballast = Ballast(disk)
    ballast.leave(RESERVE_BYTES * 3 // 4)
    return ballast.drop


def squeeze_the_files(store: StoreProcess, disk: Path) -> Callable[[], None]:
    """No file of the process may become much larger."""
    names = (DATABASE, f"{DATABASE}-wal")
    largest = max((disk / "data" / name).stat().st_size for name in names)
    before = resource.prlimit(store.pid, resource.RLIMIT_FSIZE)
    limit = largest + RESERVE_BYTES * 3 // 4
    resource.prlimit(store.pid, resource.RLIMIT_FSIZE, (limit, before[1]))
    return lambda: void(resource.prlimit(store.pid, resource.RLIMIT_FSIZE, before))


def void(_: object) -> None:
    return


@pytest.mark.parametrize(
    "squeeze", [squeeze_the_disk, squeeze_the_files], ids=["disk", "size of a file"]
)
def test_posts_are_refused_at_the_reserve_and_what_waits_is_still_delivered(
    disk: Path, start_store: StartStore, squeeze: Callable[[StoreProcess, Path], Callable[[], None]]
) -> None:
    """And taken again when there is room, by the same process. Fault rows 21 and 22."""
    store = with_followers(start_store(disk / "data", disk_reserve_mb=1))
    process = store.pid
    for number in range(50):
        assert code(store, f"p{number}") == 0
    grants = lease(store, FOLLOWERS * 50)
    assert sum(grant.recipients for grant in grants) == FOLLOWERS * 50
    release = squeeze(store, disk)
    wait_until(lambda: "less than the reserve" in stats(store).refusing_because)
    assert code(store, "refused") == ResourceExhausted.code
    deliver(store, grants)
    wait_until(lambda: stats(store).sent == FOLLOWERS * 50 // 2)
    assert stats(store).failed_attempts == FOLLOWERS * 50 // 2
    assert code(store, "p0") == 0, "what was asked again is answered as before"
    release()
    wait_until(lambda: code(store, "refused") == 0)
    assert (store.alive, store.pid) == (True, process)
    assert not stats(store).refusing_because


def test_a_group_in_which_a_real_disk_fills_up_is_refused_whole(
    disk: Path, start_store: StartStore
) -> None:
    """The process lives, and nothing of the group is there, now or after a kill. Fault row 113."""
    store = with_followers(start_store(disk / "data", disk_reserve_mb=0))
    assert code(store, "before") == 0
    ballast = Ballast(disk)
    ballast.leave(150_000)
    group = [publish(f"p{number}", "x" * 16_000) for number in range(64)]
    assert {result[0] for result in store.write(*group)} == {ResourceExhausted.code}
    assert stats(store).backlog == FOLLOWERS
    ballast.drop()
    store.start_again()
    assert stats(store).backlog == FOLLOWERS
    assert code(store, "before") == 0
    results = wait_until(lambda: all_taken(store.write(*group)))
    assert not any(wire.value_of(result)[3] for result in results), "stored though refused"


def all_taken(results: list[Any]) -> list[Any]:
    return [] if any(result[0] for result in results) else results
