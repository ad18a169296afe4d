"""GraphQL over server-sent events, as bytes."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.farm_process import FarmProcess
from tests.web.conftest import ALLOWED_ORIGIN
from tests.web.raw_stream import ACCEPT, RawStream, connect
from tests.web.web_process import JSON, WebProcess, ask, data

pytestmark = pytest.mark.process

FOLLOW = "mutation($a: ID!, $b: ID!) { follow(followerId: $a, authorId: $b) { changed } }"
PUBLISH = "mutation($a: ID!, $c: String!) { publishPost(authorId: $a, content: $c) { postId } }"
EVENTS = """subscription($user: ID!, $since: String) { inboxEvents(userId: $user, since: $since) {
  __typename cursor ... on NotificationAdded { notification { content } } } }"""


@pytest.mark.parametrize("path", ["/graphql", "/query"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_follow_and_resume(hark: FarmProcess, method: str, path: str) -> None:
    user, author = f"reader of {method} {path}", f"writer of {method} {path}"
    address = hark.http_address
    data(address, FOLLOW, a=user, b=author)
    with RawStream(address, EVENTS, method=method, path=path, user=user) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["connection"] == "close"
        assert stream.event()["__typename"] == "InboxLive"
        data(address, PUBLISH, a=author, c="one\ntwo")
        one = stream.added()
        assert one["notification"]["content"] == f"New post from {author}: one\ntwo"
    data(address, PUBLISH, a=author, c="three")
    # A browser sends the same request again, and the id of the last event that it had.
    again = {"last-event-id": one["cursor"]}
    with RawStream(address, EVENTS, method=method, headers=again, user=user) as stream:
        assert stream.event()["__typename"] == "InboxLive"
        assert stream.added()["notification"]["content"] == f"New post from {author}: three"


def test_the_last_event_id_is_newer_than_what_the_query_says(hark: FarmProcess) -> None:
    address = hark.http_address
    data(address, FOLLOW, a="resumer", b="resumed")
    with RawStream(address, EVENTS, user="resumer") as stream:
        since = stream.event()["cursor"]
        data(address, PUBLISH, a="resumed", c="one")
        one = stream.added()["cursor"]
    data(address, PUBLISH, a="resumed", c="two")
    again = {"last-event-id": one}
    with RawStream(address, EVENTS, headers=again, user="resumer", since=since) as stream:
        assert stream.added()["notification"]["content"].endswith("two")


def test_questions_and_changes(hark: FarmProcess) -> None:
    with RawStream(hark.http_address, "{ __typename }", method="GET") as stream:
        assert stream.next() == ("next", "", {"data": {"__typename": "Query"}})
        assert stream.next() == ("complete", "", None)
        assert stream.next() is None
    with RawStream(hark.http_address, FOLLOW, a="by", b="events") as stream:
        assert stream.next() == ("next", "", {"data": {"follow": {"changed": True}}})
        assert stream.next() == ("complete", "", None)
        assert stream.next() is None


def test_http_1_0_gets_no_chunks(hark: FarmProcess) -> None:
    """It does not know them: what it gets ends with the connection."""
    query = urlencode({"query": "{ __typename }"})
    asked = f"GET /graphql?{query} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n"
    with connect(hark.http_address) as connection:
        connection.sendall(asked.encode())
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert b"text/event-stream" in head
    assert b"transfer-encoding" not in head.lower()
    told = b'event: next\ndata: {"data":{"__typename":"Query"}}\n\nevent: complete\ndata:\n\n'
    assert body == told


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("{", "Syntax Error"),
        ("subscription { nothing }", "nothing"),
        (EVENTS, "$user"),
        ('subscription { inboxEvents(userId: "") { cursor } }', "userId"),
        (EVENTS.replace("$user)", '"a", since: "forged")'), "$"),
        ("subscription { " + "a { " * 13 + "b" + " }" * 14, "fields deep"),
    ],
)
def test_what_is_wrong_with_an_operation_is_told_as_an_event(
    hark: FarmProcess, query: str, says: str
) -> None:
    with RawStream(hark.http_address, query) as stream:
        assert stream.status == 200
        sent = stream.next()
        assert sent is not None
        (error, *_) = sent.body["errors"]
        assert error["extensions"]["code"] == "INVALID_ARGUMENT"
        assert says in error["message"]
        assert stream.next() == ("complete", "", None)


@pytest.mark.parametrize(("since", "last"), [("", "forged"), ("forged", "")])
def test_a_forged_cursor(hark: FarmProcess, since: str, last: str) -> None:
    headers = {"last-event-id": last}
    with RawStream(hark.http_address, EVENTS, headers=headers, user="a", since=since) as stream:
        sent = stream.next()
        assert sent is not None
        (error,) = sent.body["errors"]
        assert error["extensions"]["code"] == "INVALID_ARGUMENT"
        assert error["path"] == ["inboxEvents"]


def test_what_is_no_question_is_refused_as_ever(web: WebProcess) -> None:
    def status(method: str, path: str, body: bytes | None = None, **more: str) -> int:
        headers = JSON | ACCEPT | more
        return ask(web.address, path, method=method, body=body, headers=headers).status

    assert status("GET", "/graphql?query=mutation%7Ba%7D") == 405
    assert status("GET", "/graphql") == 400
    assert status("POST", "/graphql", b"{") == 400
    assert status("POST", "/graphql", b'[{"query":"{ __typename }"}]') == 400
    assert status("POST", "/graphql", b'{"query":"{a}"}', **{"content-type": "text/plain"}) == 415
    assert status("POST", "/graphql", b" " * 70_000) == 413
    assert status("POST", "/graphql", b'{"query":"{a}"}', origin="https://elsewhere") == 403


def test_a_page_of_an_allowed_site_may_follow(web: WebProcess) -> None:
    headers = {"origin": ALLOWED_ORIGIN}
    with RawStream(web.address, "{ __typename }", headers=headers) as stream:
        assert stream.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
        assert stream.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream", True),
        ("application/json, text/event-stream", False),
        ("text/event-stream, application/json", False),
        ("text/event-stream, application/json;q=0.9", True),
        ("application/json;q=0.5, text/event-stream", True),
        ("text/event-stream;q=0", False),
        ("*/*", False),
        ("text/event-stream-of-mine", False),
    ],
)
def test_who_gets_events(web: WebProcess, accept: str, streams: bool) -> None:
    body = b'{"query":"{ __typename }"}'
    reply = ask(
        web.address, "/graphql", method="POST", body=body, headers=JSON | {"accept": accept}
    )
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/event-stream") == streams


def test_who_takes_both_gets_events_for_a_subscription(hark: FarmProcess) -> None:
    headers = {"accept": "application/json, text/event-stream"}
    with RawStream(hark.http_address, EVENTS, headers=headers, user="both") as stream:
        assert stream.event()["__typename"] == "InboxLive"
