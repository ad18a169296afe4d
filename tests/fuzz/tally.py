"""What came of fuzzing a port, and what it cost the processes behind it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.farm_process import is_alive

WRONG_KEPT_MAX = 20
# What only somebody with the code in front of them should read.
INSIDE = re.compile(
    r"Traceback|\bFile \"|line \d+, in |<class '|object at 0x|\w+(?:Error|Exception)\b"
)


@dataclass(slots=True)
class Tally:
    """Of one port. `wrong` says what must not have been, each with the input that did it."""

    port: str
    inputs: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    wrongs: int = 0

    def answered(self, how: str) -> None:
        self.inputs += 1
        self.answers[how] += 1

    def blame(self, what: str, data: object = "") -> None:
        self.wrongs += 1
        if len(self.wrong) < WRONG_KEPT_MAX:
            self.wrong.append(f"{self.port}: {what} {str(data)[:600]}".rstrip())

    def told(self, sentence: str, data: object) -> None:
        """A sentence that the other side was told must not show the inside."""
        if found := INSIDE.search(sentence):
            self.blame(f"tells {found[0]!r} in {sentence!r}", data)

    @property
    def summary(self) -> str:
        return ", ".join(f"{count:,} {how}" for how, count in self.answers.most_common(6))


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a process at one moment."""

    memory_bytes: int
    descriptors: int


def cost_of(pid: int) -> Cost:
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(status.partition("\nVmRSS:")[2].split()[0]) * 1024
    return Cost(memory, len(list(Path(f"/proc/{pid}/fd").iterdir())))


class Watch:
    """Processes, by title, that must be the same ones afterwards, and not have grown."""

    def __init__(self, look: Callable[[], Mapping[int, str]]) -> None:
        self._look = look
        self.before = {pid: (title, cost_of(pid)) for pid, title in look().items()}

    def settle(self) -> None:
        """Counts growth from now on: what the first inputs take, all others share, and whatever
        belongs to a farm and connects only after its start has connected."""
        self.before |= {
            pid: (title, cost_of(pid)) for pid, (title, _) in self.before.items() if is_alive(pid)
        }

    def dead(self) -> list[str]:
        now = self._look()
        return [
            f"{title} (pid {pid})"
            for pid, (title, _) in self.before.items()
            if pid not in now and not is_alive(pid)
        ]

    def growth(self) -> dict[str, Cost]:
        """By title, what it has more than it had."""
        return {
            title: Cost(
                (now := cost_of(pid)).memory_bytes - cost.memory_bytes,
                now.descriptors - cost.descriptors,
            )
            for pid, (title, cost) in self.before.items()
            if is_alive(pid)
        }
