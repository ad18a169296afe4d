"""The error family: each leaf is a different thing for the caller to do.

    HarkError
    +-- Refused                  surely not stored
    |   +-- InvalidArgument      mend the request
    |   +-- NotFound             name something that exists
    |   +-- AlreadyExists        choose another id
    |   +-- ResourceExhausted    wait `retry_after_ms`, then ask again
    +-- Unavailable              outcome unknown: ask again with the same id
    +-- Internal                 a bug of ours; outcome unknown
    +-- ConfigError              a flag, key or variable is wrong: exit status 2
    +-- StartError               what surrounds Hark is wrong: exit status 1
    +-- Corrupt                  bytes on disk are not what was written: stop, never guess

Every error has its faces: the gRPC code and name (also GraphQL's `extensions.code`) and the HTTP
status. Codes are those of google.rpc.Code.
"""

from __future__ import annotations

from typing import ClassVar


class HarkError(Exception):
    """Base of all. `message` is one sentence for a person: which value, which rule, what to do."""

    code: ClassVar[int] = 13
    name: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms


class Refused(HarkError):
    """The request changed nothing, surely."""


class InvalidArgument(Refused):
    code, name, http_status = 3, "INVALID_ARGUMENT", 400


class NotFound(Refused):
    code, name, http_status = 5, "NOT_FOUND", 404


class AlreadyExists(Refused):
    code, name, http_status = 6, "ALREADY_EXISTS", 409


class ResourceExhausted(Refused):
    code, name, http_status = 8, "RESOURCE_EXHAUSTED", 429


class Unavailable(HarkError):
    code, name, http_status = 14, "UNAVAILABLE", 503


class Internal(HarkError):
    code, name, http_status = 13, "INTERNAL", 500


class ConfigError(HarkError):
    code, name, http_status = 9, "FAILED_PRECONDITION", 500
    exit_status: ClassVar[int] = 2


class StartError(HarkError):
    code, name, http_status = 9, "FAILED_PRECONDITION", 500
    exit_status: ClassVar[int] = 1


class Corrupt(HarkError):
    code, name, http_status = 15, "DATA_LOSS", 500


_BY_CODE: dict[int, type[HarkError]] = {
    leaf.code: leaf
    for leaf in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        ResourceExhausted,
        Unavailable,
        Internal,
        Corrupt,
    )
}


def from_code(code: int, message: str, retry_after_ms: int) -> HarkError:
    """The error that another process answered with; an unknown code is `Internal`."""
    return _BY_CODE.get(code, Internal)(message, retry_after_ms=retry_after_ms)
