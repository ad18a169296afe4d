"""What the metrics files of ended processes become, so that no death changes a count.

prometheus-client keeps a file for each process and kind of metric. When a process ends, its live
gauges go, and its counters and histograms are added to one archive of their kind: a thousand
restarts leave two files, and every sum stays as it was.
"""

from __future__ import annotations

import contextlib
import struct
from collections import defaultdict
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

from farm.observe import metrics_lock

_SUMMED = ("counter", "histogram", "summary")


class Remains:
    """The files of the dead in one metrics directory, until they are in the archives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._dead: set[int] = set()

    def add(self, pid: int) -> None:
        """Notes an ended process. Its live gauges go at once."""
        mark_process_dead(pid, str(self._directory))
        self._dead.add(pid)

    def archive(self, living: set[int]) -> bool:
        """Moves what the dead counted into the archives.

        False where a scrape is going on: ask again later. The file of a number that `living` has
        again is not touched: whoever got the number goes on counting in it.
        """
        if not self._dead:
            return True
        try:
            with metrics_lock(self._directory, alone=True):
                for kind in _SUMMED:
                    files = [self._directory / f"{kind}_{pid}.db" for pid in self._dead - living]
                    self._add_up(kind, [path for path in files if path.exists()])
        except BlockingIOError:
            return False
        self._dead.clear()
        return True

    def _add_up(self, kind: str, files: list[Path]) -> None:
        if not files:
            return
        archive = self._directory / f"{kind}_archive.db"
        totals: defaultdict[str, float] = defaultdict(float)
        for path in [archive, *files]:
            if path.exists():
                for key, value in _values(path):
                    totals[key] += value
        new = archive.with_suffix(".new")
        new.unlink(missing_ok=True)
        written = MmapedDict(str(new))
        for key, value in totals.items():
            written.write_value(key, value, 0.0)
        written.close()
        new.replace(archive)
        for path in files:
            path.unlink()


def _values(path: Path) -> list[tuple[str, float]]:
    """What a file holds; nothing where its process was killed while it made the file."""
    with contextlib.suppress(RuntimeError, ValueError, struct.error):
        rows = MmapedDict.read_all_values_from_file(str(path))
        return [(key, value) for key, value, _, _ in rows]
    return []
