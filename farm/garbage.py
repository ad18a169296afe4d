"""When Python looks for garbage that refers to itself, where very many objects stay.

What nothing refers to any more goes at once, without this. Garbage that refers to itself is rare
here, and finding it means looking at all that was made since, and now and then at all there is. A
store with many small posts under way spent a quarter of its time on it, as often as Python does it
by itself, and up to 90 ms at once.
"""

from __future__ import annotations

import gc

# So many objects more than at the last look; so many looks until those that were there before are
# looked at once more; and so many of these until all are.
THRESHOLDS = (10_000, 500, 100)


def collect_seldom() -> None:
    """From now on; what there is by now is never looked at again."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
