"""How a call is taken: admitted, parsed, run and answered.

gRPC hands over the bytes of a request as they came. They are parsed here rather than by gRPC, which
would answer what does not parse with INTERNAL and the text of the exception.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from farm.errors import HarkError, Internal, InvalidArgument, ResourceExhausted
from farm.observe import log
from gateway.status import Context, abort

CALLS_MAX = 4_096
BYTES_MAX = 256 * 1024 * 1024
RETRY_AFTER_MS = 1_000

# A method takes its request, or where the client streams an iterator of them, and returns the
# response; what it refuses it raises as a HarkError.
Method = Callable[[Any], Awaitable[Message]]


class Service(NamedTuple):
    """A service of the protos and what answers it. A method that is missing is not offered yet."""

    descriptor: ServiceDescriptor
    methods: dict[str, Method]


class Calls:
    """The calls in flight in this process: how many there may be, and what each is given."""

    def __init__(
        self, chance: Random, *, calls_max: int = CALLS_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        self._chance = chance
        self._calls_left = calls_max
        self._calls_max = calls_max
        self._bytes_left = bytes_max
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Returns once no call is in flight."""
        await self._idle.wait()

    def handlers(self, service: Service) -> grpc.GenericRpcHandler:
        """What gRPC needs to serve it."""
        made = {
            method.name: self._handler(service, method) for method in service.descriptor.methods
        }
        unknown = service.methods.keys() - made.keys()
        assert not unknown, f"{service.descriptor.full_name} has no {unknown}"
        return grpc.method_handlers_generic_handler(service.descriptor.full_name, made)

    def _handler(
        self, service: Service, described: MethodDescriptor
    ) -> grpc.RpcMethodHandler[Any, Any]:
        name = described.full_name
        method = service.methods.get(described.name)
        if method is None:
            return _not_offered(name, described)
        parse = _parser(name, described)
        if described.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._stream(name, parse, method))
        return grpc.unary_unary_rpc_method_handler(self._unary(name, parse, method))

    def _unary(
        self, name: str, parse: Callable[[bytes], Message], method: Method
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        # Every call passes here, therefore one function where several would read better.
        async def call(raw: bytes, context: Context) -> bytes:
            size = len(raw)
            if not self._calls_left or self._bytes_left < size:
                await abort(context, self._too_many())
            self._enter(size)
            try:
                return (await method(parse(raw))).SerializeToString()
            except HarkError as refusal:
                error = refusal
            except Exception:  # noqa: BLE001  whatever it is, its text stays here
                error = self._unexpected(name)
            finally:
                self._leave(size)
            return await abort(context, error)

        return call

    def _stream(
        self, name: str, parse: Callable[[bytes], Message], method: Method
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
        async def call(raws: AsyncIterator[bytes], context: Context) -> bytes:
            if not self._calls_left:
                await abort(context, self._too_many())
            self._enter(0)
            try:
                return (await method(parse(raw) async for raw in raws)).SerializeToString()
            except HarkError as refusal:
                error = refusal
            except Exception:  # noqa: BLE001  whatever it is, its text stays here
                error = self._unexpected(name)
            finally:
                self._leave(0)
            return await abort(context, error)

        return call

    def _enter(self, size: int) -> None:
        self._calls_left -= 1
        self._bytes_left -= size
        self._idle.clear()

    def _leave(self, size: int) -> None:
        self._calls_left += 1
        self._bytes_left += size
        if self._calls_left == self._calls_max:
            self._idle.set()

    def _too_many(self) -> ResourceExhausted:
        return ResourceExhausted(
            f"{self._calls_max - self._calls_left} calls are in flight here, as many as may be; "
            "ask again later",
            retry_after_ms=RETRY_AFTER_MS,
        )

    def _unexpected(self, name: str) -> Internal:
        """A bug: the caller learns a number, the log what happened."""
        error_id = f"{self._chance.getrandbits(64):016x}"
        log(
            logging.ERROR, "a call failed",
            method=name, error_id=error_id, traceback=traceback.format_exc(),
        )  # fmt: skip
        return Internal(
            f"something went wrong here, error id {error_id}; whether it took effect is unknown: "
            "ask again with the same id"
        )


def _parser(name: str, described: MethodDescriptor) -> Callable[[bytes], Message]:
    """Bytes to the request. Raises `InvalidArgument` without a word of the parser's."""
    from_string = GetMessageClass(described.input_type).FromString
    refusal = f"{name}: the request is not a {described.input_type.full_name} message"

    def parse(raw: bytes) -> Message:
        try:
            return from_string(raw)
        except DecodeError:
            raise InvalidArgument(refusal) from None

    return parse


def _not_offered(name: str, described: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    sentence = f"{name}: this version of Hark does not offer it yet"

    async def call(_request: Any, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, sentence)

    if described.server_streaming:
        return grpc.unary_stream_rpc_method_handler(call)
    return grpc.unary_unary_rpc_method_handler(call)
