"""The commands that are one call: its request, its answer in JSON, and that in words."""

from __future__ import annotations

import re
import shlex
import sys
from argparse import ArgumentTypeError, Namespace

from farm.cli.answers import (
    AddCommand,
    Answer,
    Failed,
    add_size,
    count,
    printable,
    reasons,
    seconds,
    status_of,
    table,
    time_of,
    whole_number,
    words,
)
from farm.cli.calls import Hark
from farm.limits import (
    CONTENT_BYTES_MAX,
    INBOX_PAGE_DEFAULT,
    INBOX_PAGE_MAX,
    MARKS_PER_CALL_MAX,
    WORKERS_MAX,
)
from gateway.pb.hark.v1 import hark_pb2

STANDARD_INPUT = "-"
_STATES = ("queued", "retrying", "delivered", "dead", "suppressed", "retracted", "unaccounted")
_NOTIFICATION_ID = re.compile(r"[0-9a-f]+\.[0-9a-f]+", re.IGNORECASE)
_UNKNOWN = (hark_pb2.EXPLAIN_CODE_POST_UNKNOWN, hark_pb2.EXPLAIN_CODE_USER_UNKNOWN)


def add_to(add: AddCommand) -> None:
    verb = add("publish", publish, "publish a post", "hark publish user1 'Hello world!' --id p1")
    verb.add_argument("author", metavar="AUTHOR", type=words)
    verb.add_argument("text", metavar="TEXT", type=words, help="'-': from standard input")
    verb.add_argument(
        "--id",
        metavar="ID",
        type=words,
        default="",
        help="of the post; the same again is published once (default: one is made)",
    )
    verb = add("retract", retract, "take back a post for ever", "hark retract p1")
    verb.add_argument("post", metavar="POST", type=words, help="its id")
    verb = add(
        "inbox", inbox, "show a person's notifications, newest first", "hark inbox user2 --size 5"
    )
    verb.add_argument("user", metavar="USER", type=words)
    add_size(verb, default=INBOX_PAGE_DEFAULT, most=INBOX_PAGE_MAX)
    verb.add_argument(
        "--after", metavar="CURSOR", type=words, default="", help="only those older than this one"
    )
    verb.add_argument("--unread", action="store_true", help="only those that are not read")
    verb.add_argument("--cursors", action="store_true", help="with the cursor of each")
    verb = add(
        "read", read, "mark a person's notifications as read or unread", "hark read user2 1f.3 2a.3"
    )
    verb.add_argument("user", metavar="USER", type=words)
    verb.add_argument(
        "ids",
        metavar="ID",
        nargs="*",
        type=_notification_id,
        help=f"at most {MARKS_PER_CALL_MAX:,}, as `hark inbox` shows them; what is no notification "
        "of this person is left alone",
    )
    way = verb.add_mutually_exclusive_group()
    way.add_argument(
        "--up-to",
        metavar="CURSOR",
        type=words,
        default="",
        help="of a notification, from `hark inbox --cursors` or `--json`: mark it and all older "
        "ones as read; --up-to=CURSOR where it begins with a hyphen",
    )
    way.add_argument("--unread", action="store_true", help="mark the IDs as unread instead")
    verb.set_defaults(wrong_usage=verb.error)
    verb = add("ledger", ledger, "show what has become of a post", "hark ledger p1")
    verb.add_argument("post", metavar="POST", type=words, help="its id")
    verb = add(
        "explain",
        explain,
        "say why a person did, or did not, get a notification of a post",
        "hark explain p1 user2",
    )
    verb.add_argument("post", metavar="POST", type=words, help="its id")
    verb.add_argument("user", metavar="USER", type=words)
    verb = add(
        "workers",
        workers,
        "show how many workers there are and what waits, or change how many",
        "hark workers 8",
    )
    verb.add_argument(
        "workers",
        metavar="N",
        nargs="?",
        type=whole_number(1, WORKERS_MAX),
        help=f"how many there shall be, 1 to {WORKERS_MAX}",
    )


