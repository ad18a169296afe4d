"""How many authors each person follows, against the most they may: counted only where it matters.

Counting for everybody of an import would take as long as writing it. Nobody comes near the most
unseen: whoever gets more than a few follows at once is counted from then on, and of all others it
is known how many they can have come to.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence

from farm.audience import BitMap
from farm.store.storage import Storage

FEW = 16  # follows that one import may give somebody uncounted


class Following:
    """Of one life of the graph, like all that it knows in memory."""

    def __init__(self, storage: Storage, following_max: int, *, nobody_yet: bool) -> None:
        self.most = following_max
        self._storage = storage
        self._counted = BitMap()  # these are asked for each time
        # Of everybody else. What was stored before this life began is not known.
        self._others_at_most = 0 if nobody_yet else following_max

    def room(self, follower: int) -> int:
        """How many more this person may follow, who is about to follow somebody."""
        self._counted.add(follower)
        return self.most - self._storage.following_count(follower)

    def scarce_room(self, followers: Sequence[int]) -> dict[int, int]:
        """The same of those who are to follow somebody and might not be allowed to. `followers` in
        order, each as often as there are authors to follow."""
        asked = BitMap(followers)
        self._counted.update(_more_often_than(FEW, followers))
        self._others_at_most += 1 if len(asked) == len(followers) else FEW
        if self._others_at_most <= self.most:
            asked &= self._counted
        counts = self._storage.following_counts(asked) if asked else {}
        return {person: self.most - counts[person] for person in asked}


def _more_often_than(count: int, ordered: Sequence[int]) -> Iterator[int]:
    """The numbers that come so often, and some that come half as often: where only every so many
    are looked at, at half that distance, two who stand side by side are the same one."""
    some = ordered[:: max(count // 2, 1)]
    return itertools.compress(some, map(operator.eq, some, some[1:]))
