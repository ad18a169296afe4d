"""Answers that are large: how large one may be, and what those come to that nobody reads."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from farm.sockets import socket_directory
from gateway.graphql_http import ANSWER_BYTES_MAX
from tests.farm_process import FarmProcess, wait_until
from tests.web.raw_stream import RawStream, connect
from tests.web.raw_websocket import RawWebSocket
from tests.web.web_process import JSON, Reply, WebProcess, ask, data

pytestmark = pytest.mark.process

READER, AUTHOR = "reader of much", "writer of much"
ROWS, CONTENT = 100, "x" * 16_384
HURRY = {
    "gateway.graphql_http.UNSENT_BYTES_MAX": 5 * ROWS * len(CONTENT),
    "gateway.site.ANSWER_WITHIN_S": 1.0,
}
NEWER = "application/graphql-response+json"
TOO_LARGE = {
    "message": "the answer is over 4 MiB; ask for less at once",
    "extensions": {"code": "RESOURCE_EXHAUSTED"},
}
FOLLOW = "mutation($a: ID!, $b: ID!) { follow(followerId: $a, authorId: $b) { changed } }"
PUBLISH = "mutation($a: ID!, $c: String!) { publishPost(authorId: $a, content: $c) { postId } }"


def inboxes(count: int) -> str:
    """A query for so many times 1.6 MB."""
    inbox = f'inbox(userId: "{READER}", first: {ROWS}) {{ edges {{ node {{ content }} }} }}'
    return f"{{ {' '.join(f'a{number}: {inbox}' for number in range(count))} }}"


@pytest.fixture(scope="module")
def web(hark: FarmProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """Another web process of the farm, which keeps less, and for a shorter time."""
    directory = tmp_path_factory.mktemp("large")
    (directory / "sockets").symlink_to(socket_directory(hark.data_dir))
    one = WebProcess(directory, number=2, hurry=HURRY)
    try:
        one.wait_serving()
        data(one.address, FOLLOW, a=READER, b=AUTHOR)
        for _ in range(ROWS):
            data(one.address, PUBLISH, a=AUTHOR, c=CONTENT)
        yield one
    finally:
        one.close()
        print(f"--- {one.log_path}:\n{one.log()}")


def post(web: WebProcess, body: object, **headers: str) -> Reply:
    asked = json.dumps(body).encode()
    return ask(web.address, "/graphql", method="POST", body=asked, headers=JSON | headers)


def test_a_large_answer_comes_whole(web: WebProcess) -> None:
    reply = post(web, {"query": inboxes(2)}, accept=NEWER)
    assert reply.status == 200
    assert reply.headers["content-type"] == NEWER
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert int(reply.headers["content-length"]) == len(reply.body) > 2 * ROWS * len(CONTENT)
    for inbox in reply.json["data"].values():
        assert [edge["node"]["content"] for edge in inbox["edges"]] == [
            f"New post from {AUTHOR}: {CONTENT}"
        ] * ROWS


def test_an_answer_that_is_too_large_is_an_error(web: WebProcess) -> None:
    query = inboxes(3)
    assert post(web, {"query": query}).json == {"errors": [TOO_LARGE]}
    assert post(web, {"query": query}, accept=NEWER).status == 400
    with RawWebSocket(web.address) as ws:
        ws.init().subscribe("1", query)
        assert ws.hear() == {"id": "1", "type": "error", "payload": [TOO_LARGE]}
    with RawStream(web.address, query) as stream:
        assert stream.next() == ("next", "", {"errors": [TOO_LARGE]})
        assert stream.next() == ("complete", "", None)


def test_what_comes_after_much_in_a_batch_is_not_run(web: WebProcess) -> None:
    """So a change that is refused was surely not made; and one that is made is never refused."""
    publish = {"query": PUBLISH, "variables": {"a": READER, "c": "behind too much"}}
    reply = post(web, [publish, *[{"query": inboxes(2)}] * 2, publish, {"query": "{__typename}"}])
    made, one, two, *rest = reply.json
    assert made["data"]["publishPost"]["postId"]
    assert one == two
    assert len(one["data"]) == 2
    assert rest == [{"errors": [TOO_LARGE]}] * 2
    assert ANSWER_BYTES_MAX < len(reply.body) < 2 * ANSWER_BYTES_MAX


def test_what_waits_to_be_read_is_bounded(web: WebProcess) -> None:
    """Over all that can be asked with; small answers go on, and who reads nothing is let go."""
    with ExitStack() as held:
        unread = [held.enter_context(asked_and_unread(web, inboxes(2))) for _ in range(2)]
        reply = post(web, {"query": inboxes(2)})
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        (error,) = reply.json["errors"]
        assert error["extensions"]["code"] == "UNAVAILABLE"
        with RawWebSocket(web.address) as ws:
            ws.init().subscribe("1", inboxes(2))
            assert ws.hear() == {"id": "1", "type": "error", "payload": [error]}
        with RawStream(web.address, inboxes(2)) as stream:
            assert stream.status == 503
        assert post(web, {"query": "{ __typename }"}).status == 200
        wait_until(lambda: post(web, {"query": inboxes(2)}).status == 200, 5)
        for connection in unread:
            assert len(connection.makefile("rb").read()) < 2 * ROWS * len(CONTENT)
    assert "internal error" not in web.log()
    assert "Traceback" not in web.log()


def test_what_waits_to_be_read_over_websockets_is_bounded(web: WebProcess) -> None:
    """Until it is read, also where it lies with the connection already."""
    with ExitStack() as held:
        for _ in range(2):
            ws = held.enter_context(RawWebSocket(web.address, receive_buffer_bytes=4_096))
            ws.init().subscribe("1", inboxes(2))
            ws.socket.recv(1)  # the answer has begun to come
        assert post(web, {"query": inboxes(2)}).status == 503
    wait_until(lambda: post(web, {"query": inboxes(2)}).status == 200, 5)
    assert "Traceback" not in web.log()


def asked_and_unread(web: WebProcess, query: str) -> socket.socket:
    """A connection on which the answer has begun to come."""
    body = json.dumps({"query": query}).encode()
    connection = connect(web.address, receive_buffer_bytes=4_096)
    head = f"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON['content-type']}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert connection.recv(1) == b"H"
    return connection
