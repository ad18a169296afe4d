"""Dead letters: how many there are by channel and error, and how they get another try."""

from __future__ import annotations

from collections import Counter

from farm.errors import NotFound
from farm.lifecycle import ATTEMPT_MAX, part_of
from farm.limits import shown
from farm.store.dispatch import Dispatch
from farm.store.graph import Graph
from farm.store.storage import DeadGroupRow, PartKey, PartRow, Storage
from farm.wire import Replayed

PARTS_PER_STEP = 200


def group_id(channel: int, error: int) -> str:
    return f"{channel:x}.{error:x}"


class Letters:
    """Replays dead letters, within the writer's transaction."""

    def __init__(self, storage: Storage, graph: Graph, dispatch: Dispatch) -> None:
        self._storage = storage
        self._graph = graph
        self._dispatch = dispatch

    def replay(self, group: str, place: str, dry_run: bool) -> Replayed:  # noqa: FBT001
        """One step through a group, from `place` on. Who was retracted, unfollowed or muted
        meanwhile stays dead. Raises `NotFound`."""
        row = self._group(group)
        after = _place(place)
        parts = self._storage.dead_parts(row.channel, row.error, after, PARTS_PER_STEP)
        replayed, skipped = 0, Counter[str]()
        for part in parts:
            replayed += self._revive(part, skipped, dry_run=dry_run)
        self._dispatch.flush()
        next_place = ""
        if len(parts) == PARTS_PER_STEP:
            last = parts[-1]
            next_place = f"{last.post:x}.{last.segment:x}.{last.part:x}"
        return Replayed(replayed, dict(skipped), next_place)

    def _group(self, group: str) -> DeadGroupRow:
        channel, _, error = group.partition(".")
        try:
            row = self._storage.dead_group(int(channel, 16), int(error, 16))
        except (ValueError, OverflowError):
            row = None
        if row is None:
            raise NotFound(f"group_id '{shown(group)}': there is no such group of dead letters")
        return row

    def _revive(self, row: PartRow, skipped: Counter[str], *, dry_run: bool) -> int:
        """Moves those of a part who may be told; returns how many they are."""
        batch = self._dispatch.open((row.post, row.channel, row.segment))
        members = batch.parts[row.part]
        if batch.post.retracted:
            skipped["retracted"] += len(members)
            return 0
        if part_of(row.part).attempt >= ATTEMPT_MAX:
            skipped["tried too often"] += len(members)
            return 0
        author = self._graph.numbered(batch.post.author)
        for reason, lost in self._graph.lost(author, batch.post.seq, members):
            if lost:
                skipped[reason.name.lower()] += len(lost)
                members = members - lost
        if not dry_run:
            self._dispatch.revive(batch, row.part, members)
        return len(members)


def _place(place: str) -> PartKey:
    """The part after which to go on; raises `NotFound` for what was not given out."""
    if not place:
        return (0, 0, 0, 0)
    try:
        post, segment, part = (int(number, 16) for number in place.split("."))
    except ValueError:
        raise NotFound(f"'{shown(place)}': no place to go on from") from None
    return (post, 0, segment, part)
