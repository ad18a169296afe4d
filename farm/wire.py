"""Every message between processes: msgpack arrays that begin with a version and a kind.

Requests to the store carry many operations and are answered with one result each: `[0, value]` or
`[code, message, retry_after_ms]` (codes of google.rpc.Code). What does not decode raises
`WireError`; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from farm.errors import HarkError, from_code

# Also for those who see no more of the inside.
from farm.lifecycle import State as State  # noqa: PLC0414
from farm.looks import Delivery as Delivery  # noqa: PLC0414
from farm.looks import KnownLooks as KnownLooks  # noqa: PLC0414
from farm.looks import Look as Look  # noqa: PLC0414
from farm.looks import Newest as Newest  # noqa: PLC0414
from farm.looks import Notification as Notification  # noqa: PLC0414

VERSION = 1
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
NAME_CHARACTERS_MAX = 200  # of clients and sessions, who are remembered


class WireError(ValueError):
    """Bytes that are no message of this version."""


class Kind(IntEnum):
    WRITE = 1  # client to store: operations
    READ = 2  # client to reader: queries
    ANSWERS = 3  # back: one result each
    LEASE = 4  # worker to store: give me work
    GRANTS = 5  # back
    OUTCOMES = 6  # worker to store, on a socket of its own: what came of it
    PING = 7  # supervisor to any child
    PONG = 8
    FARM = 9  # anyone to the supervisor: processes, or scale
    FRAME = 11  # store to a process at which people are online: what concerns them
    FAULT = 10  # the answer to what cannot be understood


class Op(IntEnum):
    """Writes, each with the types of its arguments in `SIGNATURES`."""

    PUBLISH = 1
    FOLLOW = 2
    UNFOLLOW = 3
    MUTE = 4
    UNMUTE = 5
    IMPORT = 6
    IMPORT_FINISHED = 7
    IMPORT_KNOWN = 8
    STATS = 9
    SESSIONS = 10
    SESSION_DIED = 11
    RETRACT = 12
    MARK = 13
    MARK_UP_TO = 14
    REPLAY = 15
    BACKUP = 16
    BACKUP_PROGRESS = 17
    ONLINE = 18
    NUMBER = 19
    IMPORT_NUMBERED = 20


SIGNATURES: dict[int, tuple[type, ...]] = {
    Op.PUBLISH: (str, str, str, int, bool),  # post, author, content, created_at_us, must be known
    Op.FOLLOW: (str, str),  # follower, author
    Op.UNFOLLOW: (str, str),
    Op.MUTE: (str, str),  # user, author
    Op.UNMUTE: (str, str),
    Op.IMPORT: (list, list),  # followers, authors, equally long
    Op.NUMBER: (list,),  # user ids
    Op.IMPORT_NUMBERED: (bytes, bytes),  # edges by author, the same by follower: `farm.packed`
    Op.IMPORT_FINISHED: (str,),  # SHA-256 of the file
    Op.IMPORT_KNOWN: (str,),
    Op.STATS: (),
    Op.SESSIONS: (list,),  # the worker sessions that live; leases of others come back
    Op.SESSION_DIED: (str,),  # this worker died with its leases
    Op.RETRACT: (str,),  # post
    Op.MARK: (str, list, bool),  # user, notification ids, as read
    Op.MARK_UP_TO: (str, str),  # user, cursor
    Op.BACKUP: (str,),  # whole path of the file to make
    Op.BACKUP_PROGRESS: (),
    Op.ONLINE: (str, str, list, list),  # session, place, user ids who came, who went
    Op.REPLAY: (str, str, bool),  # dead letter group, go on after this place, dry run
}


class Query(IntEnum):
    INBOX = 1
    DELIVERED = 2
    POST = 3
    USER = 4
    FOLLOWERS = 5
    FOLLOWING = 6
    USER_IDS = 7
    SWEEP = 8
    UNREAD = 9
    PREVIEW = 10
    EXPLAIN = 11
    DEAD_LETTERS = 12
    EVENTS = 13
    SHOWN = 14
    NEWEST = 15


QUERY_SIGNATURES: dict[int, tuple[type, ...]] = {
    Query.INBOX: (str, int, str, bool),  # user, size, after this cursor, unread only
    Query.DELIVERED: (str, int),  # user, size
    Query.NEWEST: (str, int),  # user, size
    Query.POST: (str,),
    Query.USER: (str,),
    Query.FOLLOWERS: (str, int, str),  # author, size, page token
    Query.FOLLOWING: (str, int, str),
    Query.USER_IDS: (bytes,),  # sealed set of user numbers
    Query.SWEEP: (),
    Query.UNREAD: (str,),  # user
    Query.PREVIEW: (str,),  # author
    Query.EXPLAIN: (str, str),  # post, user
    Query.EVENTS: (str, int, int, int),  # user, after this change and position in it, size
    Query.SHOWN: (list,),  # news of posts
    Query.DEAD_LETTERS: (int, str),  # size, page token
}


# What operations and queries answer.


class Published(NamedTuple):
    post_id: str
    queued: int  # people: the audience less those suppressed
    audience: int
    duplicate: bool


class Retracted(NamedTuple):
    """People, as first answered."""

    stopped: int  # had not been sent
    hidden: int  # had been delivered on some channel


class Replayed(NamedTuple):
    replayed: int
    skipped: dict[str, int]  # by reason
    next_place: str  # go on from here; empty: that was all


class Imported(NamedTuple):
    added: int
    already_there: int
    rejections: list[tuple[int, str]]  # position in the request, why


class InboxPage(NamedTuple):
    notifications: list[Notification]
    has_more: bool
    unread: int
    live_cursor: str


class EventKind(IntEnum):
    LIVE = 1
    ADDED = 2
    UPDATED = 3
    REMOVED = 4
    GAP = 5
    RESET = 6


class Event(NamedTuple):
    """Something that changed in a person's inbox. Resume after it by its cursor.

    Events of one `shape` (0: of none) differ in nothing but `cursor` and their notification's `id`
    and `user_id`, so what shows one can show the others.
    """

    kind: EventKind
    cursor: str
    notification: Notification | None = None  # of ADDED and UPDATED, its newest state
    id: str = ""  # of REMOVED: the notification's
    reason: str = ""  # of REMOVED: retracted, expired, muted, unfollowed; of RESET: see the schema
    from_cursor: str = ""  # of GAP
    to_cursor: str = ""
    shape: int = 0


# Between store, readers and the processes at which people are online.


class Concern(IntEnum):
    """What news are about."""

    ADDED = 1  # a post that these people see from now on
    UPDATED = 2  # a post of which these people's state changed
    REMOVED = 3  # a post that these people see no more
    PERSON = 4  # these people changed their own inbox: read what, from their last cursor on
    NAMED = 5  # the person of this id (`reason`) has this number (`post`) from now on


class News(NamedTuple):
    concern: int
    change: int
    post: int  # seq
    author: int
    reason: str
    users: bytes  # a sealed set of user numbers


class Frame(NamedTuple):
    """News of the changes above `after` and up to `change`."""

    session: str
    after: int
    change: int
    news: list[News]


class Online(NamedTuple):
    """What a process hears that said who is online."""

    # Since when the store knows this process; where it is another than before, the store knew
    # nothing of those who were online there. Said each time, for an answer may be lost.
    since: int
    told: int  # frames have told of everything up to this change
    change: int  # the newest
    numbers: list[int]  # of those who came, in order; 0 of unknown people
    incarnation: int
    secret: bytes


class Happened(NamedTuple):
    """An event in somebody's inbox, at its place."""

    kind: int  # an EventKind
    change: int
    position: int
    post: int  # seq; of a GAP: what is told begins after this change
    reason: str
    notification: Notification | None


