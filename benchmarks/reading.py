"""Rows about reading inboxes, by GraphQL over HTTP and in the reader."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

from benchmarks import bare_servers, crowd, load, million, paging, wrk
from benchmarks.bench import AT_ONCE, NOTHING_SENT, Bench, about_driver
from benchmarks.drivers import serving
from benchmarks.farm import Farm, Spent, running
from benchmarks.figures import Figure, Row, at_least, at_most, percentile, ratio
from benchmarks.paging import PAGE

IN_FLIGHT = 32
READERS = 500
MANY = 1_000
PAGES = {20: 1.0, 1_000: 4.0, 5_000: None}  # authors followed, and how many ms a page may take
QUERY = """query Inbox($user: ID!) { getNotifications(userId: $user) {
  id userId postId authorId content createdAt read status attempts } }"""
PAGE_QUERY = """query Page($user: ID!) { inbox(userId: $user) { unreadCount liveCursor
  edges { cursor node { id userId postId authorId content createdAt read status attempts } }
  pageInfo { hasNextPage endCursor } } }"""


def inbox(bench: Bench) -> Iterator[Row]:
    """getNotifications with 20 notifications of 9 fields, beside a site that only encodes them: of
    people who all see the same posts, as after one of somebody well known, and of people of whom
    each sees others."""
    with bench.data_dir() as data_dir, running(data_dir, *AT_ONCE) as farm:
        together = _ask(bench, farm, people_with_full_pages(bench, farm), "the same posts")
        apart = _ask(bench, farm, people_with_pages_of_their_own(bench, farm), "each others")
    with serving(bare_servers.encoding_site, together.found) as address:
        bares = rounds(bench, address, together.questions, "bare encoding")
    least = [("ratio", 0.6), ("answers/s", 5_000)]
    yield _row("graphql", "who see the same posts", together, bares, least)
    yield _row("graphql-apart", "of whom each sees others", apart, bares, [])


class _Asked(NamedTuple):
    """What was asked and found, the loads of the rounds, and what they took."""

    questions: wrk.Questions
    found: list[dict[str, Any]]
    loads: list[load.Load]
    spent: Spent
    memory_mib: dict[str, float]


def _ask(bench: Bench, farm: Farm, users: list[str], what: str) -> _Asked:
    data, questions = wrk.look(farm.http, QUERY, users)
    found = data["getNotifications"]
    if len(found) != PAGE:
        raise RuntimeError(f"a page has {len(found)} notifications instead of {PAGE}")
    before = farm.usage()
    loads = rounds(bench, farm.http, questions, f"getNotifications, {what}")
    spent = before.until(farm.usage(), sum(one.count for one in loads))
    return _Asked(questions, found, loads, spent, farm.memory_mib())


def _row(
    name: str, who: str, asked: _Asked, bares: list[load.Load], least: list[tuple[str, float]]
) -> Row:
    figure, limit = (
        Figure.of("answers/s", [one.rate for one in some]) for some in (asked.loads, bares)
    )
    reached = {"ratio": ratio(figure, limit), "answers/s": figure.median}
    count = len(asked.questions.users)
    return Row(
        name=name,
        what=f"GraphQL getNotifications, {PAGE} of them, 9 fields, {count} people in turn, {who}",
        figure=figure,
        limit=limit,
        limit_is="a bare Sanic handler encoding the same objects with the same library",
        marks=[at_least(unit, reached[unit], most) for unit, most in least],
        notes=_notes(asked.loads[-1], bares[-1]),
        memory_mib=asked.memory_mib,
        spent=asked.spent,
    )


def inbox_of_many(bench: Bench) -> Iterator[Row]:
    """A first page with its count, for people who follow 1,000 authors, beside its bare SQL."""
    made = bench.million()
    users = million.readers(MANY)
    with bench.copy_of(made.data_dir) as data_dir, running(data_dir, *NOTHING_SENT) as farm:
        _, questions = wrk.look(farm.http, PAGE_QUERY, users)
        before = farm.usage()
        loads = rounds(bench, farm.http, questions, f"a page of {MANY} authors")
        spent = before.until(farm.usage(), sum(one.count for one in loads))
        memory = farm.memory_mib()
    job = (str(made.data_dir), users, bench.round_s / 4)
    bares, plainest = (
        [1_000 / median(bench.driver.run(bare, *job)) for _ in range(bench.rounds)]
        for bare in (paging.replayed_pages, paging.bare_pages)
    )
    figure, limit = Figure.of("pages/s", [one.rate for one in loads]), Figure.of("pages/s", bares)
    yield Row(
        name=f"inbox-{MANY}",
        what=f"GraphQL inbox, first page of {PAGE} with count, following {MANY:,} authors",
        figure=figure,
        limit=limit,
        limit_is="the statements of these pages, run again in one process with nothing around them",
        marks=[at_least("ratio", ratio(figure, limit), 0.6)],
        notes=[
            f"{made.posts:,} posts; the plainest SQL for the same rows: {median(plainest):,.0f}/s",
            *_notes(loads[-1]),
        ],
        memory_mib=memory,
        spent=spent,
    )


def pages(bench: Bench) -> Iterator[Row]:
    """A page of 20 with its count in the reader, for people who follow few and many authors."""
    made = bench.million()
    for following, most_ms in PAGES.items():
        figure, limit = page_ms(bench, following)
        yield Row(
            name=f"page-{following}",
            what=f"a page of {PAGE} and its count in the reader, following {following:,}",
            figure=figure,
            limit=limit,
            limit_is="the same rows by bare SQL",
            marks=[] if most_ms is None else [at_most("ms", figure.median, most_ms)],
            notes=[f"{made.posts:,} posts of {million.AUTHORS:,} authors"],
        )


def page_ms(bench: Bench, following: int) -> tuple[Figure, Figure]:
    """A page in the reader, and its rows by bare SQL; medians of each round."""
    job = (str(bench.million().data_dir), million.readers(following), bench.round_s / 4)
    taken, bares = [], []
    for _ in range(bench.rounds):
        taken.append(median(bench.driver.run(paging.pages, *job)))
        bares.append(median(bench.driver.run(paging.bare_pages, *job)))
        bench.tell(f"page-{following}: {taken[-1]:.2f} ms, bare {bares[-1]:.2f} ms")
    return Figure.of("ms", taken), Figure.of("ms", bares)


def rounds(bench: Bench, address: str, questions: wrk.Questions, what: str) -> list[load.Load]:
    """As many answers as there are, after a second to warm up."""
    seconds = max(1, round(bench.round_s))
    wrk.ask(address, questions, IN_FLIGHT, 1, bench.scratch())
    loads = []
    for _ in range(bench.rounds):
        loads.append(wrk.ask(address, questions, IN_FLIGHT, seconds, bench.scratch()))
        bench.tell(f"{what}: {loads[-1].rate:,.0f}/s")
    return loads


def _notes(last: load.Load, bare: load.Load | None = None) -> list[str]:
    late_ms = percentile(last.latencies_ms, 0.99)
    notes = [f"{IN_FLIGHT} in flight, p99 {late_ms:.0f} ms", *about_driver(last, "wrk")]
    return (
        notes if bare is None else [*notes, f"for the bare handler {about_driver(bare, 'wrk')[0]}"]
    )


def people_with_full_pages(bench: Bench, farm: Farm) -> list[str]:
    """The followers of one author, who has posted as often as a page is long."""
    author = crowd.authors_of(200)[:1]
    bench.driver.run(load.deliver, farm.grpc, author, PAGE, 60.0)
    return bench.driver.run(load.followers, farm.grpc, author[0], READERS)


def people_with_pages_of_their_own(bench: Bench, farm: Farm) -> list[str]:
    """A follower of each of many authors, all of whom have posted as often as a page is long."""
    authors = crowd.authors_of(10)
    bench.driver.run(load.deliver, farm.grpc, authors, PAGE * len(authors), 60.0)
    return [bench.driver.run(load.followers, farm.grpc, one, 1)[0] for one in authors]
