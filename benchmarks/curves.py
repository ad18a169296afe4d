"""`python -m benchmarks.curves`: how cost grows, as CSV and as plots in `docs/curves`.

Each curve asks what happens to a cost when one thing grows and all else stays: followers a post,
posts that are stored, authors that a reader follows, workers.
"""

from __future__ import annotations

import argparse
import csv
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ParamSpec

from benchmarks import crowd, delivering, load, million, paging, plot, publishing, reading
from benchmarks.bench import AT_ONCE, NO_DELIVERY, NOTHING_SENT, Bench
from benchmarks.farm import Farm, running
from benchmarks.figures import Figure, shown

DOCS = Path(__file__).resolve().parent.parent / "docs" / "curves"
FOLLOWERS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
POSTS = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (1, 2, 3, 4)
SLOW_POSTS = 150  # of a round for each worker, so that the last retries weigh little
WITHIN_S = 120.0
PAGES_S = 0.3

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Line:
    """Figures of one kind, each at an x. Those of one unit share a panel."""

    panel: str
    name: str
    figures: dict[int, Figure]


Curve = Callable[[Bench], Iterator[Line]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__)
    parser.add_argument("--only", action="append", choices=CURVES, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="shorter rounds, to try it")
    parser.add_argument("--out", type=Path, default=DOCS, metavar="PATH")
    parser.add_argument("--dir", type=Path, metavar="PATH", help="where the farms keep their data")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no farm is left behind
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hark-bench-", dir=arguments.dir) as directory:
        bench = Bench(
            Path(directory), rounds=3, round_s=0.6 if arguments.quick else 2.0, graph=None
        )
        try:
            for name in arguments.only or CURVES:
                x_label, curve = CURVES[name]
                lines = list(curve(bench))
                _write(arguments.out / f"{name}.csv", x_label, lines)
                (arguments.out / f"{name}.svg").write_text(plot.svg(_panels(x_label, lines)))
                print(_told(name, x_label, lines), flush=True)
        finally:
            bench.close()
    return 0


def _followers(bench: Bench) -> Iterator[Line]:
    """What a post costs whom so many follow: to publish, and to deliver."""
    with bench.data_dir() as data_dir, running(data_dir, *NO_DELIVERY) as farm:
        publishing.p50_ms(bench, farm, crowd.authors_of(10))
        yield Line(
            "publish one post, ms (p50)",
            "PublishPost",
            {
                size: _repeated(bench, publishing.p50_ms, bench, farm, crowd.authors_of(size))
                for size in FOLLOWERS
            },
        )
    with bench.data_dir() as data_dir, running(data_dir, "--workers", "2", *AT_ONCE) as farm:
        yield Line(
            "delivered, notifications/s",
            "2 workers, no latency",
            {size: _delivered(bench, farm, size) for size in FOLLOWERS},
        )


def _posts(bench: Bench) -> Iterator[Line]:
    """What a post and a page cost where so many posts are stored."""
    taken: dict[int, Figure] = {}
    rates: dict[int, Figure] = {}
    pages: dict[int, dict[int, Figure]] = {20: {}, 1_000: {}}
    authors = million.authors()
    with bench.copy_of(None) as data_dir:
        million.make(data_dir / "farm", bench.driver, POSTS[0], million.FANS)
        with running(data_dir / "farm", *NOTHING_SENT) as farm:
            there = POSTS[0]
            for posts in POSTS:
                if posts > there:
                    job = (farm.grpc, authors, 500, 2, WITHIN_S, posts - there)
                    bench.driver.run(load.batches, *job)
                    there = posts
                taken[posts] = _repeated(bench, publishing.p50_ms, bench, farm, authors)
                rates[posts] = _repeated(bench, _rate, bench, farm, authors)
                for following, found in pages.items():
                    readers = million.readers(following)
                    found[posts] = _repeated(bench, _page_ms, bench, data_dir / "farm", readers)
    yield Line("published, posts/s", "PublishPosts, 500 a call", rates)
    yield Line("ms (p50)", "publish one", taken)
    for following, found in pages.items():
        yield Line("ms (p50)", f"page of {following:,}", found)


