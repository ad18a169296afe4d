"""What a command has to say, to a person and to a script, and how words are put on a terminal."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from farm import config
from farm.clock import rfc3339
from gateway.pb.hark.v1 import hark_pb2


class Answer(NamedTuple):
    """`text` for a person, `document` for `--json`."""

    document: dict[str, Any]
    text: str
    status: int = 0


class Failed(Exception):
    """What was asked for did not happen; `code` is the name of a gRPC code."""

    status = 1

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class WrongUsage(Failed):
    """What was typed is no command."""

    status = 2

    def __init__(self, message: str) -> None:
        super().__init__("INVALID_ARGUMENT", message)


# What it answers, or None where it has told all of it as it came.
Command = Callable[[argparse.Namespace], Answer | None]


class AddCommand(Protocol):
    """Adds a command: its name, what it does, that in a few words, an example."""

    def __call__(
        self, name: str, command: Command, text: str, example: str
    ) -> argparse.ArgumentParser: ...


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> str:
    """Columns under their names; those of the numbers in `right` stand at the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    return "\n".join(map(line, (head, *rows)))


def printable(text: str) -> str:
    """On one line, and with nothing that a terminal would obey: people wrote it."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def count(number: int, one: str, many: str = "") -> str:
    """`1 person`, `2,000 people`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def seconds(value: float) -> str:
    """A duration as people say it."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def time_of(stamp: Timestamp) -> str:
    """A time as people and scripts read it."""
    return rfc3339(stamp.seconds * 1_000_000 + stamp.nanos // 1000)


def status_of(one: hark_pb2.Notification | hark_pb2.DeliveryStep) -> str:
    return hark_pb2.NotificationStatus.Name(one.status).removeprefix("NOTIFICATION_STATUS_")


def document_of(one: hark_pb2.Notification) -> dict[str, Any]:
    return {
        "id": one.id,
        "post_id": one.post_id,
        "author_id": one.author_id,
        "content": one.content,
        "created_at": time_of(one.created_at),
        "read": one.read,
        "status": status_of(one),
        "attempts": one.attempts,
        "cursor": one.cursor,
    }


def reasons(numbers: Mapping[str, int]) -> str:
    """`2 muted, 1 unfollowed`."""
    return ", ".join(f"{number:,} {reason}" for reason, number in sorted(numbers.items()))


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A type for argparse: what lies outside is told here, where the flag has its name."""

    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            rule = f"is not a whole number from {low} to {high}"
            raise argparse.ArgumentTypeError(f"'{text}' {rule}")
        return int(text)

    return number


def next_page(given: argparse.Namespace, command: str, token: str) -> str:
    """The command that shows what comes after a page, in pages as large and of the same Hark."""
    where = "" if given.grpc == config.grpc_address() else f" --grpc {shlex.quote(given.grpc)}"
    # A token may begin with a hyphen.
    return f"hark{where} {command} --size {given.size} --after={token}"


def add_size(to: argparse.ArgumentParser, *, default: int, most: int) -> None:
    """`--size` of a command that answers in pages."""
    to.add_argument(
        "--size",
        metavar="N",
        type=whole_number(1, most),
        default=default,
        help=f"at most so many, 1 to {most:,} (default: {default:,})",
    )


def words(text: str) -> str:
    """A type for argparse: what was typed, which must be UTF-8 to be sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!a} is not UTF-8") from None
    return text


def address(text: str) -> str:
    """A type for argparse: where a Hark listens."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; it must be HOST:PORT")
    return words(text)
