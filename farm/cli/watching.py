"""`hark inbox --watch`: the newest page, then what happens, until somebody ends it.

What is cut off goes on where it was: the last cursor that came is where the next stream begins, so
nothing is shown twice and nothing left out. Standard output has the notifications and what happens
to them; standard error says when the connection is lost and when it is there again.
"""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import Namespace
from threading import Event
from typing import Any, NoReturn

from farm.cli.answers import Failed, document_of, printable, status_of, time_of
from farm.cli.calls import Hark
from gateway.pb.hark.v1 import hark_pb2

BACKOFF_S = 0.1
BACKOFF_MAX_S = 5.0

# What says nothing against asking again.
_PASSING = {
    "UNAVAILABLE",
    "CANCELLED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "UNKNOWN",
}
_HEAD = ("event", "id", "created", "status", "tries", "read", "cursor", "notification")
_WIDTHS = (7, 12, 27, 10, 5, 4, 46)

Watched = hark_pb2.WatchNotificationsResponse


def watch(given: Namespace) -> None:
    """Returns when it is interrupted."""
    with contextlib.suppress(KeyboardInterrupt), Hark(given.grpc) as hark:
        _Watch(hark, given).run()


class _Watch:
    def __init__(self, hark: Hark, given: Namespace) -> None:
        self._hark = hark
        self._user: str = given.user
        self._size: int = given.size
        self._unread_only: bool = given.unread
        self._cursors: bool = given.cursors
        self._as_json: bool = given.json
        self._cursor = ""  # of what was shown last; empty: load the inbox
        self._backoff_s = 0.0

    def run(self) -> NoReturn:
        if not self._as_json:
            self._tell_line(*_HEAD)
        self._load()  # what is wrong with the question, or with the address, ends it
        while True:
            try:
                if not self._cursor:
                    self._load()
                self._follow()
            except Failed as failure:
                self._wait_after(failure)

    def _load(self) -> None:
        """The newest page, oldest first, and where to go on from it."""
        request = hark_pb2.ListNotificationsRequest(
            user_id=self._user, page_size=self._size, unread_only=self._unread_only
        )
        page = self._hark.call(
            "InboxService/ListNotifications", request, hark_pb2.ListNotificationsResponse
        )
        for one in reversed(page.notifications):
            self._tell_notification("inbox", one)
        self._cursor = page.live_cursor

    def _follow(self) -> None:
        """Shows what happens; returns where the inbox has to be loaded anew."""
        request = hark_pb2.WatchNotificationsRequest(user_id=self._user, since=self._cursor)
        for event in self._hark.responses("InboxService/WatchNotifications", request, Watched):
            self._tell(event)
            self._cursor = event.cursor
            if event.WhichOneof("event") == "reset":
                self._cursor = ""
                return

    def _tell(self, event: Watched) -> None:
        match event.WhichOneof("event"):
            case "live":
                self._connected()
            case "added":
                self._tell_notification("added", event.added)
            case "updated":
                self._tell_notification("updated", event.updated)
            case "removed":
                removed = event.removed
                self._tell_other("removed", id=removed.id, reason=removed.reason)
            case "gap":
                ends = {"from_cursor": event.gap.from_cursor, "to_cursor": event.gap.to_cursor}
                self._tell_other("gap", reason="too_old", **ends)
            case "reset":
                self._tell_other("reset", reason=event.reset.reason)
            case _:
                pass  # a heartbeat, or what a newer Hark has to say

    # Lost and found

    def _wait_after(self, failure: Failed) -> None:
        """Says so once, and gives whoever is away some time. Raises what will not pass."""
        if failure.code == "INVALID_ARGUMENT" and self._cursor:
            # Where it went on, nobody knows this cursor: another store stands there now.
            self._tell_other("reset", reason="other_store")
            self._cursor = ""
        elif failure.code not in _PASSING:
            raise failure
        if not self._backoff_s:
            self._tell_aside(f"cut off: {failure.message}; trying again")
        self._backoff_s = min(max(2 * self._backoff_s, BACKOFF_S), BACKOFF_MAX_S)
        Event().wait(self._backoff_s)

    def _connected(self) -> None:
        if self._as_json:
            self._tell_document({"event": "live"})
        if self._backoff_s:
            self._tell_aside("connected again")
        self._backoff_s = 0.0

    # Telling

    def _tell_notification(self, event: str, one: hark_pb2.Notification) -> None:
        if self._as_json:
            self._tell_document({"event": event, "notification": document_of(one)})
            return
        self._tell_line(
            event,
            one.id,
            time_of(one.created_at),
            status_of(one).lower(),
            str(one.attempts),
            "yes" if one.read else "no",
            one.cursor,
            printable(one.content),
        )

    def _tell_other(self, event: str, *, reason: str, **more: str) -> None:
        if self._as_json:
            self._tell_document({"event": event, **more, "reason": reason})
        else:
            print(
                f"{event:<{_WIDTHS[0]}}  {more.get('id', ''):<{_WIDTHS[1]}}  {reason}", flush=True
            )

    def _tell_document(self, document: dict[str, Any]) -> None:
        print(json.dumps(document), flush=True)

    def _tell_line(self, *cells: str) -> None:
        *first, last = cells
        aligned = [cell.ljust(width) for cell, width in zip(first, _WIDTHS, strict=True)]
        if not self._cursors:
            aligned.pop()
        print("  ".join((*aligned, last)), flush=True)

    def _tell_aside(self, sentence: str) -> None:
        print(f"hark: {sentence}", file=sys.stderr, flush=True)