def _notification_id(text: str) -> str:
    """A type for argparse."""
    if _NOTIFICATION_ID.fullmatch(text) is None:
        raise ArgumentTypeError(f"{text!a} is no notification's id, as 1f.3 is one")
    return text


def publish(given: Namespace) -> Answer:
    text = _standard_input() if given.text == STANDARD_INPUT else given.text
    request = hark_pb2.PublishPostRequest(post_id=given.id, author_id=given.author, content=text)
    with Hark(given.grpc) as hark:
        done = hark.call("PublisherService/PublishPost", request, hark_pb2.PublishPostResponse)
    document = {
        "post_id": done.post_id,
        "notifications_queued": done.notifications_queued,
        "duplicate": done.duplicate,
    }
    how = "was published before" if done.duplicate else "published"
    people = count(done.notifications_queued, "person", "people")
    return Answer(document, f"{printable(done.post_id)} {how}, to {people}")


def _standard_input() -> str:
    """A post's text; one newline at its end is the shell's."""
    raw = sys.stdin.buffer.read(CONTENT_BYTES_MAX + 2)
    try:
        return raw.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        if len(raw) > CONTENT_BYTES_MAX:  # cut within a character; whatever it is, it is too long
            return raw.decode(errors="replace")
        raise Failed("INVALID_ARGUMENT", f"TEXT: byte {error.start + 1} is not UTF-8") from None


def retract(given: Namespace) -> Answer:
    request = hark_pb2.RetractPostRequest(post_id=given.post)
    with Hark(given.grpc) as hark:
        done = hark.call("PublisherService/RetractPost", request, hark_pb2.RetractPostResponse)
    text = (
        f"{printable(given.post)} retracted: {done.stopped:,} had not been sent, "
        f"{done.hidden:,} had been delivered and are hidden"
    )
    return Answer({"stopped": done.stopped, "hidden": done.hidden}, text)


# Looking


def inbox(given: Namespace) -> Answer:
    request = hark_pb2.ListNotificationsRequest(
        user_id=given.user,
        page_size=given.size,
        after=given.after,
        unread_only=given.unread,
    )
    with Hark(given.grpc) as hark:
        page = hark.call(
            "InboxService/ListNotifications", request, hark_pb2.ListNotificationsResponse
        )
    document = {
        "notifications": [
            {
                "id": one.id,
                "post_id": one.post_id,
                "author_id": one.author_id,
                "content": one.content,
                "created_at": time_of(one.created_at),
                "read": one.read,
                "status": status_of(one),
                "attempts": one.attempts,
                "cursor": one.cursor,
            }
            for one in page.notifications
        ],
        "next_cursor": page.next_cursor,
        "unread": page.unread,
    }
    rows = [
        (
            one.id,
            time_of(one.created_at),
            status_of(one).lower(),
            str(one.attempts),
            "yes" if one.read else "no",
            *((one.cursor,) if given.cursors else ()),
            printable(one.content),
        )
        for one in page.notifications
    ]
    cursor = ("cursor",) if given.cursors else ()
    head = ("id", "created", "status", "attempts", "read", *cursor, "notification")
    lines = [table(head, rows, right=(3,))] if rows else []
    lines.append(f"{page.unread:,} unread")
    if page.next_cursor:
        # A cursor may begin with a hyphen.
        flags = f"{' --unread' * given.unread}{' --cursors' * given.cursors}"
        which = f"{shlex.quote(given.user)}{flags}"
        lines.append(f"older ones: hark inbox {which} --after={page.next_cursor}")
    return Answer(document, "\n".join(lines))


def read(given: Namespace) -> Answer:
    if not given.ids and not given.up_to:
        given.wrong_usage("say what to mark: ID ..., or --up-to CURSOR")
    request = hark_pb2.MarkReadRequest(
        user_id=given.user, notification_ids=given.ids, up_to=given.up_to, unread=given.unread
    )
    with Hark(given.grpc) as hark:
        done = hark.call("InboxService/MarkRead", request, hark_pb2.MarkReadResponse)
    return Answer({"unread": done.unread}, f"{done.unread:,} unread")


