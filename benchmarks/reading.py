"""Rows about reading inboxes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import bare_servers, crowd, http_load, load, paging
from benchmarks.bench import AT_ONCE, Bench, about_driver
from benchmarks.drivers import serving
from benchmarks.farm import Farm, running
from benchmarks.figures import Figure, Row, at_most, percentile
from benchmarks.paging import PAGE

IN_FLIGHT = 32
READERS = 500

FOLLOWING = {20: 1.0, 1_000: 4.0, 5_000: None}  # authors followed, and how many ms a page may take
READERS_EACH = 8
AUTHORS = 5_000
FANS, FAN_OF = 20_000, 20
POSTS_FOR_A_ROUND_S = 500_000  # so there are a million for rounds of 2 s
POSTS_WITHIN_S = 120.0
QUERY = """query Inbox($user: ID!) { getNotifications(userId: $user) {
  id userId postId authorId content createdAt read status attempts } }"""


def inbox(bench: Bench) -> Iterator[Row]:
    """getNotifications with 20 notifications of 9 fields, beside a site that only encodes them."""
    with bench.data_dir() as data_dir, running(data_dir, *AT_ONCE) as farm:
        users = _people_with_full_pages(bench, farm)
        found = http_load.answer(farm.http, QUERY, users[0])["data"]["getNotifications"]
        if len(found) != PAGE:
            raise RuntimeError(f"a page has {len(found)} notifications instead of {PAGE}")
        before = farm.usage()
        loads = _rounds(bench, farm.http, users, "getNotifications")
        spent = before.until(farm.usage(), sum(one.count for one in loads))
        memory = farm.memory_mib()
    with serving(bare_servers.encoding_site, found) as address:
        bares = _rounds(bench, address, users, "bare encoding")
    yield Row(
        name="graphql",
        what=f"GraphQL getNotifications, {PAGE} of them, 9 fields, {len(users)} people in turn",
        figure=Figure.of("answers/s", [one.rate for one in loads]),
        limit=Figure.of("answers/s", [one.rate for one in bares]),
        limit_is="a bare Sanic handler encoding the same objects with the same library",
        notes=[
            f"{IN_FLIGHT} in flight, p99 {percentile(loads[-1].latencies_ms, 0.99):.0f} ms",
            *about_driver(loads[-1]),
            f"for the bare handler {about_driver(bares[-1])[0]}",
        ],
        memory_mib=memory,
        spent=spent,
    )


def pages(bench: Bench) -> Iterator[Row]:
    """A page of 20 with its count in the reader, for people who follow few and many authors."""
    with bench.data_dir(of_crowd=False) as data_dir:
        posts = _fill(bench, data_dir)
        for following, most_ms in FOLLOWING.items():
            users = _readers(following)
            taken, bares = [], []
            for _ in range(bench.rounds):
                job = (str(data_dir), users, bench.round_s / 4)
                taken.append(median(bench.driver.run(paging.pages, *job)))
                bares.append(median(bench.driver.run(paging.bare_pages, *job)))
                bench.tell(f"page-{following}: {taken[-1]:.2f} ms, bare {bares[-1]:.2f} ms")
            figure = Figure.of("ms", taken)
            yield Row(
                name=f"page-{following}",
                what=f"a page of {PAGE} and its count in the reader, following {following:,}",
                figure=figure,
                limit=Figure.of("ms", bares),
                limit_is="the same rows by bare SQL",
                marks=[] if most_ms is None else [at_most("ms", figure.median, most_ms)],
                notes=[f"{posts:,} posts of {AUTHORS:,} authors"],
            )


def _readers(following: int) -> list[str]:
    return [f"reader-of-{following}-{number}" for number in range(READERS_EACH)]


def _fill(bench: Bench, data_dir: Path) -> int:
    """Makes a data directory in which everybody has posted; returns how many posts there are."""
    chance = random.Random(3)
    authors = [f"author-{number}" for number in range(AUTHORS)]
    edges = data_dir.parent / f"{data_dir.name}.tsv"
    with edges.open("w") as file:
        for following in FOLLOWING:
            for reader in _readers(following):
                followed = chance.sample(authors, following)
                file.writelines(f"{reader}\t{author}\n" for author in followed)
        for fan in range(FANS):
            file.writelines(f"fan-{fan}\t{author}\n" for author in chance.sample(authors, FAN_OF))
    flags = ("--import-follows", str(edges), "--channel", "inbox", "--workers", "1")
    chance.shuffle(authors)
    most = round(POSTS_FOR_A_ROUND_S * bench.round_s)
    with running(data_dir, *flags) as farm:
        done = bench.driver.run(load.batches, farm.grpc, authors, 500, 2, POSTS_WITHIN_S, most)
    edges.unlink()
    bench.tell(f"published {done.count:,} posts in {done.seconds:.1f} s")
    return done.count


def _people_with_full_pages(bench: Bench, farm: Farm) -> list[str]:
    """The followers of one author, who has posted as often as a page is long."""
    author = crowd.authors_of(200)[:1]
    bench.driver.run(load.deliver, farm.grpc, author, PAGE, 60.0)
    return bench.driver.run(load.followers, farm.grpc, author[0], READERS)


def _rounds(bench: Bench, address: str, users: list[str], what: str) -> list[load.Load]:
    arguments = (address, QUERY, users, IN_FLIGHT)
    bench.driver.run(http_load.query, *arguments, 0.5)
    loads = []
    for _ in range(bench.rounds):
        loads.append(bench.driver.run(http_load.query, *arguments, bench.round_s))
        bench.tell(f"{what}: {loads[-1].rate:,.0f}/s")
    return loads
