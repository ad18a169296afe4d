"""The libraries that people use for subscriptions, as they are: they follow, lose the connection,
go on after the last event they have, and have every post once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportError
from gql.transport.websockets import WebsocketsTransport

from tests.farm_process import ROOT, FarmProcess, StartFarm, wait_until_async
from tests.web.relay import Relay
from tests.web.web_process import data, run

CLIENTS = ROOT / "tests/web/clients"
CUTS = 5
FOLLOW = "mutation($a: ID!, $b: ID!) { follow(followerId: $a, authorId: $b) { changed } }"
PUBLISH = "mutation($a: ID!, $c: String!) { publishPost(authorId: $a, content: $c) { postId } }"
PUBLISH_AS = """mutation($id: ID, $content: String!) {
  publishPost(postId: $id, authorId: "user1", content: $content) { postId } }"""
EVENTS = """subscription($user: ID!, $since: String) { inboxEvents(userId: $user, since: $since) {
  __typename cursor ... on NotificationAdded { notification { id content } } } }"""

pytestmark = pytest.mark.process

Heard = list[dict[str, Any]]
Follow = Callable[[str, str, Heard], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def python_gql(address: str, user: str, heard: Heard) -> AsyncIterator[None]:
    async def follow() -> None:
        since = None
        while True:
            transport = WebsocketsTransport(
                f"ws://{address}/graphql",
                subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
            )
            request = gql(EVENTS)
            request.variable_values = {"user": user, "since": since}
            try:
                async with Client(transport=transport) as session:
                    async for result in session.subscribe(request):
                        heard.append(result["inboxEvents"])
                        since = heard[-1]["cursor"]
            except (TransportError, OSError):
                continue

    following = asyncio.create_task(follow())
    yield
    following.cancel()
    await asyncio.wait([following])


def node(script: str, scheme: str) -> Follow:
    @asynccontextmanager
    async def follow(address: str, user: str, heard: Heard) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            _node(), script, f"{scheme}://{address}/graphql", EVENTS, json.dumps({"user": user}),
            cwd=CLIENTS, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None

        async def read(lines: asyncio.StreamReader) -> None:
            async for line in lines:
                heard.append(json.loads(line)["data"]["inboxEvents"])

        reading = asyncio.create_task(read(process.stdout))
        try:
            yield
        finally:
            process.kill()
            await process.wait()
            await reading

    return follow


FOLLOWERS = {
    "graphql-ws": node("graphql-ws.mjs", "ws"),
    "graphql-sse": node("graphql-sse.mjs", "http"),
    "gql": python_gql,
}


@pytest.mark.parametrize("client", FOLLOWERS)
async def test_cut_and_resume(hark: FarmProcess, client: str) -> None:
    user, author = f"reader by {client}", f"writer for {client}"
    await _ask(hark, FOLLOW, a=user, b=author)
    heard: Heard = []
    expected: list[str] = []

    async def publish(content: str) -> None:
        await _ask(hark, PUBLISH, a=author, c=content)
        expected.append(f"New post from {author}: {content}")

    async with (
        Relay(hark.http_address).running() as relay,
        FOLLOWERS[client](relay.address, user, heard),
    ):
        await wait_until_async(lambda: heard, 10)
        for number in range(CUTS):
            await publish(f"before cut {number}")
            if number % 2:  # else it may be on its way
                await wait_until_async(lambda: len(_added(heard)) == len(expected), 10)
            relay.cut()
            await publish(f"after cut {number}")
            await wait_until_async(lambda: _added(heard)[-1:] == expected[-1:], 10)
        assert _added(heard) == expected
        assert relay.connections > CUTS
    assert heard[0]["__typename"] == "InboxLive"


async def test_killed_processes(farm: StartFarm) -> None:
    """All three at once, while the processes that they depend on are killed."""
    hark = farm("--workers", "1", "--channel", "inbox")
    heard: dict[str, Heard] = {client: [] for client in FOLLOWERS}
    expected = []
    async with contextlib.AsyncExitStack() as following:
        for client, follow in FOLLOWERS.items():
            await following.enter_async_context(follow(hark.http_address, "user2", heard[client]))
        await wait_until_async(lambda: all(heard.values()), 10)
        for role in ("web", "store", "reader"):
            os.kill(hark.pids(role)[0], signal.SIGKILL)
            await wait_until_async(partial(_publishes, hark, role), 20)
            expected.append(f"New post from user1: {role}")
            await wait_until_async(partial(_all_heard, heard, expected[-1]), 20)
    for events in heard.values():
        assert _added(events) == expected


def _publishes(hark: FarmProcess, role: str) -> bool:
    """Under one id, so that it may be sent again and again."""
    try:
        return "errors" not in run(hark.http_address, PUBLISH_AS, id=role, content=role)
    except OSError:
        return False


def _all_heard(heard: dict[str, Heard], content: str) -> bool:
    return all(_added(events)[-1:] == [content] for events in heard.values())


def _added(heard: Heard) -> list[str]:
    return [one["notification"]["content"] for one in heard if "notification" in one]


async def _ask(hark: FarmProcess, query: str, **variables: str) -> None:
    await asyncio.to_thread(data, hark.http_address, query, **variables)


def _node() -> str:
    """Node, which may be missing at home, but not where the gate runs."""
    found = shutil.which("node")
    if found is None or not (CLIENTS / "node_modules").is_dir():
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("needs Node and npm, then once more `make test`, which installs the clients")
    return str(found)
