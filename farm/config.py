"""One frozen Settings, read once from flags, environment and file; nobody else sees them.

A flag beats the environment (`HARK_<NAME>`), the environment beats the TOML file named by
`--config`. Whatever is unknown or out of range raises `ConfigError` naming it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from farm.errors import ConfigError

MEMORY = "memory:"

# Known to other commands of the project, so not a spelling mistake here.
_OTHER_VARIABLES = {"HARK_CONFIG", "HARK_GRPC", "HARK_FAILPOINTS", "HARK_BENCH_GRAPH"}


def _option(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    metavar: str | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    meta = {"help": text, "low": low, "high": high, "metavar": metavar, "choices": choices}
    factory = default if callable(default) else None
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def _default_workers() -> int:
    return min(max(2, len(os.sched_getaffinity(0))), 64)


def _default_log_format() -> str:
    return "text" if sys.stderr.isatty() else "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a farm can be told. The field names are the flags, with `_` for `-`."""

    workers: int = _option(_default_workers, "delivery worker processes", low=1, high=64)
    gateways: int = _option(1, "gRPC processes sharing the port", low=1, high=64)
    web_processes: int = _option(1, "HTTP processes sharing the port", low=1, high=64)
    readers: int = _option(1, "processes that answer reads from the database", low=1, high=64)
    host: str = _option("127.0.0.1", "address where gRPC and HTTP listen", metavar="ADDR")
    grpc_port: int = _option(50051, "gRPC port; 0: a free one", low=0, high=65535)
    http_port: int = _option(8080, "HTTP port; 0: a free one", low=0, high=65535)
    data_dir: str = _option(
        "./hark-data",
        f"directory of the database, lock and sockets; '{MEMORY}' keeps nothing",
        metavar="PATH",
    )
    sample_data: bool | None = _option(
        None, "seven sample people; default: where the store is empty and nothing is imported"
    )
    import_follows: str | None = _option(
        None,
        "edge list to import before the ready line, 'follower followed' a line",
        metavar="FILE",
    )
    channel: tuple[str, ...] = _option(
        ("simulated",),
        "delivery channel, repeatable; 'inbox' sends nothing",
        choices=("simulated", "inbox"),
    )
    simulated_failure_rate: float = _option(
        0.1, "share of simulated attempts that fail, 0 to 1", low=0, high=1
    )
    simulated_latency_ms: tuple[float, float] = _option(
        (10.0, 50.0),
        "simulated latency in milliseconds, uniform",
        low=0,
        high=60_000,
        metavar="A-B",
    )
    max_attempts: int = _option(4, "tries of a notification, the first included", low=1, high=63)
    backoff_ms: int = _option(
        100, "delay before the first retry in milliseconds, doubling", low=1, high=3_600_000
    )
    backoff_cap_ms: int = _option(
        30_000, "longest delay before a retry in milliseconds", low=1, high=86_400_000
    )
    retention_days: int = _option(30, "days a post is kept, from its receipt", low=1, high=36_500)
    following_max: int = _option(10_000, "authors one person may follow", low=1, high=1_000_000)
    backlog_max: int = _option(
        1_000_000_000, "notifications waiting; beyond it posts are refused", low=1, high=10**15
    )
    disk_reserve_mb: int = _option(
        256, "free megabytes below which posts are refused", low=0, high=10**9
    )
    allowed_origin: tuple[str, ...] = _option(
        (), "browser origin that may use HTTP and WebSocket, repeatable", metavar="URL"
    )
    no_introspection: bool = _option(default=False, text="refuse GraphQL introspection")
    worker_concurrency: int = _option(
        1000, "notifications in flight in one worker", low=1, high=1_000_000
    )
    seed: int | None = _option(
        None, "makes chance repeatable, batch by batch", low=0, high=2**63 - 1
    )
    log_format: str = _option(
        _default_log_format,
        "log lines; default: text on a terminal, else json",
        choices=("text", "json"),
    )
    log_level: str = _option(
        "info", "least level that is logged", choices=("debug", "info", "warning", "error")
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        low, high = self.simulated_latency_ms
        if low > high:
            raise ConfigError(f"--simulated-latency-ms {low:g}-{high:g}: give the smaller first")
        if self.backoff_cap_ms < self.backoff_ms:
            raise ConfigError(
                f"--backoff-cap-ms {self.backoff_cap_ms}: must be at least --backoff-ms "
                f"{self.backoff_ms}"
            )
        if len(set(self.channel)) != len(self.channel):
            raise ConfigError(f"--channel {','.join(self.channel)}: names one channel twice")
        if self.grpc_port == self.http_port != 0:
            raise ConfigError(f"--http-port {self.http_port}: is the gRPC port too; choose another")

    def to_json(self) -> str:
        """For handing to a child process; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Settings:
        values: dict[str, Any] = json.loads(text)
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return Settings(**values | lists)


_FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
_REPEATABLE = {"channel", "allowed_origin"}
_SWITCHES = {"sample_data", "no_introspection"}
_NEVER_EMPTY = {"host", "data_dir", "import_follows", "channel"}
_ORIGIN = re.compile(r"https?://[^/\s,?#]+")


def flag(name: str) -> str:
    """The flag of a field: `grpc_port` is `--grpc-port`."""
    return "--" + name.replace("_", "-")


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    """Raises `ConfigError` where a value is out of its field's range or choices."""
    low, high = field.metadata["low"], field.metadata["high"]
    if low is not None and value is not None:
        for number in value if isinstance(value, tuple) else (value,):
            if not low <= number <= high:
                raise ConfigError(f"{flag(field.name)} {number}: must be from {low} to {high}")
    choices = field.metadata["choices"]
    for word in (value if isinstance(value, tuple) else (value,)) if choices else ():
        if word not in choices:
            raise ConfigError(f"{flag(field.name)} {word}: must be one of {', '.join(choices)}")
    if field.name in _NEVER_EMPTY and value in ("", ()):
        raise ConfigError(f"{flag(field.name)}: must not be empty")
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{flag(field.name)}: must not contain a NUL")
    for origin in value if field.name == "allowed_origin" else ():
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"{flag(field.name)} {origin}: must be an origin as https://example.org:8443, "
                "without a path"
            )


