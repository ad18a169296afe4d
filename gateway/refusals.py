"""The face of an error towards HTTP and GraphQL: its code, its sentence, when to ask again.

What people sent wrong is told to them. What went wrong here is logged under a number, and people
get the number only: a stack trace helps an attacker more than a caller.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError
from sanic import Request
from sanic.exceptions import InvalidHeader, PayloadTooLarge, RequestCancelled, SanicException
from sanic.handlers import ErrorHandler
from sanic.headers import AcceptList, parse_accept
from sanic.http import Http
from sanic.response import HTTPResponse

from farm.errors import Corrupt, HarkError, Internal
from gateway.compiled import to_json

GRAPHQL_PATHS = ("/graphql", "/query")
JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
MESSAGE_CHARACTERS_MAX = 500  # of what echoes a query
THROWN_AWAY_BYTES_MAX = 32 * 1024 * 1024

_NO_METHOD = "NONE"  # of a request that Sanic makes up
_FIELD = re.compile(r"^[a-z]+(?:_[a-z]+)+(?=[ :])")
_SECOND_WORD = re.compile(r"_([a-z])")

# What HTTP itself refuses, as (code, sentence).
_BY_STATUS = {
    400: ("INVALID_ARGUMENT", "the request is not valid HTTP"),
    403: ("PERMISSION_DENIED", "the request is not allowed"),
    404: ("NOT_FOUND", "there is nothing at this path; try /graphql, /metrics, /health or /ready"),
    405: ("UNIMPLEMENTED", "this path does not take this method; the Allow header names those"),
    408: ("DEADLINE_EXCEEDED", "the request took too long to arrive"),
    413: ("RESOURCE_EXHAUSTED", "the request is too large; a body may have 64 KiB, a header 8 KiB"),
    417: ("INVALID_ARGUMENT", "this value of the Expect header is unknown"),
    503: ("UNAVAILABLE", "the answer took too long; ask again"),
}


class HttpRefusal(Exception):
    """An answer other than 200, decided here."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}


class Incidents:
    """Logs what should not have happened, each under an id that tells people nothing else.

    The process's name is unique for its life, so a count is enough to make the id so.
    """

    def __init__(self, process_name: str) -> None:
        self._process_name = process_name
        self._numbers = itertools.count(1)

    def report(self, error: BaseException) -> str:
        """Logs the error; the sentence for whoever asked."""
        incident = f"{self._process_name}-{next(self._numbers)}"
        logging.getLogger("hark").error(
            "internal error", exc_info=error, extra={"fields": {"incident": incident}}
        )
        return f"an internal error; the log tells more of it as {incident}"


class JsonErrors(ErrorHandler):
    """Every error of Sanic's and ours as JSON."""

    def __init__(self, incidents: Incidents) -> None:
        super().__init__()
        self._incidents = incidents

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        match exception:
            case HttpRefusal():
                return refused(request, exception)
            case RequestCancelled():  # whoever asked is gone, and will not read this
                return refused(request, HttpRefusal(400, "CANCELLED", "the request was broken off"))
            case HarkError() if not isinstance(exception, Internal | Corrupt):
                status, code, message = exception.http_status, exception.name, exception.message
                return refused(request, HttpRefusal(status, code, message))
            case SanicException(status_code=status) if status in _BY_STATUS:
                if isinstance(exception, PayloadTooLarge):
                    _take_the_rest(request)
                code, message = _BY_STATUS[status]
                headers = {name: str(value) for name, value in exception.headers.items()}
                return refused(request, HttpRefusal(status, code, message, headers))
            case _:
                sentence = self._incidents.report(exception)
                return refused(request, HttpRefusal(500, "INTERNAL", sentence))