class Events(NamedTuple):
    happened: list[Happened]
    number: int  # of the person; 0: unknown
    change: int  # with these all is told up to it; 0: up to the last of them
    more: bool


class Alike(NamedTuple):
    """People to whom a post looks the same. `notification` has neither their ids nor a cursor."""

    notification: Notification | None  # None: it is not shown any more
    users: bytes  # a sealed set of user numbers


class ChannelLedger(NamedTuple):
    channel: str
    queued: int
    retrying: int
    delivered: int
    dead: int
    retracted: int
    suppressed: dict[str, int]
    unaccounted: int


class Post(NamedTuple):
    id: str
    author_id: str
    content: str
    created_at_us: int
    retracted: bool
    audience: int
    ledger: list[ChannelLedger]


class Preview(NamedTuple):
    """What publishing would do now."""

    audience: int
    suppressed: dict[str, int]  # by reason
    queued: dict[str, int]  # by channel


class Explanation(NamedTuple):
    in_audience: bool
    code: str  # as the ExplainCode of the interfaces
    reason: str
    deliveries: list[Delivery]


class DeadLetterGroup(NamedTuple):
    """Dead letters of one channel and one error."""

    id: str
    channel: str
    error: str
    dead: int
    first_us: int
    last_us: int
    sample_user_ids: list[str]
    sample_post_ids: list[str]


