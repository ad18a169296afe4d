"""`make fuzz N=100000`: every port, with so many inputs, and what came of it."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from tests.fuzz.place import started
from tests.fuzz.ports import PORTS
from tests.fuzz.run import Result, fuzz_port

COLUMNS = "| port | inputs | refused how | crashes | growth | wrong | seconds |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each port")
    parser.add_argument("--port", choices=PORTS, action="append", help="only these")
    parser.add_argument("--seed", type=int, help="the same seed makes the same inputs")
    asked = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    wanted = asked.port or [*PORTS]
    with tempfile.TemporaryDirectory(prefix="hark-fuzz-") as directory:
        results = list(_run(Path(directory), wanted, asked.inputs, seed))
    print(COLUMNS)
    print("|---|---|---|---|---|---|---|")
    for result in results:
        print(result)
    wrong = [line for result in results for line in result.wrong]
    for line in wrong:
        print(f"WRONG {line}")
    print("valid" if not wrong else "invalid")
    return bool(wrong)


def _run(directory: Path, wanted: list[str], count: int, seed: int) -> Iterator[Result]:
    """A farm of its own for each port, so that nothing of one is counted as another's."""
    for name in wanted:
        with started(directory / name) as place, tqdm(total=count, desc=name) as bar:
            yield fuzz_port(place, name, PORTS[name], count, seed, bar.update)


if __name__ == "__main__":
    sys.exit(main())