class HttpRequest(Request):
    """A request, or what Sanic makes to have one when it refuses what is none.

    It makes that of the URL that it has just refused, which would fail again: the client would get
    no answer, and the log a stack trace for each.
    """

    def __init__(self, url_bytes: bytes, headers: Any, version: str, method: str, **more: Any):
        try:
            super().__init__(url_bytes, headers, version, method, **more)
        except SanicException:
            if method != _NO_METHOD:
                raise
            super().__init__(b"*", headers, version, method, **more)

    @property
    def accept(self) -> AcceptList:
        """Media types are the same in any case; to Sanic they are others."""
        if self.parsed_accept is None:
            self.parsed_accept = parse_accept(self.headers.get("accept", "*/*").lower())
        return self.parsed_accept


def _take_the_rest(request: Request) -> None:
    """Lets Sanic read on past its limit, to throw it away, and close the connection then.

    Closing with bytes unread resets the connection, and a client that still sends never sees the
    answer. Whoever sends even more than this is reset.
    """
    if isinstance(request.stream, Http):
        request.stream.keep_alive = False
        request.stream.request_max_size = THROWN_AWAY_BYTES_MAX
        request.stream.protocol.request_max_size = THROWN_AWAY_BYTES_MAX


def refused(request: Request, refusal: HttpRefusal) -> HTTPResponse:
    """The answer; GraphQL clients find it where they look for errors."""
    body: dict[str, Any]
    if request.path in GRAPHQL_PATHS:
        body, media_type = graphql_refusal(refusal), graphql_media_type(request)
    else:
        body, media_type = {"error": {"code": refusal.code, "message": refusal.message}}, JSON
    return HTTPResponse(
        encoded(body), status=refusal.status, headers=dict(refusal.headers), content_type=media_type
    )


def graphql_refusal(refusal: HttpRefusal) -> dict[str, Any]:
    return {"errors": [{"message": refusal.message, "extensions": {"code": refusal.code}}]}


def graphql_media_type(request: Request) -> str:
    """The newer one for who names it and does not like JSON better.

    Who takes anything gets JSON: the newer one has statuses that older clients do not expect. So
    does who takes neither; they can still read that their question was understood.
    """
    if GRAPHQL_JSON not in request.headers.get("accept", "").lower():
        return JSON
    try:
        newer = request.accept.match(GRAPHQL_JSON, accept_wildcards=False).header
        older = request.accept.match(JSON).header
    except InvalidHeader:
        return JSON
    if newer is None or newer.q == 0 or (older is not None and older.q > newer.q):
        return JSON
    return GRAPHQL_JSON


def encoded(value: Any) -> bytes:
    """JSON in UTF-8."""
    return in_utf8(to_json(value))


def in_utf8(text: str) -> bytes:
    """The JSON as bytes. Half a surrogate pair, which a query may echo, has no UTF-8: then in
    ASCII."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), separators=(",", ":")).encode()


def _named(message: str) -> str:
    """With the field that it begins with named as GraphQL does: the store knows one name of it."""
    return _FIELD.sub(lambda field: _SECOND_WORD.sub(lambda at: at[1].upper(), field[0]), message)


def graphql_error(error: GraphQLError, incidents: Incidents) -> dict[str, Any]:
    """An error inside an answer of GraphQL's, with the name of its gRPC code."""
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    if cause is None:
        code, message, retry_after_ms = "INVALID_ARGUMENT", error.message, 0
    elif isinstance(cause, HarkError) and not isinstance(cause, Internal | Corrupt):
        code, message, retry_after_ms = cause.name, _named(cause.message), cause.retry_after_ms
    else:
        code = cause.name if isinstance(cause, HarkError) else "INTERNAL"
        message, retry_after_ms = incidents.report(cause), 0
    extensions: dict[str, Any] = {"code": code}
    if retry_after_ms:
        extensions["retryAfterMs"] = retry_after_ms
    shown: dict[str, Any] = {"message": message[:MESSAGE_CHARACTERS_MAX]}
    if error.locations:
        shown["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path:
        shown["path"] = error.path
    return shown | {"extensions": extensions}