def ledger(given: Namespace) -> Answer:
    request = hark_pb2.GetLedgerRequest(post_id=given.post)
    with Hark(given.grpc) as hark:
        found = hark.call("OperationsService/GetLedger", request, hark_pb2.GetLedgerResponse)
    channels = {
        name: {
            state: dict(channel.suppressed) if state == "suppressed" else getattr(channel, state)
            for state in _STATES
        }
        for name, channel in sorted(found.channels.items())
    }
    rows = [
        (
            name,
            *(f"{sum(n.values()) if isinstance(n, dict) else n:,}" for n in states.values()),
        )
        for name, states in channels.items()
    ]
    lines = [f"{printable(found.post_id)}: audience {found.audience:,}"]
    if rows:
        lines.append(table(("channel", *_STATES), rows, right=range(1, 1 + len(_STATES))))
    for name, states in channels.items():
        if states["suppressed"]:
            lines.append(f"suppressed on {name}: {reasons(states['suppressed'])}")
    document = {"post_id": found.post_id, "audience": found.audience, "channels": channels}
    return Answer(document, "\n".join(lines))


def explain(given: Namespace) -> Answer:
    request = hark_pb2.ExplainRequest(post_id=given.post, user_id=given.user)
    with Hark(given.grpc) as hark:
        found = hark.call("OperationsService/Explain", request, hark_pb2.ExplainResponse)
    document = {
        "in_audience": found.in_audience,
        "code": hark_pb2.ExplainCode.Name(found.code).removeprefix("EXPLAIN_CODE_"),
        "reason": found.reason,
        "deliveries": [
            {
                "channel": step.channel,
                "status": status_of(step),
                "attempts": step.attempts,
                "last_error": step.last_error,
                "next_attempt_at": _next_attempt(step),
            }
            for step in found.deliveries
        ],
    }
    rows = [
        (
            step.channel,
            status_of(step).lower(),
            str(step.attempts),
            _next_attempt(step) or "",
            printable(step.last_error),
        )
        for step in found.deliveries
    ]
    head = ("channel", "status", "attempts", "next attempt", "last error")
    lines = [printable(found.reason), *([table(head, rows, right=(2,))] if rows else [])]
    return Answer(document, "\n".join(lines), 1 if found.code in _UNKNOWN else 0)


def _next_attempt(step: hark_pb2.DeliveryStep) -> str | None:
    return time_of(step.next_attempt_at) if step.HasField("next_attempt_at") else None


# Running it


def workers(given: Namespace) -> Answer:
    with Hark(given.grpc) as hark:
        if given.workers is not None:
            wanted = hark_pb2.SetWorkersRequest(workers=given.workers)
            done = hark.call("OperationsService/SetWorkers", wanted, hark_pb2.SetWorkersResponse)
            return Answer({"workers": done.workers}, count(done.workers, "worker"))
        request = hark_pb2.GetCapacityRequest()
        now = hark.call("OperationsService/GetCapacity", request, hark_pb2.GetCapacityResponse)
    oldest_s = now.oldest_queued.ToNanoseconds() / 1e9
    known = now.HasField("backlog_estimate")
    estimate_s = now.backlog_estimate.ToNanoseconds() / 1e9 if known else None
    document = {
        "workers": now.workers,
        "backlog": now.backlog,
        "oldest_queued_seconds": oldest_s,
        "deliveries_per_second": now.deliveries_per_second,
        "backlog_estimate_seconds": estimate_s,
        "accepting": now.accepting,
        "refusing_because": now.refusing_because,
    }
    waiting = f"{count(now.backlog, 'notification')} waiting"
    if now.backlog:
        waiting += f", the oldest for {seconds(oldest_s)}"
        waiting += "" if estimate_s is None else f", done in about {seconds(estimate_s)}"
    lines = [
        count(now.workers, "worker"),
        waiting,
        f"{now.deliveries_per_second:,.1f} deliveries a second over the last minute",
        "posts are taken" if now.accepting else f"posts are refused: {now.refusing_because}",
    ]
    return Answer(document, "\n".join(lines))
