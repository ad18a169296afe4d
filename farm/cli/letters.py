"""`hark dead list` and `hark dead replay`: what was given up, by cause, and another try for it."""

from __future__ import annotations

import shlex
from argparse import Namespace

from farm.cli.answers import (
    AddCommand,
    Answer,
    add_size,
    count,
    next_page,
    printable,
    reasons,
    table,
    time_of,
    words,
)
from farm.cli.calls import Hark
from farm.limits import DEAD_LETTERS_PAGE_DEFAULT, DEAD_LETTERS_PAGE_MAX
from gateway.pb.hark.v1 import hark_pb2

REPLAY_S = 3600.0  # Hark replays a large group in steps, and answers after the last
_SHOWN = 3  # of the samples, to a person


def add_to(add: AddCommand) -> None:
    verb = add("list", listed, "show dead letters by channel and error", "hark dead list")
    add_size(verb, default=DEAD_LETTERS_PAGE_DEFAULT, most=DEAD_LETTERS_PAGE_MAX)
    verb.add_argument(
        "--after", metavar="TOKEN", type=words, default="", help="the page that this token begins"
    )
    verb = add(
        "replay",
        replay,
        "give the dead letters of a group another try, where they may still be told",
        "hark dead replay 1.1 --dry-run",
    )
    verb.add_argument("group", metavar="GROUP", type=words, help="its id, from `hark dead list`")
    verb.add_argument("--dry-run", action="store_true", help="only say how many that would be")


def listed(given: Namespace) -> Answer:
    request = hark_pb2.ListDeadLettersRequest(page_size=given.size, page_token=given.after)
    with Hark(given.grpc) as hark:
        page = hark.call(
            "OperationsService/ListDeadLetters", request, hark_pb2.ListDeadLettersResponse
        )
    document = {
        "groups": [
            {
                "id": one.id,
                "channel": one.channel,
                "error": one.error,
                "count": one.count,
                "first_at": time_of(one.first_at),
                "last_at": time_of(one.last_at),
                "sample_user_ids": list(one.sample_user_ids),
                "sample_post_ids": list(one.sample_post_ids),
            }
            for one in page.groups
        ],
        "next_page_token": page.next_page_token,
    }
    rows = [
        (
            one.id,
            one.channel,
            f"{one.count:,}",
            time_of(one.last_at),
            printable(one.error),
            printable(" ".join(one.sample_post_ids[:_SHOWN])),
        )
        for one in page.groups
    ]
    head = ("group", "channel", "dead", "last", "error", "posts, for example")
    lines = [table(head, rows, right=(2,)) if rows else "no dead letters"]
    if page.next_page_token:
        lines.append(f"more: {next_page(given, 'dead list', page.next_page_token)}")
    return Answer(document, "\n".join(lines))


def replay(given: Namespace) -> Answer:
    request = hark_pb2.ReplayDeadLettersRequest(group_id=given.group, dry_run=given.dry_run)
    with Hark(given.grpc) as hark:
        done = hark.call(
            "OperationsService/ReplayDeadLetters",
            request,
            hark_pb2.ReplayDeadLettersResponse,
            within_s=REPLAY_S,
        )
    skipped = dict(done.skipped)
    how = "would get another try" if given.dry_run else "given another try"
    text = f"{count(done.replayed, 'dead letter')} {how}"
    if skipped:
        text += f"; left dead: {reasons(skipped)}"
    if given.dry_run and done.replayed:
        text += f"\nto do it: hark dead replay {shlex.quote(given.group)}"
    document = {"replayed": done.replayed, "skipped": skipped, "dry_run": given.dry_run}
    return Answer(document, text)
