"""`make simulate SEEDS=10000`: simulated minutes, each from a seed that repeats it exactly."""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from tests.power.load import small_scale
from tests.simulation.minute import Minute, simulate
from tests.simulation.sometimes import SOMETIMES

CHUNK = 5
WRONG_MAX = 5  # are enough to see that something is wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many minutes")
    parser.add_argument("--first", type=int, help="the first seed; the others follow it")
    parser.add_argument("--seed", type=int, help="this one only, with its history where it fails")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    asked = parser.parse_args()
    _fix_hashes()
    if asked.seed is not None:
        return _one(asked.seed)
    first = random.SystemRandom().getrandbits(32) if asked.first is None else asked.first
    print(f"seeds {first} to {first + asked.seeds - 1}", flush=True)
    return _many(range(first, first + asked.seeds), asked.jobs)


def _fix_hashes() -> None:
    """Sets of text are walked in the order of their hashes, which a seed has to fix as well."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )  # fmt: skip


def _one(seed: int) -> int:
    minute = _run(seed)
    if minute.verdict.findings:
        print(*minute.events, sep="\n")
    print(f"seed {seed}, trace {minute.trace}")
    print(minute.verdict)
    return bool(minute.verdict.findings)


def _many(seeds: range, jobs: int) -> int:
    begun_s = time.monotonic()
    figures, seen, wrong = Counter[str](), set[str](), list[Minute]()
    traces = hashlib.blake2b(digest_size=8)
    for minute in tqdm(_minutes(seeds, jobs), total=len(seeds), unit="min", disable=None):
        figures.update(minute.verdict.figures)
        seen |= minute.seen
        traces.update(minute.trace.encode())
        if minute.verdict.findings:
            wrong.append(minute)
        if len(wrong) >= WRONG_MAX:
            break
    seconds = time.monotonic() - begun_s
    for minute in wrong:
        print(f"seed {minute.seed}: make simulate SEED={minute.seed}\n{minute.verdict}")
    width = max(map(len, figures))
    print(*(f"{name:{width}}  {count:,}" for name, count in sorted(figures.items())), sep="\n")
    missing = [one.name for one in SOMETIMES if one.name not in seen]
    print(*(f"never seen: {name}" for name in missing), sep="\n")
    print(f"{len(seeds)} minutes in {seconds:.1f} s, {len(seeds) / seconds:.1f} a second")
    result = "invalid" if wrong else "unknown" if missing else "valid"
    print(f"traces {traces.hexdigest()}")
    print(f"{len(wrong)} invalid: {result}")
    return ("valid", "invalid", "unknown").index(result)


def _minutes(seeds: range, jobs: int) -> Iterator[Minute]:
    with ProcessPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(partial(_run_for, os.getpid()), seeds, chunksize=CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)


def _run_for(parent: int, seed: int) -> Minute:
    """Without its history, which nobody asked for; nor for anybody who is gone."""
    if os.getppid() != parent:
        os._exit(1)
    return _run(seed)._replace(events=[])


def _run(seed: int) -> Minute:
    logging.getLogger("hark").setLevel(logging.CRITICAL + 1)
    made = tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-minute-")
    with made as directory, small_scale():
        return simulate(seed, Path(directory))


if __name__ == "__main__":
    sys.exit(main())
