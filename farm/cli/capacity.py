"""How much Hark does, what waits and what was given up, as `hark workers` and `hark top` say it."""

from __future__ import annotations

from typing import Any, NamedTuple

from farm.cli.answers import count, printable, seconds, table
from farm.clock import rfc3339
from gateway.pb.hark.v1 import hark_pb2


class Look(NamedTuple):
    """What one look at a farm found."""

    at_us: int
    now: hark_pb2.GetCapacityResponse
    letters: list[hark_pb2.DeadLetterGroup]  # the largest group first


def document_of(now: hark_pb2.GetCapacityResponse) -> dict[str, Any]:
    return {
        "workers": now.workers,
        "backlog": now.backlog,
        "oldest_queued_seconds": oldest_s(now),
        "deliveries_per_second": now.deliveries_per_second,
        "backlog_estimate_seconds": estimate_s(now),
        "accepting": now.accepting,
        "refusing_because": now.refusing_because,
    }


def document_of_look(look: Look) -> dict[str, Any]:
    groups = [
        {"id": one.id, "channel": one.channel, "error": one.error, "count": one.count}
        for one in look.letters
    ]
    return {
        "at": rfc3339(look.at_us),
        **document_of(look.now),
        "dead": dead(look),
        "dead_letters": groups,
    }


def lines_of(now: hark_pb2.GetCapacityResponse) -> list[str]:
    waiting = f"{count(now.backlog, 'notification')} waiting"
    if now.backlog:
        estimate = estimate_s(now)
        waiting += f", the oldest for {seconds(oldest_s(now))}"
        waiting += "" if estimate is None else f", done in about {seconds(estimate)}"
    return [
        count(now.workers, "worker"),
        waiting,
        f"{now.deliveries_per_second:,.1f} deliveries a second over the last minute",
        accepting(now),
    ]


def lines_of_look(look: Look) -> list[str]:
    lines = [*lines_of(look.now), dead_in_words(look)]
    if look.letters:
        lines.append(table(("dead", "channel", "error"), causes(look), right=(0,)))
    return lines


def oldest_s(now: hark_pb2.GetCapacityResponse) -> float:
    return now.oldest_queued.ToNanoseconds() / 1e9


def estimate_s(now: hark_pb2.GetCapacityResponse) -> float | None:
    """Until nothing waits any more; None while nothing is delivered, when nobody knows."""
    if not now.HasField("backlog_estimate"):
        return None
    return now.backlog_estimate.ToNanoseconds() / 1e9


def accepting(now: hark_pb2.GetCapacityResponse) -> str:
    if now.accepting:
        return "posts are taken"
    return f"posts are refused: {printable(now.refusing_because)}"


def dead(look: Look) -> int:
    return sum(one.count for one in look.letters)


def dead_in_words(look: Look) -> str:
    return count(dead(look), "dead letter") if look.letters else "no dead letters"


def causes(look: Look) -> list[tuple[str, str, str]]:
    """Dead letters by cause: how many, on which channel, why."""
    return [(f"{one.count:,}", one.channel, printable(one.error)) for one in look.letters]
