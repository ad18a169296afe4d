"""Takes the pictures of the pages that the README shows: `make screenshots`, some two minutes.

A farm with a few authors and many readers works meanwhile, with waves of posts, so that there is
something to see. Playwright's own waiting passes the time here: what is shown is time.
"""

from __future__ import annotations

import itertools
import math
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.farm_process import ROOT, FarmProcess
from tests.web.chromium import Scheme, chromium
from tests.web.test_mutations import change
from tests.web.web_process import data

PICTURES = ROOT / "docs"
SECONDS = 100
UNREAD = 5
READERS = 600
PERSON = "maya"
AUTHORS = ("ada", "grace", "linus", "margaret", "radia", "tim")
POSTS = (
    "The new bridge over the canal opens on Saturday at nine. Bring a bicycle.",
    "Draft two of the paper is up. Section four changed most; tell me what does not convince you.",
    "Coffee at four?",
    "We found it: one counter was read before the commit and used after it. The fix is two lines.",
    "Photos from the valley, finally. The light at six in the morning was worth the climb.",
    "Tickets for the talk are gone, but there will be a recording.",
    "Reading group tomorrow: chapters 7 and 8, and please bring the questions you had.",
    "The library stays open until ten this week.",
)
INBOX = "query($user: ID!) { inbox(userId: $user) { edges { cursor } } }"


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        hark = FarmProcess(Path(directory), [*_flags(Path(directory))]).start()
        try:
            with chromium() as browser:
                _take(browser, hark)
        finally:
            hark.kill_tree()


def _flags(directory: Path) -> Iterator[str]:
    """Everybody reads everybody, and the person of the inbox too."""
    people = [PERSON, *(f"reader{number}" for number in range(READERS))]
    edges = directory / "follows.csv"
    edges.write_text("".join(f"{one},{author}\n" for one in people for author in AUTHORS))
    yield from ("--import-follows", str(edges), "--workers", "2")
    yield from ("--simulated-failure-rate", "0.15", "--max-attempts", "3")
    yield from ("--simulated-latency-ms", "20-200", "--backoff-ms", "400")


def _take(browser: Browser, hark: FarmProcess) -> None:
    schemes: tuple[Scheme, ...] = ("light", "dark")
    pages = {scheme: _opened(browser, hark, scheme) for scheme in schemes}
    _posts(hark, pages["light"][0])
    _reads_the_older(hark)
    for scheme, (operator, inbox) in pages.items():
        expect(inbox.locator(".row.unread")).to_have_count(UNREAD)
        inbox.screenshot(path=PICTURES / f"inbox-{scheme}.png")
        operator.screenshot(path=PICTURES / f"operator-{scheme}.png")


def _opened(browser: Browser, hark: FarmProcess, scheme: Scheme) -> tuple[Page, Page]:
    context = browser.new_context(
        color_scheme=scheme, device_scale_factor=1.5, viewport={"width": 1200, "height": 940}
    )
    operator, inbox = context.new_page(), context.new_page()
    operator.goto(f"http://{hark.http_address}/")
    inbox.goto(f"http://{hark.http_address}/inbox/{PERSON}")
    return operator, inbox


def _posts(hark: FarmProcess, page: Page) -> None:
    """Posts in waves, some twenty seconds each."""
    chance = random.Random(7)
    began = time.monotonic()
    contents = itertools.cycle(POSTS)
    while (passed := time.monotonic() - began) < SECONDS:
        author = chance.choice(AUTHORS)
        change(hark, "publishPost", "postId", authorId=author, content=next(contents))
        wave = 1 + math.sin(passed / 20 * 2 * math.pi)
        page.wait_for_timeout(150 + 250 * chance.random() / (0.4 + wave))


def _reads_the_older(hark: FarmProcess) -> None:
    edges = data(hark.http_address, INBOX, user=PERSON)["inbox"]["edges"]
    change(hark, "markAllRead", "unreadCount", userId=PERSON, upTo=edges[UNREAD]["cursor"])


if __name__ == "__main__":
    main()
