"""`make overload SECONDS=60`: overload and fairness in full, each mark beside what was measured."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.drivers import Drivers
from benchmarks.figures import percentile
from tests.farm_process import FarmProcess
from tests.load import backlog, fairness, overload
from tests.load.caller import OK, RESOURCE_EXHAUSTED

READY_S = 180.0
P99_MS_MAX = 250
NORMAL_WITHIN_S = 5.0
GROWTH_MIB_MAX = 32
PEOPLE = 1_000_000
PER_SECOND = 200  # posts of small authors
CALM_S = 10.0
BACKLOG_PER_SECOND = 5_000
DRAIN_S = 300.0
POST_BYTES_MAX = 250


class Mark(NamedTuple):
    """A figure, and the most that it may be."""

    what: str
    figure: float
    most: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="make overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each load lasts")
    parser.add_argument("--only", choices=_PARTS, help="one of the parts alone")
    asked = parser.parse_args()
    drivers, missed = Drivers(2), 0
    try:
        for name, part in _PARTS.items():
            if asked.only in {None, name}:
                print(f"{name}, at a load of {os.getloadavg()[0]:.1f}", flush=True)
                marks = part(drivers, asked.seconds)
                missed += sum(map(_say, marks))
                print(f"    load at the end {os.getloadavg()[0]:.1f}", flush=True)
    finally:
        drivers.close()
    print("all marks reached" if not missed else f"{missed} marks missed")
    return bool(missed)


def _say(mark: Mark) -> bool:
    """Whether it was missed."""
    missed = mark.figure > mark.most
    word = "MISSED" if missed else "ok"
    print(f"    {word:6} {mark.what}: {mark.figure:,.1f}, at most {mark.most:,.0f}", flush=True)
    return missed


@contextmanager
def _farm(write_edges: Callable[[Path], None] | None, *flags: str) -> Iterator[FarmProcess]:
    with tempfile.TemporaryDirectory(prefix="hark-load-") as directory:
        place, edges = Path(directory), Path(directory) / "edges.tsv"
        if write_edges is not None:
            write_edges(edges)
            flags = (*flags, "--import-follows", str(edges))
        hark = FarmProcess(place / "farm", [*flags, "--log-level", "warning"]).start(wait=False)
        try:
            yield hark.wait_ready(READY_S)
        finally:
            hark.kill_tree()


def _overload(drivers: Drivers, seconds: float) -> list[Mark]:
    with _farm(overload.write_edges, *overload.FLAGS) as hark:
        done = overload.overload(hark, drivers, seconds, normal_s=P99_MS_MAX / 1000)
    marks = []
    print(f"    the store took {done.store_rate:,.0f} posts/s before")
    for name, load in (("callers", done.callers), ("flood", done.flood)):
        told = ", ".join(f"{count:,} of code {code}" for code, count in load.codes.items())
        print(
            f"    {name}: {told}; {len(load.acknowledged):,} posts acknowledged, "
            f"{load.refused_posts:,} refused, {load.held_back:,} calls held back, p50 of OK "
            f"{percentile(load.ok_s, 0.5) * 1000:.0f} ms; kept {load.cores:.2f} cores busy, and "
            f"was late itself by {percentile(load.late_s, 0.99) * 1000:.0f} ms at p99"
        )
        others = load.codes.total() - load.codes[OK] - load.codes[RESOURCE_EXHAUSTED]
        p99_ms = percentile(load.ok_s, 0.99) * 1000
        marks += [
            Mark(f"{name}: answers that are neither OK nor RESOURCE_EXHAUSTED", others, 0),
            Mark(f"{name}: refusals without a delay", load.undelayed, 0),
            Mark(f"{name}: p99 of OK in ms", p99_ms, P99_MS_MAX),
        ]
    for role in done.memory:
        most = f"{max(done.memory[role]):.0f} MiB at most"
        marks.append(Mark(f"{role}: growth in MiB, {most}", done.growth_mib(role), GROWTH_MIB_MAX))
    return [
        *marks,
        Mark("acknowledged and lost", done.lost, 0),
        Mark("refused and stored all the same", done.refused_yet_stored, 0),
        Mark("seconds until all is normal", done.normal_after_s, NORMAL_WITHIN_S),
    ]


def _fairness(drivers: Drivers, seconds: float) -> list[Mark]:
    flags = ("--workers", "2", "--simulated-failure-rate", "0")
    with _farm(lambda path: fairness.write_edges(path, PEOPLE), *flags) as hark:
        address = hark.grpc_address
        calm = drivers.run(fairness.steady, address, PER_SECOND, CALM_S, 0, "calm")
        large_s = drivers.run(fairness.drain, address)
        among = drivers.run(fairness.steady, address, PER_SECOND, seconds, PEOPLE, "among")
    print(f"    a post to {PEOPLE:,} alone is delivered in {large_s:.1f} s")
    for name, found in (("calm", calm), ("among large posts", among)):
        quantiles = (f"p{q * 100:g} {percentile(found.seconds, q) * 1000:.0f}" for q in (0.5, 0.9))
        print(
            f"    {name}: {len(found.seconds):,} posts, ms {', '.join(quantiles)}; "
            f"{found.large_posts} large ones; the load kept {found.cores:.2f} cores busy"
        )
    return [
        Mark("calm: p99 in ms", percentile(calm.seconds, 0.99) * 1000, P99_MS_MAX),
        Mark("among large posts: p99 in ms", percentile(among.seconds, 0.99) * 1000, P99_MS_MAX),
        Mark("not delivered in time", calm.missing + among.missing, 0),
    ]


def _backlog(drivers: Drivers, seconds: float) -> list[Mark]:
    """As many posts as in ten minutes, in one."""
    flags = ("--workers", "1", "--simulated-failure-rate", "0", *backlog.AWAY)
    with _farm(None, *flags) as hark:
        found = backlog.wait_without_worker(hark, drivers, BACKLOG_PER_SECOND, seconds, DRAIN_S)
    first, second = found.loads
    growth = (found.mib[1] - found.mib[0]) * 2**20 / len(second.acknowledged)
    print(
        f"    {found.posts:,} posts wait, {first.refused_posts + second.refused_posts:,} were "
        f"refused; the oldest waits for {found.told_s:.1f} s by the farm's account and "
        f"{found.known_s:.1f} s by the caller's; all delivered {found.drained_s:.1f} s after "
        f"workers were back; the store took {found.mib[0]:.0f} MiB, then {found.mib[1]:.0f}"
    )
    p99_ms = percentile([*first.ok_s, *second.ok_s], 0.99) * 1000
    return [
        Mark("p99 of a call in ms", p99_ms, P99_MS_MAX),
        Mark("bytes of memory a post that waits, of the second half", growth, POST_BYTES_MAX),
        Mark("seconds by which the ages differ", abs(found.known_s - found.told_s), 2),
    ]


_PARTS = {"overload": _overload, "fairness": _fairness, "backlog": _backlog}

if __name__ == "__main__":
    sys.exit(main())
