"""Metrics files of ended processes: sums stay, live gauges go, files do not pile up."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from farm.observe import metrics_lock
from farm.remains import Remains

ROOT = Path(__file__).resolve().parent.parent
COUNTS = """
import os, sys
from farm.observe import ProcessMetrics
metrics = ProcessMetrics()
metrics.posts_published.labels("ok").inc(int(sys.argv[1]))
metrics.posts_published.labels(sys.argv[2]).inc()
for seconds in (0.0001, 0.3, 100):
    metrics.publish_duration.observe(seconds)
metrics.live_subscribers.set(5)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


MANY = """
import os, sys
from farm.observe import ProcessMetrics
metrics = ProcessMetrics()
print(os.getpid(), flush=True)
for _ in range(int(sys.argv[1])):
    if not (pid := os.fork()):
        metrics.live_subscribers.set(1)
        metrics.posts_published.labels("ok").inc()
        metrics.publish_duration.observe(0.001)
        os._exit(0)
    os.waitpid(pid, 0)
    print(pid, flush=True)
"""


class Process:
    """A process that has counted, and lives until `end`."""

    def __init__(self, directory: Path, count: int, outcome: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", COUNTS, str(count), outcome],
            cwd=ROOT,
            env={"PROMETHEUS_MULTIPROC_DIR": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.pid = int(self._process.stdout.readline())

    def end(self) -> int:
        self._process.kill()
        self._process.communicate()
        return self.pid


def scraped(directory: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
    for metric in registry.collect():
        for sample in metric.samples:
            values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return dict(values)


def test_every_sum_stays_and_live_gauges_go(tmp_path: Path) -> None:
    remains = Remains(tmp_path)
    processes = [Process(tmp_path, count, f"outcome{count % 2}") for count in (1, 2, 3, 4)]
    before = scraped(tmp_path)
    assert before["hark_posts_published_total", (("outcome", "ok"),)] == 10
    assert before["hark_publish_duration_seconds_count", ()] == 12
    assert before.pop(("hark_live_subscribers", ())) == 20

    for process in processes[:3]:
        remains.add(process.end())
    assert scraped(tmp_path).pop(("hark_live_subscribers", ())) == 5
    assert remains.archive({processes[3].pid})
    after = scraped(tmp_path)
    assert after.pop(("hark_live_subscribers", ())) == 5
    assert after == before
    names = {path.name for path in tmp_path.iterdir()}
    for kind in ("counter", "histogram"):
        assert {name for name in names if name.startswith(kind)} == {
            f"{kind}_archive.db",
            f"{kind}_{processes[3].pid}.db",
        }

    remains.add(processes[3].end())  # into archives that are there already
    assert remains.archive(set())
    assert scraped(tmp_path) == before
    assert {path.name for path in tmp_path.glob("*.db")} == {
        "counter_archive.db",
        "histogram_archive.db",
    }


def test_the_live_gauge_is_that_of_the_living_after_hundreds_of_deaths(tmp_path: Path) -> None:
    """Fault row 105. By itself the library says 300 more."""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", MANY, "300"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    dead = [int(pid) for pid in done.stdout.split()]
    living = Process(tmp_path, 1, "x")
    before = scraped(tmp_path)
    assert len(set(dead)) == 301
    remains = Remains(tmp_path)
    for pid in dead:
        remains.add(pid)
    assert remains.archive({living.pid})
    after = scraped(tmp_path)
    assert after.pop(("hark_live_subscribers", ())) == 5
    assert before.pop(("hark_live_subscribers", ())) == 305
    assert after == pytest.approx(before)
    assert after["hark_posts_published_total", (("outcome", "ok"),)] == 301
    assert len(list(tmp_path.glob("*.db"))) == 5, "two archives, and three files of the living"
    living.end()


def test_a_scrape_is_waited_for(tmp_path: Path) -> None:
    remains = Remains(tmp_path)
    pid = Process(tmp_path, 1, "x").end()
    remains.add(pid)
    with metrics_lock(tmp_path, alone=False), metrics_lock(tmp_path, alone=False):
        assert not remains.archive(set())
        assert (tmp_path / f"counter_{pid}.db").exists()
    assert remains.archive(set())
    assert not (tmp_path / f"counter_{pid}.db").exists()


def test_a_number_given_again_goes_on_counting(tmp_path: Path) -> None:
    remains = Remains(tmp_path)
    process = Process(tmp_path, 1, "x")
    remains.add(process.pid)
    before = scraped(tmp_path)
    assert remains.archive({process.pid})
    assert scraped(tmp_path) == before
    assert not list(tmp_path.glob("*_archive.db"))
    process.end()


@pytest.mark.parametrize("content", [b"", b"\0" * 65536])
def test_a_file_killed_while_it_was_made_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    remains = Remains(tmp_path)
    (tmp_path / "counter_1.db").write_bytes(content)
    remains.add(1)
    assert remains.archive(set())
    assert not (tmp_path / "counter_1.db").exists()
