"""Settings: what beats what, and what each wrong value is told."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from farm import config
from farm.config import Child, Settings, flag, load
from farm.errors import ConfigError

EXAMPLE = Path(__file__).resolve().parent.parent / "docs" / "hark.toml"
NAMES = [field.name for field in dataclasses.fields(Settings)]


def from_flags(*arguments: str, **environment: str) -> Settings:
    return load("supervisor.py", arguments, environment)


def refusal(*arguments: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        from_flags(*arguments, **environment)
    assert "\n" not in caught.value.message
    return caught.value.message


def toml(directory: Path, text: str) -> str:
    path = directory / "hark.toml"
    path.write_text(text)
    return str(path)


# A flag as written, the field's value, and the same in TOML.
GIVEN = [
    ("workers", "3", 3, "3"),
    ("gateways", "2", 2, "2"),
    ("web_processes", "2", 2, "2"),
    ("readers", "2", 2, "2"),
    ("host", "::1", "::1", '"::1"'),
    ("grpc_port", "0", 0, "0"),
    ("http_port", "65535", 65535, "65535"),
    ("data_dir", "memory:", "memory:", '"memory:"'),
    ("import_follows", "a b.gz", "a b.gz", '"a b.gz"'),
    ("channel", "inbox", ("inbox",), '["inbox"]'),
    ("simulated_failure_rate", "0.5", 0.5, "0.5"),
    ("simulated_latency_ms", "0-2.5", (0.0, 2.5), '"0-2.5"'),
    ("max_attempts", "63", 63, "63"),
    ("backoff_ms", "1", 1, "1"),
    ("backoff_cap_ms", "86400000", 86_400_000, "86_400_000"),
    ("retention_days", "1", 1, "1"),
    ("following_max", "1", 1, "1"),
    ("backlog_max", "1", 1, "1"),
    ("disk_reserve_mb", "0", 0, "0"),
    ("allowed_origin", "https://a.example", ("https://a.example",), '["https://a.example"]'),
    ("worker_concurrency", "1", 1, "1"),
    ("seed", "0", 0, "0"),
    ("log_format", "text", "text", '"text"'),
    ("log_level", "debug", "debug", '"debug"'),
]
SWITCHES = {"sample_data", "no_introspection"}


def test_every_setting_is_tried_here() -> None:
    assert {row[0] for row in GIVEN} | SWITCHES == set(NAMES)


@pytest.mark.parametrize(("name", "text", "value", "in_toml"), GIVEN)
def test_a_setting_comes_from_flag_environment_and_file(
    name: str, text: str, value: object, in_toml: str, tmp_path: Path
) -> None:
    assert getattr(from_flags(), name) != value
    assert getattr(from_flags(flag(name), text), name) == value
    assert getattr(from_flags(**{f"HARK_{name.upper()}": text}), name) == value
    for key in (name, name.replace("_", "-")):
        path = toml(tmp_path, f"{key} = {in_toml}\n")
        assert getattr(from_flags("--config", path), name) == value
        assert getattr(from_flags(HARK_CONFIG=path), name) == value


def test_switches(tmp_path: Path) -> None:
    assert from_flags().sample_data is None
    assert from_flags("--sample-data").sample_data is True
    assert from_flags("--no-sample-data").sample_data is False
    assert from_flags(HARK_SAMPLE_DATA="off").sample_data is False
    assert from_flags("--sample-data", HARK_SAMPLE_DATA="0").sample_data is True
    assert from_flags("--no-introspection").no_introspection is True
    assert from_flags(HARK_NO_INTROSPECTION="1").no_introspection is True
    path = toml(tmp_path, "sample-data = false\nno-introspection = true\n")
    settings = from_flags("--config", path)
    assert (settings.sample_data, settings.no_introspection) == (False, True)


def test_a_flag_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    path = toml(tmp_path, "workers = 3\nreaders = 3\ngateways = 3\n")
    settings = from_flags("--workers", "5", "--config", path, HARK_WORKERS="4", HARK_READERS="4")
    assert (settings.workers, settings.readers, settings.gateways) == (5, 4, 3)


def test_repeatable_flags() -> None:
    both = from_flags("--channel", "inbox", "--channel", "simulated")
    assert both.channel == ("inbox", "simulated")
    assert from_flags(HARK_CHANNEL="inbox, simulated").channel == ("inbox", "simulated")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--workers 0", "--workers 0: must be from 1 to 64"),
        ("--workers 65", "--workers 65: must be from 1 to 64"),
        ("--workers two", "--workers two: must be a whole number"),
        ("--workers 2.5", "--workers 2.5: must be a whole number"),
        ("--workers", "--workers"),
        ("--gateways 0", "--gateways 0"),
        ("--web-processes 65", "--web-processes 65"),
        ("--readers 0", "--readers 0"),
        ("--grpc-port -1", "--grpc-port -1: must be from 0 to 65535"),
        ("--http-port 65536", "--http-port 65536"),
        ("--grpc-port 80 --http-port 80", "--http-port 80: is the gRPC port too"),
        ("--host=", "--host: must not be empty"),
        ("--data-dir=", "--data-dir: must not be empty"),
        ("--import-follows=", "--import-follows: must not be empty"),
        ("--channel pigeon", "--channel pigeon: must be one of simulated, inbox"),
        ("--channel inbox --channel inbox", "names one channel twice"),
        ("--simulated-failure-rate 1.1", "--simulated-failure-rate 1.1: must be from 0 to 1"),
        ("--simulated-failure-rate nan", "--simulated-failure-rate nan"),
        ("--simulated-latency-ms 50-10", "--simulated-latency-ms 50-10"),
        ("--simulated-latency-ms 1-60001", "--simulated-latency-ms 60001.0"),
        ("--simulated-latency-ms x", "--simulated-latency-ms x: must be a number"),
        ("--max-attempts 0", "--max-attempts 0"),
        ("--backoff-ms 0", "--backoff-ms 0"),
        ("--backoff-ms 10 --backoff-cap-ms 9", "--backoff-cap-ms 9: must be at least --backoff-ms"),
        ("--retention-days 0", "--retention-days 0"),
        ("--following-max 0", "--following-max 0"),
        ("--backlog-max 0", "--backlog-max 0"),
        ("--disk-reserve-mb -1", "--disk-reserve-mb -1"),
        ("--allowed-origin example.org", "--allowed-origin example.org: must be an origin"),
        ("--allowed-origin https://example.org/", "without a path"),
        ("--worker-concurrency 0", "--worker-concurrency 0"),
        ("--seed -1", "--seed -1"),
        ("--log-format xml", "--log-format xml: must be one of text, json"),
        ("--log-level trace", "--log-level trace: must be one of debug, info, warning, error"),
        ("--sample-data=3", "--sample-data"),
        ("--workres 3", "--workres"),
        ("--work 3", "--work"),  # no guessing of what was meant
        ("3", "3"),
        ("--config /nowhere/hark.toml", "--config /nowhere/hark.toml: No such file or directory"),
    ],
)
def test_a_wrong_flag_is_named(arguments: str, told: str) -> None:
    assert told in refusal(*arguments.split())


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("HARK_WORKERS", "0", "HARK_WORKERS: --workers 0: must be from 1 to 64"),
        ("HARK_WORKERS", "", "HARK_WORKERS: --workers : must be a whole number"),
        ("HARK_SAMPLE_DATA", "maybe", "HARK_SAMPLE_DATA: --sample-data maybe: must be true or"),
        ("HARK_WROKERS", "3", "HARK_WROKERS: unknown environment variable"),
        ("HARK_workers", "3", "HARK_workers: unknown environment variable"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, text: str, told: str) -> None:
    assert refusal(**{variable: text}).startswith(told)


def test_variables_of_other_commands_are_known() -> None:
    others = {"HARK_GRPC": "a:1", "HARK_FAILPOINTS": "x:kill", "HARK_BENCH_GRAPH": "f"}
    assert from_flags(**others) == from_flags()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workres = 3", "unknown key 'workres'"),
        ("[farm]\nworkers = 3", "unknown key 'farm'"),
        ("workers = 0", "--workers 0: must be from 1 to 64"),
        ("workers = '3'", "key 'workers' has a value of the wrong type"),
        ("workers = true", "key 'workers' has a value of the wrong type"),
        ("workers = 2.0", "key 'workers' has a value of the wrong type"),
        ("workers = [2]", "key 'workers' has a value of the wrong type"),
        ("host = 5", "key 'host' has a value of the wrong type"),
        ("channel = 'inbox'", "key 'channel' has a value of the wrong type"),
        ("sample-data = 'yes'", "key 'sample-data' has a value of the wrong type"),
        ("workers = { a = 1 }", "key 'workers' has a value of the wrong type"),
        ('host = "a\\u0000"', "--host: must not contain a NUL"),
        ("grpc-port = 1\ngrpc_port = 2", "key 'grpc_port' is there twice"),
        ("workers = ", "Invalid value"),
    ],
)
def test_a_wrong_key_is_named(text: str, told: str, tmp_path: Path) -> None:
    path = toml(tmp_path, text)
    message = refusal("--config", path)
    assert message.startswith(f"--config {path}: ")
    assert told in message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hark.toml"
    path.write_bytes(b"host = '\xff'")
    assert f"--config {path}" in refusal("--config", str(path))


def test_help_names_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        from_flags("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in NAMES:
        assert flag(name) in text
    for default in ("50051", "8080", "./hark-data", "0.1", "10-50", "30000", "number of cores"):
        assert f"default: {default}" in text


def test_the_example_file_is_complete_and_shows_the_defaults(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert from_flags("--config", str(EXAMPLE)) == from_flags()
    shown = re.sub(r"^# (?=[a-z-]+ = )", "", text, flags=re.MULTILINE)
    assert set(tomllib.loads(shown)) == {name.replace("_", "-") for name in NAMES}
    settings = from_flags("--config", toml(tmp_path, shown))
    has_no_fixed_default = {"workers", "sample_data", "import_follows", "seed", "log_format"}
    for name in set(NAMES) - has_no_fixed_default:
        assert getattr(settings, name) == getattr(from_flags(), name), name


def test_a_child_reads_what_its_supervisor_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    settings = from_flags("--channel", "inbox", "--seed", "7", "--allowed-origin", "http://a:1")
    child = Child(
        role="worker", number=2, name="worker-2-x-1", sockets="/s", settings=settings,
        failpoints="worker.sent:kill",
    )  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO(child.to_json()))
    assert Child.from_standard_input() == child


def test_children_get_no_settings_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARK_WORKERS", "3")
    monkeypatch.setenv("HARK_FAILPOINTS", "x:kill")
    environment = config.child_environment(Path("/metrics"))
    assert "HARK_WORKERS" not in environment
    assert "HARK_FAILPOINTS" not in environment
    assert environment["PROMETHEUS_MULTIPROC_DIR"] == "/metrics"