class DeadLetters(NamedTuple):
    groups: list[DeadLetterGroup]
    next_token: str  # empty at the end


class User(NamedTuple):
    id: str
    followers: int
    following: int
    unread: int


class People(NamedTuple):
    ids: list[str]
    next_token: str  # empty at the end
    total: int


class Sweep(NamedTuple):
    unaccounted: int
    age_seconds: float  # since the last whole round ended


class Stats(NamedTuple):
    """The store's totals and state. A metric's row is (name, label values, value); a histogram's
    (name, counts by bucket, the infinite one included and not cumulative, sum)."""

    counters: list[tuple[str, list[str], int]]
    gauges: list[tuple[str, list[str], float]]
    histograms: list[tuple[str, list[int], float]]
    backlog: int  # notifications queued or retrying
    oldest_seconds: float  # age of the oldest post with notifications waiting
    deliveries_per_second: float  # over the last minute
    refusing_because: str  # empty: posts are accepted
    sent: int
    failed_attempts: int
    retries: int
    attempt_mean_seconds: float
    has_users: bool


class Process(NamedTuple):
    role: str
    number: int
    pid: int
    started_at_us: int
    restarts: int


class FarmState(NamedTuple):
    processes: list[Process]
    restarts: dict[str, int]  # by role, of processes that are gone too
    workers: int  # as wanted


# Between store and workers.


class Grant(NamedTuple):
    """A lease: these members of one part of a batch, until its end."""

    lease: int
    channel: str
    seq: int  # the post's, in notification ids
    post_id: str
    author_id: str
    content: str
    created_at_us: int
    attempt: int  # tries begun before this one
    recipients: int
    members: bytes  # a sealed set of user numbers
    seed: int  # of chance, for this batch


class LeaseRequest(NamedTuple):
    session: str
    request: int
    want: int  # recipients
    held: list[int]  # every lease that is worked on
    ended: Sequence[int] = ()  # those whose last outcomes may not be durable yet


class LeaseAnswer(NamedTuple):
    request: int
    lease_ms: int
    acknowledged: list[int]  # numbers of outcome messages that are durable
    lost: list[int]  # of those held: no longer this worker's
    grants: list[Grant]


class Outcome(NamedTuple):
    """What came of some recipients of a lease. `members` None: all that nothing else is said of."""

    state: int  # DELIVERED, RETRYING or DEAD
    error: str
    members: bytes | None


class LeaseOutcome(NamedTuple):
    lease: int
    final: bool  # who was not named goes back untried
    outcomes: list[Outcome]


class OutcomesMessage(NamedTuple):
    session: str
    number: int
    leases: list[LeaseOutcome]
    duration_counts: list[int]  # attempts by bucket of observe.DELIVERY_BUCKETS_S, not cumulative
    duration_sum_s: float


def pack(kind: Kind, *body: Any) -> bytes:
    """The bytes of a message."""
    packed: bytes = msgpack.packb((VERSION, kind, *body))
    return packed


def pack_answers(number: int, results: Sequence[Any]) -> bytes:
    """The answers of a reader. A look is in them once, and named by its place among all: many read
    the same posts at one moment, and most of them see them alike."""
    looks: list[bytes] = []
    places: dict[int, int] = {}

    def place(look: Look) -> int:
        known = places.get(id(look))
        if known is None:
            known = places[id(look)] = len(looks)
            look.packed = look.packed or msgpack.packb(_row_of(look))
            looks.append(look.packed)
        return known

    # The looks come last, and so are all there when they are packed.
    message = (VERSION, Kind.ANSWERS, number, results, looks)
    packed: bytes = msgpack.packb(message, default=place)
    return packed


