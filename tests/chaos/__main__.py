"""`make chaos DURATION_S=300 SEED=1`: a farm under load while everything happens to it that can."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from tests.chaos.nemesis import MIXES
from tests.chaos.run import Plan, run


def main() -> int:
    """0: valid, 1: invalid, 2: unknown, for the run never met what it is for."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--duration-s", type=float, default=300.0, help="without start and drain")
    parser.add_argument("--seed", type=int, help="the same seed has the same faults in one order")
    parser.add_argument("--mix", choices=MIXES, default="everything", help="of which faults")
    parser.add_argument("--mixes", action="store_true", help="each of them, one after the other")
    asked = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    mixes = list(MIXES) if asked.mixes else [asked.mix]
    return max(_try(Plan(seed, asked.duration_s, mix)) for mix in mixes)


def _try(plan: Plan) -> int:
    directory = Path(tempfile.mkdtemp(prefix="hark-chaos-"))
    begin_s = time.monotonic()
    with tqdm(total=plan.duration_s, desc=plan.mix, unit="s", disable=None) as bar:
        verdict = asyncio.run(run(directory, plan, bar.update))
    print(
        f"{plan.mix}, seed {plan.seed}, {time.monotonic() - begin_s:.0f} s:\n{verdict}", flush=True
    )
    if verdict.exit_status == 0:
        shutil.rmtree(directory)
    else:
        print(f"the history, the log and the data are in {directory}", flush=True)
    return verdict.exit_status


if __name__ == "__main__":
    sys.exit(main())
