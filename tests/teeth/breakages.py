"""The mechanisms that keep the promises, each broken in one way, and the tests that must notice."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

MINUTES = "tests/simulation/test_simulation.py::test_no_promise_is_broken_in_300_simulated_minutes"
POWER_CUTS = "tests/power/test_power_cuts.py::test_a_power_cut_loses_nothing_that_was_acknowledged"


class Change(NamedTuple):
    """Of a file's text, which stands in it once."""

    path: str
    before: str
    after: str

    def apply(self, root: Path) -> None:
        """Raises `ValueError` where the text is not there exactly once."""
        file = root / self.path
        text = file.read_text("utf-8")
        if text.count(self.before) != 1:
            raise ValueError(f"{self.path} has {text.count(self.before)} times: {self.before}")
        file.write_text(text.replace(self.before, self.after), "utf-8")


class Breakage(NamedTuple):
    """Each of the tests must turn red by it."""

    name: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


BREAKAGES = (
    Breakage(
        "synchronous NORMAL",
        (
            Change(
                "farm/store/sqlite.py",
                'set_pragma(connection, "synchronous", 2)',
                'set_pragma(connection, "synchronous", 1)',
            ),
        ),
        (POWER_CUTS, MINUTES),
    ),
    Breakage(
        "an answer before the commit",
        (
            Change(
                "farm/store/sqlite.py",
                '        self.db.execute("begin immediate")',
                '        if self.db.in_transaction:\n            self.db.execute("commit")\n'
                '        self.db.execute("begin immediate")',
            ),
            Change(
                "farm/store/core.py",
                "        self._storage.commit()\n        self.commit_s",
                "        self.commit_s",
            ),
            Change(
                "farm/store/writer.py",
                "        self._dismiss()\n        copying",
                "        self._dismiss()\n        if storage.db.in_transaction:\n"
                '            storage.db.execute("commit")\n        copying',
            ),
        ),
        (
            "tests/faults/test_store_process.py::test_answers_that_a_kill_cut_off_are_given_again",
            MINUTES,
        ),
    ),
    Breakage(
        "outcomes without the number of their lease",
        (
            Change(
                "farm/store/dispatch.py",
                "        lease = self.leases.get(outcome.lease)\n"
                "        if lease is None or lease.session != session:",
                "        lease = self.leases.get(outcome.lease) or next(\n"
                "            iter(self.leases.values()), None\n"
                "        )\n"
                "        if lease is None:",
            ),
        ),
        (
            "tests/store/test_dispatch.py::test_nobody_outside_of_a_lease_is_moved_by_its_outcome",
            MINUTES,
        ),
    ),
    Breakage(
        "ids of posts that are not unique",
        (
            Change(
                "farm/store/schema.sql", "    id text not null unique,", "    id text not null,"
            ),
            Change(
                "farm/store/intake.py",
                "        before = self._posts.get(post_id) or self._stored(post_id)",
                "        before: PostRow | None = None",
            ),
        ),
        (
            "tests/faults/test_ingress.py::test_a_thousand_keys_sent_twice_are_a_thousand_posts",
            MINUTES,
        ),
    ),
    Breakage(
        "outcomes applied twice",
        (
            Change(
                "farm/store/dispatch.py",
                '                members = unseal(said.members, "outcome") & lease.left()',
                '                members = unseal(said.members, "outcome")',
            ),
        ),
        ("tests/store/test_dispatch.py::test_a_doubled_outcome_changes_nothing", MINUTES),
    ),
    Breakage(
        "leases that nobody takes back",
        (
            Change(
                "farm/store/dispatch.py",
                "expired = [s for s, end_s in self._session_ends_s.items() if end_s < now_s]",
                "expired: list[str] = []",
            ),
        ),
        ("tests/store/test_dispatch.py::test_a_lease_ends_when_its_session_asks_no_more", MINUTES),
    ),
)
