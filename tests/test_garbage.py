"""`farm.garbage`: many objects that stay are not looked through again and again."""

from __future__ import annotations

import subprocess
import sys

# A million lists that stay, beside a ring of garbage a thousand times, all of which is found.
_MAKE_MANY = """
import gc, weakref
from farm import garbage

class Ring:
    pass

def make_ring():
    ring = Ring()
    ring.itself = ring
    rings.append(weakref.ref(ring))

garbage.collect_seldom()
looks = sum(one["collections"] for one in gc.get_stats())
wholly = gc.get_stats()[2]["collections"]
kept, rings = [], []
for number in range(1_000_000):
    kept.append([number])
    if number % 1_000 == 0:
        make_ring()
print(sum(one["collections"] for one in gc.get_stats()) - looks)
print(gc.get_stats()[2]["collections"] - wholly)
print(sum(ring() is not None for ring in rings))
"""


def test_what_stays_is_looked_at_once_and_garbage_is_found() -> None:
    made = subprocess.run(
        [sys.executable, "-c", _MAKE_MANY], capture_output=True, text=True, timeout=60, check=True
    )
    looks, wholly, left = map(int, made.stdout.split())
    assert looks <= 110
    assert wholly == 0
    assert left <= 20, "rings that were made since the last look"