def _following(bench: Bench) -> Iterator[Line]:
    """What a page with its count costs whoever follows so many, among a million posts."""
    found = {following: reading.page_ms(bench, following) for following in million.FOLLOWING}
    for at, name in enumerate(("in the reader", "bare SQL")):
        figures = {following: pair[at] for following, pair in found.items()}
        yield Line("a page of 20 with its count, ms", name, figures)


def _workers(bench: Bench) -> Iterator[Line]:
    """What so many workers deliver on this machine."""
    for followers in (1_000, 10):
        figures = {}
        for workers in WORKERS:
            flags = ("--workers", str(workers), *AT_ONCE)
            with bench.data_dir() as data_dir, running(data_dir, *flags) as farm:
                figures[workers] = _delivered(bench, farm, followers)
        yield Line(f"delivered, {followers:,} followers a post", "no latency", figures)
    figures = {}
    for workers in WORKERS:
        with bench.data_dir() as data_dir, running(data_dir, "--workers", str(workers)) as farm:
            loads, _ = delivering.rounds(bench, farm, "slowly", 1_000, SLOW_POSTS * workers)
        figures[workers] = Figure.of("notifications/s", [done.rate for done in loads])
    yield Line("delivered, 1,000 followers a post", "10-50 ms, 10 % fail", figures)


CURVES: dict[str, tuple[str, Curve]] = {
    "followers": ("followers of the post's author", _followers),
    "posts": ("posts stored", _posts),
    "following": ("authors that the reader follows", _following),
    "workers": ("workers", _workers),
}


def _repeated(
    bench: Bench, measure: Callable[P, float], *arguments: P.args, **named: P.kwargs
) -> Figure:
    return Figure.of("", [measure(*arguments, **named) for _ in range(bench.rounds)])


def _page_ms(bench: Bench, data_dir: Path, readers: Sequence[str]) -> float:
    return median(bench.driver.run(paging.pages, str(data_dir), readers, PAGES_S))


def _rate(bench: Bench, farm: Farm, authors: Sequence[str]) -> float:
    """A few posts, so that there are hardly more than before."""
    return bench.driver.run(load.batches, farm.grpc, authors, 500, 2, 1.0, 2_000).rate


def _delivered(bench: Bench, farm: Farm, followers: int) -> Figure:
    posts = delivering.calibrated(bench, farm, followers)
    loads, _ = delivering.rounds(bench, farm, f"{followers:,}", followers, posts)
    return Figure.of("notifications/s", [done.rate for done in loads])


def _panels(x_label: str, lines: Sequence[Line]) -> list[plot.Panel]:
    titles = dict.fromkeys(line.panel for line in lines)
    return [
        plot.Panel(title, x_label, [_series(line) for line in lines if line.panel == title])
        for title in titles
    ]


def _series(line: Line) -> plot.Series:
    return plot.Series(
        line.name,
        [
            plot.Point(x, figure.median, min(figure.values), max(figure.values))
            for x, figure in line.figures.items()
        ],
    )


def _write(path: Path, x_label: str, lines: Sequence[Line]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "of", x_label, "median", "least", "most"])
        for line in lines:
            for x, figure in line.figures.items():
                ends = (figure.median, min(figure.values), max(figure.values))
                writer.writerow([line.panel, line.name, x, *(f"{value:.6g}" for value in ends)])


def _told(name: str, x_label: str, lines: Sequence[Line]) -> str:
    return "\n".join(
        [f"{name}, by {x_label}"]
        + [
            f"  {line.panel}, {line.name}: "
            + ", ".join(f"{x:,}: {shown(figure.median)}" for x, figure in line.figures.items())
            for line in lines
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
