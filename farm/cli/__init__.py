"""The `hark` command: publish, look and check, from a terminal or a script.

Every command talks to a running Hark by gRPC, but for `check`, which reads a data directory. What
it answers is a few lines for a person or, with `--json`, one JSON document on standard output: the
answer, or `{"error": {"code": ..., "message": ...}}`. What goes wrong is also told in one line on
standard error. `inbox --watch` and `top` go on until they are ended, with one document a line. Exit
status: 0 done; 1 failed, of `check` a breach found, of `explain` nobody or
nothing of that id; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from farm import __version__, config
from farm.cli import backup, checking, commands, graph, importing, inbox, letters, top
from farm.cli.answers import AddCommand, Answer, Command, Failed, WrongUsage, address, printable
from farm.errors import HarkError

INTERRUPTED = 130

_EPILOG = """\
examples:
  hark publish user1 'Hello world!'
  hark inbox user2
  hark ledger POST
  hark explain POST user2
  hark check --data-dir /var/lib/hark

Each command has a --help of its own. --grpc and --json stand before or behind the command. With
--json what goes wrong is {"error": {"code": ..., "message": ...}}. Exit status: 0 done, 1 failed or
a breach found, 2 wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    try:
        return _answer(config.command_line() if arguments is None else arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # Where standard output takes no more, Python must not find that out once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # then whoever read has read enough
            where = error.filename or "standard output"
            print(f"hark: {where}: {error.strerror}", file=sys.stderr)
        return 1


def _answer(typed: Sequence[str]) -> int:
    """Runs a command and tells what came of it; the exit status."""
    as_json = "--json" in typed  # as far as can be said of what may be no command
    try:
        given = parser().parse_args(typed)
        as_json = given.json
        try:
            answer = run(given)
        except HarkError as error:
            raise Failed(error.name, error.message) from None
        if answer is None:
            return 0
        print(json.dumps(answer.document) if as_json else answer.text, flush=True)
        return answer.status
    except Failed as failure:
        message = " ".join(failure.message.split())
        print(f"hark: {message}", file=sys.stderr)
        if as_json:
            print(json.dumps({"error": {"code": failure.code, "message": message}}), flush=True)
        return failure.status


def run(given: argparse.Namespace) -> Answer | None:
    command: Command = given.command
    return command(given)


class _Parser(argparse.ArgumentParser):
    """Tells wrong usage as all else that goes wrong is told."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What is not known is told by the command that does not know it, not by the first."""
        given, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return given, unknown

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(f"{printable(message)}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The command line as a whole."""
    made = _Parser(
        prog="hark",
        allow_abbrev=False,
        description="Talks to a running Hark; checks the data of any.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"hark {__version__}")
    _add_common(made, json=False, grpc=config.grpc_address())
    add = _adder(made)
    commands.add_to(add)
    inbox.add_to(add)
    top.add_to(add)
    graph.add_to(add)
    about_dead_letters = "list dead letters, or give them another try"
    letters.add_to(_adder(add("dead", letters.listed, about_dead_letters, "hark dead list")))
    importing.add_to(add)
    checking.add_to(add)
    backup.add_to(add)
    return made


def _adder(to: argparse.ArgumentParser) -> AddCommand:
    """What adds commands to the tool, or to a command that has commands of its own."""
    verbs = to.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Command, text: str, example: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(
            name,
            help=text,
            allow_abbrev=False,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # A default here would overwrite what was given before the command.
        _add_common(verb, json=argparse.SUPPRESS, grpc=argparse.SUPPRESS)
        verb.set_defaults(command=command)
        return verb

    return add


def _add_common(to: argparse.ArgumentParser, *, json: object, grpc: object) -> None:
    to.add_argument("--json", action="store_true", default=json, help="answer in JSON")
    to.add_argument(
        "--grpc",
        metavar="ADDR",
        type=address,
        default=grpc,
        help="where Hark listens (default: $HARK_GRPC, else 127.0.0.1:50051)",
    )
