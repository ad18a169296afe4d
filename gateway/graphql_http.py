"""GraphQL over HTTP: what a request asks, and the answer.

After the GraphQL-over-HTTP draft of the GraphQL Foundation: POST with JSON for everything, GET for
queries. What a page of another site can make a browser send without asking first (a form, plain
text) is refused, and so is a GET that would change something.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qs

from graphql import GraphQLError, OperationType, located_error
from sanic import Request
from sanic.headers import parse_content_header
from sanic.response import HTTPResponse

from farm.errors import ResourceExhausted
from farm.failpoints import Point, passing
from gateway.compiled import Query, to_json
from gateway.context import Context
from gateway.refusals import (
    JSON,
    HttpRefusal,
    Incidents,
    encoded,
    graphql_error,
    graphql_media_type,
    graphql_refusal,
    in_utf8,
)
from gateway.schema import Schema, Understood
from gateway.unsent import AT_ONCE_BYTES_MAX, UNSENT_BYTES_MAX, Unsent

ARGUMENTS_MAX = 10
BATCH_MAX = 10
HEAVY_AT_ONCE_MAX = 4  # more than one, for they wait for the store as well
ANSWER_BYTES_MAX = 4 * 1024 * 1024  # far more than the answer to a change can have
HEADERS_KEPT_MAX = 4_096
CONTENT_TYPES_KEPT_MAX = 64

_UTF_8 = ("utf-8", "utf8", "")


class Question(NamedTuple):
    """One operation to run."""

    query: str
    variables: dict[str, Any] | None
    operation: str | None


class Answer(NamedTuple):
    """What is told of one operation, in JSON, and whether there are data in it."""

    body: bytes
    run: bool


class GraphQL:
    """Answers questions with the schema."""

    def __init__(self, schema: Schema, context: Context, incidents: Incidents) -> None:
        self._schema = schema
        self._context = context
        self._incidents = incidents
        self.unsent = Unsent(UNSENT_BYTES_MAX)
        # What takes long has turns, and others are served between them.
        self._understanding = asyncio.Lock()
        self._heavy = asyncio.Semaphore(HEAVY_AT_ONCE_MAX)

    async def answer(self, request: Request) -> HTTPResponse | None:
        """None where it is sent already. Raises `HttpRefusal` where the request is no question."""
        asked = from_body(request) if request.method == "POST" else from_url(request)
        media_type = graphql_media_type(request)
        if isinstance(asked, list):
            body, status = await self._all(asked), 200
        else:
            body, run = await self.run(asked, request.method)
            # Whoever asks for the newer media type reads the status; older clients expect 200.
            status = 200 if run or media_type == JSON else 400
        if len(body) <= AT_ONCE_BYTES_MAX:
            return Told(body, status=status, content_type=media_type)
        with self.unsent.counted(len(body)):
            await _send(request, body, status, media_type)
        return None

    async def _all(self, questions: list[Question]) -> bytes:
        """In turn, so that each sees what those before it changed."""
        bodies: list[bytes] = []
        for question in questions:
            if sum(map(len, bodies)) > ANSWER_BYTES_MAX:
                bodies.append(self._too_large().body)
            else:
                bodies.append(await self._one_of_many(question))
        return b"[%b]" % b",".join(bodies)

    async def _one_of_many(self, question: Question) -> bytes:
        """A bad one spoils no other."""
        try:
            return (await self.run(question, "POST")).body
        except HttpRefusal as refusal:
            return encoded(graphql_refusal(refusal))
        except Exception as error:  # noqa: BLE001 - it is logged, and told by its number
            return self._answer(None, [located_error(error)]).body

    async def run(self, question: Question, method: str) -> Answer:
        """Raises `HttpRefusal` where this may not be asked by this method, or is a subscription."""
        passing(Point.WEB_ASK)
        understood = self._schema.known(question.query, question.operation)
        if understood is None:
            async with self._understanding:
                await asyncio.sleep(0)
                understood = self._schema.understood(question.query, question.operation)
        if understood.query is None:
            answer = await self._interpreted(understood, question, method)
        elif understood.size.heavy:
            async with self._heavy:
                await asyncio.sleep(0)
                answer = await self._compiled(understood.query, question)
        else:
            answer = await self._compiled(understood.query, question)
        passing(Point.WEB_REPLY)
        return answer

    async def _compiled(self, query: Query, question: Question) -> Answer:
        done = await query.run(question.variables, self._context)
        self._schema.process_errors(done.errors)
        return self._answer(done.data, done.errors)

    async def _interpreted(self, understood: Understood, question: Question, method: str) -> Answer:
        """What is no query, or a wrong one."""
        if understood.operation is not None:
            _check_operation(understood.operation.operation, method)
        if understood.errors:
            return self._answer(None, understood.errors)
        if understood.operation is None:
            _invalid("operationName: must name an operation of the query; it has none or several")
        result = await self._schema.execute(
            question.query,
            variable_values=question.variables,
            operation_name=question.operation,
            context_value=self._context,
        )
        data = None if result.data is None else to_json(result.data)
        return self._answer(data, result.errors or [])

    def _answer(self, data: str | None, errors: Sequence[GraphQLError]) -> Answer:
        """Where nothing was run there are no data, not even null."""
        if data is not None and len(data) > ANSWER_BYTES_MAX:  # sooner than after two copies
            return self._too_large()
        run = data is not None or any(error.path for error in errors)
        parts = []
        if errors:
            told = [graphql_error(error, self._incidents) for error in errors]
            parts.append(f'"errors":{to_json(told)}')
        if run:
            parts.append(f'"data":{data or "null"}')
        body = in_utf8(f"{{{','.join(parts)}}}")
        return Answer(body, run) if len(body) <= ANSWER_BYTES_MAX else self._too_large()

    def _too_large(self) -> Answer:
        message = f"the answer is over {ANSWER_BYTES_MAX >> 20} MiB; ask for less at once"
        return self._answer(None, [located_error(ResourceExhausted(message))])


async def _send(request: Request, body: bytes, status: int, media_type: str) -> None:
    """As fast as it is read. Who reads nothing for as long as an answer may take is let go."""
    headers = {"content-length": str(len(body))}
    response = await request.respond(status=status, headers=headers, content_type=media_type)
    for start in range(0, len(body), AT_ONCE_BYTES_MAX):
        await response.send(body[start : start + AT_ONCE_BYTES_MAX])


class Told(HTTPResponse):
    """A response whose headers, nearly always the same, are made bytes once for all."""

    __slots__ = ()

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        self.headers.setdefault("content-type", self.content_type)
        return (_header(name, str(value)) for name, value in self.headers.items())


@lru_cache(HEADERS_KEPT_MAX)
def _header(name: str, value: str) -> tuple[bytes, bytes]:
    """As Sanic makes it."""
    return next(iter(HTTPResponse(headers={name: value}).processed_headers))


def from_body(request: Request) -> Question | list[Question]:
    if not _is_json(request.headers.get("content-type", "")):
        raise HttpRefusal(
            415, "INVALID_ARGUMENT", f"Content-Type: must be {JSON}, in UTF-8", {"Accept": JSON}
        )
    body = json_in("the body", request.body)
    if not isinstance(body, list):
        return question_in(body)
    if not 1 <= len(body) <= BATCH_MAX:
        _invalid(f"the body: is a batch of {len(body):,}; must be from 1 to {BATCH_MAX} operations")
    return [question_in(one) for one in body]


@lru_cache(CONTENT_TYPES_KEPT_MAX)
def _is_json(content_type: str) -> bool:
    """Whether it is JSON in UTF-8, whatever else is said of it."""
    media_type, parameters = parse_content_header(content_type)
    return media_type == JSON and str(parameters.get("charset", "utf-8")).lower() in _UTF_8


def from_url(request: Request) -> Question:
    try:
        given = parse_qs(request.query_string, errors="strict", max_num_fields=ARGUMENTS_MAX)
    except ValueError:
        _invalid("the URL: must hold UTF-8 and no more than the query and what belongs to it")
    arguments: dict[str, Any] = {name: values[0] for name, values in given.items()}
    for name in ("variables", "extensions"):
        if text := arguments.pop(name, ""):
            arguments[name] = json_in(name, text.encode())
    return question_in(arguments)


def question_in(asked: Any) -> Question:
    """Raises `HttpRefusal` where a part of it is of another kind than it must be."""
    if not isinstance(asked, dict):
        _invalid("the body: must be a JSON object with a query")
    query, operation = asked.get("query"), asked.get("operationName")
    if not isinstance(query, str) or not query.strip():
        _invalid("query: must be the text of a GraphQL document")
    for name in ("variables", "extensions"):
        if not isinstance(asked.get(name), dict | None):
            _invalid(f"{name}: must be a JSON object")
    if operation is not None and not isinstance(operation, str):
        _invalid("operationName: must be text")
    # Thousands may hold on to the same query.
    return Question(sys.intern(query), asked.get("variables"), operation or None)


def json_in(what: str, text: bytes) -> Any:
    """Raises `HttpRefusal` where it is none."""
    try:
        return _JSON.decode(text.decode())
    except (ValueError, RecursionError):
        _invalid(f"{what}: must be JSON in UTF-8")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON, whatever Python thinks


_JSON = json.JSONDecoder(parse_constant=_no_constant)  # made once, not for each that is read


def _invalid(message: str) -> NoReturn:
    raise HttpRefusal(400, "INVALID_ARGUMENT", message)


def _check_operation(operation: OperationType, method: str) -> None:
    """Raises `HttpRefusal` where an operation of this kind cannot be asked by this method."""
    if operation is OperationType.SUBSCRIPTION and method == "POST":
        _invalid("a subscription needs a WebSocket or text/event-stream")
    if operation is not OperationType.QUERY and method == "GET":
        raise HttpRefusal(
            405, "UNIMPLEMENTED", "only queries can be sent by GET; use POST", {"Allow": "POST"}
        )
