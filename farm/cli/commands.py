"""The commands that are one call: its request, its answer in JSON, and that in words."""

from __future__ import annotations

import sys
from argparse import Namespace

from farm.cli import capacity
from farm.cli.answers import (
    AddCommand,
    Answer,
    Failed,
    count,
    printable,
    reasons,
    status_of,
    table,
    time_of,
    whole_number,
    words,
)
from farm.cli.calls import Hark
from farm.limits import (
    CONTENT_BYTES_MAX,
    WORKERS_MAX,
)
from gateway.pb.hark.v1 import hark_pb2

STANDARD_INPUT = "-"
_STATES = ("queued", "retrying", "delivered", "dead", "suppressed", "retracted", "unaccounted")
_UNKNOWN = (hark_pb2.EXPLAIN_CODE_POST_UNKNOWN, hark_pb2.EXPLAIN_CODE_USER_UNKNOWN)


def add_to(add: AddCommand) -> None:
    verb = add("publish", publish, "publish a post", "hark publish user1 'Hello world!' --id p1")
    verb.add_argument("author", metavar="AUTHOR", type=words)
    verb.add_argument("text", metavar="TEXT", type=words, help="'-': from standard input")
    verb.add_argument(
        "--id",
        metavar="ID",
        type=words,
        default="",
        help="of the post; the same again is published once (default: one is made)",
    )
    verb = add("retract", retract, "take back a post for ever", "hark retract p1")
    verb.add_argument("post", metavar="POST", type=words, help="its id")
    verb = add("ledger", ledger, "show what has become of a post", "hark ledger p1")
    verb.add_argument("post", metavar="POST", type=words, help="its id")
    verb = add(
        "explain",
        explain,
        "say why a person did, or did not, get a notification of a post",
        "hark explain p1 user2",
    )
    verb.add_argument("post", metavar="POST", type=words, help="its id")
    verb.add_argument("user", metavar="USER", type=words)
    verb = add(
        "workers",
        workers,
        "show how many workers there are and what waits, or change how many",
        "hark workers 8",
    )
    verb.add_argument(
        "workers",
        metavar="N",
        nargs="?",
        type=whole_number(1, WORKERS_MAX),
        help=f"how many there shall be, 1 to {WORKERS_MAX}",
    )


def publish(given: Namespace) -> Answer:
    text = _standard_input() if given.text == STANDARD_INPUT else given.text
    request = hark_pb2.PublishPostRequest(post_id=given.id, author_id=given.author, content=text)
    with Hark(given.grpc) as hark:
        done = hark.call("PublisherService/PublishPost", request, hark_pb2.PublishPostResponse)
    document = {
        "post_id": done.post_id,
        "notifications_queued": done.notifications_queued,
        "duplicate": done.duplicate,
    }
    how = "was published before" if done.duplicate else "published"
    people = count(done.notifications_queued, "person", "people")
    return Answer(document, f"{printable(done.post_id)} {how}, to {people}")


def _standard_input() -> str:
    """A post's text; one newline at its end is the shell's."""
    raw = sys.stdin.buffer.read(CONTENT_BYTES_MAX + 2)
    try:
        return raw.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        if len(raw) > CONTENT_BYTES_MAX:  # cut within a character; whatever it is, it is too long
            return raw.decode(errors="replace")
        raise Failed("INVALID_ARGUMENT", f"TEXT: byte {error.start + 1} is not UTF-8") from None


def retract(given: Namespace) -> Answer:
    request = hark_pb2.RetractPostRequest(post_id=given.post)
    with Hark(given.grpc) as hark:
        done = hark.call("PublisherService/RetractPost", request, hark_pb2.RetractPostResponse)
    text = (
        f"{printable(given.post)} retracted: {done.stopped:,} had not been sent, "
        f"{done.hidden:,} had been delivered and are hidden"
    )
    return Answer({"stopped": done.stopped, "hidden": done.hidden}, text)


# Looking


def ledger(given: Namespace) -> Answer:
    request = hark_pb2.GetLedgerRequest(post_id=given.post)
    with Hark(given.grpc) as hark:
        found = hark.call("OperationsService/GetLedger", request, hark_pb2.GetLedgerResponse)
    channels = {
        name: {
            state: dict(channel.suppressed) if state == "suppressed" else getattr(channel, state)
            for state in _STATES
        }
        for name, channel in sorted(found.channels.items())
    }
    rows = [
        (
            name,
            *(f"{sum(n.values()) if isinstance(n, dict) else n:,}" for n in states.values()),
        )
        for name, states in channels.items()
    ]
    lines = [f"{printable(found.post_id)}: audience {found.audience:,}"]
    if rows:
        lines.append(table(("channel", *_STATES), rows, right=range(1, 1 + len(_STATES))))
    for name, states in channels.items():
        if states["suppressed"]:
            lines.append(f"suppressed on {name}: {reasons(states['suppressed'])}")
    document = {"post_id": found.post_id, "audience": found.audience, "channels": channels}
    return Answer(document, "\n".join(lines))


def explain(given: Namespace) -> Answer:
    request = hark_pb2.ExplainRequest(post_id=given.post, user_id=given.user)
    with Hark(given.grpc) as hark:
        found = hark.call("OperationsService/Explain", request, hark_pb2.ExplainResponse)
    document = {
        "in_audience": found.in_audience,
        "code": hark_pb2.ExplainCode.Name(found.code).removeprefix("EXPLAIN_CODE_"),
        "reason": found.reason,
        "deliveries": [
            {
                "channel": step.channel,
                "status": status_of(step),
                "attempts": step.attempts,
                "last_error": step.last_error,
                "next_attempt_at": _next_attempt(step),
            }
            for step in found.deliveries
        ],
    }
    rows = [
        (
            step.channel,
            status_of(step).lower(),
            str(step.attempts),
            _next_attempt(step) or "",
            printable(step.last_error),
        )
        for step in found.deliveries
    ]
    head = ("channel", "status", "attempts", "next attempt", "last error")
    lines = [printable(found.reason), *([table(head, rows, right=(2,))] if rows else [])]
    return Answer(document, "\n".join(lines), 1 if found.code in _UNKNOWN else 0)


def _next_attempt(step: hark_pb2.DeliveryStep) -> str | None:
    return time_of(step.next_attempt_at) if step.HasField("next_attempt_at") else None


# Running it


def workers(given: Namespace) -> Answer:
    with Hark(given.grpc) as hark:
        if given.workers is not None:
            wanted = hark_pb2.SetWorkersRequest(workers=given.workers)
            done = hark.call("OperationsService/SetWorkers", wanted, hark_pb2.SetWorkersResponse)
            return Answer({"workers": done.workers}, count(done.workers, "worker"))
        request = hark_pb2.GetCapacityRequest()
        now = hark.call("OperationsService/GetCapacity", request, hark_pb2.GetCapacityResponse)
    return Answer(capacity.document_of(now), "\n".join(capacity.lines_of(now)))
