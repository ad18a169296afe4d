"""`make powercut N=10000`: power cuts and failing disks for as long as one likes."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.power import cuts, errors
from tests.power.cuts import Tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="make powercut", description=__doc__)
    parser.add_argument("--cuts", type=int, default=300, help="how many power cuts")
    parser.add_argument("--seed", type=int, help="the same seed cuts at the same places")
    asked = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    logging.getLogger("hark").setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hark-power-") as directory:
        place = Path(directory)
        full = _cut(place, asked.cuts, seed, "FULL", cuts.FULL)
        normal = _cut(place, max(asked.cuts // 3, 100), seed, "NORMAL", cuts.NORMAL)
        failing = _fail(place, seed)
    wrong = [*full.wrong, *normal.wrong, *failing]
    if full.lost:
        wrong.append(f"FULL lost {full.lost} acknowledged commits")
    if not normal.lost:
        wrong.append("NORMAL lost nothing, so these cuts find nothing")
    for line in wrong:
        print(f"WRONG {line}")
    print("valid" if not wrong else "invalid")
    return bool(wrong)


def _cut(place: Path, count: int, seed: int, name: str, synchronous: int) -> Tally:
    begun_s = time.monotonic()
    tally = cuts.run(place, count, seed, synchronous=synchronous)
    print(
        f"synchronous={name}: {tally.cuts} power cuts, {tally.commits} acknowledged commits before "
        f"them, {tally.lost} lost ({tally.lost / max(tally.commits, 1):.1%}), {tally.in_flight} "
        f"cuts between a commit and its answer, {time.monotonic() - begun_s:.0f} s",
        flush=True,
    )
    return tally


def _fail(place: Path, seed: int) -> list[str]:
    """Lets each deed on a file fail, and says what came of it."""
    image, found = errors.begin(place / "begin"), list[str]()
    for name in errors.FAULTS:
        for lasting in (False, True):
            tried, wrong = errors.try_each(place, image, name, lasting=lasting, seed=seed)
            how = "from then on" if lasting else "once"
            print(f"{name}, {how}: at {tried} places, {len(wrong)} wrong", flush=True)
            found += wrong
    return found


if __name__ == "__main__":
    sys.exit(main())
