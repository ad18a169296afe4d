"""GraphQL over HTTP: what a request asks, and the answer.

After the GraphQL-over-HTTP draft of the GraphQL Foundation: POST with JSON for everything, GET for
queries. What a page of another site can make a browser send without asking first (a form, plain
text) is refused, and so is a GET that would change something.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qs

from sanic import Request
from sanic.response import HTTPResponse
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from gateway.refusals import HttpRefusal, Incidents, encoded, graphql_error
from gateway.schema import Context, Schema

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
ARGUMENTS_MAX = 10

_ALLOWED: dict[str, tuple[OperationType, ...]] = {
    "GET": (OperationType.QUERY,),
    "POST": (OperationType.QUERY, OperationType.MUTATION),
}


class Question(NamedTuple):
    """One operation to run."""

    query: str
    variables: dict[str, Any] | None
    operation: str | None


class GraphQL:
    """Answers questions with the schema."""

    def __init__(self, schema: Schema, context: Context, incidents: Incidents) -> None:
        self._schema = schema
        self._context = context
        self._incidents = incidents

    async def answer(self, request: Request) -> HTTPResponse:
        """Raises `HttpRefusal` where the request is no question."""
        question = from_body(request) if request.method == "POST" else from_url(request)
        try:
            result = await self._schema.execute(
                question.query,
                variable_values=question.variables,
                operation_name=question.operation,
                context_value=self._context,
                allowed_operation_types=_ALLOWED[request.method],
            )
        except InvalidOperationTypeError as error:
            _refuse_operation(error, request.method)
        except CannotGetOperationTypeError:
            _invalid("operationName: must name an operation of the query; it has none or several")
        return self._response(request, result)

    def _response(self, request: Request, result: ExecutionResult) -> HTTPResponse:
        body: dict[str, Any] = {}
        errors = result.errors or []
        if errors:
            body["errors"] = [graphql_error(error, self._incidents) for error in errors]
        # Where nothing was run there are no data, not even null.
        run = result.data is not None or any(error.path for error in errors)
        if run:
            body["data"] = result.data
        # Whoever asks for the newer media type reads the status; older clients expect 200.
        newer = GRAPHQL_JSON in request.headers.get("accept", "")
        return HTTPResponse(
            encoded(body),
            status=200 if run or not newer else 400,
            content_type=GRAPHQL_JSON if newer else JSON,
        )


def from_body(request: Request) -> Question:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().partition("charset=")[2].strip('"')
    if media_type.strip().lower() != JSON or charset not in ("", "utf-8", "utf8"):
        raise HttpRefusal(
            415, "INVALID_ARGUMENT", f"Content-Type: must be {JSON}, in UTF-8", {"Accept": JSON}
        )
    body = _json("the body", request.body)
    if isinstance(body, list):
        _invalid("the body: is a batch; send each operation in a request of its own")
    if not isinstance(body, dict):
        _invalid("the body: must be a JSON object with a query")
    return _question(body.get("query"), body.get("variables"), body.get("operationName"))


def from_url(request: Request) -> Question:
    try:
        given = parse_qs(request.query_string, errors="strict", max_num_fields=ARGUMENTS_MAX)
    except ValueError:
        _invalid("the URL: must hold UTF-8 and no more than the query and what belongs to it")
    arguments = {name: values[0] for name, values in given.items()}
    variables = arguments.get("variables")
    return _question(
        arguments.get("query"),
        _json("variables", variables.encode()) if variables else None,
        arguments.get("operationName"),
    )


def _question(query: Any, variables: Any, operation: Any) -> Question:
    if not isinstance(query, str) or not query.strip():
        _invalid("query: must be the text of a GraphQL document")
    if variables is not None and not isinstance(variables, dict):
        _invalid("variables: must be a JSON object")
    if operation is not None and not isinstance(operation, str):
        _invalid("operationName: must be text")
    return Question(query, variables, operation or None)


def _json(what: str, text: bytes) -> Any:
    try:
        return json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        _invalid(f"{what}: must be JSON in UTF-8")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON, whatever Python thinks


def _invalid(message: str) -> NoReturn:
    raise HttpRefusal(400, "INVALID_ARGUMENT", message)


def _refuse_operation(error: InvalidOperationTypeError, method: str) -> NoReturn:
    if method == "GET":
        raise HttpRefusal(
            405, "UNIMPLEMENTED", "only queries can be sent by GET; use POST", {"Allow": "POST"}
        ) from error
    _invalid("a subscription needs a WebSocket or text/event-stream")
