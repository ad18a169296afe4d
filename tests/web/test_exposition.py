"""/metrics and /ready, of a web process by itself and of a whole farm."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from farm.observe import METRICS, Source
from tests.farm_process import StartFarm, wait_until
from tests.web.test_seeds import publish
from tests.web.web_process import WebProcess, ask

pytestmark = pytest.mark.process

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def _text(address: str) -> str:
    reply = ask(address, "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return reply.body.decode()


def _scraped(address: str) -> dict[str, Metric]:
    """By the names of the table: the parser takes `_total` from a counter's."""
    found = {}
    for family in families(_text(address)):
        found[family.name + "_total" * (family.type == "counter")] = family
    return found


def _value(address: str, name: str) -> float:
    return float(sum(one.value for one in _scraped(address)[name].samples if one.name == name))


def test_every_metric_is_there_from_the_start(farm: StartFarm) -> None:
    hark = farm()
    scraped = _scraped(hark.http_address)
    assert set(scraped) == set(METRICS)
    for name, metric in METRICS.items():
        family = scraped[name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert family.samples, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), name
        if metric.kind == "histogram":
            bounds = [s.labels["le"] for s in family.samples if s.name == f"{name}_bucket"]
            assert [float(bound) for bound in bounds] == [*metric.buckets, float("inf")], name
            counts = [s.value for s in family.samples if s.name == f"{name}_bucket"]
            assert counts == sorted(counts), name
            assert {s.name for s in family.samples} >= {f"{name}_sum", f"{name}_count"}, name
        elif metric.kind == "counter":
            assert {sample.value for sample in family.samples} == {0}, name
    roles = {s.labels["role"]: s.value for s in scraped["hark_processes"].samples}
    assert roles == {role: len(hark.pids(role)) for role in roles if role != "supervisor"} | {
        "supervisor": 1
    }
    assert _value(hark.http_address, "hark_unaccounted_notifications") == 0


def test_promtool_has_nothing_to_say(farm: StartFarm) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    text = _text(farm().http_address)
    command = [promtool, "check", "metrics"]
    said = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_open_metrics_for_who_asks(web: WebProcess) -> None:
    reply = ask(web.address, "/metrics", headers={"accept": OPEN})
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in open_families(reply.body.decode())}
    assert names == {name.removesuffix("_total") for name in METRICS}


def test_without_store_and_supervisor_what_is_known_is_told(web: WebProcess) -> None:
    """What was never told has no sample: a 0 that jumps to the truth would look like a burst."""
    scraped = _scraped(web.address)
    assert set(scraped) == set(METRICS)
    told = {name for name, family in scraped.items() if family.samples}
    own = {name for name, metric in METRICS.items() if metric.source is Source.PROCESS}
    assert told == own | {"hark_build_info"}
    reply = ask(web.address, "/metrics.json")
    assert (reply.status, reply.json["error"]["code"]) == (503, "UNAVAILABLE")


def test_ready_names_who_is_missing(web: WebProcess) -> None:
    reply = ask(web.address, "/ready")
    assert reply.status == 503
    assert reply.json == {
        "ready": False,
        "not_ready": ["store", "reader", "supervisor"],
        "error": {
            "code": "UNAVAILABLE",
            "message": "no answer from: store, reader, supervisor",
        },
    }


def test_last_totals_are_told_while_the_store_is_away(farm: StartFarm) -> None:
    hark = farm("--simulated-failure-rate", "0")
    assert ask(hark.http_address, "/ready").json == {"ready": True, "not_ready": []}
    publish(hark, "p1", "Hello world!")
    name = "notifications_sent_total"
    wait_until(lambda: _value(hark.http_address, name) == 6, 15)
    durations = _scraped(hark.http_address)["notification_delivery_duration_seconds"].samples
    buckets = [sample.value for sample in durations if sample.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[-1]) == (0, 6)  # none within a millisecond, all within infinity
    assert 6 * 0.010 <= next(s.value for s in durations if s.name.endswith("_sum")) < 6
    (store,) = hark.pids("store")
    os.kill(store, signal.SIGSTOP)
    try:
        assert ask(hark.http_address, "/ready").json["not_ready"] == ["store"]
        assert _value(hark.http_address, name) == 6
    finally:
        os.kill(store, signal.SIGCONT)


def test_counts_of_published_posts_come_from_every_process(farm: StartFarm) -> None:
    hark = farm()
    publish(hark, "p1", "Hello world!")
    publish(hark, "p1", "Hello world!")
    outcomes = {
        sample.labels["outcome"]: sample.value
        for sample in _scraped(hark.http_address)["hark_posts_published_total"].samples
    }
    assert {outcome: count for outcome, count in outcomes.items() if count} == {
        "ok": 1,
        "duplicate": 1,
    }
    commits = _scraped(hark.http_address)["hark_store_commit_duration_seconds"].samples
    assert next(s.value for s in commits if s.name.endswith("_count")) > 0
