"""A reader: its answers are of this moment, whatever it has kept of the moments before."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zmq

from farm import wire
from farm.clock import SystemClock
from farm.config import Settings
from farm.errors import Corrupt, Unavailable
from farm.sockets import Addresses, Sockets, socket_directory
from farm.store import inbox
from farm.store.inbox import PostCache
from farm.store.reader import Reader
from farm.store.sqlite import SqliteStorage
from farm.store.sqlite_snapshot import SqliteSnapshot
from farm.wire import Kind, Op, Query
from tests.store.harness import Store, damage_page, members, open_sqlite, outcome

PEOPLE = ["ann", "ben", "cat", "dan"]
AUTHORS = ["star", "moon"]
DAY_S = 24 * 3600


class Asked:
    """A store, a reader beside it, and who asks that one."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(
            partial(open_sqlite, directory), channels=Settings().channel, retention_us=10**12
        )
        self.snapshot = SqliteSnapshot.open(directory)
        self._sockets = Sockets()
        addresses = Addresses(str(socket_directory(directory)))
        self._reader = Reader(
            self.snapshot, self._sockets, addresses, 2, SystemClock(), Settings().channel
        )
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.connect(addresses.reader(2))
        self._asked = 0

    def ask(self, *queries: Sequence[Any]) -> bytes:
        """The answer to one request."""
        self._asked += 1
        payload = wire.pack(Kind.READ, "asker", self._asked, queries)
        self._socket.send_multipart([b"1", b"", payload])
        while not self._reader.step():
            assert self._socket.poll(1, zmq.POLLOUT)
        return self._socket.recv_multipart()[-1]

    def fresh(self, *queries: Sequence[Any]) -> bytes:
        """The answer of somebody who knows nothing yet."""
        reading = self.store.reading
        asked: dict[Query, Callable[..., Any]] = {
            Query.NEWEST: reading.newest,
            Query.INBOX: reading.inbox,
        }
        results = [wire.ok(asked[query](*arguments)) for query, *arguments in queries]
        return wire.pack_answers(self._asked, results)

    def close(self) -> None:
        self._socket.close()
        self._context.term()
        self._sockets.close()
        self.snapshot.close()
        self.store.close()


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(tmp_path)
    yield made
    made.close()


EVERYTHING: list[tuple[Any, ...]] = [
    *((Query.NEWEST, user, 20) for user in PEOPLE),
    *((Query.INBOX, user, 5, "", unread_only) for user in PEOPLE for unread_only in (False, True)),
]


def told(answer: bytes) -> list[Any]:
    """What an answer to all of these says."""
    results = wire.results_in(wire.unpack(answer)[1], wire.KnownLooks(wire.look))
    return [
        wire.newest(value, query[1], looks)
        if query[0] is Query.NEWEST
        else wire.inbox_page(value, looks)
        for query, (_, value, looks) in zip(EVERYTHING, results, strict=True)
    ]