def _row_of(look: Look) -> tuple[Any, ...]:
    return (
        look.seq, look.post_id, look.author_id, look.content, look.created_at_us, look.read,
        look.state, look.attempts, look.deliveries,
    )  # fmt: skip


def unpack(payload: bytes | memoryview) -> tuple[Kind, list[Any]]:
    """The kind and the body of a message. Raises `WireError`."""
    message = _unpacked(payload)
    if type(message) is not list or [*map(type, message[:2])] != [int, int]:
        raise WireError("no list that begins with a version and a kind")
    version, kind, *body = message
    if version != VERSION:
        raise WireError(f"message of version {version!r}; this process speaks {VERSION}")
    try:
        return Kind(kind), body
    except ValueError as error:
        raise WireError(str(error)[:200]) from None


def _unpacked(payload: bytes | memoryview) -> Any:
    try:
        return msgpack.unpackb(payload, raw=False, strict_map_key=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(str(error)[:200]) from None


def check_operations(operations: Any, signatures: dict[int, tuple[type, ...]]) -> list[list[Any]]:
    """The operations, each `[code, arguments...]` with arguments of the right types."""
    if not isinstance(operations, list):
        raise WireError("operations are no list")
    for operation in operations:
        if not isinstance(operation, list) or not operation or type(operation[0]) is not int:
            raise WireError("an operation is no list that begins with its code")
        if tuple(map(type, operation[1:])) != signatures.get(operation[0]):
            raise WireError(f"operation {operation[0]} is unknown or has other arguments")
    return operations


def ok(value: Any) -> tuple[int, Any]:
    return (0, value)


def failed(error: HarkError) -> tuple[int, str, int]:
    return (error.code, error.message, error.retry_after_ms)


def value_of(result: Sequence[Any]) -> Any:
    """What a result holds; raises the error it stands for."""
    if result[0] == 0:
        return result[1]
    raise from_code(*result)


def results_in(body: list[Any], known: KnownLooks) -> list[list[Any]]:
    """The results of a message of answers. Of a reader's, each that holds a value holds behind it
    the looks that are named in it by their places."""
    results: list[list[Any]] = body[1]
    if len(body) > 2:
        if {*map(type, body[2])} - {bytes}:
            raise WireError("no looks of posts")
        looks = [*map(known.of, body[2])]
        for result in results:
            if result[0] == 0:
                result.append(looks)
    return results


def is_name(text: str) -> bool:
    """Whether a client or a session may be called so."""
    return len(text) <= NAME_CHARACTERS_MAX


def unpack_lease_request(body: list[Any]) -> tuple[LeaseRequest, list[bytes]]:
    """The request, and the messages of outcomes that came with it. Raises `WireError`."""
    if [*map(type, body)] != [str, int, int, list, list, list] or not is_name(body[0]):
        raise WireError("no lease request")
    if {*map(type, body[3] + body[4])} - {int} or {*map(type, body[5])} - {bytes}:
        raise WireError("leases that are no numbers, or outcomes that are no messages")
    return LeaseRequest(*body[:5]), body[5]


def unpack_lease_answer(body: list[Any]) -> LeaseAnswer:
    request, lease_ms, acknowledged, lost, grants = body
    return LeaseAnswer(request, lease_ms, acknowledged, lost, [Grant(*grant) for grant in grants])


def unpack_outcomes(body: list[Any]) -> OutcomesMessage:
    """Raises `WireError` where any part has another shape."""
    match body:
        case [
            str() as session, int() as number, list() as leases, list() as counts, float() as s,
        ] if is_name(session):  # fmt: skip
            if not all(type(count) is int for count in counts):
                raise WireError("duration counts are no whole numbers")
            return OutcomesMessage(session, number, list(_lease_outcomes(leases)), counts, s)
        case _:
            raise WireError("no outcomes")


def _lease_outcomes(rows: list[Any]) -> Iterable[LeaseOutcome]:
    for row in rows:
        match row:
            case [int() as lease, bool() as final, list() as outcomes]:
                yield LeaseOutcome(lease, final, [_outcome(outcome) for outcome in outcomes])
            case _:
                raise WireError("no outcome of a lease")


def _outcome(row: Any) -> Outcome:
    match row:
        case [2 | 1 | 3 as state, str() as error, (bytes() | None) as members]:
            return Outcome(state, error, members)
        case _:
            raise WireError("no outcome")


_STATES = {state.value: state for state in State}  # quicker than asking the enum, for many


# As a row's own `_make` does it, in a third of the time.
_made = tuple.__new__

Looks = list[Look]  # of one message, by their places


def look(packed: bytes) -> Look:
    """The look that `pack_answers` packed. Raises `WireError`."""
    match _unpacked(packed):
        case [
            int() as seq, str() as post_id, str() as author_id, str() as content,
            int() as created_at_us, bool() as read, int() as state, int() as attempts,
            list() as deliveries,
        ]:  # fmt: skip
            return Look(
                seq, post_id, author_id, content, created_at_us, read, _STATES[state], attempts,
                _deliveries(deliveries),
            )  # fmt: skip
        case _:
            raise WireError("no look of a post")


def notification(row: Sequence[Any], looks: Looks) -> Notification:
    """A notification as it came over the wire."""
    name, user_id, cursor, place = row
    return Notification(name, user_id, cursor, looks[place])


def notifications(rows: Sequence[Sequence[Any]], looks: Looks) -> list[Notification]:
    return [notification(row, looks) for row in rows]


def newest(row: Sequence[Any] | None, user_id: str, looks: Looks) -> list[Notification]:
    """The notifications of one person. Of an unknown one there are none."""
    if row is None:
        return []
    number, places = row
    end = f".{number:x}"
    seen = [looks[place] for place in places]
    return [_made(Notification, (f"{look.seq:x}{end}", user_id, "", look)) for look in seen]


def _deliveries(rows: list[list[Any]]) -> list[Delivery]:
    for row in rows:
        row[1] = _STATES[row[1]]
        if len(row) != _DELIVERY_LONG:
            raise WireError("no delivery")
    return [_made(Delivery, row) for row in rows]


_DELIVERY_LONG = len(Delivery._fields)


def frame(body: list[Any]) -> Frame:
    """Raises `WireError` where any part has another shape."""
    match body:
        case [str() as session, int() as after, int() as change, list() as news]:
            return Frame(session, after, change, [_news(one) for one in news])
        case _:
            raise WireError("no frame")


def _news(row: Any) -> News:
    match row:
        case [
            int() as concern,
            int() as change,
            int() as post,
            int() as author,
            str() as reason,
            bytes() as users,
        ]:
            return News(concern, change, post, author, reason, users)
        case _:
            raise WireError("no news")


def check_news(rows: list[Any]) -> list[News]:
    return [_news(row) for row in rows]


def events(row: Sequence[Any], looks: Looks) -> Events:
    return Events([_happened(one, looks) for one in row[0]], *row[1:])


def _happened(row: Sequence[Any], looks: Looks) -> Happened:
    shown = row[5]
    return Happened(*row)._replace(notification=shown and notification(shown, looks))


def alike(rows: Sequence[Any], looks: Looks) -> list[list[Alike]]:
    """Of each post asked for, its groups."""
    return [
        [Alike(shown and notification(shown, looks), users) for shown, users in some]
        for some in rows
    ]


def explanation(row: Sequence[Any]) -> Explanation:
    plain = Explanation(*row)
    return plain._replace(deliveries=_deliveries(row[3]))


def dead_letters(row: Sequence[Any]) -> DeadLetters:
    return DeadLetters([DeadLetterGroup(*group) for group in row[0]], row[1])


def inbox_page(row: Sequence[Any], looks: Looks) -> InboxPage:
    return InboxPage(notifications(row[0], looks), *row[1:])


def post(row: Sequence[Any]) -> Post:
    plain = Post(*row)
    return plain._replace(ledger=[ChannelLedger(*channel) for channel in plain.ledger])


def stats(row: Sequence[Any]) -> Stats:
    plain = Stats(*row)
    return plain._replace(
        counters=[(name, labels, value) for name, labels, value in plain.counters],
        gauges=[(name, labels, value) for name, labels, value in plain.gauges],
        histograms=[(name, counts, total) for name, counts, total in plain.histograms],
    )


def farm_state(row: Sequence[Any]) -> FarmState:
    return FarmState([Process(*process) for process in row[0]], *row[1:])
