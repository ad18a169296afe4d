"""Rows about what the farm keeps: taking in a graph, memory, disk, and starting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import bare, crowd, load
from benchmarks.bench import AT_ONCE, NO_DELIVERY, Bench
from benchmarks.farm import running
from benchmarks.figures import Figure, Row, at_most

WAITING = 5_000_000
WITHIN_S = 120.0
MEMORY_LOOKS = 5


def graph(bench: Bench) -> Iterator[Row]:
    """A social graph of 870,161 edges, from the start of the command to its ready line."""
    path, which = bench.graph, "the graph given"
    if path is None:
        path, which = bench.scratch(), "a made-up graph of a real one's shape"
        crowd.write_graph(path)
    taken: list[float] = []
    bares: list[float] = []
    memory: dict[str, float] = {}
    for number in range(1, bench.rounds // 2 + 2):  # each takes so long that fewer must do
        with bench.data_dir(of_crowd=False) as data_dir:
            with running(data_dir, "--import-follows", str(path)) as farm:
                taken.append(farm.ready_s)
                memory = farm.memory_mib()
            scratch = str(bench.scratch())
            bares.append(bench.driver.run(bare.follow, str(data_dir), scratch))
        bench.tell(f"import, round {number}: {taken[-1]:.2f} s, bare {bares[-1]:.2f} s")
    figure = Figure.of("s", taken)
    yield Row(
        name="import",
        what=f"start with --import-follows, {which}, until the ready line",
        figure=figure,
        limit=Figure.of("s", bares),
        limit_is="bare sorted inserts of the same people, relations, segments and authors",
        marks=[at_most("s", figure.median, 15)],
        memory_mib=memory,
    )


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
    for followers, posts in ((1_000, 2_000), (crowd.PEOPLE, 5)):
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
            marks=[at_most("bytes", each, 2.5)],
            notes=[
                f"{grown:,} bytes for {done.notifications:,} notifications",
                f"with posts' texts of {len(load.CONTENT)} bytes, without the sets of followers,",
                f"which are there once, whatever the posts: {sets:.2f} bytes a follower",
            ],
        )


def start(bench: Bench) -> Iterator[Row]:
    """From the command to the ready line, and what the farm then takes up."""
    with bench.data_dir(of_crowd=False) as first:
        seconds = bench.repeat("s to ready", lambda: _start_s(first / "farm"))
        (first / "farm").mkdir(exist_ok=True)
        with running(first / "farm") as farm:
            memory_mib = farm.memory_mib()
    yield Row(
        name="start",
        what="start to ready line, empty store",
        figure=Figure.of("s", seconds),
        notes=[f"whole farm {sum(memory_mib.values()):.0f} MiB (PSS)"],
        memory_mib=memory_mib,
    )


def _start_s(data_dir: Path) -> float:
    """Of a farm that has never run."""
    for path in data_dir.glob("*") if data_dir.exists() else ():
        path.unlink()
    data_dir.mkdir(exist_ok=True)
    with running(data_dir) as farm:
        return farm.ready_s
