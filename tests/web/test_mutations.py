"""What can be changed by GraphQL, and what is told of it, against a whole farm."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.farm_process import FarmProcess, wait_until
from tests.web.web_process import JSON, ask, data, run

pytestmark = pytest.mark.process

EXPLAIN = """query($post: ID!, $user: ID!) { explain(postId: $post, userId: $user) {
  inAudience code reason deliveries { channel status attempts lastError } } }"""
INBOX = """query($user: ID!, $unread: Boolean) { inbox(userId: $user, unreadOnly: $unread) {
  edges { cursor node { id postId read } } unreadCount } }"""
LETTERS = """{ deadLetters {
  groups { id channel error count firstAt lastAt sampleUserIds samplePostIds }
  pageInfo { hasNextPage endCursor } } }"""


def change(hark: FarmProcess, field: str, shows: str, **arguments: Any) -> Any:
    """What a mutation answers."""
    text = ", ".join(f"{name}: {json.dumps(value)}" for name, value in arguments.items())
    return data(hark.http_address, f"mutation {{ {field}({text}) {{ {shows} }} }}")[field]


def code(hark: FarmProcess, question: str) -> tuple[str, str]:
    """The code and the sentence of the one error."""
    (error,) = run(hark.http_address, question)["errors"]
    return error["extensions"]["code"], error["message"]


def follow(hark: FarmProcess, follower: str, author: str) -> None:
    asked = {"followerId": follower, "authorId": author}
    assert change(hark, "follow", "changed", **asked) == {"changed": True}


def publish(hark: FarmProcess, author: str, post: str) -> None:
    answer = change(hark, "publishPost", "postId", postId=post, authorId=author, content="Hello!")
    assert answer == {"postId": post}


def inbox(hark: FarmProcess, user: str, *, unread: bool = False) -> dict[str, Any]:
    page: dict[str, Any] = data(hark.http_address, INBOX, user=user, unread=unread)["inbox"]
    return page


def posts(page: dict[str, Any]) -> list[str]:
    return [edge["node"]["postId"] for edge in page["edges"]]


def dead(hark: FarmProcess) -> dict[str, Any]:
    """The one group of dead letters there can be; empty where there is none yet."""
    page = data(hark.http_address, LETTERS)["deadLetters"]
    assert page["pageInfo"] == {"hasNextPage": False, "endCursor": None}
    return dict(*page["groups"])


def test_publish(hark: FarmProcess) -> None:
    follow(hark, "reader", "writer")
    shows = "postId notificationsQueued duplicate"
    made = change(hark, "publishPost", shows, authorId="writer", content="Hello!")
    assert re.fullmatch("[0-9a-f]{32}", made["postId"])
    assert (made["notificationsQueued"], made["duplicate"]) == (1, False)
    again = change(hark, "publishPost", shows, authorId="writer", content="Hello!", postId="")
    assert again["postId"] > made["postId"]
    named = {"postId": "named", "authorId": "writer", "content": "Hello!"}
    first = change(hark, "publishPost", shows, **named)
    assert first == {"postId": "named", "notificationsQueued": 1, "duplicate": False}
    assert change(hark, "publishPost", shows, **named) == first | {"duplicate": True}
    assert posts(inbox(hark, "reader")) == ["named", again["postId"], made["postId"]]


def test_marks(hark: FarmProcess) -> None:
    follow(hark, "marker", "marked")
    for post in ("m1", "m2", "m3", "m4"):
        publish(hark, "marked", post)
    edges = inbox(hark, "marker")["edges"]
    ids = [edge["node"]["id"] for edge in edges]  # of m4, m3, m2, m1
    some = {"userId": "marker", "notificationIds": [ids[0], ids[2], "no such one"]}
    assert change(hark, "markRead", "unreadCount", **some) == {"unreadCount": 2}
    page = inbox(hark, "marker")
    assert [edge["node"]["read"] for edge in page["edges"]] == [True, False, True, False]
    unread = inbox(hark, "marker", unread=True)
    assert (posts(unread), unread["unreadCount"]) == (["m3", "m1"], 2)
    one = {"userId": "marker", "notificationIds": [ids[0]]}
    assert change(hark, "markUnread", "unreadCount", **one) == {"unreadCount": 3}
    up_to = {"userId": "marker", "upTo": edges[1]["cursor"]}
    assert change(hark, "markAllRead", "unreadCount", **up_to) == {"unreadCount": 1}
    assert posts(inbox(hark, "marker", unread=True)) == ["m4"]


def test_follow_and_unfollow(hark: FarmProcess) -> None:
    both = {"followerId": "fan", "authorId": "star"}
    assert change(hark, "unfollow", "changed", **both | {"followerId": "none"}) == {
        "changed": False
    }
    follow(hark, "fan", "star")
    assert change(hark, "follow", "changed", **both) == {"changed": False}
    publish(hark, "star", "s1")
    assert posts(inbox(hark, "fan")) == ["s1"]
    assert change(hark, "unfollow", "changed", **both) == {"changed": True}
    assert inbox(hark, "fan") == {"edges": [], "unreadCount": 0}


def test_mute_and_unmute(hark: FarmProcess) -> None:
    follow(hark, "quiet", "loud")
    publish(hark, "loud", "l1")
    both = {"userId": "quiet", "authorId": "loud"}
    assert change(hark, "mute", "changed", **both) == {"changed": True}
    assert change(hark, "mute", "changed", **both) == {"changed": False}
    assert inbox(hark, "quiet") == {"edges": [], "unreadCount": 0}
    assert change(hark, "unmute", "changed", **both) == {"changed": True}
    assert posts(inbox(hark, "quiet")) == ["l1"]


def test_retract(hark: FarmProcess) -> None:
    follow(hark, "late", "sorry")
    publish(hark, "sorry", "oops")
    first = change(hark, "retractPost", "stopped hidden", postId="oops")
    assert first["hidden"] == 1
    assert change(hark, "retractPost", "stopped hidden", postId="oops") == first
    assert inbox(hark, "late") == {"edges": [], "unreadCount": 0}
    shown = data(hark.http_address, '{ post(id: "oops") { retracted ledger { unaccounted } } }')
    assert shown == {"post": {"retracted": True, "ledger": [{"unaccounted": 0}] * 2}}


def test_explain(hark: FarmProcess) -> None:
    follow(hark, "here", "teller")
    follow(hark, "gone", "teller")
    follow(hark, "muter", "teller")
    change(hark, "mute", "changed", userId="muter", authorId="teller")
    publish(hark, "teller", "told")
    follow(hark, "after", "teller")
    change(hark, "unfollow", "changed", followerId="gone", authorId="teller")
    codes = {}
    for user in ("here", "gone", "muter", "after", "teller", "nobody"):
        answer = data(hark.http_address, EXPLAIN, post="told", user=user)["explain"]
        codes[user] = (answer["code"], answer["inAudience"])
        assert answer["reason"], user
    assert codes == {
        "here": ("NOTIFIED", True),
        "gone": ("UNFOLLOWED", True),
        "muter": ("MUTED", True),
        "after": ("FOLLOWED_LATER", False),
        "teller": ("NEVER_FOLLOWED", False),
        "nobody": ("USER_UNKNOWN", False),
    }
    unknown = data(hark.http_address, EXPLAIN, post="none", user="here")["explain"]
    assert (unknown["code"], unknown["deliveries"]) == ("POST_UNKNOWN", [])

    def failed() -> Any:
        told = data(hark.http_address, EXPLAIN, post="told", user="here")["explain"]["deliveries"]
        return told if told[1]["status"] == "FAILED" else None

    first, second = wait_until(failed, 15)
    assert first == {"channel": "inbox", "status": "DELIVERED", "attempts": 1, "lastError": None}
    assert (second["channel"], second["attempts"]) == ("simulated", 1)
    assert second["lastError"]


def test_dead_letters_and_their_replay(hark: FarmProcess) -> None:
    follow(hark, "unlucky", "jinx")
    publish(hark, "jinx", "j1")
    before = wait_until(lambda: dead(hark), 15)
    assert before["channel"] == "simulated"
    assert before["error"]
    assert before["count"] >= 1
    assert before["firstAt"] <= before["lastAt"]
    assert before["sampleUserIds"]
    assert before["samplePostIds"]
    shows = "replayed skipped { reason count }"
    dry = change(hark, "replayDeadLetters", shows, groupId=before["id"], dryRun=True)
    assert dry["replayed"] >= 1
    done = change(hark, "replayDeadLetters", shows, groupId=before["id"])
    assert done["replayed"] >= dry["replayed"]

    def tried_again() -> bool:
        answer = data(hark.http_address, EXPLAIN, post="j1", user="unlucky")["explain"]
        second = answer["deliveries"][1]
        return bool(second["attempts"] == 2 and second["status"] == "FAILED")

    wait_until(tried_again, 15)


def test_set_workers(hark: FarmProcess) -> None:
    assert change(hark, "setWorkers", "workers", workers=3) == {"workers": 3}
    wait_until(lambda: len(hark.pids("worker")) == 3, 15)
    assert change(hark, "setWorkers", "workers", workers=1) == {"workers": 1}
    wait_until(lambda: len(hark.pids("worker")) == 1, 15)


@pytest.mark.parametrize(
    ("asked", "expected", "says"),
    [
        ('markRead(userId: "nobody", notificationIds: []) { unreadCount }', "NOT_FOUND", "userId"),
        ('markRead(userId: "", notificationIds: []) { unreadCount }', "INVALID_ARGUMENT", "userId"),
        (
            f'markRead(userId: "a", notificationIds: {json.dumps([""] * 1_001)}) {{ unreadCount }}',
            "INVALID_ARGUMENT",
            "notificationIds",
        ),
        ('markAllRead(userId: "a", upTo: "forged") { unreadCount }', "INVALID_ARGUMENT", "upTo"),
        ('follow(followerId: "a", authorId: "a") { changed }', "INVALID_ARGUMENT", "followerId"),
        ('follow(followerId: "a", authorId: "") { changed }', "INVALID_ARGUMENT", "authorId"),
        ('mute(userId: "nobody", authorId: "none") { changed }', "NOT_FOUND", "nobody"),
        ('publishPost(authorId: "nobody", content: "x") { postId }', "NOT_FOUND", "authorId"),
        ('publishPost(authorId: "a", content: "") { postId }', "INVALID_ARGUMENT", "content"),
        ('retractPost(postId: "none") { stopped }', "NOT_FOUND", "postId"),
        ('replayDeadLetters(groupId: "none") { replayed }', "NOT_FOUND", "groupId"),
        ('replayDeadLetters(groupId: "ff.ff") { replayed }', "NOT_FOUND", "groupId"),
        ("setWorkers(workers: 0) { workers }", "INVALID_ARGUMENT", "workers"),
        ("setWorkers(workers: 65) { workers }", "INVALID_ARGUMENT", "workers"),
    ],
)
def test_what_is_refused(hark: FarmProcess, asked: str, expected: str, says: str) -> None:
    found, message = code(hark, f"mutation {{ {asked} }}")
    assert found == expected
    assert says in message


def test_the_same_id_for_another_post(hark: FarmProcess) -> None:
    follow(hark, "one", "other")
    publish(hark, "other", "taken")
    asked = 'publishPost(postId: "taken", authorId: "other", content: "Else") { postId }'
    assert code(hark, f"mutation {{ {asked} }}")[0] == "ALREADY_EXISTS"


@pytest.mark.parametrize("first", [0, 101])
def test_pages_of_dead_letters_have_a_size(hark: FarmProcess, first: int) -> None:
    asked = f"{{ deadLetters(first: {first}) {{ pageInfo {{ endCursor }} }} }}"
    assert code(hark, asked) == ("INVALID_ARGUMENT", f"first {first}: must be from 1 to 100")


def test_a_batch_is_run_in_turn(hark: FarmProcess) -> None:
    """A bad operation in it spoils no other."""
    follow(hark, "batcher", "batched")
    wrong = [{"query": "{ nothing }"}, {"query": "subscription { a }"}]
    batch: list[dict[str, Any]] = []
    for n in range(4):
        text = f'publishPost(postId: "b{n}", authorId: "batched", content: "x") {{ postId }}'
        look = {"query": INBOX, "variables": {"user": "batcher"}}
        batch += [{"query": f"mutation {{ {text} }}"}, look]
    body = json.dumps([*batch, *wrong]).encode()
    reply = ask(hark.http_address, "/graphql", method="POST", body=body, headers=JSON)
    assert reply.status == 200
    *answers, unknown, subscription = reply.json
    assert [len(answer["data"]["inbox"]["edges"]) for answer in answers[1::2]] == [1, 2, 3, 4]
    for answer in (unknown, subscription):
        assert answer["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"
