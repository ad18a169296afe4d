"""A farm that is fuzzed, and what was there before: it must be answered the same ever after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from farm.sockets import Addresses
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, wait_until
from tests.web.web_process import data

# Names that no input has; nobody who fuzzes may change what belongs to them.
AUTHOR = "known-author-5c1e77"
READERS = ("known-reader-5c1e77-a", "known-reader-5c1e77-b")
POSTS = 70  # two lists of an author's older posts, and the newest
FLAGS = ("--workers", "1", "--simulated-failure-rate", "0", "--log-level", "warning")
INBOX = """query($user: ID!, $after: String) {
  inbox(userId: $user, first: 50, after: $after) { unreadCount pageInfo { hasNextPage endCursor }
    edges { cursor node { id postId authorId content createdAt read status attempts } } }
  user(id: $user) { following { ids totalCount } } }"""


class Place:
    """The farm and how to reach it."""

    def __init__(self, farm: FarmProcess, channel: grpc.Channel) -> None:
        self.farm = farm
        self.channel = channel
        self._publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        self._inbox: Any = hark_pb2_grpc.InboxServiceStub(channel)
        self._graph: Any = hark_pb2_grpc.SocialGraphServiceStub(channel)
        self._operations: Any = hark_pb2_grpc.OperationsServiceStub(channel)
        self._fresh = 0
        self._make_known()
        self._known = self._look()
        self._log_seen = 0

    @property
    def addresses(self) -> Addresses:
        return Addresses(self.farm.data_dir / "sockets")

    def sockets(self) -> list[Path]:
        """Every path at which one of its processes listens."""
        return [path for path in (self.farm.data_dir / "sockets").iterdir() if path.is_socket()]

    def processes(self) -> dict[int, str]:
        """All of the farm, pid to title."""
        return {self.farm.pid: "hark: supervisor", **self.farm.children()}

    def _make_known(self) -> None:
        for reader in READERS:
            self._graph.Follow(hark_pb2.FollowRequest(follower_id=reader, author_id=AUTHOR))
        posts = [
            hark_pb2.PublishPostRequest(post_id=f"known-{n}", author_id=AUTHOR, content=f"post {n}")
            for n in range(POSTS)
        ]
        self._publisher.PublishPosts(hark_pb2.PublishPostsRequest(posts=posts))
        wait_until(self._delivered, 20)

    def _delivered(self) -> bool:
        asked = [hark_pb2.GetLedgerRequest(post_id=f"known-{n}") for n in range(POSTS)]
        ledgers = [self._operations.GetLedger.future(one) for one in asked]
        return all(one.result().channels["simulated"].delivered == len(READERS) for one in ledgers)

    def _look(self) -> dict[str, Any]:
        """What is known, over each way there is to ask."""
        found: dict[str, Any] = {}
        for reader in READERS:
            page = self._inbox.ListNotifications(
                hark_pb2.ListNotificationsRequest(user_id=reader, page_size=100)
            )
            found[f"gRPC {reader}"] = (list(page.notifications), page.unread)
            address = self.farm.http_address
            first = data(address, INBOX, user=reader)
            after = first["inbox"]["pageInfo"]["endCursor"]
            found[f"GraphQL {reader}"] = (first, data(address, INBOX, user=reader, after=after))
        ledger = self._operations.GetLedger(hark_pb2.GetLedgerRequest(post_id="known-7"))
        found["ledger"] = ledger
        return found

    def wrong(self) -> Iterator[str]:
        """What is not as it was; and whether somebody who posts now is heard."""
        now = self._look()
        for what, before in self._known.items():
            if now[what] != before:
                yield f"{what} was answered {before!r}, and now {now[what]!r}"
        self._fresh += 1
        name = f"fresh-{self._fresh}-5c1e77"
        self._graph.Follow(hark_pb2.FollowRequest(follower_id=f"{name}-fan", author_id=name))
        post = hark_pb2.PublishPostRequest(post_id=name, author_id=name, content=name)
        told = self._publisher.PublishPost(post).notifications_queued
        page = self._inbox.ListNotifications(
            hark_pb2.ListNotificationsRequest(user_id=f"{name}-fan")
        )
        seen = [one.post_id for one in page.notifications]
        if (told, seen) != (1, [name]):
            yield f"a new post told {told} people, and its follower sees {seen}"
        yield from self._traces()

    def _traces(self) -> Iterator[str]:
        """What is logged with its stack is a surprise of ours, whoever was told of it."""
        text = self.farm.log()
        new, self._log_seen = text[self._log_seen :], len(text)
        for line in new.splitlines():
            if "Traceback" in line or "a call failed" in line or "internal error" in line:
                yield f"logged: {line[:300]}"


@contextlib.contextmanager
def started(directory: Path, *flags: str) -> Iterator[Place]:
    """A farm of its own in a directory."""
    farm = FarmProcess(directory, [*FLAGS, *flags])
    try:
        farm.start()
        with grpc.insecure_channel(farm.grpc_address) as channel:
            yield Place(farm, channel)
    finally:
        farm.kill_tree()
        print(f"--- the end of {farm.log_path}:\n{farm.log_tail(20)}")
