"""When to try again, and how long a lease holds: arithmetic only.

Before retry n (1 is the first) a notification waits between d/2 and d, where d is the base doubled
n-1 times and capped. Waits are drawn in eight slots on a grid of d/16: the slots spread a batch's
retries over the window, and the grid bounds how many sets of waiting retries a batch can have.
"""

from __future__ import annotations

from dataclasses import dataclass

SLOTS = 8
GRID = 2 * SLOTS  # slots in one whole delay; grid points repeat after it


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff. Units are milliseconds in, microseconds out."""

    base_ms: int
    cap_ms: int

    def delay_us(self, retry: int) -> int:
        """The longest wait before this retry, counted from 1."""
        return min(self.base_ms << min(retry - 1, 40), self.cap_ms) * 1000

    def slot(self, now_us: int, retry: int, choice: int) -> tuple[int, int]:
        """Slot `choice` (0 to 7) of this retry's window: (its name on the grid, its due time).

        The due time is at least d/2 and at most d from now, on the grid, so that what fails a
        little later falls into the same slots.
        """
        step_us = max(self.delay_us(retry) // GRID, 1)
        point = -(-(now_us + step_us * SLOTS) // step_us) + choice
        return point % GRID, point * step_us


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a worker may hold work, and how it counts that on its own clock."""

    lease_ms: int = 10_000
    poll_ms: int = 1_000  # a lease request is answered within this, with or without work

    def end_s(self, asked_s: float) -> float:
        """When a lease ends that was asked for at `asked_s` on the worker's monotonic clock.

        Counted from the question, not the answer, so that the worker stops before the store
        offers the work to another.
        """
        return asked_s + self.lease_ms / 1000
