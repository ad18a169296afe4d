"""graphql-transport-ws: GraphQL over a WebSocket, after PROTOCOL.md of the npm package graphql-ws.

The client says `connection_init` and hears `connection_ack`. Then it may `subscribe` to operations,
each under an id of its own, and hears `next` for each payload, and at last `complete` or `error`.
What breaks the protocol closes the socket with the protocol's code; what an operation does wrong
ends the operation.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

from sanic import Request

from farm.errors import Unavailable
from gateway.graphql_http import Question, json_in, question_in
from gateway.held import Heart
from gateway.refusals import HttpRefusal, Incidents, graphql_refusal
from gateway.running import Failed, Running
from gateway.websocket import GOING_AWAY, WebSocket, accept

PROTOCOL = "graphql-transport-ws"
OPERATIONS_MAX = 100  # at a time, over one socket
ID_CHARACTERS_MAX = 256

BAD_REQUEST = 4400
UNAUTHORIZED = 4401
NOT_ACCEPTABLE = 4406
INIT_TIMED_OUT = 4408
ALREADY_EXISTS = 4409
TOO_MANY = 4429


class BadMessage(Exception):
    """A message that the protocol does not know; the text says why."""


class GraphQLSockets:
    """Every socket over which GraphQL is spoken."""

    def __init__(self, running: Running, heart: Heart, incidents: Incidents) -> None:
        self._running = running
        self._heart = heart
        self._incidents = incidents

    async def accept(self, request: Request) -> None:
        """Makes a socket of the request. Raises `HttpRefusal` where that cannot be."""
        await accept(request, self._heart, self._incidents, PROTOCOL, self._begin)

    def _begin(self, socket: WebSocket) -> Conversation:
        return Conversation(socket, self._running, self._heart.terms.init_within_s)


class Conversation:
    """What is said over one socket."""

    def __init__(self, socket: WebSocket, running: Running, init_within_s: float) -> None:
        self._socket = socket
        self._running = running
        self._greeted = False
        self._leaving = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._answers: set[asyncio.Task[None]] = set()  # of those, what drains when we leave
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(
            init_within_s, socket.close, INIT_TIMED_OUT, "Connection initialisation timeout"
        )
        if socket.subprotocol is None:
            loop.call_soon(socket.close, NOT_ACCEPTABLE, f"Subprotocol not acceptable: {PROTOCOL}")

    # What the client says

    def hear(self, text: str) -> None:
        try:
            self._obey(_message(text))
        except (BadMessage, HttpRefusal) as error:
            self._socket.close(BAD_REQUEST, f"Invalid message: {error}")

    def binary(self) -> None:
        self._socket.close(BAD_REQUEST, "Invalid message: must be text")

    def _obey(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "connection_init"}:
                self._greet()
            case {"type": "ping"}:
                self._socket.say('{"type":"pong"}')
            case {"type": "pong"}:
                pass
            case {"type": "subscribe", "id": str(name), "payload": dict(asked)} if name:
                self._subscribe(name, asked)
            case {"type": "complete", "id": str(name)}:
                self._forget(name)
            case {"type": str(kind)}:
                raise BadMessage(f"type {kind!r} is unknown, or lacks something")
            case _:
                raise BadMessage("must have a type")

    def _greet(self) -> None:
        if self._greeted:
            self._socket.close(TOO_MANY, "Too many initialisation requests")
            return
        self._greeted = True
        self._late.cancel()
        self._socket.say('{"type":"connection_ack"}')

    def _subscribe(self, name: str, asked: dict[str, Any]) -> None:
        if not self._greeted:
            self._socket.close(UNAUTHORIZED, "Unauthorized")
        elif name in self._operations:
            self._socket.close(ALREADY_EXISTS, f"Subscriber for {name} already exists")
        elif len(self._operations) >= OPERATIONS_MAX:
            reason = f"Too many subscriptions: at most {OPERATIONS_MAX} over one socket"
            self._socket.close(TOO_MANY, reason)
        else:
            self._start(name, _question(name, asked))

    def _start(self, name: str, question: Question) -> None:
        task = asyncio.create_task(self._run(name, question))
        self._operations[name] = task
        if not self._running.subscribes(question):
            self._answers.add(task)
            task.add_done_callback(self._answered)  # also where it never began

    def _forget(self, name: str) -> None:
        if task := self._operations.pop(name, None):
            task.cancel()

    # What it is told

    async def _run(self, name: str, question: Question) -> None:
        """One operation, from its beginning to the message that ends it."""
        shown = json.dumps(name)
        try:
            last = await self._tell(shown, question)
        except Unavailable as error:
            self._socket.close(GOING_AWAY, error.message)
        except ConnectionResetError:
            pass
        else:
            # From now on the client may use the id again.
            self._operations.pop(name, None)
            self._socket.say(last)

    async def _tell(self, shown: str, question: Question) -> str:
        """Sends each payload; the message that comes after them."""
        head = f'{{"id":{shown},"type":"next","payload":'
        try:
            async with aclosing(self._running.run(question, "POST")) as payloads:
                async for payload in payloads:
                    await self._socket.send(f"{head}{payload.text}}}")
        except Failed as failed:
            errors = failed.errors
        except HttpRefusal as refusal:
            errors = graphql_refusal(refusal)["errors"]
        else:
            return f'{{"id":{shown},"type":"complete"}}'
        return f'{{"id":{shown},"type":"error","payload":{json.dumps(errors)}}}'

    # Its end

    def leave(self) -> None:
        """Closes once what was asked is answered; subscriptions would never be."""
        self._leaving = True
        if not self._answers:
            self._socket.close(GOING_AWAY, "this server is going away; connect again")

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answers.discard(task)
        if self._leaving:
            self.leave()

    def end(self) -> None:
        self._late.cancel()
        for task in self._operations.values():
            task.cancel()
        self._operations.clear()


def _message(text: str) -> dict[str, Any]:
    message = json_in("it", text.encode())
    if not isinstance(message, dict):
        raise BadMessage("must be a JSON object")
    if not isinstance(message.get("payload"), dict | None):
        raise BadMessage("payload must be a JSON object")
    return message


def _question(name: str, asked: dict[str, Any]) -> Question:
    if len(name) > ID_CHARACTERS_MAX:
        raise BadMessage(f"id has over {ID_CHARACTERS_MAX} characters")
    return question_in(asked)
