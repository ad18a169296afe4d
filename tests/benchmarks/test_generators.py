"""What the load generators are told and say: where it was wrong, figures would be, in silence."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
from pathlib import Path

import pytest

from benchmarks import bare_servers, h2load, load, wrk
from benchmarks.drivers import serving
from benchmarks.figures import Figure, Row, at_least, at_most, percentile
from benchmarks.report import as_json, table

DOCUMENT = "query Q($user: ID!) { getNotifications(userId: $user) { id content } }"


def there(name: str) -> None:
    """Goes on where the tool is installed; without it, it is missed where all must be there."""
    if shutil.which(name) is None:
        assert os.environ.get("CI") != "true", f"{name} is not installed"
        pytest.skip(f"{name} is not installed")


@pytest.mark.process
def test_calls_of_h2load_are_counted_by_the_server(tmp_path: Path) -> None:
    """They are framed as gRPC wants it. It takes any answer of gRPC for a success: so one that is
    refused counts for it, and not for the server."""
    there("h2load")
    with serving(bare_servers.empty_publisher) as address:
        message = load.post("author").SerializeToString()
        for name, message_of, more in (
            ("PublishPost", message, 50),
            ("PublishPost", b"no post", 0),
            ("Nothing", message, 0),
        ):
            before, method = load.taken(address), f"{load.PUBLISHER}/{name}"
            done = h2load.calls(address, method, message_of, 4, 50, tmp_path / "calls")
            assert (done.count, load.taken(address) - before) == (50, more)
            assert 0 < statistics.median(done.latencies_ms) / 1000 < done.seconds


@pytest.mark.process
def test_wrk_asks_for_each_person_in_turn(tmp_path: Path) -> None:
    """The bodies are those of the questions, over and over."""
    there("wrk")
    asked: dict[bytes, int] = {}
    users = ["user1", 'user"2', "usér3"]

    async def serve() -> load.Load:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while head := await _head(reader):
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                body = await reader.readexactly(length)
                asked[body] = asked.get(body, 0) + 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        questions = wrk.Questions(DOCUMENT, users, 2)
        job = (f"{host}:{port}", questions, 2, 1, tmp_path / "questions")
        async with server:
            return await asyncio.to_thread(wrk.ask, *job)

    done = asyncio.run(serve())
    people = {json.loads(body)["variables"]["user"] for body in asked}
    assert people == set(users)
    assert max(asked.values()) - min(asked.values()) <= 2
    assert done.count <= sum(asked.values()) <= done.count + 2
    assert done.latencies_ms == sorted(done.latencies_ms)
    assert len(done.latencies_ms) == 1_000


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def test_answers_that_are_too_short_are_none() -> None:
    said = {"requests": 10, "us": 1_000_000, "bytes": 1_000, "errors": 0, "latencies_us": [5, 7]}
    assert wrk.read("noise\n" + json.dumps(said), 0.5, 110).rate == 10
    with pytest.raises(RuntimeError, match="100 bytes"):
        wrk.read(json.dumps(said), 0.5, 120)
    with pytest.raises(RuntimeError, match="2 of 10"):
        wrk.read(json.dumps(said | {"errors": 2}), 0.5, 100)


def test_a_log_of_h2load_is_read() -> None:
    """From the first start to the last end, whichever line those are in."""
    seconds, taken = h2load.read_log("1000000\t200\t500000\n1200000\t200\t1800000\n")
    assert (seconds, taken) == (2.0, [500.0, 1800.0])
    right = "requests: 3 total, 3 started, 3 done, 3 succeeded, 0 failed, 0 errored, 0 timeout"
    assert h2load.succeeded(right) == 3
    with pytest.raises(RuntimeError, match="1 failed"):
        h2load.succeeded(right.replace("0 failed", "1 failed"))


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install nghttp2-client"):
        h2load.calls("127.0.0.1:1", "/a/B", b"", 1, 1, tmp_path / "calls")
    with pytest.raises(RuntimeError, match="apt-get install wrk"):
        wrk.ask("127.0.0.1:1", wrk.Questions("", ["user1"], 0), 1, 1, tmp_path / "questions")


def test_a_row_reaches_its_marks_or_misses_them() -> None:
    figure, limit = Figure.of("x/s", [60.0, 61.0, 10.0]), Figure.of("x/s", [100.0])
    assert [at_least("ratio", share, 0.6).reached for share in (0.59, 0.6)] == [False, True]
    assert [at_most("ms", took, 5).reached for took in (5.0, 5.01)] == [True, False]
    row = Row(name="row", what="", figure=figure, limit=limit, marks=[at_least("ratio", 0.6, 0.6)])
    assert row.ratio == 0.6
    missed = Row(name="other", what="", figure=figure, marks=[*row.marks, at_most("x/s", 60, 59)])
    lines = table([as_json(row), as_json(missed)]).splitlines()[2:]
    assert [line.split("|")[-2].strip() for line in lines] == ["ok", "MISSED"]
    assert "60.0 x/s (10.0 to 61.0)" in lines[0]


def test_percentiles_are_values_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1)) == (
        51,
        100,
        100,
    )
