"""Rows about reading inboxes, by GraphQL over HTTP and in the reader."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks import bare_servers, crowd, load, million, paging, wrk
from benchmarks.bench import AT_ONCE, NOTHING_SENT, Bench, about_driver
from benchmarks.drivers import serving
from benchmarks.farm import Farm, running
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
    """getNotifications with 20 notifications of 9 fields, beside a site that only encodes them."""
    with bench.data_dir() as data_dir, running(data_dir, *AT_ONCE) as farm:
        users = people_with_full_pages(bench, farm)
        data, questions = wrk.look(farm.http, QUERY, users)
        found = data["getNotifications"]
        if len(found) != PAGE:
            raise RuntimeError(f"a page has {len(found)} notifications instead of {PAGE}")
        before = farm.usage()
        loads = rounds(bench, farm.http, questions, "getNotifications")
        spent = before.until(farm.usage(), sum(one.count for one in loads))
        memory = farm.memory_mib()
    with serving(bare_servers.encoding_site, found) as address:
        bares = rounds(bench, address, questions, "bare encoding")
    figure, limit = (Figure.of("answers/s", [one.rate for one in some]) for some in (loads, bares))
    yield Row(
        name="graphql",
        what=f"GraphQL getNotifications, {PAGE} of them, 9 fields, {len(users)} people in turn",
        figure=figure,
        limit=limit,
        limit_is="a bare Sanic handler encoding the same objects with the same library",
        marks=[
            at_least("ratio", ratio(figure, limit), 0.6),
            at_least("answers/s", figure.median, 5_000),
        ],
        notes=_notes(loads[-1], bares[-1]),
        memory_mib=memory,
        spent=spent,
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
