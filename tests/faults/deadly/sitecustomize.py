"""Makes sending deadly. A Python that finds this on its path at its start runs it first.

Who sends the post named by DEADLY_POST to the person with the number DEADLY_NUMBER ends at once,
without a word. The first who sends the post named by STUCK_POST stays in a call to C for ever, and
with it the whole process: that such a one came, the file named by STUCK_FILE says to all others.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from farm.channels import simulated
from farm.channels.channel import Slots, Work

_send = simulated.Simulated.deliver


async def deliver(self: simulated.Simulated, works: Sequence[Work], slots: Slots) -> None:
    for work in works:
        if work.grant.post_id == os.environ["DEADLY_POST"]:
            if int(os.environ["DEADLY_NUMBER"]) in work.members:
                os._exit(3)
        elif work.grant.post_id == os.environ["STUCK_POST"]:
            stick()
    await _send(self, works, slots)


def stick() -> None:
    try:
        Path(os.environ["STUCK_FILE"]).touch(exist_ok=False)
    except FileExistsError:
        return
    ctypes.PyDLL(None).sleep(1_000)  # holds the interpreter's lock


simulated.Simulated.deliver = deliver  # type: ignore[method-assign]
