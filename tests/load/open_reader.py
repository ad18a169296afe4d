"""A reader that reads on and on while posts are written, and the log behind it.

The log cannot begin anew before the reader has ended. How long it may read is counted in what is
written meanwhile, not in seconds, so that it makes no difference how fast this machine is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import apsw

from farm.clock import SystemClock
from farm.store.sqlite_schema import LOG
from farm.store.sqlite_snapshot import DATABASE, SqliteSnapshot
from farm.wire import Op
from tests.store.harness import Store

ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"
CONTENT = "x" * 16_384
POSTS = 16  # in a commit
WAIT_S = 20.0


@dataclass(slots=True)
class Held:
    """What became of it, in bytes."""

    written: int
    most_log: int
    cuts: int


class _Reader(threading.Thread):
    """Asks what has no end, again as soon as it is cut: once so much was written meanwhile."""

    def __init__(self, place: Path, held: Held, allowance: int) -> None:
        super().__init__(daemon=True)
        self._place, self._held, self._allowance = place, held, allowance
        self._until = 0
        self.reads, self.over = threading.Event(), threading.Event()
        self.ends = False

    @property
    def is_late(self) -> bool:
        return self._held.written > self._until

    def run(self) -> None:
        snapshot = SqliteSnapshot.open(self._place)
        snapshot.cut_at(lambda: -1.0 if self.ends or self.is_late else 1.0)
        while not self.ends:
            snapshot.give_way(SystemClock())
            self._until = self._held.written + self._allowance
            try:
                with snapshot:
                    self.over.clear()
                    snapshot.meta()  # from here on the log is held
                    self.reads.set()
                    snapshot.db.execute(ENDLESS).fetchall()
            except apsw.InterruptError:
                self._held.cuts += 1
            self.over.set()
        snapshot.close()


def hold_open(store: Store, place: Path, bytes_to_write: int, allowance: int) -> Held:
    """Writes so much while somebody reads, who is cut after `allowance` bytes and begins again."""
    held, log = Held(0, 0, 0), place / (DATABASE + LOG)
    store.follow("ann", "star")
    reader = _Reader(place, held, allowance)
    reader.start()
    assert reader.reads.wait(WAIT_S)
    for number in range(bytes_to_write // (POSTS * len(CONTENT))):
        store.group(
            (Op.PUBLISH, f"{number}-{n}", "star", CONTENT, store.clock.wall_us(), True)
            for n in range(POSTS)
        )
        held.written += POSTS * len(CONTENT)
        if reader.is_late:
            assert reader.over.wait(WAIT_S), "the reader was not cut"
        store.storage.checkpoint()
        held.most_log = max(held.most_log, log.stat().st_size)
    reader.ends = True
    reader.join(WAIT_S)
    return held
