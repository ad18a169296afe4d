"""The sockets of a simulated farm: messages that come late, twice, in another order or never.

They stand in for those of farm/sockets.py. Between two processes that live ZeroMQ loses nothing;
it does where one of them dies, which these do at any time, and for good measure without it too.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, cast

from farm.errors import Unavailable
from farm.sockets import Asker, Pusher, Server, Sockets, Teller, Waiter
from farm.wire import Kind, unpack
from tests.simulation.loop import Process, VirtualLoop

UNCONNECTED_MAX = 1_000  # messages for somebody who is not there yet, as in the real sockets


@dataclass(slots=True)
class Weather:
    """How bad the network is; of each message."""

    late_s: float = 0.001  # the mean of how long it takes
    very_late: float = 0.0  # how probably it takes a thousand times as long
    lost: float = 0.0
    doubled: float = 0.0


class Network:
    """Carries messages between addresses."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, weather: Weather) -> None:
        self.weather = weather
        self.carried = self.lost = self.doubled = 0
        self._loop = loop
        self._chance = chance
        # What is on its way is nobody's: it arrives though its sender may have died meanwhile.
        self._context = copy_context()
        self._bound: dict[str, Inbox] = {}
        self._unconnected: defaultdict[str, deque[tuple[Any, ...]]] = defaultdict(
            lambda: deque(maxlen=UNCONNECTED_MAX)
        )

    def carry(self, arrive: Callable[..., None], *message: Any) -> None:
        """Calls `arrive` with the message, some time later; or not, or twice."""
        weather, draw = self.weather, self._chance.random
        self.carried += 1
        if draw() < weather.lost:
            self.lost += 1
            return
        copies = 1
        if draw() < weather.doubled:
            self.doubled += 1
            copies = 2
        for _ in range(copies):
            late_s = self._chance.expovariate(1 / weather.late_s)
            if draw() < weather.very_late:
                late_s *= 1_000
            self._loop.call_later(late_s, arrive, *message, context=self._context)

    def send(self, sender: Process, address: str, *message: Any) -> None:
        if sender.alive:
            self.carry(self._arrive, address, message)

    def _arrive(self, address: str, message: tuple[Any, ...]) -> None:
        inbox = self._bound.get(address)
        if inbox is not None and inbox.process.alive:
            inbox.process.soon(inbox.take, message)
        else:
            self._unconnected[address].append(message)

    def bind(self, address: str, inbox: Inbox) -> None:
        """From now on this is who listens there. Some of what was sent before is there as well."""
        self._bound[address] = inbox
        for message in self._unconnected.pop(address, ()):
            if self._chance.random() < 0.5:
                inbox.process.soon(inbox.take, message)


class Inbox:
    """What has come to an address and was not taken yet."""

    def __init__(self, process: Process, came: asyncio.Event) -> None:
        self.process = process
        self.waiting: deque[tuple[Any, ...]] = deque()
        self._came = came

    def take(self, message: tuple[Any, ...]) -> None:
        self.waiting.append(message)
        self._came.set()


class SimulatedSockets(Sockets):
    """The sockets of one process. `came` is set when one of those that it serves has something."""

    def __init__(self, network: Network, process: Process) -> None:
        self.came = asyncio.Event()
        self._network = network
        self._process = process
        self._inboxes: list[Inbox] = []

    @property
    def waiting(self) -> bool:
        """Whether something is left of what came."""
        return any(inbox.waiting for inbox in self._inboxes)

    def server(self, address: str) -> Server:
        return cast(Server, _Server(self._network, self._process, self._bind(address)))

    def puller(self, address: str) -> Any:
        return _Puller(self._bind(address))

    def _bind(self, address: str) -> Inbox:
        inbox = Inbox(self._process, self.came)
        self._inboxes.append(inbox)
        self._network.bind(address, inbox)
        return inbox

    def waiter(self, *served: Any) -> Waiter:
        return cast(Waiter, None)  # whoever runs the loop step by step waits for `came`

    def asker(self, address: str) -> Asker:
        return cast(Asker, _Asker(self._network, self._process, address))

    def pusher(self, address: str) -> Pusher:
        return cast(Pusher, _Pusher(self._network, self._process, address))

    def teller(self, address: str) -> Teller:
        raise AssertionError("nobody is online here")


class _Server:
    """Like `farm.sockets.Server`. An envelope is whom to answer, and which question."""

    def __init__(self, network: Network, process: Process, inbox: Inbox) -> None:
        self._network = network
        self._process = process
        self._inbox = inbox

    def receive(self) -> tuple[list[Any], bytes] | None:
        if not self._inbox.waiting:
            return None
        asker, number, payload = self._inbox.waiting.popleft()
        return [asker, number], payload

    def reply(self, envelope: list[Any], payload: bytes) -> None:
        if self._process.alive:
            asker, number = envelope
            self._network.carry(asker.process.soon, asker.hear, number, payload)


class _Puller:
    """Like `farm.sockets.Puller`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def receive(self) -> bytes | None:
        return self._inbox.waiting.popleft()[0] if self._inbox.waiting else None


class _Asker:
    """Like `farm.sockets.Asker`: an answer to a question that was given up reaches nobody."""

    def __init__(self, network: Network, process: Process, address: str) -> None:
        self.process = process
        self._network = network
        self._address = address
        self._asked = 0
        self._answer: asyncio.Future[bytes] | None = None

    async def ask(self, payload: bytes, timeout_s: float) -> tuple[Kind, list[Any]]:
        self._asked += 1
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._network.send(self.process, self._address, self, self._asked, payload)
        too_late = loop.call_later(timeout_s, self._give_up, self._answer, timeout_s)
        try:
            return unpack(await self._answer)
        finally:
            too_late.cancel()

    def _give_up(self, answer: asyncio.Future[bytes], timeout_s: float) -> None:
        if not answer.done():
            answer.set_exception(Unavailable(f"no answer within {timeout_s:g} s; ask again"))

    def hear(self, number: int, payload: bytes) -> None:
        if number == self._asked and self._answer is not None and not self._answer.done():
            self._answer.set_result(payload)

    def close(self) -> None:
        self._asked += 1


class _Pusher:
    """Like `farm.sockets.Pusher`."""

    def __init__(self, network: Network, process: Process, address: str) -> None:
        self._network = network
        self._process = process
        self._address = address

    async def push(self, payload: bytes, _timeout_s: float) -> bool:
        self._network.send(self._process, self._address, payload)
        return True
