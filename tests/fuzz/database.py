"""A damaged database: what it still answers is what it answered before, or it says that it is
damaged.

A store with something of everything is asked all that can be asked of it. Then its file is damaged,
in one bit or in more, and it is asked again. An answer may be the same or a refusal; another one is
wrong, and worst where `hark check` finds nothing either.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import apsw

from farm.errors import HarkError
from farm.lifecycle import State
from farm.store.answers import Answering
from farm.store.check import Check
from farm.store.inbox import Reading, SegmentCache
from farm.store.sqlite_records import SqliteRecords
from farm.store.sqlite_snapshot import DATABASE, SqliteSnapshot
from farm.store.totals import Totals
from farm.wire import Op
from tests.store.harness import Store, members, open_sqlite, outcome

CHANNELS = ("simulated", "inbox")
PEOPLE = ("ann", "ben", "f1", "late", "busy")
POSTS = 70  # of one author: two blocks of older ones, and the newest
LOG = f"{DATABASE}-wal"
PAGE_BYTES = 4096

Answers = dict[str, Any]


def make(directory: Path) -> None:
    """A closed store with something of everything, as small as that can be."""
    store = Store(partial(open_sqlite, directory), channels=CHANNELS)
    store.followers("star", 300)
    store.publish("before", "star")
    store.mute("f5", "star")
    store.unfollow("f7", "star")
    store.follow("late", "star")
    store.publish("star1", "star")
    for name in ("ann", "ben", "cat"):
        store.follow(name, "busy")
    store.follow("ann", "star")
    for number in range(POSTS):
        store.publish(f"busy{number}", "busy", f"what {number}")
    store.call(Op.RETRACT, "busy7")
    shown = store.reading.inbox("ann", 50, "", False).notifications
    store.call(Op.MARK_UP_TO, "ann", shown[30].cursor)
    store.call(Op.MARK, "ann", [shown[3].id, shown[40].id], True)
    store.call(Op.MARK, "ann", [shown[42].id], False)
    for grant in store.ask("w1", 20_000).grants:
        some = sorted(members(grant))
        few = outcome(grant, delivered=some[3:], retry=some[:2], dead=some[2:3], final=True)
        store.tell("w1", few if len(some) > 3 else outcome(grant, others=State.DELIVERED))
    store.pass_s(0.06)
    store.publish("leased", "busy")
    assert store.ask("w2", 1).grants
    store.close()


def answers(directory: Path) -> Answers:
    """All that a reader says of the store, each to its own question. What it refuses is None."""
    snapshot = SqliteSnapshot.open(directory)
    try:
        with snapshot:
            reading = Reading(snapshot, SegmentCache())
            answering = Answering(snapshot, reading, CHANNELS)
            return {name: _asked(ask) for name, ask in _questions(reading, answering)} | {
                "counters": _asked(lambda: Totals(snapshot.meta().totals).counters),
                "change": _asked(lambda: snapshot.meta().change),
            }
    finally:
        snapshot.close()


def _questions(reading: Reading, answering: Answering) -> Iterator[tuple[str, Callable[[], Any]]]:
    for user in PEOPLE:
        yield f"inbox of {user}", partial(reading.inbox, user, 100, "", unread_only=False)
        yield f"unread of {user}", partial(reading.inbox, user, 100, "", unread_only=True)
        yield f"user {user}", partial(reading.user, user)
        yield f"following of {user}", partial(reading.following, user, 100, "")
        yield f"explain {user}", partial(answering.explain, "star1", user)
    for author in ("star", "busy"):
        yield f"followers of {author}", partial(reading.followers, author, 500, "")
        yield f"preview of {author}", partial(answering.preview, author)
    for post in ("before", "star1", "leased", "busy7", "busy60"):
        yield f"post {post}", partial(reading.post, post)
    yield "dead letters", partial(answering.dead_letters, 10, "")


def _asked(ask: Callable[[], Any]) -> Any:
    """The answer, or None where it is refused: as a reader does, by whatever is raised."""
    try:
        return ask()
    except Exception:  # noqa: BLE001
        return None


class Found(NamedTuple):
    """What came of a damage."""

    how: str  # the same, refused, or wrong
    named: bool  # by the check
    wrong: str = ""  # the first answer that is another one


def look(directory: Path, truth: Answers) -> Found:
    """Compares what a store says now with what it said."""
    try:
        now = answers(directory)
    except (HarkError, apsw.Error) as error:
        return Found("refused", named=True, wrong=str(error))
    for name, right in truth.items():
        if now[name] is not None and now[name] != right:
            return Found("wrong", _is_named(directory), f"{name}: {_difference(right, now[name])}")
    if any(now[name] is None for name, right in truth.items() if right is not None):
        return Found("refused", _is_named(directory))
    return Found("same", named=False)


def _difference(right: Any, now: Any) -> str:
    return f"{str(now)[:300]}, not {str(right)[:300]}"


def _is_named(directory: Path) -> bool:
    """Whether `hark check` finds anything."""
    try:
        with SqliteRecords.open(directory) as records:
            return next(Check(records, lambda rows: None).breaches(), None) is not None
    except HarkError:
        return True


def flipped(whole: bytes, at: int, chance: Random) -> bytes:
    damaged = bytearray(whole)
    damaged[at] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))


def put(directory: Path, content: bytes) -> None:
    """A database of these bytes, and no log of it."""
    (directory / DATABASE).write_bytes(content)
    for more in ("-wal", "-shm", "-journal"):
        (directory / f"{DATABASE}{more}").unlink(missing_ok=True)
