"""GraphQL over HTTP, where it goes well."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from tests.web.web_process import JSON, WebProcess, ask

pytestmark = pytest.mark.process

NEWER = "application/graphql-response+json"
TYPENAME = {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("path", ["/graphql", "/query"])
def test_query_by_get(web: WebProcess, path: str) -> None:
    arguments = {
        "query": "query a($x: Boolean!) { __typename @include(if: $x) } query b { b: __typename }",
        "variables": '{"x":true}',
        "operationName": "a",
    }
    reply = ask(web.address, f"{path}?{urlencode(arguments)}")
    assert reply.status == 200
    assert reply.json == TYPENAME


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/json; charset=utf-8; x=y",
        'application/json; x="y; charset=utf-16"; charset=utf-8',
    ],
)
def test_content_types(web: WebProcess, content_type: str) -> None:
    body = b'{"query":"{ __typename }","variables":null,"operationName":null,"extensions":{}}'
    headers = {"content-type": content_type}
    reply = ask(web.address, "/graphql", method="POST", body=body, headers=headers)
    assert reply.json == TYPENAME
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_newer_media_type_has_the_status_of_the_answer(web: WebProcess) -> None:
    def status(query: str, accept: str) -> tuple[int, str]:
        reply = ask(
            web.address,
            "/graphql",
            method="POST",
            body=json.dumps({"query": query}).encode(),
            headers=JSON | {"accept": accept},
        )
        return reply.status, reply.headers["content-type"]

    assert status("{ __typename }", NEWER) == (200, NEWER)
    assert status("{ nothing }", NEWER) == (400, NEWER)
    assert status("{", f"{NEWER}, application/json;q=0.9") == (400, NEWER)
    assert status("{ nothing }", "application/json") == (200, "application/json")
    assert status("{ nothing }", "*/*") == (200, "application/json")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (f"{NEWER};charset=utf-8, application/json;charset=utf-8", NEWER),
        (f"application/json, {NEWER}", NEWER),
        ("Application/JSON, Application/GraphQL-Response+JSON", NEWER),
        (f"application/json;q=0.5, {NEWER};q=0.6", NEWER),
        (f"application/json, {NEWER};q=0.9", "application/json"),
        (f"{NEWER};q=0", "application/json"),
        (f"*/*, {NEWER};q=0.1", "application/json"),
        ("application/*", "application/json"),
        ("text/csv", "application/json"),
        ("nonsense", "application/json"),
    ],
)
def test_the_media_type_is_the_one_liked_best(
    web: WebProcess, accept: str, media_type: str
) -> None:
    """Also of what is refused, here for being no JSON."""
    for body, status in ((b'{"query":"{ __typename }"}', 200), (b"{", 400)):
        headers = JSON | {"accept": accept}
        reply = ask(web.address, "/graphql", method="POST", body=body, headers=headers)
        assert (reply.status, reply.headers["content-type"]) == (status, media_type)


def test_text_of_any_kind_comes_back_as_utf_8(web: WebProcess) -> None:
    query = "query($u: ID!) { getNotifications(userId: $u) { id } }"
    body = json.dumps({"query": query, "variables": {"u": ["好"]}}).encode()
    reply = ask(web.address, "/graphql", method="POST", body=body, headers=JSON)
    assert "好".encode() in reply.body
