"""What `hark check` looks for: nothing in a sound store, and each kind of breach where it is.

A store with a bit of everything is made once. Each test damages a copy of it in one way, with SQL
or in its bytes, and the breach must be told with the row in which it shows.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw
import pytest

from farm.audience import BitMap, seal, unseal
from farm.errors import StartError
from farm.lifecycle import Part, State
from farm.store.check import Check
from farm.store.findings import Breach
from farm.store.graph import TAIL_MAX
from farm.store.sqlite_records import SqliteRecords
from farm.store.sqlite_snapshot import DATABASE
from farm.store.sqlite_sums import SUM_BYTES, row_of
from farm.store.storage import Meta
from farm.wire import Op
from tests.store.harness import Store, members, open_sqlite, outcome

FOLLOWERS = 9_000  # two segments and, with who comes later, a tail
FLIPS = 100
POSTS = 100  # two blocks of older seqs, and the newest


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a closed store that has something of everything."""
    directory = tmp_path_factory.mktemp("sound")
    store = Store(partial(open_sqlite, directory), channels=("simulated", "inbox"))
    store.followers("star", FOLLOWERS)
    store.publish("before", "star")
    store.mute("f5", "star")
    store.mute("f6", "star")
    store.unmute("f6", "star")
    store.unfollow("f7", "star")
    store.follow("late", "star")
    store.publish("star1", "star")
    for name in ("ann", "ben", "cat"):
        store.follow(name, "busy")
    for number in range(POSTS):
        store.publish(f"busy{number}", "busy")
    store.follow("f7", "star")
    store.publish("nobody", "stranger", must_be_known=False)
    store.call(Op.RETRACT, "busy7")
    inbox = store.reading.inbox("ann", 50, "", False).notifications
    store.call(Op.MARK_UP_TO, "ann", inbox[30].cursor)
    store.call(Op.MARK, "ann", [inbox[3].id, inbox[40].id], True)
    store.call(Op.MARK, "ann", [inbox[42].id], False)
    _work(store)
    store.close()
    return directory


def _work(store: Store) -> None:
    """Leaves some in every state, a lease, and one that is suspected."""
    grants = store.ask("w1", 20_000).grants
    for grant in grants:
        some = sorted(members(grant))
        store.tell(
            "w1",
            outcome(grant, delivered=some[3:], retry=some[:2], dead=some[2:3], final=True)
            if len(some) > 3
            else outcome(grant, others=State.DELIVERED),
        )
    store.pass_s(0.06)  # some of the retries are due, others wait
    store.publish("leased", "busy")
    assert store.ask("w2", 1).grants
    assert store.ask("w4", 1).grants
    store.publish("suspected", "star")
    assert store.ask("w3", 100).grants
    store.die("w3")


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def look(directory: Path) -> list[Breach]:
    with SqliteRecords.open(directory) as records:
        return list(Check(records, lambda rows: None).breaches())


def test_a_sound_store_has_no_breach_and_something_of_everything(sound: Path) -> None:
    advanced: list[int] = []
    with SqliteRecords.open(sound) as records:
        check = Check(records, advanced.append)
        assert [str(breach) for breach in check.breaches()] == []
        states = {state for (state,) in records._rows("select distinct state from batch")}
        leases = {bool(lease.session) for lease in records.leases()}
        assert 0 < sum(advanced) <= records.count()
    assert states == {*State}
    assert leases == {True, False}
    assert check.counts["follows"] == FOLLOWERS + 1 + 3
    assert check.counts["posts"] == POSTS + 5
    assert check.counts["notifications"] > 2 * FOLLOWERS


def test_a_directory_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no database here"):
        SqliteRecords.open(tmp_path)


def test_a_database_of_another_version_is_refused(copy: Path) -> None:
    _run(copy, "pragma user_version = 99")
    with pytest.raises(StartError, match="has version 99, this Hark knows"):
        SqliteRecords.open(copy)


# Damage

