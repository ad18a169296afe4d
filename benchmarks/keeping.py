"""Rows about what the farm keeps: memory while much waits, and disk."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import bare, crowd, load
from benchmarks.bench import AT_ONCE, NO_DELIVERY, Bench
from benchmarks.farm import running
from benchmarks.figures import Figure, Row, at_most

WAITING = 5_000_000
WITHIN_S = 120.0
MEMORY_LOOKS = 5


def memory(bench: Bench) -> Iterator[Row]:
    """The store's PSS while 5,000,000 notifications wait, of few large posts and of many small."""
    for name, followers in (("memory-million", crowd.PEOPLE), ("memory-200", 200)):
        posts = WAITING // followers
        with bench.data_dir() as data_dir, running(data_dir, *NO_DELIVERY) as farm:
            before = farm.memory_mib()["store"]
            authors = crowd.authors_of(followers)
            size = min(posts, 500)
            bench.driver.run(load.batches, farm.grpc, authors, size, 2, WITHIN_S, posts)
            looks = [farm.memory_mib() for _ in range(MEMORY_LOOKS)]
        figure = Figure.of("MiB", [look["store"] for look in looks])
        yield Row(
            name=name,
            what=f"store memory (PSS), {WAITING:,} waiting: {posts:,} posts to {followers:,}",
            figure=figure,
            marks=[at_most("MiB", figure.median, 400)],
            notes=[f"{before:.0f} MiB before, just started"],
            memory_mib=looks[-1],
        )


def disk(bench: Bench) -> Iterator[Row]:
    """Bytes a notification, from before the posts to all delivered and the log checkpointed."""
    for followers, posts, most in ((200, 5_000, 4.0), (1_000, 2_000, 2.5), (crowd.PEOPLE, 5, 1.0)):
        with bench.data_dir() as data_dir:
            before = bare.bytes_used(data_dir)
            with running(data_dir, *AT_ONCE) as farm:
                authors = crowd.authors_of(followers)
                done = bench.driver.run(load.deliver, farm.grpc, authors, posts, WITHIN_S)
            grown = bare.bytes_used(data_dir) - before
            sets = bare.set_bytes_a_follower(data_dir, followers)
        each = grown / done.notifications
        yield Row(
            name=f"disk-{followers}",
            what=f"disk, {posts:,} posts to {followers:,} of 10 million people, no failures",
            figure=Figure.of("bytes a notification", [each]),
            marks=[at_most("bytes", each, most)],
            notes=[
                f"{grown:,} bytes for {done.notifications:,} notifications",
                f"with posts' texts of {len(load.CONTENT)} bytes, without the sets of followers,",
                f"which are there once, whatever the posts: {sets:.2f} bytes a follower",
            ],
        )
