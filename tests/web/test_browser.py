"""GraphiQL in a real browser: it renders, runs a query, and asks nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import websockets

from tests.farm_process import wait_until_async
from tests.web.chromium import needs
from tests.web.web_process import WebProcess, ask

pytestmark = pytest.mark.process

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "about:blank",
)  # fmt: skip


class Tab:
    """One tab, by the Chrome DevTools Protocol."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []

    async def listen(self) -> None:
        async for text in self._connection:
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message["result"])
            else:
                self.events.append(message)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        call = {"id": number, "method": method, "params": parameters}
        await self._connection.send(json.dumps(call))
        result: dict[str, Any] = await answer
        return result

    async def evaluate(self, script: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return result["result"].get("value")

    def told(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event["method"] in methods]


async def test_graphiql_runs_a_query(web: WebProcess, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    needs(chromium, "needs Chromium; on Debian: apt-get install chromium")
    async with _tab(str(chromium), tmp_path) as tab:
        for domain in ("Runtime", "Log", "Network", "Page"):
            await tab.call(f"{domain}.enable")
        query = quote("{ answer: __typename }")
        await tab.call("Page.navigate", url=f"http://{web.address}/graphql?query={query}")
        button = "document.querySelector('.graphiql-execute-button')"
        await wait_until_async(lambda: tab.evaluate(f"!!{button}"), 20)
        # It asks for the schema by itself; the second question is ours.
        await wait_until_async(lambda: len(_requests(tab, "POST")) == 1, 20)
        await tab.evaluate(f"{button}.click()")
        shown = "document.querySelector('.result-window')?.innerText.includes('\"Query\"')"
        await wait_until_async(lambda: tab.evaluate(shown), 20)
        assert tab.told("Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
        assert tab.told("Log.entryAdded") == []
        urls = [url for url in _requests(tab) if not url.startswith("data:")]
        assert len(urls) >= 5  # the page, two files, the schema, the query
        assert all(url.startswith(f"http://{web.address}/") for url in urls), urls


def _requests(tab: Tab, method: str = "") -> list[str]:
    asked = [event["request"] for event in tab.told("Network.requestWillBeSent")]
    return [one["url"] for one in asked if one["method"].startswith(method)]


@contextlib.asynccontextmanager
async def _tab(chromium: str, directory: Path) -> AsyncIterator[Tab]:
    browser = await asyncio.create_subprocess_exec(
        chromium, f"--user-data-dir={directory}", *FLAGS,
        stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert browser.stderr is not None
        async with asyncio.timeout(30):
            said = await browser.stderr.readuntil(b"/devtools/browser/")
        found = re.search(rb"ws://(127\.0\.0\.1:\d+)/", said)
        assert found is not None
        pages = ask(found[1].decode(), "/json").json
        url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        async with websockets.connect(url, max_size=None) as connection:
            tab = Tab(connection)
            listening = asyncio.create_task(tab.listen())
            yield tab
            listening.cancel()
    finally:
        browser.terminate()
        await browser.wait()
