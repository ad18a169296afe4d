"""`python -m benchmarks`: measures, prints a row as it comes and one table, writes JSON."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import (
    calling,
    delivering,
    following,
    importing,
    keeping,
    mixing,
    publishing,
    reading,
    report,
    starting,
    watching,
)
from benchmarks.bench import Bench
from benchmarks.figures import Row

QUIET_LOAD = 0.5  # more processes than this waiting to run before the start: not a quiet machine
RESULTS = Path(__file__).resolve().parent / "results"

GROUPS: dict[str, tuple[Callable[[Bench], Iterator[Row]], str]] = {
    "unary": (calling.one_by_one, "PublishPost, 32 in flight"),
    "batches": (publishing.in_batches, "PublishPosts, 500 a call, and notifications accepted"),
    "publish-million": (publishing.to_a_million, "one post to 1,000,000 followers"),
    "deliver": (delivering.at_once, "delivery without latency and failure"),
    "deliver-slowly": (delivering.with_latency, "delivery with 10-50 ms and 10 % failure"),
    "idle-latency": (delivering.when_idle, "one post from publish to delivered"),
    "graphql": (reading.inbox, "an inbox by GraphQL"),
    "inbox": (reading.inbox_of_many, "a page with its count, following 1,000 authors"),
    "pages": (reading.pages, "a page of an inbox with its count, in the reader"),
    "mixed": (mixing.reads_and_posts, "reading while publishing, publishing while reading"),
    "follows": (following.one_author, "follows to one author"),
    "import": (importing.graph, "a social graph of 10,000,000 edges"),
    "live": (watching.live, "one post to 1,000 people who are online"),
    "start": (starting.empty, "start to ready line; memory and processor time of an idle farm"),
    "million": (starting.filled, "start and memory with a million posts"),
    "memory": (keeping.memory, "the store while 5,000,000 notifications wait"),
    "disk": (keeping.disk, "bytes on disk a notification"),
}
# Which a quick run leaves out: they take as long however short its rounds are.
LONG_ONLY = {"pages", "memory", "disk", "start"}
EPILOGUE = "names for --only:\n" + "\n".join(
    f"  {name:16} {text}" for name, (_, text) in GROUPS.items()
)


def main() -> int:
    """Exit status 1 where something could not be measured; a missed mark is a result like any."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no farm is left behind
    started_s, load_before = time.perf_counter(), os.getloadavg()[0]
    names = arguments.only or [
        name for name in GROUPS if name not in LONG_ONLY or not arguments.quick
    ]
    with tempfile.TemporaryDirectory(prefix="hark-bench-", dir=arguments.dir) as directory:
        bench = Bench(
            Path(directory),
            rounds=arguments.rounds or (2 if arguments.quick else 5),
            round_s=0.5 if arguments.quick else 2.0,
            graph=arguments.graph,
        )
        try:
            rows, failed, took_s = _measure(bench, names)
        finally:
            bench.close()
    print("\n" + report.table([report.as_json(row) for row in rows]))
    if load_before > QUIET_LOAD:
        print(f"\nothers kept the machine busy (load {load_before:.1f} before): compare nothing")
    about = _about(arguments, names, time.perf_counter() - started_s)
    about |= {"load_before": load_before, "failed": failed, "group_seconds": took_s}
    path = arguments.json or RESULTS / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    report.write(path, rows, about)
    print(f"\ntook {about['seconds']:.0f} s; written to {path}")
    return 1 if failed else 0


def _measure(bench: Bench, names: list[str]) -> tuple[list[Row], list[str], dict[str, float]]:
    """The rows there are, the groups that failed, and how long each took; one that fails takes no
    other with it."""
    rows: list[Row] = []
    failed: list[str] = []
    took_s: dict[str, float] = {}
    for name in names:
        bench.tell(f"{name} ...")
        started_s = time.perf_counter()
        try:
            for row in GROUPS[name][0](bench):
                rows.append(row)
                print(report.line(row), flush=True)
        except KeyboardInterrupt:  # what there is, is written all the same
            failed.append(name)
            print(f"{name}: interrupted", flush=True)
            break
        except Exception as error:  # noqa: BLE001
            failed.append(name)
            print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
        took_s[name] = round(time.perf_counter() - started_s, 1)
    return rows, failed, took_s


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures Hark, each figure beside the limit of the same work in the same run."
        "\nStarts farms of its own on free ports, in a directory that is gone at the end.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="shorter and fewer rounds: under 2 minutes, not 10"
    )
    parser.add_argument(
        "--only", action="append", choices=GROUPS, metavar="NAME",
        help="measure this alone; repeatable, names below",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds of each (default: 5, with --quick 2)"
    )
    parser.add_argument(
        "--graph", type=Path, metavar="FILE", default=os.environ.get("HARK_BENCH_GRAPH"),
        help="edge list to import (default: HARK_BENCH_GRAPH, or one made up from a seed)",
    )  # fmt: skip
    parser.add_argument(
        "--dir", type=Path, metavar="PATH",
        help="where the farms keep their data; the disk is part of what is measured"
        f" (default: {tempfile.gettempdir()})",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where the result goes (default: a new file in"
        " benchmarks/results/)",
    )  # fmt: skip
    return parser


def _about(arguments: argparse.Namespace, names: list[str], seconds: float) -> dict[str, Any]:
    """What must be known to compare two results."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": seconds,
        "quick": arguments.quick,
        "only": names,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


if __name__ == "__main__":
    sys.exit(main())