def _number(name: str, text: str, kind: type[int | float]) -> Any:
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{flag(name)} {text}: must be {what}") from None


def _switch(name: str, text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{flag(name)} {text}: must be true or false")


def _latency(text: str) -> tuple[float, float]:
    first, dash, second = text.partition("-")
    low = _number("simulated_latency_ms", first, float)
    return low, _number("simulated_latency_ms", second, float) if dash else low


def _from_text(name: str, text: str) -> Any:
    """The value of a field as written on a command line or in the environment."""
    if name == "simulated_latency_ms":
        return _latency(text)
    if name in _REPEATABLE:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if name in _SWITCHES:
        return _switch(name, text)
    kind = str(_FIELDS[name].type).removesuffix(" | None")
    if kind == "int":
        return _number(name, text, int)
    if kind == "float":
        return _number(name, text, float)
    return text


def _from_file(path: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: {error}") from None
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in _FIELDS:
            raise ConfigError(f"--config {path}: unknown key '{key}'")
        if name in values:
            raise ConfigError(f"--config {path}: key '{key}' is there twice, as {name} too")
        try:
            values[name] = _from_toml(name, value)
            _check(_FIELDS[name], values[name])
        except ConfigError as error:
            raise ConfigError(f"--config {path}: {error.message}") from None
    return values


def _from_toml(name: str, value: Any) -> Any:
    """The value of a field as TOML has it: numbers bare, words quoted, repeatable ones a list."""
    if name in _SWITCHES:
        fits = type(value) is bool
    elif name in _REPEATABLE:
        fits = isinstance(value, list) and all(isinstance(word, str) for word in value)
    else:
        kind = str(_FIELDS[name].type)
        numbers = (int,) if kind.startswith("int") else (int, float) if kind == "float" else ()
        fits = type(value) in (numbers or (str,))
    if not fits:
        raise ConfigError(f"key '{name.replace('_', '-')}' has a value of the wrong type")
    if isinstance(value, list):
        return tuple(value)
    return _from_text(name, value) if isinstance(value, str) else value


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in environment.items():
        if not variable.startswith("HARK_") or variable in _OTHER_VARIABLES:
            continue
        name = variable.removeprefix("HARK_").lower()
        if name not in _FIELDS or variable != variable.upper():
            raise ConfigError(f"{variable}: unknown environment variable")
        try:
            values[name] = _from_text(name, text)
            _check(_FIELDS[name], values[name])
        except ConfigError as error:
            raise ConfigError(f"{variable}: {error.message}") from None
    return values


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, raised."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def _shown_default(field: dataclasses.Field[Any]) -> str:
    if field.name == "workers":
        return "number of cores, at least 2"
    if field.default is dataclasses.MISSING or field.default is None or field.default == ():
        return ""
    if field.name == "simulated_latency_ms":
        return "10-50"
    return ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)


def parser(program: str) -> argparse.ArgumentParser:
    """The command line of `program`: a flag for each field, and `--config`."""
    made = _Parser(
        prog=program,
        allow_abbrev=False,
        description="Starts Hark: store, readers, gateways, workers and web.",
        epilog="Each flag can be given as HARK_<NAME> in the environment or in the --config file.",
    )
    made.add_argument("--config", metavar="FILE", help="TOML file with any of these settings")
    for name, field in _FIELDS.items():
        text, default = field.metadata["help"].replace("%", "%%"), _shown_default(field)
        if default and "default:" not in text and name not in _SWITCHES:
            text += f" (default: {default})"
        if name == "sample_data":
            made.add_argument(
                flag(name), action=argparse.BooleanOptionalAction, default=None, help=text
            )
        elif name in _SWITCHES:
            made.add_argument(flag(name), action="store_true", default=None, help=text)
        else:
            metavar = field.metadata["metavar"] or "|".join(field.metadata["choices"]) or "N"
            action = "append" if name in _REPEATABLE else "store"
            made.add_argument(flag(name), action=action, metavar=metavar, help=text)
    return made


def load(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings of a start. Raises `ConfigError`; `--help` prints and exits 0."""
    given = vars(parser(program).parse_args(arguments))
    path = given.pop("config") or environment.get("HARK_CONFIG")
    values = _from_file(path) if path else {}
    values |= _from_environment(environment)
    for name, value in given.items():
        if isinstance(value, str):
            values[name] = _from_text(name, value)
        elif isinstance(value, list):
            values[name] = tuple(value)
        elif value is not None:
            values[name] = value
    return Settings(**values)


def from_command_line(program: str) -> Settings:
    """The settings of this process's command line and environment."""
    return load(program, sys.argv[1:], os.environ)


def command_line() -> list[str]:
    """What was typed behind the name of the command-line tool."""
    return sys.argv[1:]


def grpc_address() -> str:
    """Where the command-line tool finds Hark unless `--grpc` says otherwise."""
    return os.environ.get("HARK_GRPC", "127.0.0.1:50051")


def data_directory() -> str:
    """Which data directory the command-line tool looks at unless `--data-dir` says otherwise."""
    return os.environ.get("HARK_DATA_DIR", str(_FIELDS["data_dir"].default))


def failpoints() -> str:
    """Where the farm's processes are to fail, for `farm.failpoints`."""
    return os.environ.get("HARK_FAILPOINTS", "")


def child_environment(metrics_directory: Path) -> dict[str, str]:
    """The environment of a child process: this one's, where its metrics files go, and that Sanic
    need not advise whoever starts it in a terminal to debug it."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("HARK_")}
    return own | {
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_directory),
        "SANIC_IGNORE_PRODUCTION_WARNING": "1",
    }


def metrics_directory() -> Path:
    """Where the supervisor told this child to keep its metrics files."""
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What a child process is told at its start, as JSON on its standard input.

    `settings` has the ports and the data directory as resolved by the supervisor. `name` is unique
    for this life of the process (a worker's session): role, number, generation, farm's run.
    `failpoints` are those of this life.
    """

    role: str
    number: int
    name: str
    sockets: str
    settings: Settings
    failpoints: str = ""

    def to_json(self) -> str:
        values = {"role": self.role, "number": self.number, "name": self.name}
        values |= {"sockets": self.sockets, "failpoints": self.failpoints}
        return json.dumps(values | {"settings": self.settings.to_json()})

    @staticmethod
    def from_standard_input() -> Child:
        values = json.loads(sys.stdin.read())
        return Child(**values | {"settings": Settings.from_json(values["settings"])})
