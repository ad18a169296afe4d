"""What the web process refuses, and how it says so."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.conftest import ALLOWED_ORIGIN, StartWeb
from tests.web.raw_websocket import RawWebSocket
from tests.web.web_process import JSON, TYPENAME, Reply, WebProcess, ask, run

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """One that tells nobody what it has."""
    one = WebProcess(tmp_path_factory.mktemp("closed"), no_introspection=True)
    try:
        yield one.wait_serving()
    finally:
        one.close()


def _error(reply: Reply) -> tuple[str, str]:
    """The code and the sentence; GraphQL has its own place for them."""
    assert reply.headers["content-type"] == "application/json"
    body = reply.json
    if "error" in body:
        return body["error"]["code"], body["error"]["message"]
    (error,) = body["errors"]
    return error["extensions"]["code"], error["message"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (TYPENAME, {"content-type": "text/plain"}, 415, "Content-Type"),
        (TYPENAME, {"content-type": "application/x-www-form-urlencoded"}, 415, "Content-Type"),
        (TYPENAME, {"content-type": "multipart/form-data; boundary=x"}, 415, "Content-Type"),
        (TYPENAME, {"content-type": "application/json; charset=utf-16"}, 415, "UTF-8"),
        (b"", JSON, 400, "JSON"),
        (b"{", JSON, 400, "JSON"),
        (b"\xff\xfe{}", JSON, 400, "UTF-8"),
        (b'{"query":"{ __typename }","variables":{"a":NaN}}', JSON, 400, "JSON"),
        (b"[" * 60_000, JSON, 400, "JSON"),
        (b"1" * 5_000, JSON, 400, "JSON"),
        (b'"text"', JSON, 400, "object"),
        (b"{}", JSON, 400, "query"),
        (b'{"query":7}', JSON, 400, "query"),
        (b'{"query":" "}', JSON, 400, "query"),
        (b'{"query":"{ __typename }","variables":[]}', JSON, 400, "variables"),
        (b'{"query":"{ __typename }","operationName":1}', JSON, 400, "operationName"),
        (b'{"query":"query a { __typename }","operationName":"b"}', JSON, 400, "operationName"),
        (b"[" + b",".join([TYPENAME] * 1_000) + b"]", JSON, 400, "batch"),
        (b'{"query":"subscription { a }"}', JSON, 400, "WebSocket"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/graphql", "/query"])
def test_body_that_is_no_question(
    web: WebProcess, path: str, body: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    reply = ask(web.address, path, method="POST", body=body, headers=headers)
    assert reply.status == status
    code, message = _error(reply)
    assert code == "INVALID_ARGUMENT"
    assert says in message


@pytest.mark.parametrize("size", [65_537, 1_700_000, 20_000_000])
def test_body_that_is_too_large(web: WebProcess, size: int) -> None:
    body = TYPENAME[:-1] + b" " * (size - len(TYPENAME)) + b"}"
    reply = ask(web.address, "/graphql", method="POST", body=body, headers=JSON)
    assert reply.status == 413
    assert _error(reply)[0] == "RESOURCE_EXHAUSTED"


def test_largest_body_is_taken(web: WebProcess) -> None:
    body = TYPENAME[:-1] + b" " * (65_536 - len(TYPENAME)) + b"}"
    assert ask(web.address, "/graphql", method="POST", body=body, headers=JSON).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "NOT_FOUND"),
        ("GET", "/graphiql/../../pyproject.toml", 404, "NOT_FOUND"),
        ("GET", "/graphiql/page.jsx", 404, "NOT_FOUND"),
        ("GET", "/graphiql/%2e%2e%2fschema.py", 404, "NOT_FOUND"),
        ("PUT", "/graphql", 405, "UNIMPLEMENTED"),
        ("DELETE", "/query", 405, "UNIMPLEMENTED"),
        ("POST", "/metrics", 405, "UNIMPLEMENTED"),
        ("POST", "/health", 405, "UNIMPLEMENTED"),
        ("OPTIONS", "/graphql", 405, "UNIMPLEMENTED"),
        ("GET", "/graphql", 400, "INVALID_ARGUMENT"),
        ("GET", "/graphql?query=", 400, "INVALID_ARGUMENT"),
        ("GET", "/graphql?query=%7B__typename%7D&variables=%5B", 400, "INVALID_ARGUMENT"),
        ("GET", "/graphql?query=%FF", 400, "INVALID_ARGUMENT"),
        ("GET", "/graphql?" + "a=1&" * 20, 400, "INVALID_ARGUMENT"),
        ("GET", "/graphql?query=mutation%7Ba%7D", 405, "UNIMPLEMENTED"),
        ("GET", "/graphql?query=" + "x" * 10_000, 413, "RESOURCE_EXHAUSTED"),
    ],
)
def test_path_and_method(web: WebProcess, method: str, path: str, status: int, code: str) -> None:
    reply = ask(web.address, path, method=method)
    assert reply.status == status
    assert _error(reply)[0] == code
    if status == 405:
        assert reply.headers["allow"]


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request(web: WebProcess, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", web.port), 10) as connection:
        connection.sendall(raw)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"INVALID_ARGUMENT" in body
    assert b"Traceback" not in body


@pytest.mark.parametrize(
    "line", [b"GET \xfd HTTP/1.1", b"GET elsewhere HTTP/1.1", b"GET /\x7f HTTP/1.1", b"GET ?"]
)
def test_a_url_that_is_none(web: WebProcess, line: bytes) -> None:
    """It had no answer, and left the stack of Sanic's surprise in the log."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=5) as connection:
        connection.sendall(line + b"\r\nHost: a\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in web.log()


def test_who_leaves_amid_a_request_is_no_incident(web: WebProcess) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=5) as connection:
        connection.sendall(b"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
    assert ask(web.address, "/health").status == 200
    assert "internal error" not in web.log()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("{ nothing }", "nothing"),
        ("query a { __typename } query b { __typename }", "operationName"),
        ("{ getNotifications { id } }", "userId"),
        ("{ getNotifications(userId: ", "Syntax Error"),
        ('{ getNotifications(userId: "") { id } }', "userId"),
        ('{ notifications(userId: "") }', "userId"),
        ('{ getNotifications(userId: "\\u0000") { id } }', "userId"),
        ('{ getNotifications(userId: "' + "x" * 129 + '") { id } }', "129 bytes"),
        ('{ inbox(userId: "a", first: 0) { liveCursor } }', "first 0"),
        ('{ inbox(userId: "a", first: -1) { liveCursor } }', "first -1"),
        ('{ inbox(userId: "a", first: 101) { liveCursor } }', "first 101"),
        ('{ inbox(userId: "a", first: 1000000000) { liveCursor } }', "first 1000000000"),
        ('{ inbox(userId: "a", first: 99999999999) { liveCursor } }', "Int"),
        ('{ post(id: "") { id } }', "id"),
        ("{" + "a{" * 5_000 + "}" * 5_000 + "}", "nested"),
        ("{" + " ".join(f"a{n}:__typename" for n in range(3_000)) + "}", "tokens"),
        ("{" + "getMetrics{totalSent}" * 498 + "}", "at most 5,000 comparisons"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "itself"),
        ("{__schema{types{fields{type{fields{type{fields{type{name}}}}}}}}}", "depth"),
    ],
)
def test_query_that_is_wrong(web: WebProcess, query: str, says: str) -> None:
    began = time.monotonic()
    answer = run(web.address, query)
    assert time.monotonic() - began < 2  # generous: a parser without a limit took seconds
    assert answer.get("data") in (None, {"post": None})
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"INVALID_ARGUMENT"}
    assert says in answer["errors"][0]["message"]
    assert len(json.dumps(answer)) < 60_000


