"""The sweep: looks through all posts, a few at a time, for people who are in no set or in two.

From the sets, not from counters, so that it finds what a wrong counter would hide. It rests between
rounds in proportion to what a round costs, so it takes a small share of a core whatever is stored.
"""

from __future__ import annotations

import logging

import apsw

from farm.clock import Clock
from farm.observe import log
from farm.store.inbox import Reading, SegmentCache
from farm.store.storage import NO_SEQ, Snapshot
from farm.wire import Sweep

POSTS_PER_STEP = 64
STEP_EVERY_S = 0.1
STEP_S = 0.01  # a tenth of a core while a round lasts
REST_S_MIN = 10.0
REST_PER_WORK = 100.0  # a hundredth of a core over all
CUT_SHORT = (apsw.InterruptError, apsw.BusyError)  # nothing is wrong with what was read


class Sweeper:
    """Goes round and round; `step` does a little and says when it wants to be called again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._after = 0
        self._found = 0
        self._last = 0
        self._worked_s = 0.0
        self._ended_s = float("-inf")
        self.next_s = clock.monotonic_s()

    def result(self) -> Sweep:
        """What the last whole round found, or this one if that is worse, and the round's age, which
        is infinite before the first."""
        age_s = self._clock.monotonic_s() - self._ended_s
        return Sweep(max(self._last, self._found), age_s)

    def step(self, snapshot: Snapshot, segments: SegmentCache) -> None:
        """Looks at some posts, in ascending order. What cannot be read counts as somebody; what was
        only cut short is read again."""
        started_s = self._clock.monotonic_s()
        more = True
        try:
            reading = Reading(snapshot, segments)
            while more and self._clock.monotonic_s() - started_s < STEP_S:
                more = self._go_on(snapshot, reading)
        except CUT_SHORT:
            pass
        except Exception as error:  # noqa: BLE001 (damaged rows lead to anything)
            log(logging.ERROR, "nothing can be swept; see hark check", why=error)
            self._found += 1
            more = False
        now_s = self._clock.monotonic_s()
        self._worked_s += now_s - started_s
        self.next_s = now_s + STEP_EVERY_S
        if not more:
            self.next_s = now_s + max(REST_S_MIN, self._worked_s * REST_PER_WORK)
            self._last, self._found, self._after = self._found, 0, 0
            self._ended_s, self._worked_s = now_s, 0.0

    def _go_on(self, snapshot: Snapshot, reading: Reading) -> bool:
        """Looks at the next posts; whether there are more."""
        posts = self._next_posts(snapshot)
        self._found += sum(self._look(reading, seq) for seq in posts)
        if posts:
            self._after = posts[-1]
        return len(posts) == POSTS_PER_STEP

    def _next_posts(self, snapshot: Snapshot) -> list[int]:
        """The next ones; where they cannot be read, those behind, found in steps that grow."""
        step = 1
        while self._after < NO_SEQ:
            try:
                return snapshot.posts_after(self._after, POSTS_PER_STEP)
            except CUT_SHORT:
                raise
            except Exception as error:  # noqa: BLE001
                if step == 1:
                    log(logging.ERROR, "posts cannot be read; see hark check", why=error)
                    self._found += 1
                self._after += step
                step *= 2
        return []

    def _look(self, reading: Reading, seq: int) -> int:
        """How many of a post are unaccounted for: somebody, where its sets cannot be read."""
        try:
            return reading.unaccounted(seq)
        except CUT_SHORT:
            raise
        except Exception as error:  # noqa: BLE001
            log(logging.ERROR, "a post's sets cannot be read; see hark check", why=error)
            return 1
