"""Logging, and every metric in one table.

Metrics come from three places. What counts notifications comes from the store (`Source.STORE`):
totals kept in the commit that moved the notifications, so no death of a process can make them
wrong and no scrape scans a table. What the supervisor knows (`Source.FARM`) is asked of it. The
rest (`Source.PROCESS`) each process keeps in prometheus-client's multiprocess files.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

from farm.clock import Clock, rfc3339
from farm.errors import StartError

# Upper bounds in seconds of the histograms, the infinite one left out.
DELIVERY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
END_TO_END_BUCKETS_S = (
    0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip
PUBLISH_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
)  # fmt: skip
COMMIT_BUCKETS_S = (
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
)  # fmt: skip
COUNT_BUCKETS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
AUDIENCE_BUCKETS = (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)


class Source(Enum):
    STORE = "the store's totals and state"
    FARM = "the supervisor"
    PROCESS = "multiprocess files"


class Metric(NamedTuple):
    name: str  # as scraped
    kind: str  # counter, gauge or histogram
    source: Source
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("notifications_sent_total", "counter", Source.STORE, "Notifications delivered."),
        Metric(
            "notifications_failed_total", "counter", Source.STORE,
            "Notifications given up after their last attempt.",
        ),
        Metric(
            "notification_delivery_duration_seconds", "histogram", Source.STORE,
            "Duration of one attempt on a channel.", (), DELIVERY_BUCKETS_S,
        ),
        Metric(
            "hark_posts_published_total", "counter", Source.PROCESS,
            "Posts asked to be published, by what was answered.", ("outcome",),
        ),
        Metric(
            "hark_fanout_audience", "histogram", Source.STORE,
            "People a published post had to reach.", (), AUDIENCE_BUCKETS,
        ),
        Metric(
            "hark_publish_duration_seconds", "histogram", Source.PROCESS,
            "From receipt of a publishing call to its durable answer.", (), PUBLISH_BUCKETS_S,
        ),
        Metric(
            "hark_delivery_attempts_total", "counter", Source.STORE,
            "Attempts that ended, in notifications.", ("channel", "outcome"),
        ),
        Metric(
            "hark_delivery_retries_total", "counter", Source.STORE,
            "Attempts beyond the first, in notifications.", ("channel",),
        ),
        Metric(
            "hark_notifications_suppressed_total", "counter", Source.STORE,
            "Notifications not sent, by reason.", ("channel", "reason"),
        ),
        Metric(
            "hark_notifications_dead_total", "counter", Source.STORE,
            "Notifications that became dead letters.", ("channel",),
        ),
        Metric(
            "hark_end_to_end_duration_seconds", "histogram", Source.STORE,
            "From a post's receipt to a delivery, in notifications.", (), END_TO_END_BUCKETS_S,
        ),
        Metric(
            "hark_queue_notifications", "gauge", Source.STORE,
            "Notifications that wait, are leased or retry.", ("state",),
        ),
        Metric(
            "hark_queue_oldest_seconds", "gauge", Source.STORE,
            "Age of the oldest post that has notifications waiting.",
        ),
        Metric("hark_leases", "gauge", Source.STORE, "Leases that workers hold."),
        Metric(
            "hark_leases_expired_total", "counter", Source.STORE,
            "Leases taken back because their time was over or their worker died.",
        ),
        Metric(
            "hark_stale_outcomes_total", "counter", Source.STORE,
            "Outcomes dropped because their lease was over.",
        ),
        Metric(
            "hark_store_commit_duration_seconds", "histogram", Source.PROCESS,
            "Duration of a commit to disk.", (), COMMIT_BUCKETS_S,
        ),
        Metric(
            "hark_store_batch_operations", "histogram", Source.PROCESS,
            "Operations made durable by one commit.", (), COUNT_BUCKETS,
        ),
        Metric(
            "hark_store_disk_bytes", "gauge", Source.STORE,
            "Size of the database and its write-ahead log.",
        ),
        Metric(
            "hark_unaccounted_notifications", "gauge", Source.STORE,
            "People in no set of a post, or in two, as the background sweep last found. Must be 0.",
        ),
        Metric(
            "hark_unaccounted_age_seconds", "gauge", Source.STORE,
            "Age of the last whole round of that sweep; infinite before the first.",
        ),
        Metric(
            "hark_live_subscribers", "gauge", Source.PROCESS, "People who are online.",
        ),
        Metric(
            "hark_process_restarts_total", "counter", Source.FARM,
            "Processes started again after they ended.", ("role",),
        ),
        Metric("hark_processes", "gauge", Source.FARM, "Processes that run.", ("role",)),
        Metric(
            "hark_build_info", "gauge", Source.FARM, "Always 1; the version is a label.",
            ("version",),
        ),
    )
}  # fmt: skip


class ProcessMetrics:
    """The metrics that this process keeps itself. Make one, in `main`, and hand it down.

    prometheus-client decides between memory and multiprocess files when it is imported, by
    PROMETHEUS_MULTIPROC_DIR in the environment the supervisor gives its children.
    """

    def __init__(self) -> None:
        """Raises `StartError` where there is no room for its files."""
        try:
            self._make()
        except OSError as error:
            raise StartError(
                f"{error.filename}: {error.strerror}; make room, or choose another --data-dir"
            ) from None

    def _make(self) -> None:
        self.posts_published = _counter("hark_posts_published_total")
        self.publish_duration = _histogram("hark_publish_duration_seconds")
        self.commit_duration = _histogram("hark_store_commit_duration_seconds")
        self.batch_operations = _histogram("hark_store_batch_operations")
        live = METRICS["hark_live_subscribers"]
        self.live_subscribers = Gauge(
            live.name, live.help, multiprocess_mode="livesum", registry=None
        )


def _counter(name: str) -> Counter:
    metric = METRICS[name]
    return Counter(name, metric.help, metric.labels, registry=None)


def _histogram(name: str) -> Histogram:
    metric = METRICS[name]
    return Histogram(name, metric.help, metric.labels, buckets=metric.buckets, registry=None)


@contextlib.contextmanager
def metrics_lock(directory: Path, *, alone: bool) -> Iterator[None]:
    """Held, shared, while the multiprocess files are read, so that no file comes or goes meanwhile.

    Who moves files asks for it alone, which raises `BlockingIOError` while somebody reads.
    """
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        yield


_LOGGER = logging.getLogger("hark")
_as_json = json.JSONEncoder(default=str).encode  # `json.dumps` makes another encoder each time


class _Format(logging.Formatter):
    """One line a record: text for people, JSON for machines; both with the process's name."""

    def __init__(self, process: str, clock: Clock, *, as_json: bool) -> None:
        super().__init__()
        self._process = process
        self._clock = clock
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        extra: dict[str, Any] = getattr(record, "fields", {})
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        at = rfc3339(self._clock.wall_us() // 1000 * 1000)
        if self._as_json:
            line = {"time": at, "level": record.levelname.lower(), "process": self._process}
            return _as_json(line | {"message": message} | extra)
        pairs = "".join(f" {key}={_escaped(value)}" for key, value in extra.items())
        return f"{at} {record.levelname.lower():7} {self._process}: {_escaped(message)}{pairs}"


def _escaped(value: Any) -> str:
    """Text that cannot forge another log line or drive a terminal; a traceback keeps its lines."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(value))


def start_logging(process: str, clock: Clock, *, log_format: str, log_level: str) -> None:
    """Sends this process's log to standard error."""
    # Which line logged it, and on what thread, is in no line of ours; to find out takes a third of
    # what a line costs (Logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format(process, clock, as_json=log_format == "json"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(log_level.upper())


def logs(level: int) -> bool:
    """Whether this level is logged at all, for events that are many."""
    return _LOGGER.isEnabledFor(level)


def log(level: int, message: str, /, **fields: Any) -> None:
    """One event: a short message and its values as fields."""
    _LOGGER.log(level, message, extra={"fields": fields})
