"""Addresses and typed sockets between the farm's processes; the only user of ZeroMQ.

Every socket is ipc in a 0700 directory, with a bounded message size, high-water mark and linger.
The store, its readers and the control of every process answer on sockets of plain code; whoever
asks does so from asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import zmq
import zmq.asyncio

from farm.errors import StartError, Unavailable
from farm.wire import MESSAGE_BYTES_MAX, Kind, WireError, pack, unpack

PATH_BYTES_MAX = 107  # sun_path of unix(7), less its ending NUL
_LONGEST_NAME = "control-gateway-64"
_QUEUE_MESSAGES_MAX = 1_000
_LINGER_MS = 500

AnySocket = TypeVar("AnySocket", zmq.Socket[bytes], zmq.asyncio.Socket)


def socket_directory(data_dir: Path) -> Path:
    """The 0700 directory for a farm's sockets: in the data directory, or where the path is short.

    Raises `StartError` where it belongs to somebody else, or is something else.
    """
    directory = socket_path(data_dir)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if found.st_uid != os.getuid() or not directory.is_dir() or directory.is_symlink():
        raise StartError(f"{directory}: is not a directory of this user; remove it and start again")
    directory.chmod(0o700)
    return directory


def socket_path(data_dir: Path) -> Path:
    """Where that directory is, made or not."""
    directory = data_dir / "sockets"
    if len(os.fsencode(directory / _LONGEST_NAME)) <= PATH_BYTES_MAX:
        return directory
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"hark-{os.getuid()}-{digest}"


class Addresses:
    """Where each process of one farm listens."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)

    def _at(self, name: str) -> str:
        return f"ipc://{self._directory / name}"

    @property
    def store(self) -> str:
        return self._at("store")

    @property
    def outcomes(self) -> str:
        return self._at("outcomes")

    @property
    def supervisor(self) -> str:
        return self._at("supervisor")

    def reader(self, number: int) -> str:
        return self._at(f"reader-{number}")

    def live(self, place: str) -> str:
        """Where a process takes news of people who are online there."""
        return self._at(f"live-{place}")

    def own(self, role: str, number: int) -> str:
        """Where a gRPC process reaches itself, and nobody else: others may share its port."""
        return f"unix:{self._directory / f'own-{role}-{number}'}"

    def control(self, role: str, number: int) -> str:
        return self._at(f"control-{role}-{number}")


