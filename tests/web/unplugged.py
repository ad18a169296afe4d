"""A web process whose clients are unplugged: run in a network of its own, by `unshare -rn`.

    unshare -rn python -m tests.web.unplugged DIRECTORY HEARTBEAT_S

DIRECTORY holds the sockets of a farm. One client follows by WebSocket, another by events. Then the
loopback interface goes down: no packet comes or goes, and nobody is told. Prints how many seconds
later the process has let go of both.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from gateway.held import Terms
from tests.farm_process import wait_until
from tests.web.raw_stream import RawStream
from tests.web.raw_websocket import RawWebSocket
from tests.web.web_process import WebProcess

EVENTS = "subscription($user: ID!) { inboxEvents(userId: $user) { __typename cursor } }"
ESTABLISHED = "01"


def main(directory: Path, heartbeat_s: float) -> None:
    _loopback("up")
    web = WebProcess(directory, number=9, terms=Terms(heartbeat_s))
    try:
        web.wait_serving()
        with RawWebSocket(web.address) as ws, RawStream(web.address, EVENTS, user="b") as stream:
            ws.init().subscribe("1", EVENTS, user="a")
            ws.hear()
            stream.event()
            assert _established(web) == 2
            _loopback("down")
            began_s = time.monotonic()
            wait_until(lambda: not _established(web), 20 * heartbeat_s)
            print(time.monotonic() - began_s)
    finally:
        web.close()


def _loopback(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


def _established(web: WebProcess) -> int:
    """The server's ends of connections to it."""
    table = Path(f"/proc/{web.process.pid}/net/tcp").read_text().splitlines()[1:]
    ends = [(row.split()[1], row.split()[3]) for row in table]
    return ends.count((f"0100007F:{web.port:04X}", ESTABLISHED))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
