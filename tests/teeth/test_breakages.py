"""What `make teeth` breaks is still there to be broken, and so are the tests that notice it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.teeth.breakages import BREAKAGES, Breakage

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_each_breakage_finds_its_place_and_its_tests(breakage: Breakage) -> None:
    """Fault row 112, as far as it is quick; the whole of it is `make teeth`."""
    for change in breakage.changes:
        text = (ROOT / change.path).read_text("utf-8")
        assert text.count(change.before) == 1, change
    for test in breakage.tests:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text("utf-8")
