"""A real Prometheus, with the configuration as it lies here but for the port and the haste."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm_process import ROOT, FarmProcess, StartFarm, wait_until
from tests.test_acceptance import Client, counters

pytestmark = pytest.mark.process


class Prometheus:
    """Debian's server, scraping one farm every second."""

    def __init__(self, program: str, hark: FarmProcess, directory: Path) -> None:
        config = (ROOT / "prometheus.yml").read_text()
        assert "scrape_interval: 5s" in config
        assert "localhost:8080" in config
        config = config.replace("5s", "1s").replace("4s", "1s")
        config = config.replace("localhost:8080", hark.http_address)
        (directory / "docs").symlink_to(ROOT / "docs")
        (directory / "prometheus.yml").write_text(config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        with (directory / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'tsdb'}",
                    f"--web.listen-address={self.address}",
                ],
                stdout=log,
                stderr=log,
            )

    def get(self, path: str) -> Any:
        """The data of an answer of its API, or None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
                return json.load(answer)["data"]
        except (OSError, urllib.error.URLError):
            return None

    def value(self, query: str) -> float | None:
        data = self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        return float(data["result"][0]["value"][1]) if data and data["result"] else None


@pytest.fixture
def scraping(farm: StartFarm, tmp_path: Path) -> Iterator[tuple[FarmProcess, Prometheus]]:
    program = shutil.which("prometheus")
    if program is None:
        message = "prometheus is not installed; on Debian: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    hark = farm("--simulated-failure-rate", "0")
    directory = tmp_path / "prometheus"
    directory.mkdir()
    made = Prometheus(program, hark, directory)
    yield hark, made
    made.process.terminate()
    made.process.wait(10)


def test_it_scrapes_a_farm_and_loads_the_alerts(
    scraping: tuple[FarmProcess, Prometheus],
) -> None:
    hark, prometheus = scraping

    def target() -> dict[str, Any] | None:
        data = prometheus.get("/api/v1/targets")
        active: list[dict[str, Any]] = data["activeTargets"] if data else []
        return next((one for one in active if one["health"] == "up"), None)

    found = wait_until(target, 30)
    assert found is not None
    assert found["lastError"] == ""
    client = Client(hark)
    client.publish("p")
    client.close()
    wait_until(lambda: counters(hark)["total_sent"] == 6, 10)
    wait_until(lambda: prometheus.value("notifications_sent_total") == 6, 20)
    assert prometheus.value("notification_delivery_duration_seconds_count") == 6
    assert prometheus.value("notifications_failed_total") == 0
    assert prometheus.value('hark_processes{role="worker"}') == 2
    rules = prometheus.get("/api/v1/rules")
    names = {rule["name"] for group in rules["groups"] for rule in group["rules"]}
    assert "HarkProcessesRestart" in names
    assert all(rule["health"] != "err" for group in rules["groups"] for rule in group["rules"])
