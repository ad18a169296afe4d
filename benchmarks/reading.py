"""Rows about reading inboxes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import bare_servers, crowd, http_load, load
from benchmarks.bench import AT_ONCE, Bench, about_driver
from benchmarks.drivers import serving
from benchmarks.farm import Farm, running
from benchmarks.figures import Figure, Row, percentile

IN_FLIGHT = 32
PAGE = 20
READERS = 500
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
