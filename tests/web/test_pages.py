"""The pages as people use them: in a browser, on a phone, by keyboard, while processes die."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from gateway.pb.notification import notification_pb2, notification_pb2_grpc
from tests.farm_process import FarmProcess, StartFarm, wait_until
from tests.test_acceptance import Client
from tests.web.chromium import Looking, Scheme, chromium, violations
from tests.web.relay import Relay
from tests.web.test_mutations import change, follow
from tests.web.web_process import ask, data

pytestmark = pytest.mark.process

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
LONG = "w" * 128
AWKWARD = ["a/b?c#d", "..", "%2e%2f ü 😀 ", LONG]
CUTS = 6
# Whether it is live; where it waits to connect again, as it would ever longer, it waits no more.
HURRY = """window.dispatchEvent(new Event("online"));
  document.querySelector("#state").dataset.state === "live" """
UNREAD = "query($user: ID!) { user(id: $user) { unreadCount } }"


@pytest.fixture(scope="module")
def hark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """A farm where one channel delivers at once and the other gives up at once."""
    flags = ("--channel", "inbox", "--channel", "simulated", "--simulated-failure-rate", "1")
    more = ("--simulated-latency-ms", "0-1", "--max-attempts", "1", "--workers", "1")
    made = FarmProcess(tmp_path_factory.mktemp("pages"), (*flags, *more, "--no-sample-data"))
    try:
        yield made.start()
    finally:
        made.kill_tree()
        print(f"--- the end of {made.log_path}:\n{made.log_tail()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


class Eyes:
    """Opens pages, in one tab after the other, and holds them to their manners afterwards."""

    def __init__(self, browser: Browser, hark: FarmProcess) -> None:
        self._browser = browser
        self._address = hark.http_address
        self._usual = Looking(browser)

    @contextmanager
    def __call__(
        self, path: str, *, address: str = "", lost: bool = False, **context: Any
    ) -> Iterator[Page]:
        address = address or self._address
        looking = Looking(self._browser, **context) if context else self._usual
        looking.forget()
        looking.page.goto(f"http://{address}{path}")
        yield looking.page
        looking.behaved(address, lost=lost)
        if context:
            looking.close()


@pytest.fixture(scope="module")
def look(browser: Browser, hark: FarmProcess) -> Eyes:
    return Eyes(browser, hark)


_numbers = itertools.count(1)


class Pair:
    """A person and the author whom they follow, new for each test."""

    def __init__(self, hark: FarmProcess, person: str = "", author: str = "") -> None:
        number = next(_numbers)
        self._hark = hark
        self.person = person or f"person{number}"
        self.author = author or f"author{number}"
        follow(hark, self.person, self.author)

    def post(self, content: str) -> str:
        asked = {"authorId": self.author, "content": content}
        return str(change(self._hark, "publishPost", "postId", **asked)["postId"])

    def posts(self, count: int) -> None:
        for number in range(1, count + 1):
            self.post(f"post {number}")

    @property
    def inbox(self) -> str:
        """Its path."""
        return f"/inbox/{quote(self.person, safe='')}"

    @property
    def unread(self) -> int:
        return int(data(self._hark.http_address, UNREAD, user=self.person)["user"]["unreadCount"])

    def ids(self) -> list[str]:
        asked = "query($user: ID!) { inbox(userId: $user, first: 100) { edges { node { id } } } }"
        edges = data(self._hark.http_address, asked, user=self.person)["inbox"]["edges"]
        return [edge["node"]["id"] for edge in edges]


def is_live(page: Page) -> None:
    expect(page.locator("#state")).to_contain_text("Live", timeout=15_000)


def rows(page: Page) -> Locator:
    return page.locator("#rows > .row")


def contents(page: Page) -> list[str]:
    return page.locator("#rows .content").all_text_contents()


def top_of(shown: Locator) -> float:
    """Where it stands in the window."""
    box = shown.bounding_box()
    assert box is not None
    return box["y"]


def shows_what_the_server_counts(page: Page, pair: Pair, unread: int) -> None:
    text = f"{unread} unread" if unread else ""
    if unread:
        expect(page.locator("#badge")).to_have_text(text)
    else:
        expect(page.locator("#badge")).to_be_hidden()
    assert pair.unread == unread
    assert page.title() == (f"({unread}) " if unread else "") + f"{pair.person} \N{EN DASH} Hark"


# The inbox


def test_a_post_appears_within_a_second(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    with look(pair.inbox) as page:
        is_live(page)
        expect(page.locator("#empty")).to_contain_text("Nothing here yet")
        pair.post("Hello!")
        expect(rows(page)).to_have_count(1, timeout=1_000)
        expect(rows(page)).to_contain_text(f"{pair.author} (unread)")
        assert contents(page) == ["Hello!"]
        shows_what_the_server_counts(page, pair, 1)
        expect(page.locator("#news")).to_have_text(f"New from {pair.author}")
        pair.post("And again!")
        expect(rows(page)).to_have_count(2, timeout=1_000)
        assert contents(page) == ["And again!", "Hello!"]


def test_marks_one_and_all(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    pair.posts(3)
    with look(pair.inbox) as page:
        is_live(page)
        shows_what_the_server_counts(page, pair, 3)
        first = rows(page).first
        first.get_by_role("button", name="Mark as read").click()
        expect(first.get_by_role("button", name="Mark as unread")).to_be_visible()
        expect(page.locator(".row.unread")).to_have_count(2)
        wait_until(lambda: pair.unread == 2)
        shows_what_the_server_counts(page, pair, 2)
        page.get_by_role("button", name="Unread", exact=True).click()
        expect(rows(page)).to_have_count(2)
        assert page.url.endswith("?unread=1")
        page.get_by_role("button", name="All", exact=True).click()
        expect(rows(page)).to_have_count(3)
        first.get_by_role("button", name="Mark as unread").click()
        expect(page.locator("#badge")).to_have_text("3 unread")
        page.get_by_role("button", name="Mark all as read").click()
        expect(page.locator(".row.unread")).to_have_count(0)
        expect(page.locator("#badge")).to_be_hidden()
        shows_what_the_server_counts(page, pair, 0)
        pair.post("one more")
        expect(page.locator(".row.unread")).to_have_count(1)
        shows_what_the_server_counts(page, pair, 1)


def test_what_is_done_elsewhere_shows_in_place(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    pair.posts(2)
    last = pair.post("taken back")
    with look(pair.inbox) as page:
        is_live(page)
        marked = {"userId": pair.person, "notificationIds": pair.ids()[1:2]}
        change(hark, "markRead", "unreadCount", **marked)
        expect(rows(page).nth(1).get_by_role("button", name="Mark as unread")).to_be_visible()
        shows_what_the_server_counts(page, pair, 2)
        change(hark, "retractPost", "hidden", postId=last)
        expect(rows(page)).to_have_count(2)
        assert contents(page) == ["post 2", "post 1"]
        shows_what_the_server_counts(page, pair, 1)


def test_mutes_and_undoes_it(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    pair.posts(2)
    Pair(hark, person=pair.person).post("stays")
    with look(pair.inbox) as page:
        is_live(page)
        rows(page).last.get_by_role("button", name=f"Mute {pair.author}").click()
        expect(rows(page)).to_have_count(1)
        assert contents(page) == ["stays"]
        shows_what_the_server_counts(page, pair, 1)
        expect(page.locator("#notice")).to_contain_text(f"Muted {pair.author}.")
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#notice")).to_contain_text("no longer muted")
        # They come back to where they were, not on top.
        wait_until(lambda: contents(page) == ["stays", "post 2", "post 1"])
        shows_what_the_server_counts(page, pair, 3)


def test_what_comes_back_is_put_in_its_place(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    with grpc.insecure_channel(hark.grpc_address) as channel:
        stub = notification_pb2_grpc.NotificationServiceStub(channel)
        old = notification_pb2.Post(author_id=pair.author, content="old", created_at=1_000_000_000)
        stub.PublishPost(old, timeout=10)
    Pair(hark, person=pair.person).post("stays")
    both = {"userId": pair.person, "authorId": pair.author}
    change(hark, "mute", "changed", **both)
    with look(pair.inbox) as page:
        is_live(page)
        change(hark, "unmute", "changed", **both)
        wait_until(lambda: contents(page) == ["stays", "old"])


def test_older_pages_and_no_jump(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    pair.posts(45)
    with look(pair.inbox) as page:
        is_live(page)
        for count in (40, 45):
            page.get_by_role("button", name="Load older").click()
            expect(rows(page)).to_have_count(count)
        expect(page.get_by_role("button", name="Load older")).to_be_hidden()
        everything = [f"post {number}" for number in range(45, 0, -1)]
        assert contents(page) == everything
        read = rows(page).nth(30)
        read.scroll_into_view_if_needed()
        place = top_of(read)
        pair.post("post 46")
        arrived = page.get_by_role("button", name="1 new one")
        expect(arrived).to_be_visible()
        expect(rows(page)).to_have_count(46)
        assert abs(top_of(rows(page).nth(31)) - place) < 1
        arrived.click()
        expect(arrived).to_be_hidden()
        assert page.evaluate("window.scrollY") == 0
        assert contents(page) == ["post 46", *everything]


def test_what_left_the_page_while_older_ones_loaded_leaves_no_hole(look: Eyes) -> None:
    """One comes in and pushes the oldest away before the answer about what is older is there."""
    with look("/inbox/..%2f") as page:
        shown = page.evaluate(
            """async () => {
              const folder = document.querySelector("script").src.replace("inbox.js", "");
              const { Rows } = await import(`${folder}rows.js`);
              const node = (id) =>
                ({ id, authorId: "a", content: id, createdAt: "2026-01-01T00:00:00Z", read: true });
              const edge = (number) => ({ cursor: `c${number}`, node: node(`n${number}`) });
              const rows = new Rows(document.createElement("ol"), {});
              rows.replace(Array.from({ length: 300 }, (_, at) => edge(400 - at)));
              const asked = rows.oldestCursor;
              const added = { __typename: "NotificationAdded", cursor: "c401" };
              rows.apply([{ ...added, notification: node("n401") }]);
              const late = rows.append([edge(100)], asked);
              const { oldestCursor } = rows;
              const again = rows.append([edge(101), edge(100)], oldestCursor);
              return [asked, late, oldestCursor, again, rows.oldestCursor, rows.size];
            }"""
        )
    assert shown == ["c101", False, "c102", True, "c100", 302]


def test_a_killed_web_process_loses_and_doubles_nothing(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    pair.posts(2)
    publisher = Client(hark)
    with look(pair.inbox, lost=True) as page:
        is_live(page)
        (web,) = hark.pids("web")
        os.kill(web, signal.SIGKILL)
        expect(page.locator("#state")).to_contain_text("Reconnecting")
        expect(page.locator("#state-spoken")).to_contain_text("reconnecting")
        for number in range(3):
            publisher.publish(f"{pair.author}-{number}", pair.author)
        is_live(page)
        expect(page.locator("#state-spoken")).to_have_text("Connected again")
        assert hark.pids("web") != [web]
        pair.post("afterwards")
        expect(rows(page)).to_have_count(6)
        assert [row.get_attribute("data-id") for row in rows(page).all()] == pair.ids()
        shows_what_the_server_counts(page, pair, 6)
    publisher.close()


def test_cuts_lose_and_double_nothing(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    with relayed(hark) as (address, cut), look(pair.inbox, address=address, lost=True) as page:
        for number in range(CUTS):
            wait_until(lambda: page.evaluate(HURRY), 15)
            pair.post(f"before {number}")
            cut()
            pair.post(f"during {number}")
        wait_until(lambda: page.evaluate(HURRY), 15)
        expect(rows(page)).to_have_count(2 * CUTS)
        assert [row.get_attribute("data-id") for row in rows(page).all()] == pair.ids()
        shows_what_the_server_counts(page, pair, 2 * CUTS)


@contextmanager
def relayed(hark: FarmProcess) -> Iterator[tuple[str, Callable[[], object]]]:
    """An address that leads to the farm, and what cuts every connection to it."""
    loop = asyncio.new_event_loop()
    relay = Relay(hark.http_address)
    running = relay.running()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result(5)
        yield relay.address, lambda: loop.call_soon_threadsafe(relay.cut)
    finally:
        asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def test_text_of_strangers_stays_text(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark, person=f"{MARKUP}-p", author=f"{MARKUP}-a")
    pair.post(MARKUP)
    with look("/") as page:
        page.get_by_label("User id").fill(pair.person)
        page.get_by_role("button", name="Open inbox").click()
        expect(rows(page)).to_have_count(1)
        pair.post(f"live {MARKUP}")
        expect(rows(page)).to_have_count(2)
        assert contents(page) == [f"live {MARKUP}", MARKUP]
        expect(page.get_by_role("heading", level=1)).to_have_text(pair.person)
        assert page.locator("main img, main script").count() == 0


def test_any_id_has_an_inbox(hark: FarmProcess, look: Eyes) -> None:
    for person in AWKWARD:
        pair = Pair(hark, person=person)
        pair.post("for you")
        with look("/") as page:
            page.get_by_label("User id").fill(person)
            page.get_by_label("User id").press("Enter")
            expect(rows(page)).to_have_count(1)
            assert page.locator("h1").text_content() == person
            is_live(page)


def test_links_lead_to_any_inbox(look: Eyes) -> None:
    with look("/inbox/..%2f") as page:
        for person in AWKWARD:
            url = page.evaluate(
                """async (person) => {
                  const folder = document.querySelector("script").src.replace("inbox.js", "");
                  const { inboxUrl, userIdOf } = await import(`${folder}places.js`);
                  return userIdOf(new URL(inboxUrl(person), location));
                }""",
                person,
            )
            assert url == person


def test_unknown_people_and_impossible_ids(look: Eyes) -> None:
    with look("/inbox/nobody-at-all") as page:
        expect(page.locator("#empty")).to_contain_text("Hark does not know this person")
    with look("/inbox/" + "x" * 129) as page:
        expect(page.locator("#empty")).to_contain_text("There is no such inbox")
        expect(page.locator("#empty")).to_contain_text("must be 1 to 128 bytes")
        expect(page.locator("#state")).to_have_text(re.compile("Not connected"))
    with look("/inbox/%FF") as page:
        expect(page.locator("#empty")).to_contain_text("no text in UTF-8")


def test_by_keyboard_alone(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    pair.posts(12)  # more than the window has room for
    with look("/") as page:
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the numbers"
        while focused(page) != "User id":
            page.keyboard.press("Tab")
            assert seen(page), focused(page)
        page.keyboard.type(pair.person)
        page.keyboard.press("Enter")
        expect(rows(page)).to_have_count(12)
        order: list[str] = []
        while "Mute" not in (order or [""])[-1]:
            page.keyboard.press("Tab")
            assert seen(page), focused(page)
            order.append(focused(page))
        assert order == [
            "Skip to the notifications", "Hark", "Overview", "GraphiQL",
            "All", "Unread", "Mark all as read", "Mark as read", f"Mute {pair.author}",
        ]  # fmt: skip
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        shows = rows(page).first.get_by_role("button", name="Mark as unread")
        expect(shows).to_be_focused()
        expect(page.locator("#badge")).to_have_text("11 unread")
        place = top_of(shows)
        pair.post("meanwhile")
        expect(rows(page)).to_have_count(13)
        now = rows(page).nth(1).get_by_role("button", name="Mark as unread")
        expect(now).to_be_focused()
        assert abs(top_of(now) - place) < 1


def focused(page: Page) -> str:
    """The name of what has the focus."""
    name: str = page.evaluate(
        "(e => e.labels?.[0]?.textContent ?? e.ariaLabel ?? e.textContent)(document.activeElement)"
    )
    return name.strip()


def seen(page: Page) -> bool:
    """Whether one sees where the focus is."""
    outline: str = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    return outline != "none"


# The operator's page


def test_shows_what_flows_and_what_is_dead(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    pair.posts(2)
    groups = "{ deadLetters { groups { count } } getMetrics { totalSent } }"
    wait_until(lambda: data(hark.http_address, groups)["deadLetters"]["groups"])
    with look("/") as page:
        is_live(page)
        expect(page.locator("#accepting")).to_have_text(re.compile("Posts are accepted"))
        expect(page.locator("#accounted")).to_contain_text("Every notification is accounted for")
        sent = data(hark.http_address, groups)["getMetrics"]["totalSent"]
        expect(page.locator("#sent")).to_have_text(f"{sent:,}")
        pair.post("one more")
        expect(page.locator("#sent")).to_have_text(f"{sent + 1:,}", timeout=3_000)
        expect(page.locator("#online")).to_have_text(re.compile(r"^\d+ open now$"))
        roles = page.locator("#processes td:first-child").all_text_contents()
        assert roles == ["supervisor", "gateway", "web", "store", "reader", "worker"]
        expect(page.locator("#rate-chart path.line")).to_have_attribute("d", re.compile("L"))
        label = page.locator("#rate-chart svg").get_attribute("aria-label")
        assert re.match(r"Deliveries per second over the last 1 min: now [\d.,]+/s, ", str(label))


def test_replays_after_a_dry_run(hark: FarmProcess, look: Eyes) -> None:
    pair = Pair(hark)
    pair.post("fails")
    groups = "{ deadLetters { groups { id count } } }"
    wait_until(lambda: data(hark.http_address, groups)["deadLetters"]["groups"])
    with look("/") as page:
        (group,) = data(hark.http_address, groups)["deadLetters"]["groups"]
        letters = page.locator("#letters")
        expect(letters).to_contain_text(f"hark dead replay {group['id']}")
        letters.get_by_role("button", name="Replay").click()
        dialog = page.get_by_role("dialog")
        says = dialog.locator("#replay-says")
        expect(says).to_contain_text("would be tried again")
        count = int(says.inner_text().split()[0])
        assert count
        tried = "{ getMetrics { failedAttempts } }"
        before = data(hark.http_address, tried)["getMetrics"]["failedAttempts"]
        dialog.get_by_role("button", name="Replay").click()
        expect(dialog).to_contain_text("will be tried again")

        def failed_again() -> bool:
            now: int = data(hark.http_address, tried)["getMetrics"]["failedAttempts"]
            return bool(now == before + count)

        wait_until(failed_again)
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()


def test_scales_the_workers(hark: FarmProcess, look: Eyes) -> None:
    with look("/") as page:
        expect(page.locator("#workers")).to_have_text("1 worker")
        page.get_by_role("button", name="One worker more").click()
        expect(page.locator("#workers")).to_have_text("2 workers")
        worker = page.locator("#processes td:first-child", has_text="worker")
        expect(worker).to_have_count(2)
        page.get_by_role("button", name="One worker fewer").click()
        expect(worker).to_have_count(1, timeout=10_000)
        fewer = page.get_by_role("button", name="One worker fewer")
        expect(fewer).to_have_attribute("aria-disabled", "true")
        fewer.click(force=True)
        expect(page.locator("#workers")).to_have_text("1 worker")


def test_says_why_posts_are_refused_and_that_nothing_answers(farm: StartFarm, look: Eyes) -> None:
    full = farm("--disk-reserve-mb", "1000000000")
    with look("/", address=full.http_address, lost=True) as page:
        expect(page.locator("#accepting")).to_contain_text("Posts are refused: ")
        expect(page.locator("#accepting")).to_contain_text("disk")
        is_live(page)
        full.kill_tree()
        expect(page.locator("#state")).to_contain_text(re.compile("No answer for .* trying again"))
        expect(page.locator("#state-spoken")).to_have_text("No answer from Hark; trying again")


def test_asks_nothing_while_nobody_looks(look: Eyes) -> None:
    with look("/") as page:
        is_live(page)
        hide(page, "true")
        page.evaluate("fetch('/metrics')")  # what was under way before is answered now, too
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        with look("/", locale="en") as shown:
            for _ in range(5):
                with shown.expect_response("**/graphql"):
                    pass
        assert asked == []
        with page.expect_response("**/graphql"):
            hide(page, "false")
        is_live(page)


def hide(page: Page, hidden: str) -> None:
    page.evaluate(
        f"Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


# Both pages


@pytest.fixture(scope="module")
def full(hark: FarmProcess) -> Pair:
    """An inbox with all that can be in one."""
    pair = Pair(hark, person=f"full-{LONG}"[:128], author=f"wide-{LONG}"[:128])
    pair.posts(2)
    pair.post(LONG * 20)
    pair.post("one line\n" * 30)
    pair.post("مرحبا بالعالم")
    marked = {"userId": pair.person, "notificationIds": pair.ids()[2:3]}
    change(hark, "markRead", "unreadCount", **marked)
    return pair


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
def test_axe_has_nothing_to_say(
    full: Pair, look: Eyes, scheme: Scheme, rules: tuple[str, ...]
) -> None:
    """In the dark only the colours are others."""
    with look(full.inbox, color_scheme=scheme, reduced_motion="reduce") as page:
        is_live(page)
        rows(page).last.get_by_role("button", name="Mute").scroll_into_view_if_needed()
        full.post("one above")
        expect(page.locator("#arrived")).to_be_visible()
        assert violations(page, *rules) == []
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(245, 246, 244)") == (scheme == "light")
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("#letters li")).to_have_count(1)
        expect(page.locator("#rate")).not_to_have_text("\N{EN DASH}")
        assert violations(page, *rules) == []
        page.get_by_role("button", name="Replay").click()
        expect(page.get_by_role("dialog")).to_contain_text("would be tried again")
        assert violations(page, *rules) == []


def test_nothing_is_wider_than_a_narrow_window(full: Pair, look: Eyes) -> None:
    with look(full.inbox, viewport={"width": 320, "height": 640}) as page:
        is_live(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("#letters li")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_headers_let_nothing_else_in(hark: FarmProcess) -> None:
    for path in ("/", "/inbox/a%2Fb"):
        page = ask(hark.http_address, path)
        assert page.status == 200
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert page.headers["cache-control"] == "no-cache"
        assert not re.search(rb"<style|style=|<script(?! type=\"module\" src=)", page.body)
        files = re.findall(rb'(?:src|href)="(/browser/[^"]+)"', page.body)
        assert len(files) == 5
        for name in files:
            file = ask(hark.http_address, name.decode())
            assert file.status == 200
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert ask(hark.http_address, "/browser/other/base.css").status == 404
    assert ask(hark.http_address, "/browser/other/%2e%2e%2f%2e%2e%2fweb.py").status == 404