STAR = "(select number from user where id = 'star')"
BUSY = "(select number from user where id = 'busy')"
MAIN = f"(select min(id) from segment where author = {STAR} and until = 0 and lower = 0)"
TAIL = f"(select max(id) from segment where author = {STAR} and until = 0 and lower = -1)"
POST = "(select seq from post where id = 'star1')"
CHANGE = "(select change from meta)"
LEASED = "(select seq from post where id = 'leased')"
RETRYING, DEAD = Part(State.RETRYING).key, Part(State.DEAD).key
SUPPRESSED, DELIVERED = Part(State.SUPPRESSED).key, Part(State.DELIVERED).key
_WAITING = f"from batch where due_us is not null and post = {POST}"
SLOT = f"(post, segment, part) = (select post, max(segment), max(part) {_WAITING})"


def of_state(part: int) -> str:
    """One part of the post in a state."""
    return (
        f"post = {POST} and part = (select max(part) from batch where post = {POST}"
        f" and part >> 40 = {part >> 40}) and segment = (select max(segment) from batch where"
        f" post = {POST} and part >> 40 = {part >> 40})"
    )


DAMAGE = {
    # The file
    "type": ("update post set audience = 'many' where id = 'star1'", "post: 1 rows have some"),
    "schema": (
        ("pragma writable_schema = on; update sqlite_schema set sql = replace(sql, 'last_ordinal', "
        "'last_ordinam') where name = 'author'"),
        "sqlite: describes author otherwise than it was made",
    ),
    # The store as a whole
    "meta flip": ("update meta set now_us = now_us + 1 -- unsealed", "meta: the checksum does not"),
    "secret": ("update meta set secret = x'00'", "meta: change, incarnation or secret"),
    "change": (f"update meta set change = {POST} - 1", "post seq=.*: its seq is not from 1"),
    "totals": ("update meta set totals = x'c1'", "meta: totals cannot be read"),
    "waiting": ("update meta set totals = x'80'", r"meta: totals say 0 queued, the sets hold \d"),
    "retrying": ("update meta set totals = x'80'", "meta: totals say 0 retrying, the sets hold"),
    "sent": ("update meta set totals = x'80'", "say 0 of notifications_sent_total, the sets"),
    "failed": ("update meta set totals = x'80'", "say 0 of notifications_failed_total, the sets"),
    "dead": ("update meta set totals = x'80'", "say 0 of hark_notifications_dead_total simulated"),
    "attempts": ("update meta set totals = x'80'", "attempts_total simulated failed, the sets"),
    "suppressed": ("update meta set totals = x'80'", "suppressed_total inbox muted, the sets"),
    "meta": ("delete from meta", "sqlite: meta has no row"),
    "text": ("update post set id = cast(x'ff' as text) where id = 'star1'", "sqlite: .*decode"),
    # People
    "number": ("insert into user values(5000000000, 'x')", "user number=5000000000: numbers are"),
    "user gone": ("delete from user where id = 'f9'", "nobody has these numbers: 1 of them"),
    "author gone": ("delete from user where id = 'busy'", "author number=.*: nobody has this"),
    # Authors
    "author row": (f"delete from author where number = {BUSY}", "author number=.*: is missing"),
    "followers": ("update author set followers = followers + 1", "says 9002 followers, its curr"),
    "ordinal": ("update author set last_ordinal = last_ordinal - 1", "its last post is number 2 "),
    "last seq": ("update author set last_seq = last_seq + 1", "its last post is number 3 with"),
    "newest": (f"update author set newest = flip(newest) where number = {BUSY}", "lists other pos"),
    "block": ("update author_block set seqs = flip(seqs) where first = 1", "lists other posts"),
    "block gone": ("delete from author_block where first = 1", "blocks from .33., not in every"),
    "block moved": ("update author_block set first = 2 where first = 1", "blocks from .2, 33., "),
    "last loss": ("update author set last_loss = 0", "last loss was change 0; the relations say"),
    "last loss late": ("update author set last_loss = 1000000", "its last loss was change 1000000"),
    "mutes": ("update muted_by set members = flip(members)", "muted_by author=.*: the checksum"),
    "mute more": ("update muted_by set members = more(members, 3)", "differs from the open mutes"),
    "mutes gone": ("delete from muted_by", "muted_by author=.*: is missing, though mutes are op"),
    "not hidden": ("update post set retracted = 0 where id = 'busy7'", "retracted_of .*too many 1"),
    "hidden": ("delete from retracted_of", "retracted_of author=.*: does not hide .* missing 1"),
    "hidden flip": ("update retracted_of set ordinals = flip(ordinals)", "retracted_of .*checksum"),
    # What people read, and live events
    "mark flip": ("update read_mark set flipped = flip(flipped)", "read_mark user=.*: the checks"),
    "mark": ("update read_mark set author = 99999", "read_mark user=.*: is of nobody"),
    "read up to": ("update read_up_to set change = 1000000", "read_up_to user=.*: is of nobody"),
    "deed": ("update deed set user = 99999 where kind = 4", "deed user=99999 .*: is of nobody"),
    "deed kind": ("update deed set kind = 9 where kind = 1", "deed user=.*: is none that there is"),
    "deed seqs": ("update deed set seqs = x'01' where kind = 4", "deed user=.*: does not name"),
    "expiry": ("insert into expiry values(9, 9, x'00')", "expiry change=9: does not go on from"),
    "touched": ("update touched set post = change + 1", "touched change=.*: is of no post before"),
    # Relations
    "empty interval": ("update relation set until = since where until > 0", "is no interval"),
    "late interval": ("update relation set until = 1000000 where until > 0", "is no interval"),
    "overlap": (
        "update relation set until = 0 where kind = 0 and until > 0",
        "relation user=.*: begins before the one before it ended",
    ),
    "kind": ("update relation set kind = 7 where kind = 1", "kind=7.*: is no relation between"),
    "self": (
        f"insert into relation values({BUSY}, {BUSY}, 0, 1, 0, 0)",
        "relation user=.*: is no relation between",
    ),
    "base": (
        f"update relation set base = 1 where author = {BUSY} and kind = 0",
        "relation user=.*: says the author had 1 posts when it began",
    ),
    "follow lost": (
        "delete from relation where kind = 0 and user = (select number from user where id = 'f9')",
        "its current segments are not its open followings: missing none, too many 1 of them",
    ),
    "follow gained": (
        (f"insert into relation values((select number from user where id = 'ann'), {STAR}, 0, 1, 0,"
        " 0)"),
        "its current segments are not its open followings: missing 1 of them",
    ),
    "follow of then": (
        "delete from relation where kind = 0 and until > 0",
        (f"post seq=.*: has an audience of {FOLLOWERS}; the segments of its time have {FOLLOWERS}, "
        f"the followings {FOLLOWERS - 1}"),
    ),
    # Segments
    "segment flip": (
        f"update segment set members = flip(members) where id = {MAIN}",
        "segment id=.*: the checksum of its members",
    ),
    "segment size": (
        f"update segment set size = size - 1 where id = {MAIN}", "says 4498 members, has 4499"
    ),
    "segment fewer": (
        f"update segment set members = fewer(members), size = size - 1 where id = {MAIN}",
        "not its open followings: missing 1 of them",
    ),
    "segment unknown": (
        f"update segment set members = more(members, 99999) where id = {TAIL}",
        "segment id=.*: nobody has these numbers: 1 of them, as user 99999",
    ),
    "below": (
        f"update segment set members = more(members, 1) where lower > 0 and author = {STAR}",
        "segment id=.*: has user 1, below its range",
    ),
    "beyond": (
        f"update segment set members = more(members, {FOLLOWERS}) where id = {MAIN}",
        f"segment id=.*: has user {FOLLOWERS}, of the range of segment",
    ),
    "tail shared": (
        f"update segment set members = more(members, 20) where id = {TAIL}",
        "segment id=.*: shares members with segment .*: 1 of them, as user 20",
    ),
    "two at a time": (
        (f"insert into segment(author, lower, since, until, size, members) select author, lower,"
        f" since + 1, 0, size, members from segment where id = {MAIN}"),
        "segment id=.*: lives at the same time as segment",
    ),
    "large": (
        f"update segment set members = many(9000) where id = {TAIL}",
        "segment id=.*: has 9000 members of at most 2048",
    ),
    "lived": (
        f"update segment set until = since where author = {STAR} and until > 0",
        "segment id=.*: lives in .*, no such interval",
    ),
    "lives on": (
        f"update segment set until = 1000000 where id = {TAIL}", "segment id=.*: lives in .* no su"
    ),
    "first range": (
        f"update segment set lower = 1 where id = {MAIN}", "nobody below 1 has a segment to go to"
    ),
    "not of its time": (
        f"update segment set since = {POST} + 1 where id = {MAIN}",
        "batch post=.*: its segment lived in .*, not at the post's time",
    ),
    # Posts
    "content": ("update post set content = 'x' where id = 'busy3'", "post seq=.*: its checksum"),
    "post gone": ("delete from post where id = 'busy3'", "post seq=.*: is missing, though it"),
    "post gap": ("delete from post where id = 'busy3'", "post seq=.*: ordinal 5 comes after 3"),
    "audience": (
        "update post set audience = 2 where id like 'busy%'",
        "post seq=.*: has an audience of 2; the segments of its time have 3, the followings 3",
    ),
    "audience often": (
        "update post set audience = 2 where id like 'busy%'",
        f"author number=.*: so it is with {POSTS} of its posts",
    ),
    "audience sent": (
        "update post set audience = 2, queued = 2 where id = 'busy3'",
        "post seq=.*: has an audience of 2, its segments on channel 1 have 3 members",
    ),
    "queued": ("update post set queued = 4 where id = 'busy3'", "post seq=.*: 4 of 3 were queued"),
    "queued less": (
        "update post set queued = 1 where id = 'busy3'",
        "post seq=.*: says 1 of 3 were queued, but only 0 are suppressed untried",
    ),
    "retracted": ("update post set retracted = 1 where id = 'star1'", "was retracted by 1, no"),
    "received": (
        "update post set received_at_us = received_at_us + 1 where id = 'before'",
        "post seq=.*: was received at .*, out of order",
    ),
    "stranger": ("update post set ordinal = 1 where id = 'nobody'", "of nobody Hark knows, and"),
    "named twice": ("update post set author_name = 'x' where id = 'star1'", "its author .* is n"),
    "no batch": (f"delete from batch where post = {POST}", "has an audience of 9000 and no batch"),
    # Batches
    "channel": ("delete from channel where name = 'inbox'", "batch .*: its channel has no name"),
    "segment gone": (
        f"delete from segment where id = {TAIL}", "batch post=.*: its segment is missing"
    ),
    "other author": (
        f"update segment set author = {BUSY} where id = {TAIL}",
        "batch post=.*: its segment is of author",
    ),
    "in two": (
        (f"update batch set members = (select members from batch where {of_state(DEAD)})"
        f" where {of_state(RETRYING)}"),
        "batch post=.*: 1 times somebody is in a part too many",
    ),
    "in two segments": (
        f"update batch set members = more(members, 99999) where {of_state(DEAD)}",
        "batch post=.*: has people outside its segment: 1 of them, as user 99999",
    ),
    "lost from a part": (
        f"update batch set members = fewer(members) where {of_state(SUPPRESSED)}",
        "post seq=.*: says .* were queued, but only 0 are suppressed",
    ),
    "part flip": (
        f"update batch set members = flip(members) where {of_state(DEAD)}",
        r"batch post=\d+ channel=1 segment=\d+ part=\d{13}: the checksum of its members",
    ),
    "part empty": (
        f"update batch set members = fewer(members) where {of_state(DEAD)}",
        "batch post=.*: is empty, and should be gone",
    ),
    "no rest": (f"delete from batch where post = {POST} and part = 0", "its batch has no rest"),
    "rest members": (
        f"update batch set members = x'00' where post = {POST} and part = 0", "has what only other"
    ),
    "rest state": (f"update batch set state = 3 where post = {POST} and part = 0", "in state 3"),
    "rest retracted": (
        f"update batch set state = 5 where post = {POST} and part = 0", "the rest, and in state 5"
    ),
    "rest queued": (
        f"update batch set state = 0 where post = {POST} and part = 0",
        r"meta: totals say \d+ queued, the sets hold",
    ),
    "nobody queued": (
        (f"insert into batch select post, channel, segment, {DELIVERED + (1 << 32)}, 2, null, 0,"
        f" changed, everybody(segment) from batch where post = {LEASED} and channel = 1"
        " and part = 0"),
        "batch post=.*: is queued, and nobody is left in it",
    ),
    "done twice": (
        f"update batch set part = {DELIVERED + (1 << 32)}, state = 2 where {of_state(DEAD)}",
        "batch post=.*: is done, and some are kept as done apart",
    ),
    "changed": (f"update batch set changed = 1 where post = {POST}", "batch .*: changed at 1, not"),
    "no part": (f"update batch set part = 9 << 40 where {of_state(DEAD)}", "is no part's name"),
    "state": (f"update batch set state = 4 where {of_state(DEAD)}", "stored as in state 4, its na"),
    "queued part": (f"update batch set part = 7, state = 0 where {of_state(DEAD)}", "is no part's"),
    "untried": (
        f"update batch set part = {DEAD} + error where {of_state(DEAD)}", "DEAD before the first tr"
    ),
    "slot": (
        f"update batch set part = {RETRYING + (1 << 32) + 77} where {SLOT}", "waits in slot 77, of"
    ),
    "not due": (f"update batch set due_us = null where {SLOT}", "batch post=.*: is due at None"),
    "due": (f"update batch set due_us = 5 where {of_state(DEAD)}", "batch post=.*: is due at 5"),
    "error": ("delete from error", r"batch post=.*: error \d has no text"),
    "other error": (
        ("insert into error values(9, 'x'); "
        f"update batch set error = 9 where {of_state(DEAD)}"),
        "is dead by error 1, but error 9 stands with it",
    ),
    "queued and retracted": (
        f"update post set retracted = {CHANGE} where id = 'leased'",
        "batch post=.* part=0: waits, though its post was retracted",
    ),
    "retrying and retracted": (
        f"update post set retracted = {CHANGE} where id = 'star1'",
        r"batch post=.* part=1\d{12}: waits, though its post was retracted",
    ),
    "reason": (
        f"update batch set part = part + 5 where {of_state(SUPPRESSED)}",
        "is suppressed for reason 6, and there is none",
    ),
    # Dead letters by cause
    "letters": ("update dead_group set dead = 99", "channel=1 error=1: says 99 are dead, the sets"),
    "letters gone": ("delete from dead_group", "dead_group .*: says 0 are dead, the sets hold 4"),
    "letters of none": (
        "insert into dead_group values(1, 7, 2, 0, 0)",
        "dead_group channel=1 error=7: says 2 are dead, the sets hold 0",
    ),
    # Leases
    "lease": ("update lease set segment = 777", "lease id=.* segment=777 .*: is of a batch"),
    "lease range": ("update lease set high = -1", "lease id=.*: is of users"),
    "lease part": (f"update lease set part = {DEAD}", "lease .*: is of a part that nobody can be"),
    "lease twice": (
        ("insert into lease select id + 1000, 'w9', post, channel, segment, part, high, high, 0"
        " from lease"),
        r"lease id=1\d{3} .*: is of users who are leased already",
    ),
    "lease holder": ("update lease set session = '', deaths = 0", "lease .*: has no holder, and"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_each_breach_is_found(copy: Path, name: str) -> None:
    statements, expected = DAMAGE[name]
    _run(copy, statements)
    found = [str(breach) for breach in look(copy)]
    assert any(re.search(expected, line) for line in found), found


def test_a_page_of_nonsense_is_told_and_nothing_else(copy: Path) -> None:
    path = copy / DATABASE
    page = path.read_bytes()
    middle = len(page) // 8192 * 4096
    path.write_bytes(page[:middle] + b"\xa5" * 4096 + page[middle + 4096 :])
    tables = {breach.table for breach in look(copy)}
    assert tables == {"sqlite"}


def test_who_comes_back_before_the_next_post_is_in_two_segments_that_no_post_sees(
    tmp_path: Path,
) -> None:
    """The tail is changed in place, and so has them from its beginning, when their range did."""
    store = Store(partial(open_sqlite, tmp_path))
    store.followers("star", TAIL_MAX)
    store.publish("before", "star")
    store.follow("late", "star")
    store.unfollow("f7", "star")
    store.follow("f7", "star")
    store.publish("after", "star")
    assert len(store.audience("after")["simulated"]) == TAIL_MAX + 1
    store.close()
    assert look(tmp_path) == []
    # The same in two that both posts see, or that are the current ones, is a breach.
    _run(tmp_path, f"update segment set since = 2 where id = {TAIL}")
    assert any("shares members" in breach.what for breach in look(tmp_path))


def test_any_bit_may_flip(sound: Path, tmp_path: Path) -> None:
    """Whatever that does to a row, the check comes to its end; most of them it sees."""
    whole = (sound / DATABASE).read_bytes()
    chance = random.Random(5)
    found = 0
    for _ in range(FLIPS):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (tmp_path / DATABASE).write_bytes(damaged)
        try:
            found += bool(look(tmp_path))
        except StartError:
            found += 1
    assert found > FLIPS / 2  # the others hit what is free, or text that may be any


def test_what_an_index_lacks_is_told(copy: Path) -> None:
    """Work that the index of what waits does not have would never be done."""
    _run(
        copy,
        "pragma writable_schema = on;"
        "update sqlite_schema set sql = replace(sql, 'state < 2', 'state < 0')"
        " where name = 'waiting'; pragma writable_schema = off",
    )
    _run(copy, "reindex waiting")
    _run(
        copy,
        "pragma writable_schema = on;"
        "update sqlite_schema set sql = replace(sql, 'state < 0', 'state < 2')"
        " where name = 'waiting'; pragma writable_schema = off",
    )
    assert any("missing from index waiting" in breach.what for breach in look(copy))


def _run(directory: Path, statements: str) -> None:
    """Runs SQL on a store's database, with words for changing sets."""
    connection = apsw.Connection(str(directory / DATABASE))
    functions: dict[str, Callable[..., bytes]] = {
        "flip": lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]),
        "fewer": lambda blob: seal(BitMap(sorted(unseal(blob))[1:])),
        "more": lambda blob, number: seal(unseal(blob) | BitMap([number])),
        "many": lambda count: seal(BitMap(range(1, count + 1))),
        "everybody": lambda segment: _members(connection, segment),
    }
    for name, function in functions.items():
        connection.create_scalar_function(name, function)
    connection.pragma("writable_schema", "off")
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    changes = connection.total_changes()
    for _ in connection.execute(statements):
        pass
    if statements.startswith("update meta") and "unsealed" not in statements:
        _seal_meta(connection, whole="totals" in statements)
    changed = connection.total_changes() > changes
    connection.close()
    assert changed or not re.match("update|insert|delete", statements), "nothing was damaged"


def _seal_meta(connection: apsw.Connection, *, whole: bool) -> None:
    """As if the store itself had written that: the checksum is not what finds it."""
    (row,) = connection.execute("select incarnation, secret, change, now_us, totals from meta")
    meta = Meta(*row)
    totals = meta.totals if whole else meta.totals[SUM_BYTES:]
    blob = row_of(meta._replace(totals=totals))[-1]
    connection.execute("update meta set totals = ?", (blob,))


def _members(connection: apsw.Connection, segment: int) -> bytes:
    found: bytes = connection.execute("select members from segment where id = ?", (segment,)).get
    return found
