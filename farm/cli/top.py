"""`hark top`: what the farm does now, what waits, and what was given up, looked at again and again.

On a terminal that is a screen; elsewhere one report, or with `--json` a document a line.
"""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from itertools import islice
from threading import Event

from farm.cli import screen
from farm.cli.answers import AddCommand, Answer, Failed, whole_number
from farm.cli.calls import Hark
from farm.cli.capacity import Look, document_of_look, lines_of_look
from farm.clock import Clock, SystemClock
from farm.limits import DEAD_LETTERS_PAGE_MAX
from gateway.pb.hark.v1 import hark_pb2

INTERVAL_S = 1.0
INTERVAL_MIN_S, INTERVAL_MAX_S = 0.1, 3600.0
COUNT_MAX = 1_000_000_000
CALL_S = 3.0  # a farm that takes longer to answer is told of as one that does not


def add_to(add: AddCommand) -> None:
    verb = add("top", top, "watch what the farm does and what waits", "hark top --interval 5")
    verb.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_interval,
        default=INTERVAL_S,
        help="between two looks (default: %(default)g)",
    )
    way = verb.add_mutually_exclusive_group()
    way.add_argument("--once", action="store_true", help="one report, also on a terminal")
    way.add_argument(
        "--count",
        metavar="N",
        type=whole_number(1, COUNT_MAX),
        help="so many looks (default: on a terminal until q or Ctrl-C, with --json until Ctrl-C, "
        "else 1)",
    )


def _interval(text: str) -> float:
    """A type for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not INTERVAL_MIN_S <= value <= INTERVAL_MAX_S:
        rule = f"from {INTERVAL_MIN_S:g} to {INTERVAL_MAX_S:,.0f}"
        raise ArgumentTypeError(f"{text!a} is not a number of seconds {rule}")
    return value


def top(given: Namespace) -> Answer | None:
    looks = _looks(given.grpc, given.interval, SystemClock())
    on_screen = screen.is_there() and not (given.once or given.json)
    if given.once or not (on_screen or given.json or given.count):
        look = next(looks)
        if isinstance(look, Failed):
            raise look
        return Answer(document_of_look(look), "\n".join(lines_of_look(look)))
    try:
        if on_screen:
            screen.show(islice(looks, given.count), given.grpc, given.interval)
        else:
            _print(islice(looks, given.count), as_json=given.json)
    except KeyboardInterrupt:
        pass  # so it is meant to end
    return None


def _looks(address: str, interval_s: float, clock: Clock) -> Iterator[Look | Failed]:
    """One at once and one after each interval; while the farm is away, why."""
    pause = Event()
    while True:
        try:
            with Hark(address) as hark:
                while True:
                    yield _look(hark, clock)
                    pause.wait(interval_s)
        except Failed as failure:
            # Its traceback holds the connection, and Python waits for ever at its end for one that
            # was never made.
            yield _in_own_words(failure.with_traceback(None))
            pause.wait(interval_s)


def _in_own_words(failure: Failed) -> Failed:
    """Looking changes nothing, so there is nothing to wonder about."""
    if failure.code != "DEADLINE_EXCEEDED":
        return failure
    return Failed(failure.code, f"the farm does not answer within {CALL_S:g} s")


def _look(hark: Hark, clock: Clock) -> Look:
    now = hark.call(
        "OperationsService/GetCapacity",
        hark_pb2.GetCapacityRequest(),
        hark_pb2.GetCapacityResponse,
        within_s=CALL_S,
    )
    letters = hark.call(
        "OperationsService/ListDeadLetters",
        hark_pb2.ListDeadLettersRequest(page_size=DEAD_LETTERS_PAGE_MAX),
        hark_pb2.ListDeadLettersResponse,
        within_s=CALL_S,
    )
    return Look(clock.wall_us(), now, sorted(letters.groups, key=lambda group: -group.count))


def _print(looks: Iterator[Look | Failed], *, as_json: bool) -> None:
    """One after the other, with a line between, or each on one."""
    for number, look in enumerate(looks):
        if as_json:
            print(json.dumps(_document(look)), flush=True)
        else:
            print("\n" * bool(number) + _text(look), flush=True)


def _document(look: Look | Failed) -> dict[str, object]:
    if isinstance(look, Failed):
        return {"error": {"code": look.code, "message": look.message}}
    return document_of_look(look)


def _text(look: Look | Failed) -> str:
    return look.message if isinstance(look, Failed) else "\n".join(lines_of_look(look))