@pytest.mark.parametrize("value", ["\ud800", ["\ud800"], {"a": 1}, None, 1.5, True])
def test_variable_that_is_wrong(web: WebProcess, value: Any) -> None:
    answer = run(web.address, "query($u: ID!) { getNotifications(userId: $u) { id } }", u=value)
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["INVALID_ARGUMENT"]


@pytest.mark.parametrize("path", ["/graphql", "/query", "/metrics.json", "/health"])
@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://[", ""])
def test_page_of_another_site_is_refused(web: WebProcess, path: str, origin: str) -> None:
    reply = ask(web.address, path, headers={"origin": origin})
    assert reply.status == 403
    assert _error(reply)[0] == "PERMISSION_DENIED"
    assert "access-control-allow-origin" not in reply.headers


def test_page_of_this_site_may_ask(web: WebProcess) -> None:
    headers = JSON | {"origin": f"http://{web.address}"}
    reply = ask(web.address, "/graphql", method="POST", body=TYPENAME, headers=headers)
    assert reply.json == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    "path", ["/graphql?query=%7B__typename%7D", "/query", "/inbox/a", "/metrics"]
)
@pytest.mark.parametrize("host", ["elsewhere.example", "Elsewhere.Example.", "127.0.0.1.nip.io"])
def test_page_whose_name_leads_here_is_refused(web: WebProcess, path: str, host: str) -> None:
    """DNS rebinding: to the browser it is a page of this site."""
    at = f"{host}:{web.port}"
    for headers in ({"host": at}, {"host": at, "origin": f"http://{at}"}):
        reply = ask(web.address, path, headers=headers)
        assert reply.status == 403
        assert _error(reply)[0] == "PERMISSION_DENIED"
    with RawWebSocket(web.address, headers={"host": at, "origin": f"http://{at}"}) as ws:
        assert ws.response.status == 403


