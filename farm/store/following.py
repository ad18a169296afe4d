"""How many authors each person follows, against the most they may: counted only where it matters.

Counting for everybody of an import would take as long as writing it. Nobody comes near the most
unseen: whoever gets more than a few follows at once is counted from then on, and of all others it
is known how many they can have come to.
"""

from __future__ import annotations

from collections.abc import Mapping

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

    def scarce_room(self, more: Mapping[int, int]) -> dict[int, int]:
        """The same of people who are to follow so many more: of those who might not be allowed
        to."""
        if not more:
            return {}
        self._others_at_most += min(FEW, max(more.values()))
        asked = list(more)
        if self._others_at_most <= self.most:
            self._counted.update([person for person, count in more.items() if count > FEW])
            asked = list(self._counted & BitMap(more))
        counts = self._storage.following_counts(asked)
        return {person: self.most - counts[person] for person in asked}
