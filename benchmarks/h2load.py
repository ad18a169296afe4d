"""Calls by h2load: PublishPost by gRPC, and reads by HTTP/1.1 at a pace of our choice.

Two traps. It takes whatever gRPC answers for a success, because the HTTP status is 200 whatever the
`grpc-status` says: so a row compares the number of calls with the server's own count. And it sends
one body again and again: so posts carry no id, and none is another's duplicate. A number of calls
is asked for rather than a number of seconds, so that there is something exact to compare with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from benchmarks import tool
from benchmarks.load import Load

INACTIVE_S = 20
LONGEST_S = 100
_SUCCEEDED = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


def calls(
    address: str, method: str, message: bytes, in_flight: int, count: int, scratch: Path,
    *, per_second: float | None = None,
) -> Load:  # fmt: skip
    """So many calls with the message, over one connection; with `per_second` no faster."""
    body = scratch.with_suffix(".body")
    body.write_bytes(framed(message))
    flags = [f"--max-concurrent-streams={in_flight}", f"--data={body}"]
    flags += ["--header=content-type: application/grpc", "--header=te: trailers"]
    return _run([*flags, *_pace(per_second), f"http://{address}{method}"], count, scratch)


def reads(
    address: str, document: str, users: Sequence[str], connections: int, count: int,
    scratch: Path, per_second: float,
) -> Load:  # fmt: skip
    """So many GraphQL queries in URLs, for each user in turn, one at a time on each connection, at
    a pace."""
    urls = scratch.with_suffix(".urls")
    base = f"http://{address}/graphql?query={quote(document)}&variables="
    urls.write_text("".join(base + quote(f'{{"user":"{user}"}}') + "\n" for user in users))
    flags = ["--h1", f"--clients={connections}", f"--input-file={urls}"]
    # Connections that begin together ask together, a burst each time. So they begin one by one.
    flags += [
        *_pace(per_second / connections),
        "--rate=1",
        f"--rate-period={1000 / per_second:g}ms",
    ]
    return _run(flags, count, scratch)


def framed(message: bytes) -> bytes:
    """As gRPC puts it into HTTP/2: whether it is compressed, its length, and the message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def read_log(text: str) -> tuple[float, list[float]]:
    """Seconds from the first call's start to the last one's end, and the milliseconds of each."""
    rows = [line.split("\t") for line in text.splitlines()]
    starts = [int(start) for start, *_ in rows]
    taken = [int(us) for _, _, us, *_ in rows]
    ends = [start + us for start, us in zip(starts, taken, strict=True)]
    return (max(ends) - min(starts)) / 1e6, [us / 1000 for us in taken]


def succeeded(text: str) -> int:
    """How many calls were answered with 200. Raises `RuntimeError` where one was not answered."""
    found = _SUCCEEDED.search(text)
    if found is None or found.groups()[1:] != ("0", "0", "0"):
        raise RuntimeError(f"h2load: {found[0] if found else text[-300:]}")
    return int(found[1])


def _pace(per_second: float | None) -> list[str]:
    return [] if per_second is None else [f"--rps={per_second:g}"]


def _run(flags: list[str], count: int, scratch: Path) -> Load:
    log = scratch.with_suffix(".log")
    limits = [f"--connection-inactivity-timeout={INACTIVE_S}s"]
    limits += [f"--connection-active-timeout={LONGEST_S}s"]
    text, cpu_s = tool.run("h2load", [f"--requests={count}", f"--log-file={log}", *limits, *flags])
    seconds, latencies_ms = read_log(log.read_text())
    log.unlink()
    return Load(succeeded(text), seconds, cpu_s, latencies_ms)
