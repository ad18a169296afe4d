"""Questions by wrk: as many GraphQL queries by HTTP as are answered, each for another person.

It takes whatever comes with 200 for a success. A GraphQL error comes with 200 too, but is short: so
the bytes of answers are compared with those of one that was looked at.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import tool
from benchmarks.load import Load

SCRIPT = Path(__file__).with_suffix(".lua")
SHARE_OF_ANSWER = 0.9  # answers differ by the lengths of ids


class Questions(NamedTuple):
    """A document, those for whom it is asked in turn, and how long a right answer is in bytes."""

    document: str
    users: Sequence[str]
    answer_bytes: int


def ask(address: str, questions: Questions, connections: int, seconds: int, scratch: Path) -> Load:
    """One question at a time on each connection, for whole seconds. Raises `RuntimeError` where
    answers were no answers."""
    bodies = scratch.with_suffix(".bodies")
    bodies.write_bytes(b"\n".join(_body(questions.document, user) for user in questions.users))
    flags = ["--threads=1", f"--connections={connections}", f"--duration={seconds}s"]
    flags += ["--timeout=20s", f"--script={SCRIPT}", f"http://{address}/graphql", "--", str(bodies)]
    text, cpu_s = tool.run("wrk", flags)
    return read(text, cpu_s, questions.answer_bytes)


def read(text: str, cpu_s: float, answer_bytes: int) -> Load:
    """Of what the script says in its last line."""
    found = json.loads(text.splitlines()[-1])
    if found["errors"]:
        raise RuntimeError(f"wrk: {found['errors']} of {found['requests']} were not answered")
    each = found["bytes"] / max(found["requests"], 1)
    if each < SHARE_OF_ANSWER * answer_bytes:
        raise RuntimeError(f"answers have {each:.0f} bytes, a right one {answer_bytes}")
    latencies_ms = [us / 1000 for us in found["latencies_us"]]
    return Load(found["requests"], found["us"] / 1e6, cpu_s, latencies_ms)


def look(address: str, document: str, users: Sequence[str]) -> tuple[dict[str, Any], Questions]:
    """The data of one answer, for the first of them, and the questions. Raises `RuntimeError` where
    it has errors."""
    request = urllib.request.Request(
        f"http://{address}/graphql", _body(document, users[0]), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        body = response.read()
    found = json.loads(body)
    if "errors" in found:
        raise RuntimeError(f"GraphQL: {found['errors']}")
    return found["data"], Questions(document, users, len(body))


def _body(document: str, user: str) -> bytes:
    """On one line."""
    return json.dumps({"query": document, "variables": {"user": user}}).encode()