class Deeds:
    """Whatever can happen to a store, by chance."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance
        self._posts: list[str] = []

    def one(self) -> str:
        """Does it; its name."""
        deeds = [self.publish, self.publish, self.work, self.work, self.work, self.retract]
        deeds += [self.relate, self.mark, self.mark_up_to, self.wait]
        deed = self._chance.choice(deeds)
        deed()
        return deed.__name__

    def publish(self) -> None:
        self._posts.append(f"p{len(self._posts)}")
        self._store.publish(self._posts[-1], self._chance.choice(AUTHORS))

    def work(self) -> None:
        for grant in self._store.ask("w", self._chance.randint(1, 9)).grants:
            sets: list[list[int]] = [[], [], []]
            for number in members(grant):
                self._chance.choice(sets).append(number)
            self._store.tell("w", outcome(grant, delivered=sets[0], retry=sets[1], dead=sets[2]))

    def retract(self) -> None:
        if self._posts:
            self._store.group([(Op.RETRACT, self._chance.choice(self._posts[-9:]))])

    def relate(self) -> None:
        store = self._store
        deed = self._chance.choice([store.follow, store.follow, store.unfollow, store.mute])
        pair = self._chance.choice(PEOPLE), self._chance.choice(AUTHORS)
        (store.unmute if deed == store.mute and self._chance.random() < 0.5 else deed)(*pair)

    def mark(self) -> None:
        user = self._chance.choice(PEOPLE)
        page = self._store.reading.inbox(user, 9, "", False).notifications
        if page:
            self._store.call(Op.MARK, user, [self._chance.choice(page).id], True)

    def mark_up_to(self) -> None:
        user = self._chance.choice(PEOPLE)
        page = self._store.reading.inbox(user, 9, "", False).notifications
        if page:
            self._store.call(Op.MARK_UP_TO, user, self._chance.choice(page).cursor)

    def wait(self) -> None:
        """Retries come due, and now and then posts get too old."""
        self._store.pass_s(self._chance.choice([0.2, 2.0, 2 * DAY_S]))


@pytest.mark.parametrize("kept_kib", [inbox.KEPT_KIB_MAX, 25])
def test_what_a_reader_kept_is_never_older_than_the_last_commit(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, kept_kib: int
) -> None:
    """Whatever happens, each answer says what that of a reading says that begins anew; also where
    so little can be kept that it is forgotten within an answer."""
    monkeypatch.setattr(inbox, "KEPT_KIB_MAX", kept_kib)
    for user, author in itertools.product(PEOPLE, AUTHORS):
        asked.store.follow(user, author)
    deeds = Deeds(asked.store, random.Random(5))
    for number in range(150):
        done = deeds.one()
        for _ in range(2):  # and once more, when nothing has happened in between
            answer = asked.ask(*EVERYTHING)
            fresh = asked.fresh(*EVERYTHING)
            assert told(answer) == told(fresh), f"after {done} ({number})"


def test_what_was_read_is_kept_until_something_is_committed(asked: Asked) -> None:
    """Then posts are still known, and where people stand is read again."""
    for author in AUTHORS:
        asked.store.follow("ann", author)
        asked.store.publish(f"of {author}", author)
    statements = noted(asked.snapshot)

    def read() -> list[str]:
        statements.clear()
        asked.ask((Query.NEWEST, "ann", 20))
        return [what for what in ("from post where seq", "join batch") if what in str(statements)]

    assert len(read()) == 2
    assert read() == []
    asked.store.follow("ben", "star")
    assert read() == ["join batch"]
    assert read() == []


def test_no_more_posts_are_kept_than_there_is_room_for(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "KEPT_KIB_MAX", 100)
    asked.store.follow("ann", "star")
    seqs: list[int] = []
    for number in range(30):
        asked.store.publish(f"p{number}", "star", "x" * 9_000)
        seqs += asked.store.storage.posts_after(seqs[-1] if seqs else 0, 1)
    posts, statements = PostCache(), noted(asked.snapshot)
    for _ in range(2):
        assert [posts.posts(asked.snapshot, [seq])[seq].seq for seq in seqs] == seqs
    assert len(statements) == 60, "thirty take three times the room"
    assert posts.posts(asked.snapshot, seqs[-3:]).keys() >= {*seqs[-3:]}
    assert len(statements) == 60
    assert posts.posts(asked.snapshot, seqs).keys() == {*seqs}, "more at once than there is room"


def test_a_damaged_page_refuses_only_who_asks_for_it(tmp_path: Path) -> None:
    """Each of its posts is asked for again and again, beside others."""
    store = Store(partial(open_sqlite, tmp_path), channels=("inbox",))
    store.follow("ann", "star")
    store.group((Op.PUBLISH, f"p{n}", "star", "x" * 200, 0, True) for n in range(200))
    store.close()
    damage_page(tmp_path, "post")
    asked = Asked(tmp_path)
    questions = [(Query.POST, f"p{number}") for number in range(200)]
    first, *others = [codes(asked.ask(*questions)) for _ in range(3)]
    assert {0, Unavailable.code} == {*first}
    assert first[0] == first[-1] == 0
    assert others == [first, first]
    asked.close()


def test_where_nothing_can_be_read_each_question_is_refused(asked: Asked) -> None:
    """Until it can be; whoever asks meanwhile, the reader lives."""
    database = asked.store.storage
    assert isinstance(database, SqliteStorage)
    questions = [(Query.UNREAD, user) for user in PEOPLE]
    database.db.execute("update meta set change = change + 1")
    for _ in range(2):
        assert codes(asked.ask(*questions)) == [Corrupt.code] * len(PEOPLE)
    database.db.execute("update meta set change = change - 1")
    assert codes(asked.ask(*questions)) == [0] * len(PEOPLE)


def codes(answer: bytes) -> list[int]:
    """What became of each question."""
    return [
        result[0] for result in wire.results_in(wire.unpack(answer)[1], wire.KnownLooks(wire.look))
    ]


def noted(snapshot: SqliteSnapshot) -> list[str]:
    """The statements that run from now on."""
    statements: list[str] = []

    def note(_: Any, statement: str, _bindings: Any) -> bool:
        statements.append(statement)
        return True

    snapshot.db.exec_trace = note
    return statements
