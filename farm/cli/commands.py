"""The commands that are one call: its request, its answer in JSON, and that in words."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace

from google.protobuf.timestamp_pb2 import Timestamp

from farm.cli.answers import (
    AddCommand,
    Answer,
    Failed,
    count,
    printable,
    seconds,
    table,
    whole_number,
    words,
)
from farm.cli.calls import Hark
from farm.clock import rfc3339
from farm.limits import CONTENT_BYTES_MAX, INBOX_PAGE_DEFAULT, INBOX_PAGE_MAX
from gateway.pb.hark.v1 import hark_pb2

STANDARD_INPUT = "-"
_STATES = ("queued", "retrying", "delivered", "dead", "suppressed", "retracted", "unaccounted")


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
    verb = add("follow", follow, "let somebody follow an author", "hark follow user2 user1")
    verb.add_argument("user", metavar="USER", type=words, help="who follows")
    verb.add_argument("author", metavar="AUTHOR", type=words, help="who is followed")
    verb = add("unfollow", unfollow, "end a following", "hark unfollow user2 user1")
    verb.add_argument("user", metavar="USER", type=words, help="who follows")
    verb.add_argument("author", metavar="AUTHOR", type=words, help="who is followed")
    verb = add(
        "inbox", inbox, "show a person's notifications, newest first", "hark inbox user2 --size 5"
    )
    verb.add_argument("user", metavar="USER", type=words)
    verb.add_argument(
        "--size",
        metavar="N",
        type=whole_number,
        default=INBOX_PAGE_DEFAULT,
        help=f"at most so many, 1 to {INBOX_PAGE_MAX} (default: {INBOX_PAGE_DEFAULT})",
    )
    verb.add_argument(
        "--after", metavar="CURSOR", type=words, default="", help="only those older than this one"
    )
    verb = add("ledger", ledger, "show what has become of a post", "hark ledger p1")
    verb.add_argument("post", metavar="POST", type=words, help="its id")
    verb = add(
        "workers",
        workers,
        "show how many workers there are and what waits, or change how many",
        "hark workers 8",
    )
    verb.add_argument(
        "workers", metavar="N", nargs="?", type=whole_number, help="how many there shall be"
    )


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


def follow(given: Namespace) -> Answer:
    request = hark_pb2.FollowRequest(follower_id=given.user, author_id=given.author)
    with Hark(given.grpc) as hark:
        done = hark.call("SocialGraphService/Follow", request, hark_pb2.FollowResponse)
    how = "follows" if done.changed else "followed before, and follows,"
    text = f"{printable(given.user)} {how} {printable(given.author)}"
    return Answer({"changed": done.changed}, text)


def unfollow(given: Namespace) -> Answer:
    request = hark_pb2.UnfollowRequest(follower_id=given.user, author_id=given.author)
    with Hark(given.grpc) as hark:
        done = hark.call("SocialGraphService/Unfollow", request, hark_pb2.UnfollowResponse)
    how = "no longer follows" if done.changed else "did not follow"
    text = f"{printable(given.user)} {how} {printable(given.author)}"
    return Answer({"changed": done.changed}, text)


# Looking


def inbox(given: Namespace) -> Answer:
    request = hark_pb2.ListNotificationsRequest(
        user_id=given.user, page_size=given.size, after=given.after
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
                "created_at": _time(one.created_at),
                "read": one.read,
                "status": _status(one),
                "attempts": one.attempts,
                "cursor": one.cursor,
            }
            for one in page.notifications
        ],
        "next_cursor": page.next_cursor,
        "unread": page.unread,
    }
    rows = [
        (_time(one.created_at), _status(one).lower(), str(one.attempts), printable(one.content))
        for one in page.notifications
    ]
    head = ("created", "status", "attempts", "notification")
    lines = [table(head, rows, right=(2,))] if rows else []
    lines.append(f"{page.unread:,} unread")
    if page.next_cursor:
        # A cursor may begin with a hyphen.
        lines.append(f"older ones: hark inbox {shlex.quote(given.user)} --after={page.next_cursor}")
    return Answer(document, "\n".join(lines))


def _status(one: hark_pb2.Notification) -> str:
    return hark_pb2.NotificationStatus.Name(one.status).removeprefix("NOTIFICATION_STATUS_")


def _time(stamp: Timestamp) -> str:
    return rfc3339(stamp.seconds * 1_000_000 + stamp.nanos // 1000)


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
    people = count(found.audience, "person", "people")
    lines = [f"{printable(found.post_id)} went to {people}"]
    if rows:
        lines.append(table(("channel", *_STATES), rows, right=range(1, 1 + len(_STATES))))
    for name, states in channels.items():
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(states["suppressed"].items()))
        if reasons:
            lines.append(f"suppressed on {name}: {reasons}")
    document = {"post_id": found.post_id, "audience": found.audience, "channels": channels}
    return Answer(document, "\n".join(lines))


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
