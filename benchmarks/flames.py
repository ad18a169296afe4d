"""`python -m benchmarks.flames`: where the time of each process goes under its hottest work.

A flame graph each, as SVG in `docs/flames`, taken by py-spy from outside while the work goes on.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import calling, crowd, delivering, h2load, load, publishing, reading, wrk
from benchmarks.bench import AT_ONCE, NOTHING_SENT, Bench
from benchmarks.farm import Farm, running

DOCS = Path(__file__).resolve().parent.parent / "docs" / "flames"
SPY = Path(sys.executable).parent / "py-spy"
SECONDS, PER_SECOND = 10, 200
ROUND_S = 2.0
ENDS_WITHIN_S = 30.0
TITLE = re.compile(r'(id="title"[^>]*>)[^<]*<')

Work = Callable[[Bench, Farm], None]


class Flame(NamedTuple):
    """Which process is looked at, and under what."""

    process: str
    flags: Sequence[str]
    work: Work


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flames", description=__doc__)
    parser.add_argument("--only", action="append", choices=FLAMES, metavar="NAME")
    parser.add_argument("--out", type=Path, default=DOCS, metavar="PATH")
    parser.add_argument("--dir", type=Path, metavar="PATH", help="where the farms keep their data")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no farm is left behind
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hark-bench-", dir=arguments.dir) as directory:
        bench = Bench(Path(directory), rounds=1, round_s=ROUND_S, graph=None)
        try:
            for name in arguments.only or FLAMES:
                _take(bench, FLAMES[name], arguments.out / f"{name}.svg")
                print(f"{arguments.out / name}.svg", flush=True)
        finally:
            bench.close()
    return 0


def _take(bench: Bench, flame: Flame, path: Path) -> None:
    """Works until the picture is there; a first round warms up."""
    with bench.data_dir() as data_dir, running(data_dir, *flame.flags) as farm:
        flame.work(bench, farm)
        [pid] = [pid for pid, title in farm.children().items() if title == flame.process]
        command = [
            str(SPY),
            "record",
            "--pid",
            str(pid),
            "--output",
            str(path),
            "--format",
            "flamegraph",
        ]
        command += ["--duration", str(SECONDS), "--rate", str(PER_SECOND), "--function"]
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while spy.poll() is None:
            flame.work(bench, farm)
        _, said = spy.communicate(timeout=ENDS_WITHIN_S)
    if spy.returncode:
        raise RuntimeError(f"py-spy: {said.decode()[-500:]}")
    # Above the picture it writes its own command line.
    path.write_text(TITLE.sub(rf"\g<1>hark: {flame.process}<", path.read_text(), count=1))


def _calls(bench: Bench, farm: Farm) -> None:
    message = load.post(crowd.authors_of(calling.FOLLOWERS)[0]).SerializeToString()
    h2load.calls(farm.grpc, calling.METHOD, message, calling.IN_FLIGHT, 5_000, bench.scratch())


def _batches(bench: Bench, farm: Farm) -> None:
    authors = crowd.authors_of(200)
    job = (farm.grpc, authors, publishing.POSTS_PER_CALL, 2, bench.round_s, publishing.POSTS_MAX)
    bench.driver.run(load.batches, *job)


def _delivery(bench: Bench, farm: Farm) -> None:
    authors = crowd.authors_of(1_000)
    bench.driver.run(load.deliver, farm.grpc, authors, 4_000, delivering.WITHIN_S)


def _small_delivery(bench: Bench, farm: Farm) -> None:
    authors = crowd.authors_of(10)
    bench.driver.run(load.deliver, farm.grpc, authors, 20_000, delivering.WITHIN_S)


def _reads(bench: Bench, farm: Farm) -> None:
    users = reading.people_with_full_pages(bench, farm)  # each time the newest 20
    _, questions = wrk.look(farm.http, reading.QUERY, users)
    wrk.ask(farm.http, questions, reading.IN_FLIGHT, 2, bench.scratch())


FLAMES = {
    "gateway": Flame("gateway 1", NOTHING_SENT, _calls),
    "store-publishing": Flame("store", NOTHING_SENT, _batches),
    "store-delivering": Flame("store", ("--workers", "2", *AT_ONCE), _small_delivery),
    "worker": Flame("worker 1", ("--workers", "2", *AT_ONCE), _delivery),
    "web": Flame("web 1", NOTHING_SENT, _reads),
    "reader": Flame("reader 1", NOTHING_SENT, _reads),
}


if __name__ == "__main__":
    sys.exit(main())
