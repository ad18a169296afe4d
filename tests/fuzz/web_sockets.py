"""WebSockets: frames that break the protocol, and messages of graphql-transport-ws that nearly do
not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

from websockets.frames import Close, Frame, Opcode

from tests.fuzz import mutate
from tests.fuzz.place import Place
from tests.fuzz.tally import Tally
from tests.fuzz.web_requests import question
from tests.web.raw_websocket import RawWebSocket

CODES = {1000, 1001, 1002, 1003, 1007, 1009, 4400, 4401, 4406, 4408, 4409, 4429}
CLIENTS = 8
HALF_S = 0.05  # then half a frame has had its time
MESSAGES_MAX = 20  # over one connection
MARK = b"all was read"
_MASKED = Frame(Opcode.TEXT, b'{"type":"ping"}').serialize(mask=True)
_FRAMES = (
    _MASKED,
    Frame(Opcode.PING, b"x" * 125).serialize(mask=True),
    Frame(Opcode.CLOSE, Close(1000, "bye").serialize()).serialize(mask=True),
    Frame(Opcode.TEXT, b"half", fin=False).serialize(mask=True),
    Frame(Opcode.CONT, b"other half").serialize(mask=True),
    Frame(Opcode.BINARY, b"\0\1\2").serialize(mask=True),
    b"\x81\xff" + (2**63 - 1).to_bytes(8, "big") + b"mask",
    b"\x81\xfe\xff\xff" + b"mask",
    b"\x89\xfe\x01\x00mask" + b"x" * 256,  # a ping too long to be one
    b"\x81\x05hello",  # unmasked
    b"\xc1\x85\0\0\0\0hello",  # a reserved bit
    b"\x83\x80\0\0\0\0",  # an opcode that there is not
    b"\x88\x81\0\0\0\0\x03",  # a close with half a code
    b"\x81\x84\0\0\0\0\xff\xfe\xfd\xfc",  # text that is no UTF-8
)


def fuzz(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """So many messages or frames, on as many connections as they take."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [
            pool.submit(_share, place, tally, count // CLIENTS, Random(chance.random()))
            for _ in range(CLIENTS)
        ]:
            done.result()


def _share(place: Place, tally: Tally, count: int, chance: Random) -> None:
    done = 0
    while done < count:
        with RawWebSocket(place.farm.http_address) as socket:
            if chance.random() < 0.9:
                socket.init()
            done += _talk(socket, tally, chance, min(MESSAGES_MAX, count - done))


def _talk(socket: RawWebSocket, tally: Tally, chance: Random, count: int) -> int:
    """How many were said until it was closed."""
    frames = chance.random() < 0.3
    for number in range(1, count + 1):
        data = _frame(chance) if frames else _message(chance)
        if (how := _say(socket, tally, data, frame=frames)) != "heard":
            tally.answered(how)
            return number
        tally.answered(how)
    return count


def _say(socket: RawWebSocket, tally: Tally, data: bytes, *, frame: bool) -> str:
    """Says it, and what comes of it once it was surely read."""
    try:
        if frame:
            socket.socket.sendall(data)
            # What is half a frame takes what comes as its rest, so there may be no sign.
            socket.socket.settimeout(HALF_S)
        else:
            socket.frame(Opcode.TEXT, data)
        socket.frame(Opcode.PING, MARK)
        while (found := socket.any()).opcode is not Opcode.PONG or bytes(found.data) != MARK:
            if found.opcode is Opcode.CLOSE:
                return _closed(tally, found, data)
            tally.told(bytes(found.data)[:4_096].decode(errors="replace"), data)
            if b'"INTERNAL"' in found.data:
                tally.blame(f"answers {bytes(found.data)!r} to", data)
    except TimeoutError:
        if not frame:
            tally.blame("does not answer", data)
        return "waits"
    except (ConnectionError, EOFError):
        return "cut off"
    return "heard"


def _closed(tally: Tally, found: Frame, data: bytes) -> str:
    close = Close.parse(bytes(found.data))
    if close.code not in CODES and data[:1] != b"\x88":  # who closes hears their own code
        tally.blame(f"closes with {close}", data)
    tally.told(close.reason, data)
    return f"closed {close.code}"


def _frame(chance: Random) -> bytes:
    one = chance.choice(_FRAMES)
    return one if chance.random() < 0.3 else mutate.damaged(chance, one, _FRAMES)


def _message(chance: Random) -> bytes:
    message = _valid(chance)
    match chance.randrange(5):
        case 0:
            return json.dumps(mutate.bent(chance, message, binary=False)).encode()
        case 1:
            return mutate.damaged(chance, json.dumps(message).encode())
        case 2:
            return b"[" * chance.choice((1, 100, 50_000))
        case _:
            return json.dumps(message).encode()


def _valid(chance: Random) -> dict[str, Any]:
    name = str(chance.randrange(1_000)) if chance.random() < 0.9 else mutate.text(chance)
    match chance.randrange(6):
        case 0:
            return {"type": "ping", "payload": {}}
        case 1:
            return {"type": "complete", "id": name}
        case 2:
            return {"type": chance.choice(("pong", "connection_init", "next", "error", ""))}
        case _:
            return {"type": "subscribe", "id": name, "payload": question(chance)}
