"""What runs Hark elsewhere, as far as it can be tried here.

Alert rules, dashboard, image, Compose and service unit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from farm.observe import METRICS

ROOT = Path(__file__).resolve().parent.parent.parent
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
METRIC = re.compile(r"\b(?:hark_|notifications?_)[a-z_]+\b")


def tool(name: str) -> str:
    """The path of a tool that may be missing at home, but not where the gate runs."""
    found = shutil.which(name)
    if found is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(f"{name} is not installed (Debian's package prometheus has promtool)")
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def known_names() -> set[str]:
    """Every name a series of Hark can have."""
    return {
        metric.name + suffix
        for metric in METRICS.values()
        for suffix in SUFFIXES.get(metric.kind, ("",))
    }


def unknown_in(expression: str) -> set[str]:
    without_labels = re.sub(r"\{[^}]*\}|\b(?:by|on)\s*\([^)]*\)", "", expression)
    return set(METRIC.findall(without_labels)) - known_names()


def rules() -> list[dict[str, Any]]:
    return [rule for group in load("docs/ops/alerts.yml")["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((ROOT / "docs/ops/grafana-dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_promtool_accepts_config_and_rules() -> None:
    run(tool("promtool"), "check", "config", "prometheus.yml")
    run(tool("promtool"), "check", "rules", "docs/ops/alerts.yml")


def test_alerts_fire_on_trouble_and_only_then() -> None:
    run(tool("promtool"), "test", "rules", "tests/ops/alerts_test.yml")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert not unknown_in(rule["expr"])
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "action"}
    tried = (ROOT / "tests/ops/alerts_test.yml").read_text()
    assert re.search(rf"\b{rule['alert']}\b", tried), "give it a series that raises it"


def test_prometheus_reads_hark_every_five_seconds_and_its_rules() -> None:
    config = load("prometheus.yml")
    (job,) = config["scrape_configs"]
    assert config["global"]["scrape_interval"] == "5s"
    assert job["static_configs"] == [{"targets": ["localhost:8080"]}]
    assert job["metrics_path"] == "/metrics"
    assert config["rule_files"] == ["docs/ops/alerts.yml"]


def test_dashboard_uses_only_metrics_there_are() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    assert not {name for expression in expressions for name in unknown_in(expression)}


def test_dashboard_expressions_are_promql(tmp_path: Path) -> None:
    """Grafana fills in the variables; as recording rules the expressions can be checked."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    records = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    run(tool("promtool"), "check", "rules", str(file))


def test_dashboard_shows_every_metric() -> None:
    text = json.dumps(panels())
    assert not [name for name in METRICS if name not in text]


def test_dashboard_panels_are_told_apart_and_do_not_overlap() -> None:
    dashboard = json.loads((ROOT / "docs/ops/grafana-dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        assert columns.stop <= 24, "Grafana's grid has 24 columns"
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["description"] for panel in panels())


def test_compose_runs_both_on_the_ports_people_know() -> None:
    services = load("compose.yaml")["services"]
    published = {tuple(port.split(":")[-2:]) for port in services["hark"]["ports"]}
    assert published == {
        ("50051", "50051"),
        ("5050", "50051"),
        ("8080", "8080"),
        ("8081", "8080"),
    }
    loopback = [port for port in services["hark"]["ports"] if port.startswith("127.0.0.1:")]
    assert len(loopback) == 4, "there is no authentication yet"
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]


def test_compose_pins_images_and_mounts_what_exists() -> None:
    services = load("compose.yaml")["services"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert services["hark"]["image"] == f"hark:{project['version']}"
    for service in services.values():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
        for volume in service["volumes"]:
            if volume.startswith("./"):
                source, target, mode = volume.split(":")
                assert (ROOT / source).is_file()
                assert mode == "ro"
                # The configuration names its rules relative to itself.
                assert target == "/etc/prometheus/" + source.removeprefix("./")


def dockerfile() -> list[str]:
    """The instructions, continued lines joined, without comments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def instructions(name: str) -> list[str]:
    found = [line.split(maxsplit=1) for line in dockerfile()]
    return [rest for instruction, rest in found if instruction == name]


def test_image_is_slim_pinned_and_without_root() -> None:
    bases = instructions("FROM")
    assert len(bases) == 2
    assert all(re.match(r"python:3\.\d+-slim-[a-z]+\b", base) for base in bases)
    assert instructions("USER") == ["hark"]
    assert instructions("VOLUME") == ["/var/lib/hark"]
    assert instructions("EXPOSE") == ["50051 8080"]
    assert json.loads(instructions("ENTRYPOINT")[0])[1:] == ["supervisor.py", "--host", "0.0.0.0"]


def test_image_gets_what_hark_needs_and_nothing_else() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert kept == {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "supervisor.py",
        "farm",
        "gateway",
    }


def test_health_check_of_the_image_is_code_that_runs() -> None:
    (check,) = instructions("HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")
    assert "'/ready'" in command[2]


def test_service_unit_is_one_systemd_understands(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    # The check wants the program to exist, so one stands in for Hark's.
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "hark.service"
    text = (ROOT / "docs/ops/hark.service").read_text()
    unit.write_text(text.replace("/opt/hark/.venv/bin/python ", f"{program} "))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "hark.service" in line]
    assert done.returncode == 0, done.stderr
    assert not complaints, "an unknown key is only a warning to systemd"


def test_service_unit_gives_a_drain_its_time() -> None:
    lines = (ROOT / "docs/ops/hark.service").read_text().splitlines()
    for line in ("Type=exec", "KillSignal=SIGTERM", "TimeoutStopSec=15", "DynamicUser=yes"):
        assert line in lines
