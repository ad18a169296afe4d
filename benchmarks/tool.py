"""Load generators of other people's making, which take next to none of the processor themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

PACKAGES = {"h2load": "nghttp2-client", "wrk": "wrk"}  # as Debian calls them


def run(name: str, arguments: Sequence[str]) -> tuple[str, float]:
    """What the tool said, and how many seconds of a processor it took. Raises `RuntimeError` where
    it is not there or fails: a slower generator in its place would measure something else."""
    if shutil.which(name) is None:
        package = PACKAGES[name]
        raise RuntimeError(f"{name} is not installed; on Debian: apt-get install {package}")
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([name, *arguments], stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}: {text[-500:]}")
    return text, usage.ru_utime + usage.ru_stime