@pytest.mark.parametrize(
    "host",
    [
        "localhost:{port}", "LocalHost:{port}", "app.localhost:{port}", "127.0.0.1:{port}",
        "127.9.9.9:{port}", "[::1]:{port}", "this-machine:{port}", "hark.example",
        "hark.example:8443", "app.example", "[", "a:b",
    ],
)  # fmt: skip
def test_who_comes_by_a_name_of_this_machine_or_through_a_proxy_may_ask(
    web: WebProcess, host: str
) -> None:
    at = host.format(port=web.port)
    query = "/graphql?query=%7B__typename%7D"
    assert ask(web.address, query, headers={"host": at}).status == 200


def test_a_name_that_leads_here_can_be_allowed(start_web: StartWeb) -> None:
    reserved = start_web()
    at = f"hark.example:{reserved.port}"
    web = start_web(number=2, port=reserved.port, allowed_origin=(f"http://{at.upper()}",))
    web.wait_serving()
    reserved.wait_serving().stop()
    headers = JSON | {"host": at, "origin": f"http://{at}"}
    reply = ask(web.address, "/graphql", method="POST", body=TYPENAME, headers=headers)
    assert reply.json == {"data": {"__typename": "Query"}}


def test_page_of_an_allowed_site_may_ask(web: WebProcess) -> None:
    headers = {"origin": ALLOWED_ORIGIN, "access-control-request-method": "POST"}
    preflight = ask(web.address, "/graphql", method="OPTIONS", headers=headers)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
    assert allowed == ["accept", "content-type", "last-event-id"]
    headers = JSON | {"origin": ALLOWED_ORIGIN}
    reply = ask(web.address, "/graphql", method="POST", body=TYPENAME, headers=headers)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    assert reply.headers["vary"] == "Origin"


def test_unavailable_store_is_said_so(start_web: StartWeb) -> None:
    web = start_web(hurry={"farm.client.GIVE_UP_S": 1.0}).wait_serving()
    answer = run(web.address, '{ getNotifications(userId: "user1") { id } }')
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "UNAVAILABLE"
    assert error["path"] == ["getNotifications"]
    assert answer["data"] is None


@pytest.mark.parametrize(
    "query",
    [
        "{ getMetric { totalSent } }",
        "{ getMetrics { totalSend } }",
        '{ inbox(userID: "a") { liveCursor } }',
        "query($u: Strin) { notifications(userId: $u) }",
        "{ ... on Querry { __typename } }",
        "{ __typename @skp(if: true) }",
        '{ user(id: "a") }',
    ],
)
def test_without_introspection_no_name_is_told(closed: WebProcess, query: str) -> None:
    said = json.dumps(run(closed.address, query))
    assert "INVALID_ARGUMENT" in said
    assert "Did you mean" not in said


def test_introspection_can_be_refused(closed: WebProcess) -> None:
    for query in ("{ __schema { queryType { name } } }", '{ __type(name: "Query") { name } }'):
        assert "introspection" in run(closed.address, query)["errors"][0]["message"]
    assert run(closed.address, "{ __typename }") == {"data": {"__typename": "Query"}}


def test_with_introspection_names_are_told(web: WebProcess) -> None:
    message = run(web.address, "{ getMetric { totalSent } }")["errors"][0]["message"]
    assert "Did you mean 'getMetrics'" in message