class Sockets:
    """The sockets of this process: one context, closed with it."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._async = zmq.asyncio.Context(self._context)
        self._open: WeakSet[zmq.Socket[bytes] | zmq.asyncio.Socket] = WeakSet()
        self._askers: WeakSet[Asker] = WeakSet()

    def close(self) -> None:
        """Closes every socket, waiting for unsent messages no longer than their linger.

        ZeroMQ waits for all sockets of a context, and neither of the two views of ours knows those
        of the other.
        """
        for asker in list(self._askers):
            asker.close()
        for socket in list(self._open):
            socket.close(_LINGER_MS)
        self._context.term()

    def server(self, address: str) -> Server:
        return Server(self._bounded(self._context.socket(zmq.ROUTER)), address)

    def puller(self, address: str) -> Puller:
        return Puller(self._bounded(self._context.socket(zmq.PULL)), address)

    def waiter(self, *served: Server | Puller) -> Waiter:
        return Waiter(*served)

    def async_server(self, address: str) -> AsyncServer:
        return AsyncServer(self._bounded(self._async.socket(zmq.ROUTER)), address)

    def asker(self, address: str) -> Asker:
        asker = Asker(self._bounded(self._context.socket(zmq.REQ)), address)
        self._askers.add(asker)
        return asker

    def pusher(self, address: str) -> Pusher:
        socket = self._bounded(self._async.socket(zmq.PUSH))
        socket.connect(address)
        return Pusher(socket)

    def teller(self, address: str) -> Teller:
        socket = self._bounded(self._context.socket(zmq.PUSH))
        socket.connect(address)
        return Teller(socket)

    def async_puller(self, address: str) -> AsyncPuller:
        return AsyncPuller(self._bounded(self._async.socket(zmq.PULL)), address)

    def _bounded(self, socket: AnySocket) -> AnySocket:
        self._open.add(socket)
        return _bounded(socket)


def _bounded(socket: AnySocket) -> AnySocket:
    socket.set(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
    socket.set(zmq.SNDHWM, _QUEUE_MESSAGES_MAX)
    socket.set(zmq.RCVHWM, _QUEUE_MESSAGES_MAX)
    socket.set(zmq.LINGER, _LINGER_MS)
    return socket


def _bind(socket: zmq.Socket[bytes] | zmq.asyncio.Socket, address: str) -> None:
    """Raises `StartError` where no socket can be."""
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        path, why = address.removeprefix("ipc://"), os.strerror(error.errno or 0)
        raise StartError(
            f"{path}: no socket can be there ({why}); make room, or choose another --data-dir"
        ) from None


class Server:
    """Answers requests, each to the one who asked, in any order (a ROUTER in front of REQs)."""

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self.socket = socket
        _bind(socket, address)

    def receive(self) -> tuple[list[bytes], bytes] | None:
        """The next request that waits as (envelope for `reply`, payload), or None."""
        try:
            *envelope, payload = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return envelope, payload

    def reply(self, envelope: Sequence[bytes], payload: bytes) -> None:
        """Answers; an asker that has gone is no error."""
        with contextlib.suppress(zmq.Again):
            self.socket.send_multipart([*envelope, payload], zmq.NOBLOCK)


class Puller:
    """Takes what Pushers send."""

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self.socket = socket
        _bind(socket, address)

    def receive(self) -> bytes | None:
        try:
            return self.socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None


class Waiter:
    """Waits until one of some sockets has something."""

    def __init__(self, *served: Server | Puller) -> None:
        self._poller = zmq.Poller()
        for one in served:
            self._poller.register(one.socket, zmq.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """True as soon as a message waits, False after the time-out."""
        return bool(self._poller.poll(max(int(timeout_s * 1000), 0)))


class AsyncServer:
    """A Server for processes that live in asyncio."""

    def __init__(self, socket: zmq.asyncio.Socket, address: str) -> None:
        self._socket = socket
        _bind(socket, address)

    async def serve(self, answer: Callable[[Kind, list[Any]], Awaitable[bytes]]) -> None:
        """Answers one request after the other, until cancelled."""
        while True:
            *envelope, payload = await self._socket.recv_multipart()
            try:
                reply = await answer(*unpack(payload))
            except WireError as error:
                reply = pack(Kind.FAULT, str(error))
            await self._socket.send_multipart([*envelope, reply])


class Asker:
    """Asks one server, one question at a time; an answer that comes late reaches nobody.

    RELAXED lets it ask again after a time-out, CORRELATE drops the answers to questions it has
    given up. The loop watches the socket's descriptor itself: by the sockets that ZeroMQ has for
    asyncio the same question took twice as much of the loop's time.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self._socket = socket
        self._socket.set(zmq.REQ_RELAXED, 1)
        self._socket.set(zmq.REQ_CORRELATE, 1)
        # Where nobody listens yet, a child that starts or the store after its death, soon will.
        self._socket.set(zmq.RECONNECT_IVL, 20)
        self._socket.set(zmq.RECONNECT_IVL_MAX, 200)
        self._socket.connect(address)
        self._loop: asyncio.AbstractEventLoop | None = None  # that watches it, from the first use
        self._unsent: bytes | None = None
        self._answer: asyncio.Future[bytes] | None = None

    async def ask(self, payload: bytes, timeout_s: float) -> tuple[Kind, list[Any]]:
        """The answer. Raises `Unavailable` when none came in time."""
        loop = self._loop or self._watched()
        self._unsent, self._answer = payload, loop.create_future()
        too_late = loop.call_later(timeout_s, _give_up, self._answer, timeout_s)
        try:
            self._go_on()
            return unpack(await self._answer)
        finally:
            too_late.cancel()
            self._unsent = self._answer = None

    def _watched(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._go_on)
        return self._loop

    def _go_on(self) -> None:
        """Sends what can be sent, takes what has come. ZeroMQ's descriptor tells of a change until
        the socket is asked for something it has not got: so it always is, here or with the next
        question."""
        answer = self._answer
        if answer is None or answer.done():
            self._socket.get(zmq.EVENTS)
            return
        try:
            if self._unsent is not None:
                self._socket.send(self._unsent, zmq.NOBLOCK)
                self._unsent = None
            answer.set_result(self._socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return
        except Exception as error:  # noqa: BLE001
            # No memory, perhaps: to be raised where the answer is waited for. The loop, whose
            # callback this is, would only log it, and who asked would ask in vain for ever.
            answer.set_exception(error)

    def close(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._loop = None
        self._socket.close(linger=0)


def _give_up(answer: asyncio.Future[bytes], timeout_s: float) -> None:
    if not answer.done():
        answer.set_exception(Unavailable(f"no answer within {timeout_s:g} s; ask again"))


class Pusher:
    """Sends without an answer. What it took may still be lost with the other side."""

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        self._socket = socket

    async def push(self, payload: bytes, timeout_s: float) -> bool:
        """False when the other side took nothing for so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._socket.send(payload)
        except (TimeoutError, zmq.Again):
            return False
        return True


class Teller:
    """Sends without an answer, and without waiting: what finds no room is lost."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket

    def tell(self, payload: bytes) -> bool:
        """False where it is lost."""
        try:
            self._socket.send(payload, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self._socket.close(linger=0)


class AsyncPuller:
    """Takes what Tellers and Pushers send, in processes that live in asyncio."""

    def __init__(self, socket: zmq.asyncio.Socket, address: str) -> None:
        self._socket = socket
        _bind(socket, address)

    async def receive(self) -> list[bytes]:
        """All that waits, at least one message."""
        found = [await self._socket.recv()]
        # Not until it raises: that exception and the future that holds it refer to each other, and
        # keep all that was found until the next collection of garbage.
        while len(found) < _QUEUE_MESSAGES_MAX and self._readable():
            found.append(await self._socket.recv(zmq.NOBLOCK))
        return found

    def _readable(self) -> bool:
        return bool(int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN)

    def close(self) -> None:
        self._socket.close(linger=0)


async def answer_pings(server: AsyncServer, state: Callable[[], dict[str, Any]]) -> None:
    """The control of an asyncio process: tells the supervisor how it is, until cancelled."""

    async def answer(kind: Kind, _body: list[Any]) -> bytes:
        return pack(Kind.PONG, state()) if kind is Kind.PING else pack(Kind.FAULT, "not a ping")

    await server.serve(answer)
