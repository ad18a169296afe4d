"""`hark inbox` and `hark read`: a person's notifications, and which of them are read."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentTypeError, Namespace
from typing import Any

from farm.cli import watching
from farm.cli.answers import (
    AddCommand,
    Answer,
    add_size,
    document_of,
    next_page,
    printable,
    status_of,
    table,
    time_of,
    words,
)
from farm.cli.calls import Hark
from farm.limits import INBOX_PAGE_DEFAULT, INBOX_PAGE_MAX, MARKS_PER_CALL_MAX
from gateway.pb.hark.v1 import hark_pb2

_NOTIFICATION_ID = re.compile(r"[0-9a-f]+\.[0-9a-f]+", re.IGNORECASE)


def add_to(add: AddCommand) -> None:
    verb = add(
        "inbox", inbox, "show a person's notifications, newest first", "hark inbox user2 --size 5"
    )
    verb.add_argument("user", metavar="USER", type=words)
    add_size(verb, default=INBOX_PAGE_DEFAULT, most=INBOX_PAGE_MAX)
    verb.add_argument("--unread", action="store_true", help="only those that are not read")
    verb.add_argument("--cursors", action="store_true", help="with the cursor of each")
    way = verb.add_mutually_exclusive_group()
    way.add_argument(
        "--after", metavar="CURSOR", type=words, default="", help="only those older than this one"
    )
    way.add_argument(
        "--watch",
        action="store_true",
        help="show the newest, oldest first, then all that happens, a line each, until Ctrl-C; "
        "--unread and --size say what to begin with",
    )
    _add_read(add)


def _add_read(add: AddCommand) -> None:
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


def _notification_id(text: str) -> str:
    """A type for argparse."""
    if _NOTIFICATION_ID.fullmatch(text) is None:
        raise ArgumentTypeError(f"{text!a} is no notification's id, as 1f.3 is one")
    return text


def inbox(given: Namespace) -> Answer | None:
    if given.watch:
        watching.watch(given)
        return None
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
    document: dict[str, Any] = {
        "notifications": [document_of(one) for one in page.notifications],
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
        flags = f"{' --unread' * given.unread}{' --cursors' * given.cursors}"
        command = f"inbox {shlex.quote(given.user)}{flags}"
        lines.append(f"older ones: {next_page(given, command, page.next_cursor)}")
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
