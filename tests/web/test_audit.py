"""GraphQL over HTTP by the audits of the people who draft it, npm's graphql-http."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.farm_process import ROOT
from tests.web.web_process import WebProcess

AUDIT = ROOT / "tests/web/audit"
AUDITS = 61

pytestmark = pytest.mark.process


@pytest.mark.parametrize("path", ["/graphql", "/query"])
def test_no_audit_has_anything_to_say(web: WebProcess, path: str) -> None:
    command = [_node(), "audit.mjs", f"http://{web.address}{path}"]
    done = subprocess.run(
        command, cwd=AUDIT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) == AUDITS
    assert [one for one in results if one["status"] != "ok"] == []


def _node() -> str:
    """Node, which may be missing at home, but not where the gate runs."""
    node = shutil.which("node")
    if node is None or not (AUDIT / "node_modules").is_dir():
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("needs Node and npm, then once more `make test`, which installs graphql-http")
    return str(node)
