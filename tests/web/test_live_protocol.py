"""graphql-transport-ws by a raw socket: what a client may say, and the code for what it may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.frames import Opcode

from gateway import graphql_ws
from gateway.websocket import MESSAGE_BYTES_MAX
from tests.farm_process import FarmProcess
from tests.web.conftest import ALLOWED_ORIGIN
from tests.web.raw_websocket import RawWebSocket
from tests.web.web_process import WebProcess, data

pytestmark = pytest.mark.process

FOLLOW = "mutation($a: ID!, $b: ID!) { follow(followerId: $a, authorId: $b) { changed } }"
PUBLISH = "mutation($a: ID!, $c: String!) { publishPost(authorId: $a, content: $c) { postId } }"
EVENTS = """subscription($user: ID!, $since: String) { inboxEvents(userId: $user, since: $since) {
  __typename cursor ... on NotificationAdded { notification { content } } } }"""


@pytest.fixture
def ws(hark: FarmProcess) -> Iterator[RawWebSocket]:
    with RawWebSocket(hark.http_address) as one:
        yield one


@pytest.mark.parametrize("path", ["/graphql", "/query"])
def test_subscribe_hear_and_complete(hark: FarmProcess, path: str) -> None:
    user, author = f"reader of {path}", f"writer of {path}"
    data(hark.http_address, FOLLOW, a=user, b=author)
    with RawWebSocket(hark.http_address, path) as ws:
        assert ws.response.headers["sec-websocket-protocol"] == "graphql-transport-ws"
        ws.init().subscribe("1", EVENTS, user=user)
        live = ws.hear()
        assert (live["id"], live["type"]) == ("1", "next")
        assert live["payload"]["data"]["inboxEvents"]["__typename"] == "InboxLive"
        data(hark.http_address, PUBLISH, a=author, c="one")
        added = ws.added()
        assert added["notification"]["content"] == f"New post from {author}: one"
        ws.say(id="1", type="complete")
        ws.say(type="ping")
        while ws.hear() != {"type": "pong"}:  # what was on its way
            pass
        data(hark.http_address, PUBLISH, a=author, c="two")
        # The id is free again; what was completed says no more, not even that it is.
        ws.subscribe("1", EVENTS, user=user, since=added["cursor"])
        assert ws.event()["__typename"] == "InboxLive"
        assert ws.added()["notification"]["content"] == f"New post from {author}: two"
        data(hark.http_address, PUBLISH, a=author, c="three")
        assert ws.added()["notification"]["content"] == f"New post from {author}: three"
        ws.say(type="ping")
        while (message := ws.hear()) != {"type": "pong"}:
            assert message["payload"]["data"]["inboxEvents"]["__typename"] != "NotificationAdded"


def test_questions_and_changes(hark: FarmProcess, ws: RawWebSocket) -> None:
    ws.init().subscribe("q", "{ __typename }")
    assert ws.hear() == {"id": "q", "type": "next", "payload": {"data": {"__typename": "Query"}}}
    assert ws.hear() == {"id": "q", "type": "complete"}
    ws.subscribe("m", FOLLOW, a="over", b="a socket")
    assert ws.hear()["payload"] == {"data": {"follow": {"changed": True}}}
    assert ws.hear() == {"id": "m", "type": "complete"}


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ("{", "INVALID_ARGUMENT", "Syntax Error"),
        ("{ nothing }", "INVALID_ARGUMENT", "nothing"),
        ("subscription { nothing }", "INVALID_ARGUMENT", "nothing"),
        ("subscription { inboxEvents { cursor } }", "INVALID_ARGUMENT", "userId"),
        ("subscription a { __typename } query b { __typename }", "INVALID_ARGUMENT", "operation"),
        (EVENTS, "INVALID_ARGUMENT", "$user"),
        ('subscription { inboxEvents(userId: "") { cursor } }', "INVALID_ARGUMENT", "userId"),
        (EVENTS.replace("$since)", '"forged")'), "INVALID_ARGUMENT", "since"),
        ("subscription { " + "a " * 2_001 + "}", "INVALID_ARGUMENT", "2000 tokens"),
        ("subscription { " + "a { " * 13 + "b" + " }" * 14, "INVALID_ARGUMENT", "fields deep"),
        ("{ " + " ".join(f"a{n}: __typename" for n in range(31)) + " }", "INVALID_ARGUMENT", "31"),
        ("mutation { setWorkers(workers: 0) { workers } }", "INVALID_ARGUMENT", "workers"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_operation_ends_it_alone(
    ws: RawWebSocket, query: str, code: str, says: str
) -> None:
    ws.init().subscribe("bad", query)
    message = ws.hear()
    errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
    assert errors[0]["extensions"]["code"] == code
    assert says in errors[0]["message"]
    if message["type"] == "next":  # it was run, and is told as it is over HTTP
        assert ws.hear() == {"id": "bad", "type": "complete"}
    ws.subscribe("good", "{ __typename }")
    assert ws.hear()["type"] == "next"


def test_ping_and_pong(ws: RawWebSocket) -> None:
    ws.say(type="ping")
    assert ws.hear() == {"type": "pong"}
    ws.init().say(type="pong", payload={"a": 1})
    ws.say(type="ping", payload={"a": 1})
    assert ws.hear() == {"type": "pong"}
    ws.frame(Opcode.PING, b"abc")
    assert ws.next(Opcode.PONG).data == b"abc"


def test_a_message_in_fragments(ws: RawWebSocket) -> None:
    ws.frame(Opcode.TEXT, b'{"type":"conn', fin=False)
    ws.frame(Opcode.PING)
    assert ws.next(Opcode.PONG).data == b""
    ws.frame(Opcode.CONT, b'ection_init"}')
    assert ws.hear() == {"type": "connection_ack"}


def test_a_close_is_answered(ws: RawWebSocket) -> None:
    ws.init().frame(Opcode.CLOSE, b"\x03\xe8bye")
    assert ws.closed() == (1000, "bye")
    assert ws.gone()


# Row 86: each breach of the protocol is closed with the protocol's code.


def test_subscribe_before_init(ws: RawWebSocket) -> None:
    """Fault row 86."""
    ws.subscribe("1", EVENTS, user="somebody")
    assert ws.closed() == (4401, "Unauthorized")
    assert ws.gone()


@pytest.mark.parametrize("protocol", [None, "graphql-ws", "soap, graphql-ws"])
def test_unknown_protocol(hark: FarmProcess, protocol: str | None) -> None:
    """Fault row 86."""
    with RawWebSocket(hark.http_address, protocol=protocol) as ws:
        assert "sec-websocket-protocol" not in ws.response.headers
        assert ws.closed().code == 4406


def test_one_known_protocol_is_enough(hark: FarmProcess) -> None:
    with RawWebSocket(hark.http_address, protocol="soap, graphql-transport-ws") as ws:
        assert ws.response.headers["sec-websocket-protocol"] == "graphql-transport-ws"
        ws.init()


def test_init_twice(ws: RawWebSocket) -> None:
    """Fault row 86."""
    ws.init().say(type="connection_init")
    assert ws.closed() == (4429, "Too many initialisation requests")


def test_the_same_id_twice(ws: RawWebSocket) -> None:
    """Fault row 86."""
    ws.init().subscribe("same", EVENTS, user="somebody")
    ws.subscribe("same", EVENTS, user="somebody else")
    assert ws.closed() == (4409, "Subscriber for same already exists")


def test_101_subscriptions(ws: RawWebSocket) -> None:
    """Fault row 86."""
    ws.init()
    for number in range(graphql_ws.OPERATIONS_MAX):
        ws.subscribe(str(number), EVENTS, user=f"somebody {number}")
    heard = {ws.hear()["id"] for _ in range(graphql_ws.OPERATIONS_MAX)}
    assert len(heard) == 100
    ws.subscribe("one more", EVENTS, user="somebody")
    closed = ws.closed()
    assert closed.code == 4429
    assert "at most 100" in closed.reason


def test_a_frame_of_a_megabyte(ws: RawWebSocket) -> None:
    """Fault row 86."""
    ws.init().text(json.dumps({"type": "ping", "payload": {"a": "x" * 2**20}}))
    assert ws.closed().code == 1009
    assert ws.gone()


def test_the_largest_message(ws: RawWebSocket) -> None:
    message = b'{"type":"ping"'.ljust(MESSAGE_BYTES_MAX - 1) + b"}"
    ws.frame(Opcode.TEXT, message)
    assert ws.hear() == {"type": "pong"}
    ws.frame(Opcode.TEXT, message[:-9], fin=False)
    ws.frame(Opcode.CONT, message[-9:])
    assert ws.hear() == {"type": "pong"}
    ws.frame(Opcode.TEXT, message[:-9], fin=False)
    ws.frame(Opcode.CONT, message[-9:] + b" ")
    assert ws.closed().code == 1009


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", "null", '"subscribe"', "{}", '{"type":7}', '{"type":"start"}',
        '{"type":"connection_init","payload":7}',
        '{"type":"subscribe"}', '{"type":"subscribe","id":"1"}',
        '{"type":"subscribe","id":7,"payload":{"query":"{a}"}}',
        '{"type":"subscribe","id":"","payload":{"query":"{a}"}}',
        '{"type":"subscribe","id":"1","payload":{}}',
        '{"type":"subscribe","id":"1","payload":{"query":7}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","operationName":7}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":{"a":NaN}}}',
        '{"type":"subscribe","id":"%s","payload":{"query":"{a}"}}' % ("x" * 257),
        '{"type":"complete"}', "[" * 60_000,
    ],
)  # fmt: skip
def test_a_message_that_is_none(ws: RawWebSocket, text: str) -> None:
    """Fault row 86."""
    ws.init().text(text)
    closed = ws.closed()
    assert closed.code == 4400
    assert closed.reason.startswith("Invalid message: ")


def test_a_binary_message(ws: RawWebSocket) -> None:
    """Fault row 86."""
    ws.init().frame(Opcode.BINARY, b'{"type":"ping"}')
    assert ws.closed().code == 4400


def test_a_text_that_is_not_utf_8(ws: RawWebSocket) -> None:
    ws.init().frame(Opcode.TEXT, b"\xff")
    assert ws.closed().code == 1007


def test_bytes_that_are_no_frame(ws: RawWebSocket) -> None:
    ws.init().socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert ws.closed().code == 1002
    assert ws.gone()


def test_half_a_surrogate_pair_as_an_id(ws: RawWebSocket) -> None:
    ws.init().subscribe("\ud800", "{ __typename }")
    assert ws.hear()["id"] == "\ud800"
    assert ws.hear() == {"id": "\ud800", "type": "complete"}
    ws.subscribe("\ud800", EVENTS, user="somebody")
    ws.subscribe("\ud800", EVENTS, user="somebody else")
    assert ws.closed() == (4409, "Subscriber for ? already exists")


def test_a_page_of_another_site(hark: FarmProcess, web: WebProcess) -> None:
    elsewhere = {"origin": "https://elsewhere.example"}
    with RawWebSocket(hark.http_address, headers=elsewhere) as ws:
        assert ws.response.status == 403
    with RawWebSocket(web.address, headers={"origin": ALLOWED_ORIGIN}) as ws:
        ws.init()
    with RawWebSocket(web.address, headers={"origin": f"http://{web.address}"}) as ws:
        ws.init()


@pytest.mark.parametrize(
    ("wrong", "status", "told"),
    [
        ({"headers": {"sec-websocket-key": "short"}}, 400, {}),
        ({"headers": {"connection": "close"}}, 426, {"upgrade": "websocket"}),
        (
            {"headers": {"sec-websocket-version": "12"}},
            426, {"upgrade": "websocket", "sec-websocket-version": "13"},
        ),
        ({"method": "POST"}, 405, {"allow": "GET"}),
        ({"version": "1.0"}, 505, {}),
    ],
)  # fmt: skip
def test_a_handshake_that_is_none(
    hark: FarmProcess, wrong: dict[str, Any], status: int, told: dict[str, str]
) -> None:
    with RawWebSocket(hark.http_address, **wrong) as ws:
        assert ws.response.status == status
        assert told.items() <= ws.response.headers.items()
        assert ws.response.json["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"
