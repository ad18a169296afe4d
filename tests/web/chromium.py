"""Pages in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.farm_process import ROOT

AXE = ROOT / "tests/web/audit/node_modules/axe-core/axe.min.js"
LOST = re.compile("net::ERR_(CONNECTION_|EMPTY_RESPONSE)|before receiving a handshake response")
Scheme = Literal["light", "dark"]


def needs(there: object, message: str) -> None:
    """What may be missing at home, but not where the gate runs."""
    if not there:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(message)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    needs(program, "needs Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        # Whoever is root, as in a container, can have no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Looking:
    """A page that somebody looks at, and all that it asked and complained of."""

    def __init__(self, browser: Browser, **context: Any) -> None:
        self._context = browser.new_context(**context)
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))

    def _hear(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.type}: {message.text}")

    def behaved(self, address: str, *, lost: bool) -> None:
        """Holds it to what every page must: no complaints, and no question to anybody else.

        Where the connection was lost, the browser itself says so, and nothing else is said.
        """
        self.page.goto("about:blank")
        complaints, self.complaints = self.complaints, []
        urls, self.asked = self.asked, []
        lines = [line for line in complaints if not (lost and LOST.search(line))]
        asked = {urlsplit(url).netloc for url in urls if url != "about:blank"}
        assert not lines, lines
        assert asked == {address}, asked

    def forget(self) -> None:
        self.complaints, self.asked = [], []

    def close(self) -> None:
        self._context.close()


def violations(page: Page, *rules: str) -> list[str]:
    """What axe-core finds, by all of its rules or by these, as lines that say where."""
    needs(AXE.exists(), "needs Node and npm, then once more `make test`, which installs axe-core")
    page.evaluate(AXE.read_text())
    asked = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = page.evaluate("(asked) => axe.run(asked)", asked)
    return [
        f"{rule['id']} {node['target']}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
