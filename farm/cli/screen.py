"""The screen of `hark top`: numbers, their last minutes as small charts, and dead letters by cause.

rich draws it; keys are read here, since rich reads none. Looking happens in a thread of its own, so
that a farm which does not answer holds up neither q nor Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import tty
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import NoReturn

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from farm.cli.answers import Failed, printable, seconds
from farm.cli.capacity import Look, accepting, causes, dead_in_words, estimate_s, oldest_s
from farm.clock import rfc3339

LOOKS_KEPT = 40
KEYS_EVERY_S = 0.1
_QUIT = b"qQ"
_BARS = "▁▂▃▄▅▆▇█"


def is_there() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and not Console().is_dumb_terminal


def show(looks: Iterable[Look | Failed], address: str, interval_s: float) -> None:
    """Until somebody types q, or the looks end; the terminal is left as it was, also by SIGTERM."""
    view = _View(address, interval_s)
    found = _looking(looks)
    with (
        _ending_by_sigterm(),
        _keys() as quit_within,
        Live(view.render(), screen=True, auto_refresh=False) as live,
    ):
        while not quit_within(KEYS_EVERY_S):
            with contextlib.suppress(queue.Empty):
                while (look := found.get_nowait()) is not None:
                    view.add(look)
                    live.update(view.render(), refresh=True)
                return


def _looking(looks: Iterable[Look | Failed]) -> queue.SimpleQueue[Look | Failed | None]:
    """What a thread finds, and None at the end. It ends with the process, whatever it waits for."""
    found: queue.SimpleQueue[Look | Failed | None] = queue.SimpleQueue()

    def look() -> None:
        for one in looks:
            found.put(one)
        found.put(None)

    threading.Thread(target=look, name="looking", daemon=True).start()
    return found


@contextlib.contextmanager
def _ending_by_sigterm() -> Iterator[None]:
    """As an exception, so that what was changed is put back."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Keys as they are typed, unseen; whether within so many seconds one of them says to quit."""
    if not sys.stdin.isatty():
        yield threading.Event().wait
        return
    keyboard = sys.stdin.fileno()

    def quit_within(wait_s: float) -> bool:
        if not select.select([keyboard], [], [], wait_s)[0]:
            return False
        typed = os.read(keyboard, 64)
        return not typed or any(key in _QUIT for key in typed)

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)  # Ctrl-C stays what it is
    try:
        yield quit_within
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


class _View:
    """The newest look, and what went before."""

    def __init__(self, address: str, interval_s: float) -> None:
        self._address = address
        self._interval_s = interval_s
        self._look: Look | None = None
        self._failure: Failed | None = None
        self._rates: deque[float | None] = deque(maxlen=LOOKS_KEPT)
        self._backlogs: deque[float | None] = deque(maxlen=LOOKS_KEPT)

    def add(self, look: Look | Failed) -> None:
        if isinstance(look, Failed):
            self._failure = look
            self._rates.append(None)
            self._backlogs.append(None)
            return
        self._look, self._failure = look, None
        self._rates.append(look.now.deliveries_per_second)
        self._backlogs.append(look.now.backlog)

    def render(self) -> RenderableType:
        parts: list[RenderableType] = [self._head(), Text()]
        if self._failure is not None:
            parts += [Text(f"{self._failure.message}; looking again", style="bold red"), Text()]
        if self._look is not None:
            parts += [self._numbers(self._look), Text(), *_letters(self._look)]
        return Group(*parts)

    def _head(self) -> Text:
        at = "" if self._look is None else rfc3339(self._look.at_us // 1_000_000 * 1_000_000)
        parts = ("hark top", printable(self._address), f"every {self._interval_s:g} s", at)
        return Text.assemble(("   ".join(filter(None, parts)), "bold"), ("   q ends it", "dim"))

    def _numbers(self, look: Look) -> Table:
        now, estimate = look.now, estimate_s(look.now)
        waits = oldest_s(now)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(justify="right")
        grid.add_column(no_wrap=True, style="cyan")
        grid.add_row("throughput", f"{now.deliveries_per_second:,.1f}/s", sparkline(self._rates))
        grid.add_row("backlog", f"{now.backlog:,}", sparkline(self._backlogs))
        grid.add_row("oldest", seconds(waits) if now.backlog else "-")
        grid.add_row("drained in", "-" if not now.backlog else _about(estimate))
        grid.add_row("workers", f"{now.workers:,}")
        return grid


def _about(estimate: float | None) -> str:
    return "nobody knows" if estimate is None else seconds(estimate)


def _letters(look: Look) -> Iterator[RenderableType]:
    yield Text(accepting(look.now), style="green" if look.now.accepting else "bold red")
    yield Text(dead_in_words(look))
    if look.letters:
        causes_of = Table("dead", "channel", "error", box=None, header_style="dim", padding=(0, 2))
        causes_of.columns[0].justify = "right"
        for row in causes(look):
            causes_of.add_row(*map(Text, row))
        yield causes_of


def sparkline(values: Iterable[float | None]) -> str:
    """A bar for each value, the largest of them the highest; a gap where none is known."""
    shown = list(values)
    top = max((value for value in shown if value is not None), default=0.0)
    return "".join(" " if value is None else _bar(value, top) for value in shown)


def _bar(value: float, top: float) -> str:
    return _BARS[round(value / top * (len(_BARS) - 1))] if top > 0 else _BARS[0]
