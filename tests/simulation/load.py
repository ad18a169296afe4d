"""What people do in a simulated minute: publish, follow, mute, retract and read, in any order.

Who gets no answer to a post asks again under the same id, sooner or later, through any gateway.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from farm.client import NewPost, StoreClient
from farm.errors import AlreadyExists, HarkError, NotFound, ResourceExhausted, Unavailable
from tests.checker.history import Recorder
from tests.simulation.loop import Process

USERS = [f"u{number}" for number in range(14)]
AUTHORS = ["u0", "u1", "star"]
CLIENTS = 3  # at each gateway
PAUSE_S = 10.0  # the mean time from an answer to the next question
PAGE = 7
REFUSALS = (AlreadyExists, NotFound, ResourceExhausted)

Deed = Callable[[], Coroutine[Any, Any, Any]]


class Load:
    """The people of a run. `ends_s`: from then on they only ask for what they do not know yet."""

    def __init__(self, history: Recorder, chance: random.Random, *, ends_s: float) -> None:
        self._history = history
        self._chance = chance
        self._ends_s = ends_s
        self._unanswered: dict[str, tuple[str, str]] = {}  # author and content, by post
        self._posts = ["none"]
        self._begun = False

    @property
    def unanswered(self) -> int:
        return len(self._unanswered)

    async def run(self, process: Process, client: StoreClient) -> None:
        """The clients of one gateway; the first one first lets many follow somebody."""
        if not self._begun:
            self._begun = True
            pairs = [(user, author) for author in AUTHORS for user in USERS if user != author]
            await asyncio.gather(
                *(
                    self._do(process.name, "follow", client.follow, user=user, author=author)
                    for user, author in pairs
                    if self._chance.random() < 0.6
                )
            )
        await asyncio.gather(
            *(self._use(f"{process.name}/{number}", client) for number in range(CLIENTS))
        )

    async def _use(self, name: str, client: StoreClient) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / PAUSE_S))
            if self._unanswered and (loop.time() > self._ends_s or self._chance.random() < 0.3):
                await self._ask_again(name, client)
            elif loop.time() < self._ends_s:
                await self._act(name, client)

    async def _ask_again(self, name: str, client: StoreClient) -> None:
        post = self._chance.choice(list(self._unanswered))
        await self._publish(name, client, post, *self._unanswered[post])

    async def _act(self, name: str, client: StoreClient) -> None:
        chance = self._chance
        author = chance.choice(AUTHORS)
        pair = {"user": chance.choice([u for u in USERS if u != author]), "author": author}
        deeds: list[tuple[int, Deed]] = [
            (8, lambda: self._publish(name, client, self._new(name), author, "hello")),
            (2, lambda: self._publish_many(name, client, author)),
            (2, lambda: self._do(name, "follow", client.follow, **pair)),
            (2, lambda: self._do(name, "unfollow", client.unfollow, **pair)),
            (1, lambda: self._do(name, "mute", client.mute, **pair)),
            (1, lambda: self._do(name, "unmute", client.unmute, **pair)),
            (1, lambda: self._do(name, "retract", client.retract, post=chance.choice(self._posts))),
            (3, lambda: self._read(name, client, pair["user"])),
        ]
        weights, makes = zip(*deeds, strict=True)
        await chance.choices(makes, weights)[0]()

    def _new(self, name: str) -> str:
        post = self._history.name(name)
        self._posts.append(post)
        return post

    async def _publish(
        self, name: str, client: StoreClient, post: str, author: str, content: str
    ) -> None:
        call = self._begin(name, post, author, content)
        try:
            answer = await client.publish(post, author, content, None)
        except HarkError as error:
            self._settle(call, post, error)
        else:
            self._settle(call, post, answer)

    async def _publish_many(self, name: str, client: StoreClient, author: str) -> None:
        posts = [self._new(name) for _ in range(self._chance.randint(2, 4))]
        posts += posts[:1]  # one of them twice
        calls = [self._begin(name, post, author, "hello") for post in posts]
        try:
            answers = await client.publish_many([NewPost(p, author, "hello", None) for p in posts])
        except HarkError as error:
            answers = [error] * len(posts)
        for call, post, answer in zip(calls, posts, answers, strict=True):
            self._settle(call, post, answer)

    def _begin(self, name: str, post: str, author: str, content: str) -> str:
        self._unanswered[post] = (author, content)
        return self._history.invoke(name, "publish", post=post, author=author, content=content)

    def _settle(self, call: str, post: str, answer: Any) -> None:
        match answer:
            case Unavailable():
                self._history.unknown(call)
            case HarkError():
                self._unanswered.pop(post, None)
                self._history.fail(call, code=answer.name)
            case _:
                self._unanswered.pop(post, None)
                self._history.ok(call, queued=answer.queued, duplicate=answer.duplicate)

    async def _do(self, name: str, operation: str, ask: Callable[..., Any], **values: str) -> None:
        call = self._history.invoke(name, operation, **values)
        try:
            await ask(*values.values())
        except Unavailable:
            self._history.unknown(call)
        except REFUSALS as error:
            self._history.fail(call, code=error.name)
        else:
            self._history.ok(call)

    async def _read(self, name: str, client: StoreClient, user: str) -> None:
        """An inbox, page by page to its end."""
        call = self._history.invoke(name, "inbox", user=user)
        posts, after = list[str](), ""
        try:
            while True:
                page = await client.inbox(user, PAGE, after)
                posts += [notification.post_id for notification in page.notifications]
                if not page.has_more or not page.notifications:
                    break
                after = page.notifications[-1].cursor
        except Unavailable:
            self._history.unknown(call)
        else:
            self._history.ok(call, posts=posts, whole=True)
