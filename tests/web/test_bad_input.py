"""Bad input to a whole farm: it is refused cleanly, and nothing comes of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.farm_process import FarmProcess
from tests.web.web_process import JSON, ask, data, run

pytestmark = pytest.mark.process

# What tells the caller, who is wrong, that they are.
CLEAN = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"}
SQL = "'); DROP TABLE post; --\" OR 1=1 /* \\ %s {0} ${x}"
ELSEWHERE = {"origin": "https://elsewhere.example"}

PUBLISH = 'mutation { publishPost(postId: "never", authorId: "star", content: "x") { postId } }'
AS_JSON = json.dumps({"query": PUBLISH}).encode()
AS_FORM = urlencode({"query": PUBLISH}).encode()
AS_PARTS = (
    f'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n{PUBLISH}\r\n--x--\r\n'.encode()
)

OPERATIONS = (
    "query($a: ID!, $n: Int) { inbox(userId: $a, first: $n) { liveCursor } }",
    "query($a: ID!, $b: String) { inbox(userId: $a, after: $b) { liveCursor } }",
    "query($a: String!) { notifications(userId: $a) }",
    "query($a: ID!, $b: String) { user(id: $a) { followers(after: $b) { ids } } }",
    "query($a: ID!, $b: ID!) { explain(postId: $a, userId: $b) { code } }",
    "query($n: Int, $b: String) { deadLetters(first: $n, after: $b) { groups { id } } }",
    "mutation($a: ID!, $l: [ID!]!) { markRead(userId: $a, notificationIds: $l) { unreadCount } }",
    "mutation($a: ID!, $b: String!) { markAllRead(userId: $a, upTo: $b) { unreadCount } }",
    "mutation($a: ID!, $b: ID!) { follow(followerId: $a, authorId: $b) { changed } }",
    "mutation($a: ID!, $b: ID!) { unmute(userId: $a, authorId: $b) { changed } }",
    """mutation($i: ID, $a: ID!, $b: String!) {
      publishPost(postId: $i, authorId: $a, content: $b) { postId } }""",
    "mutation($a: ID!) { retractPost(postId: $a) { stopped } }",
    "mutation($a: ID!, $f: Boolean) { replayDeadLetters(groupId: $a, dryRun: $f) { replayed } }",
)
ODD = ("a\ud800", "\0", "a\0b", "", " ", "x" * 129, SQL, "0.0", "ffffffffffffffffffff.1")
TEXT = st.one_of(st.sampled_from(ODD), st.text(max_size=140), st.just("somebody"))
OTHER = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.lists(st.one_of(TEXT, st.integers(), st.none()), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
# Mostly of the right type, or little would get past GraphQL itself.
VARIABLES = st.fixed_dictionaries(
    {"a": st.one_of(TEXT, TEXT, TEXT, OTHER), "b": st.one_of(TEXT, TEXT, TEXT, OTHER)},
    optional={
        "i": st.one_of(TEXT, OTHER),
        "l": st.one_of(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4), OTHER),
        "n": st.one_of(st.integers(-1, 101), OTHER),
        "f": OTHER,
    },
)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "", AS_JSON, {"content-type": "text/plain"}, 415),
        ("POST", "", AS_JSON, {"content-type": "application/graphql"}, 415),
        ("POST", "", AS_FORM, {"content-type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "", AS_PARTS, {"content-type": "multipart/form-data; boundary=x"}, 415),
        ("POST", f"?{AS_FORM.decode()}", b"", JSON, 400),
        ("GET", f"?{AS_FORM.decode()}", None, {}, 405),
        ("HEAD", f"?{AS_FORM.decode()}", None, {}, 405),
        ("PUT", "", AS_JSON, JSON, 405),
        ("POST", "", AS_JSON, JSON | ELSEWHERE, 403),
        ("POST", "", AS_JSON, JSON | {"origin": "null"}, 403),
    ],
)
def test_a_change_sent_by_another_way(
    hark: FarmProcess, method: str, path: str, body: bytes | None, headers: Any, status: int
) -> None:
    """Fault row 85: what a page of another site can send is refused, and has no effect."""
    follow = 'mutation { follow(followerId: "fan of star", authorId: "star") { changed } }'
    data(hark.http_address, follow)
    address = hark.http_address
    reply = ask(address, f"/graphql{path}", method=method, body=body, headers=headers)
    assert reply.status == status
    assert data(address, '{ post(id: "never") { id } }') == {"post": None}


@given(query=st.sampled_from(OPERATIONS), variables=VARIABLES)
@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_wrong_variables(hark: FarmProcess, query: str, variables: dict[str, Any]) -> None:
    """Fault row 89: wrong types, NUL, half surrogates and SQL get a clean error, or data."""
    answer = run(hark.http_address, query, **variables)
    codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
    assert codes <= CLEAN
    assert codes or answer["data"]
    assert "Traceback" not in json.dumps(answer)


@pytest.mark.parametrize("query", OPERATIONS)
def test_half_a_surrogate_pair(hark: FarmProcess, query: str) -> None:
    """Fault row 89: text that has no UTF-8 is refused wherever it stands, with all else right."""
    known = 'mutation { follow(followerId: "somebody", authorId: "another") { changed } }'
    data(hark.http_address, known)
    right: dict[str, Any] = {
        "a": "somebody",
        "b": "another",
        "i": "an id",
        "l": ["0.0"],
        "n": 1,
        "f": True,
    }
    for name in "abil":
        if f"${name}:" in query:
            wrong = ["0.0", "a\ud800"] if name == "l" else "a\ud800"
            (error,) = run(hark.http_address, query, **right | {name: wrong})["errors"]
            assert error["extensions"]["code"] == "INVALID_ARGUMENT", name


@pytest.mark.parametrize("size", [65_000, 1_048_576])
def test_a_very_long_string(hark: FarmProcess, size: int) -> None:
    """Fault row 89: too long for its field, then too long for a request."""
    query = "query($a: ID!) { inbox(userId: $a) { liveCursor } }"
    body = json.dumps({"query": query, "variables": {"a": "x" * size}}).encode()
    reply = ask(hark.http_address, "/graphql", method="POST", body=body, headers=JSON)
    (error,) = reply.json["errors"]
    expected = (200, "INVALID_ARGUMENT") if size < 65_536 else (413, "RESOURCE_EXHAUSTED")
    assert (reply.status, error["extensions"]["code"]) == expected
    assert len(reply.body) < 1_000


def test_sql_is_text(hark: FarmProcess) -> None:
    """Fault row 89: where SQL is a valid id and content, it comes back as it was sent."""
    names = {"follower": f"f{SQL}", "author": f"a{SQL}", "post": f"p{SQL}"}
    ask_all = """mutation($follower: ID!, $author: ID!, $post: ID!, $content: String!) {
      follow(followerId: $follower, authorId: $author) { changed }
      publishPost(postId: $post, authorId: $author, content: $content) { postId }
      mute(userId: $follower, authorId: $author) { changed }
      unmute(userId: $follower, authorId: $author) { changed }
    }"""
    data(hark.http_address, ask_all, **names, content=SQL)
    look = """query($follower: ID!, $post: ID!) {
      post(id: $post) { id authorId content }
      inbox(userId: $follower) { edges { node { userId authorId content } } }
    }"""
    shown = data(hark.http_address, look, follower=names["follower"], post=names["post"])
    assert shown["post"] == {"id": names["post"], "authorId": names["author"], "content": SQL}
    (edge,) = shown["inbox"]["edges"]
    assert edge["node"] == {
        "userId": names["follower"],
        "authorId": names["author"],
        "content": f"New post from {names['author']}: {SQL}",
    }
