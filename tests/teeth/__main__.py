"""`make teeth`: breaks one mechanism after the other, and sees the tests of each turn red.

Everything happens in a copy; the project itself is not touched.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.teeth.breakages import BREAKAGES, Breakage

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "__pycache__", ".*_cache", ".hypothesis", "build", "*.egg-info"
)
RED, GREEN = 1, 0  # as pytest ends; all else is an error of its own
FINDING = re.compile(r"^(?!seed)[a-z][a-z ]+: .*", re.MULTILINE)
ASSERTION = re.compile(r"^E   (.+)", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make teeth", description=__doc__)
    parser.add_argument("--only", help="the breakages whose names have this in them")
    asked = parser.parse_args()
    chosen = [one for one in BREAKAGES if asked.only is None or asked.only in one.name]
    if not chosen:
        parser.error(f"--only {asked.only}: is in none of {', '.join(b.name for b in BREAKAGES)}")
    begun_s = time.monotonic()
    wrong = [*_unbroken(chosen)]
    for breakage in chosen:
        wrong += _broken(breakage)
    print(*wrong, sep="\n")
    print(f"{len(chosen)} breakages in {time.monotonic() - begun_s:.0f} s: ", end="")
    print("each was noticed" if not wrong else "invalid")
    return bool(wrong)


def _unbroken(breakages: Sequence[Breakage]) -> list[str]:
    """A test that is red anyway notices nothing."""
    tests = sorted({test for breakage in breakages for test in breakage.tests})
    with _Copy() as copy:
        status, seconds, output = copy.run(tests)
    print(f"unbroken: {_color(status)} in {seconds:.0f} s", flush=True)
    return [] if status == GREEN else [f"the tests fail without any breakage:\n{output}"]


def _broken(breakage: Breakage) -> list[str]:
    wrong: list[str] = []
    with _Copy() as copy:
        for change in breakage.changes:
            change.apply(copy.root)
        for test in breakage.tests:
            status, seconds, output = copy.run([test])
            name = test.rpartition("::")[2]
            print(f"{breakage.name}: {name} is {_color(status)} in {seconds:.0f} s", flush=True)
            for line in _why(output) if status == RED else ():
                print(f"    {line}", flush=True)
            if status != RED:
                wrong.append(f"{breakage.name} was not noticed by {test}:\n{output}")
    return wrong


def _color(status: int) -> str:
    return {GREEN: "green", RED: "red"}.get(status, f"no result, status {status}")


def _why(output: str) -> list[str]:
    """What was found: the checker's first words, or else those of the assertion."""
    found = FINDING.findall(output) or ASSERTION.findall(output)
    return [line.strip()[:160] for line in found[:2]]


class _Copy:
    """The project's files in a directory of their own."""

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="hark-teeth-")
        self.root = Path(self._directory.name) / "hark"
        shutil.copytree(ROOT, self.root, ignore=LEFT_OUT)
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()

    def run(self, tests: Sequence[str]) -> tuple[int, float, str]:
        """(pytest's status, seconds, its output)."""
        begun_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=short", *tests],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, time.monotonic() - begun_s, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
