"""The README tells the truth: every flag, metric, command and limit is in it, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm import config, limits
from farm.cli import parser as cli_parser
from farm.lifecycle import diagram
from farm.observe import METRICS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_every_flag_is_in_the_table_and_no_other() -> None:
    shown = set(re.findall(r"--[a-z-]+", config.parser("hark").format_help())) - {"--help"}
    rows = re.findall(r"^\| (`--.*?) \|", README, re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", " ".join(rows))) == shown


def test_every_metric_is_in_the_table_with_its_labels() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+(?:\{[a-z,]+\})?)` \| (\w+) \|", README, re.MULTILINE))
    expected = {
        metric.name + ("{" + ",".join(metric.labels) + "}" if metric.labels else ""): metric.kind
        for metric in METRICS.values()
    }
    assert rows == expected


def test_the_state_diagram_is_the_table_of_moves() -> None:
    assert f"```mermaid\n{diagram()}\n```" in README


def test_every_command_of_the_tool_is_in_the_table() -> None:
    offered = set(re.findall(r"^    ([a-z]+) ", cli_parser().format_help(), re.MULTILINE))
    assert offered == set(re.findall(r"`hark ([a-z]+)", README.split("### `hark`")[1]))


@pytest.mark.parametrize(
    "text",
    [
        f"1 to {limits.ID_BYTES_MAX} bytes",
        f"to {limits.CONTENT_BYTES_MAX // 1024} KiB",
        f"{limits.POSTS_PER_CALL_MAX:,}, and 4 MiB",
        f"message | {limits.EDGES_PER_MESSAGE_MAX:,} |",
        f"page of an inbox | {limits.INBOX_PAGE_MAX} |",
    ],
)
def test_limits_are_as_written(text: str) -> None:
    assert text in README


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
