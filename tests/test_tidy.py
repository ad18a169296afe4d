"""The code is tested too: who imports whom and what, how long things get, and what is unused."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATED = "gateway/pb/"
FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70

# The longest name that fits counts. A file imports from lower layers, or from its own package.
LAYERS = {
    "farm": 0,
    "farm.errors": 0,
    "farm.clock": 0,
    "farm.garbage": 0,
    "farm.lifecycle": 0,
    "farm.audience": 1,
    "farm.limits": 1,
    "farm.looks": 1,
    "farm.packed": 1,
    "farm.schedule": 1,
    "farm.config": 2,
    "farm.cursor": 2,
    "farm.edges": 2,
    "farm.edge_blocks": 3,
    "farm.wire": 2,
    "farm.sockets": 3,
    "farm.observe": 3,
    "farm.client": 4,
    "farm.failpoints": 4,
    "farm.live": 5,
    "farm.store": 5,
    "farm.channels": 5,
    "farm.worker": 6,
    "farm.datadir": 6,
    "farm.ports": 6,
    "farm.remains": 6,
    "farm.importing": 6,
    "farm.children": 6,
    "gateway.pb": 6,
    "gateway": 7,
    "farm.cli": 8,
    "farm.__main__": 9,
    "benchmarks": 9,
    "supervisor": 9,
}

# What the outside of Hark may know of its inside. The limits are among it so that each rule is
# written once.
SEEN_BY_GATEWAY = {
    "farm",
    "farm.errors",
    "farm.clock",
    "farm.limits",
    "farm.config",
    "farm.failpoints",
    "farm.wire",
    "farm.sockets",
    "farm.observe",
    "farm.client",
    "farm.live",
}

# Which file may import which library, by the beginning of its path. A new library needs a row, and
# so a reason.
LIBRARIES = {
    "aiohttp": ("benchmarks/",),
    "apsw": ("farm/store/", "benchmarks/"),
    "google": ("gateway/", "farm/cli", "benchmarks/"),
    "graphql": ("gateway/",),
    "grpc": ("gateway/", "farm/cli", "benchmarks/"),
    "grpc_health": ("gateway/", "farm/cli"),
    "grpc_reflection": ("gateway/",),
    "grpc_status": ("gateway/", "farm/cli"),
    "msgpack": ("farm/wire.py", "farm/store/totals.py"),
    "prometheus_client": ("farm/observe.py", "farm/remains.py", "gateway/"),
    "pyroaring": ("farm/audience.py", "farm/store/", "benchmarks/"),
    "rich": ("farm/cli",),
    "sanic": ("gateway/", "benchmarks/"),
    "setproctitle": ("farm/", "gateway/", "supervisor.py"),
    "strawberry": ("gateway/",),
    "tqdm": ("farm/", "supervisor.py", "benchmarks/"),
    "uvloop": ("farm/", "gateway/", "supervisor.py", "benchmarks/"),
    "websockets": ("gateway/websocket.py",),
    "zmq": ("farm/sockets.py",),
}

# Parts of the standard library that have one door, for the same reason.
DOORS = {
    "sqlite3": (),  # its SQLite is as old as the system; apsw brings a current one
    "pickle": (),  # bytes from elsewhere must not become code
}

# What only makes sense on the machine of whoever wrote it, or to who was there.
STRAY = re.compile(
    r"(?<![\w.~-])/(?:work|home|root|Users)/"  # somebody's folders
    r"|(?<![\w.~-])/opt(?=/)(?!/hark\b)"
    r"|\.\./shared\b"  # beside the project
    r"|\b[Ii]ssue #?\d"  # says nothing without the tracker
)


@cache
def tracked() -> list[str]:
    """The files of the project; where there is no git, all that do not look made by a tool."""
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        names = listing.stdout.split("\0")
    else:
        paths = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        names = [path.as_posix() for path in paths if not _made_by_a_tool(path)]
    return sorted(name for name in names if (ROOT / name).is_file())


def _made_by_a_tool(path: Path) -> bool:
    made = ("hark-data", "__pycache__", "build", "dist", ".venv", ".git", ".mypy_cache")
    return any(part in made or part.endswith((".egg-info", "_cache")) for part in path.parts)


@cache
def parsed(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def python_files(*beginnings: str) -> list[str]:
    """What people wrote in Python, below these folders or everywhere."""
    return [
        name
        for name in tracked()
        if name.endswith(".py")
        and not name.startswith(GENERATED)
        and name.startswith(beginnings or ("",))
    ]


def source_files() -> list[str]:
    return python_files("farm/", "gateway/", "benchmarks/", "supervisor.py")


def module_of(name: str) -> str:
    parts = name.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> frozenset[str]:
    return frozenset(module_of(name) for name in tracked() if name.endswith(".py"))


def imports(name: str) -> Iterator[str]:
    """What a file imports, anywhere in it: `from a import b` is a.b where that is a module."""
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = name.removesuffix(".py").split("/")[: -node.level]
                base = ".".join([*here, *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in modules() else base


def in_package(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def layer_of(module: str) -> tuple[str, int] | None:
    """The row of LAYERS for a module, or None where it has none."""
    fitting = [name for name in LAYERS if in_package(module, name)]
    # A file directly in farm/ needs a row of its own: the package's stands for its map only.
    row = max(fitting, key=len, default=None)
    if row is None or (row == "farm" and module != "farm"):
        return None
    return row, LAYERS[row]


def top(module: str) -> str:
    return module.partition(".")[0]


def ours(module: str) -> bool:
    return top(module) in {"farm", "gateway", "benchmarks", "supervisor"}


def test_every_module_has_a_layer() -> None:
    without = [name for name in source_files() if layer_of(module_of(name)) is None]
    assert not without, "give these a row in LAYERS"


def test_imports_point_downwards() -> None:
    wrong = []
    for name in source_files():
        here = layer_of(module_of(name))
        for module in imports(name):
            there = layer_of(module) if ours(module) else None
            if here and there and here[0] != there[0] and there[1] >= here[1]:
                wrong.append(f"{name} (layer {here[1]}) imports {module} (layer {there[1]})")
    assert not wrong


def test_imports_have_no_cycle() -> None:
    graph = {module_of(name): {m for m in imports(name) if ours(m)} for name in source_files()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join((*path, module))}"
        if module not in done:
            for other in sorted(graph.get(module, set()) - {module}):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_nobody_imports_the_supervisor() -> None:
    assert not [name for name in source_files() if "supervisor" in imports(name)]


def test_the_farm_does_not_know_the_gateway() -> None:
    wrong = []
    for name in python_files("farm/"):
        allowed = "gateway.pb" if in_package(module_of(name), "farm.cli") else "farm"
        wrong += [
            f"{name} imports {module}"
            for module in imports(name)
            if in_package(module, "gateway") and not in_package(module, allowed)
        ]
    assert not wrong


def test_the_gateway_sees_little_of_the_farm() -> None:
    wrong = [
        f"{name} imports {module}"
        for name in python_files("gateway/")
        for module in imports(name)
        if in_package(module, "farm") and module not in SEEN_BY_GATEWAY
    ]
    assert not wrong


def test_only_the_loops_of_the_store_touch_sockets() -> None:
    loops = {"farm/store/writer.py", "farm/store/reader.py"}
    wrong = [
        name
        for name in python_files("farm/store/", "farm/channels/")
        if name not in loops and "farm.sockets" in imports(name)
    ]
    assert not wrong, "the core takes values and returns values, so that tests need no process"


def test_libraries_stay_where_they_belong() -> None:
    wrong = []
    for name in source_files():
        for module in imports(name):
            library = top(module)
            if ours(module) or (library in sys.stdlib_module_names and library not in DOORS):
                continue
            if not name.startswith((LIBRARIES | DOORS).get(library, ()) or ("nowhere",)):
                wrong.append(f"{name} imports {library}")
    assert not wrong, "see LIBRARIES and DOORS"


@pytest.mark.parametrize("name", python_files())
def test_files_and_functions_are_short(name: str) -> None:
    lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES_MAX, "split it by reason to change"
    long = [
        f"{name}:{node.lineno} {node.name} has {length} lines"
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long


def test_no_module_is_dead() -> None:
    """Each is where a command begins, or is imported or started by name from there."""
    if not (ROOT / "supervisor.py").exists():
        pytest.skip("nothing starts the processes")
    files = {module_of(name): name for name in source_files()}
    alive: set[str] = set()
    found = {"supervisor", "farm.cli", "farm.__main__", "benchmarks.__main__"}
    found |= {"benchmarks.curves", "benchmarks.flames"}
    while found := (found & set(files)) - alive:
        alive |= found
        found = {m for module in found for m in _mentioned(files[module])}
    packages = {module for module, name in files.items() if name.endswith("__init__.py")}
    dead = sorted(set(files) - packages - alive)
    assert not dead


def _mentioned(name: str) -> set[str]:
    return {*imports(name), *_names_in_strings(name)}


def _names_in_strings(name: str) -> set[str]:
    return {
        node.value
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value in modules()
    }


def test_tests_do_not_sleep() -> None:
    """They wait for an event. `asyncio.sleep(0)` lets others run and waits for nothing, and so does
    any sleep in simulated time."""
    wrong = []
    simulated = {*python_files("tests/simulation/")} - {"tests/simulation/test_simulation.py"}
    for name in [name for name in python_files("tests/") if name not in simulated]:
        for node in ast.walk(parsed(name)):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="asyncio"), attr="sleep"),
                    args=[ast.Constant(value=0)],
                ):
                    continue
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="time" | "asyncio"), attr="sleep")
                ):
                    wrong.append(f"{name}:{node.lineno}")
                case ast.ImportFrom(module="time" | "asyncio", names=names):
                    if any(alias.name == "sleep" for alias in names):
                        wrong.append(f"{name}:{node.lineno}")
                case _:
                    pass
    assert not wrong


def test_every_dependency_is_pinned_at_its_lower_bound() -> None:
    """What the bounds promise is what the tests ran with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [item for group in (project["dependencies"], *extras) for item in group]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.lower().replace("_", "-") for line in lines}
    assert not [item for item in wanted if item.replace(">=", "==") not in pins]


def test_nothing_speaks_of_elsewhere() -> None:
    wrong = []
    for name in tracked():
        if name.endswith((".js", ".css")):
            continue  # written by others, and carried along as it is
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if STRAY.search(line):
                wrong.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not wrong
