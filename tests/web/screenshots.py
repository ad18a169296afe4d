"""Takes the pictures of the pages that the README shows: `make screenshots`, some two minutes.

A farm works meanwhile, with waves of posts to many readers, so that there is something to see.
Playwright's own waiting passes the time here: what is shown is time.
"""

from __future__ import annotations

import math
import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from playwright.sync_api import Browser, Page, expect

from gateway.pb.notification import notification_pb2, notification_pb2_grpc
from tests.farm_process import ROOT, FarmProcess
from tests.web.chromium import Scheme, chromium
from tests.web.test_mutations import change
from tests.web.web_process import data

PICTURES = ROOT / "docs"
SECONDS = 105  # ends where a wave is highest
WAVE_S = 20
READERS = 600
PERSON = "maya"
UNREAD = 3
# What the person gets: how many minutes ago, from whom, what; oldest first.
POSTS = (
    (2_950, "tim", "The library stays open until ten this week."),
    (1_530, "grace", "Reading group on Thursday: chapters 7 and 8. Bring the questions you had."),
    (1_475, "linus", "Tickets for the talk are gone, but there will be a recording."),
    (240, "radia", "Photos from the valley. The light at six in the morning was worth the climb."),
    (185, "ada", "Draft two is up. Section four changed most; tell me what does not convince you."),
    (62, "margaret", "We found it: one counter was read before the commit and used after it."),
    (41, "linus", "Coffee at four?"),
    (12, "grace", "The new bridge over the canal opens on Saturday at nine. Bring a bicycle."),
    (2, "ada", "The recording is there. The questions at the end are the best part of it."),
)
INBOX = "query($user: ID!) { inbox(userId: $user) { edges { cursor } } }"


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        hark = FarmProcess(Path(directory), _flags(Path(directory))).start()
        try:
            with chromium() as browser:
                _take(browser, hark)
        finally:
            hark.kill_tree()


def _flags(directory: Path) -> list[str]:
    follows = [f"reader{number},newsroom" for number in range(READERS)]
    follows += [f"{PERSON},{author}" for author in {author for _, author, _ in POSTS}]
    edges = directory / "follows.csv"
    edges.write_text("\n".join(follows))
    return [
        *("--import-follows", str(edges), "--workers", "2"),
        *("--simulated-failure-rate", "0.15", "--max-attempts", "3"),
        *("--simulated-latency-ms", "20-200", "--backoff-ms", "400"),
    ]


def _take(browser: Browser, hark: FarmProcess) -> None:
    schemes: tuple[Scheme, ...] = ("light", "dark")
    pages = {scheme: _opened(browser, hark, scheme) for scheme in schemes}
    _post_to_the_person(hark)
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        posting = pool.submit(_post_in_waves, hark, done)
        pages["light"][0].wait_for_timeout(SECONDS * 1000)
        for scheme, (operator, inbox) in pages.items():
            operator.screenshot(path=PICTURES / f"operator-{scheme}.png")
            expect(inbox.locator(".row.unread")).to_have_count(UNREAD)
            inbox.screenshot(path=PICTURES / f"inbox-{scheme}.png")
        done.set()
        posting.result()


def _opened(browser: Browser, hark: FarmProcess, scheme: Scheme) -> tuple[Page, Page]:
    context = browser.new_context(
        color_scheme=scheme, device_scale_factor=1.5, viewport={"width": 1200, "height": 1120}
    )
    operator, inbox = context.new_page(), context.new_page()
    operator.goto(f"http://{hark.http_address}/")
    inbox.goto(f"http://{hark.http_address}/inbox/{PERSON}")
    return operator, inbox


def _post_to_the_person(hark: FarmProcess) -> None:
    with grpc.insecure_channel(hark.grpc_address) as channel:
        stub = notification_pb2_grpc.NotificationServiceStub(channel)
        for minutes, author, content in POSTS:
            at = int(time.time()) - 60 * minutes + SECONDS
            post = notification_pb2.Post(author_id=author, content=content, created_at=at)
            stub.PublishPost(post, timeout=10)
    edges = data(hark.http_address, INBOX, user=PERSON)["inbox"]["edges"]
    change(hark, "markAllRead", "unreadCount", userId=PERSON, upTo=edges[UNREAD]["cursor"])


def _post_in_waves(hark: FarmProcess, done: threading.Event) -> None:
    chance = random.Random(7)
    began = time.monotonic()
    pause_s = 0.0
    while not done.wait(pause_s):
        change(hark, "publishPost", "postId", authorId="newsroom", content="Here is the news.")
        wave = 1 + math.sin((time.monotonic() - began) / WAVE_S * 2 * math.pi)
        pause_s = 0.15 + 0.25 * chance.random() / (0.4 + wave)


if __name__ == "__main__":
    main()
