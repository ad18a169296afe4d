"""How a call is taken: admitted, parsed, run and answered.

gRPC hands over the bytes of a request as they came. They are parsed here rather than by gRPC, which
would answer what does not parse with INTERNAL and the text of the exception.

Streams of responses stay for hours, so they have a number of their own beside the calls, and a
process that is to end tells them so instead of waiting for them. Streams of requests last as long
as whoever sends likes, so they have one too; what they began is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from farm.clock import Clock
from farm.errors import HarkError, Internal, InvalidArgument, ResourceExhausted, Unavailable
from farm.failpoints import Point, passing
from farm.observe import log
from gateway.status import Context, abort

# Calls in flight share this process's time, so that more of them would only each take longer: this
# many small ones take about a tenth of a second, and whoever waited for as long before is refused,
# so that who is taken is answered soon.
CALLS_MAX = 128
BUSY_FROM = 96
WAITED_MAX_S = 0.1
BYTES_MAX = 256 * 1024 * 1024
STREAMS_MAX = 20_000
# They share what is gathered for one commit, and with so many each still has room for a whole
# message; more of them would only each take longer.
REQUEST_STREAMS_MAX = 16
GONE_S = 1.0
RETRY_AFTER_MS = 1_000
RETRY_AFTER_MAX_MS = 10_000
RETRY_EVERY_MS = 2  # so far apart are those told to come who were refused

_ENDS = Unavailable("this process is to end; ask again, from the last cursor if there was one")

# A method takes its request, or where the client streams an iterator of them, and returns the
# response, or where the server streams an iterator of them; what it refuses it raises as a
# HarkError.
Answering = Callable[[Any], Awaitable[Message]]
Streaming = Callable[[Any], AsyncGenerator[Message]]
Method = Answering | Streaming


class WaitedS(Protocol):
    """How long, in seconds, a call that is handed over now has waited, at least; see
    `queue_delay.py`."""

    def __call__(self, *, busy: bool) -> float: ...


class Service(NamedTuple):
    """A service of the protos and what answers it. One that has no method is not offered."""

    descriptor: ServiceDescriptor
    methods: dict[str, Method]


class Calls:
    """The calls in flight in this process: how many there may be, and what each is given."""

    def __init__(
        self,
        chance: Random,
        clock: Clock,
        waited_s: WaitedS,
        *,
        calls_max: int = CALLS_MAX,
        bytes_max: int = BYTES_MAX,
        streams_max: int = STREAMS_MAX,
        request_streams_max: int = REQUEST_STREAMS_MAX,
    ) -> None:
        self._chance = chance
        self._clock = clock
        self._waited_s = waited_s
        self._calls_left = calls_max
        self._calls_max = calls_max
        self._bytes_left = bytes_max
        self._streams: set[asyncio.Task[Any]] = set()
        self._streams_max = streams_max
        self._request_streams = 0
        self._request_streams_max = request_streams_max
        self._last_turn_ms = 0.0  # when the last of those is told to come who were refused
        self._ending = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Returns once no call is in flight, and no stream open."""
        await self._idle.wait()

    def end(self) -> None:
        """Sends everybody elsewhere who reads a stream of responses, and who asks for anything from
        now on. Calls in flight go on."""
        self._ending = True
        for one in self._streams:
            one.cancel()

    def handlers(self, service: Service) -> grpc.GenericRpcHandler:
        """What gRPC needs to serve it."""
        described = service.descriptor.methods_by_name
        made = {
            name: self._handler(described[name], method) for name, method in service.methods.items()
        }
        return grpc.method_handlers_generic_handler(service.descriptor.full_name, made)

    def _handler(self, described: MethodDescriptor, method: Any) -> grpc.RpcMethodHandler[Any, Any]:
        name = described.full_name
        parse = parser(name, described)
        if described.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._responses(name, parse, method))
        if described.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._stream(name, parse, method))
        return grpc.unary_unary_rpc_method_handler(self._unary(name, parse, method))

    def _unary(
        self, name: str, parse: Callable[[bytes], Message], method: Answering
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        # Every call passes here, therefore one function where several would read better.
        async def call(raw: bytes, context: Context) -> bytes:
            size = len(raw)
            if (refused := self._no_call_because(size)) is not None:
                await abort(context, refused)
            self._enter(size)
            try:
                passing(Point.GATEWAY_ASK)
                response = await method(parse(raw))
                passing(Point.GATEWAY_REPLY)
                return response.SerializeToString()
            except HarkError as refusal:
                error = refusal
            except Exception:  # noqa: BLE001  whatever it is, its text stays here
                error = self._unexpected(name)
            finally:
                self._leave(size)
            return await abort(context, error)

        return call

    def _stream(
        self, name: str, parse: Callable[[bytes], Message], method: Answering
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
        async def call(raws: AsyncIterator[bytes], context: Context) -> bytes:
            if (refused := self._no_request_stream_because()) is not None:
                await abort(context, refused)
            self._request_streams += 1
            self._idle.clear()
            try:
                return (await method(parse(raw) async for raw in raws)).SerializeToString()
            except HarkError as refusal:
                error = refusal
            except Exception:  # noqa: BLE001  whatever it is, its text stays here
                error = self._unexpected(name)
            finally:
                self._request_streams -= 1
                self._look_whether_idle()
            return await abort(context, error)

        return call

    def _responses(
        self, name: str, parse: Callable[[bytes], Message], method: Streaming
    ) -> Callable[[bytes, Context], Awaitable[None]]:
        async def call(raw: bytes, context: Context) -> None:
            this = asyncio.current_task()
            assert this is not None
            refused = self._no_stream_because()
            if refused is not None:
                await abort(context, refused)
            self._streams.add(this)
            self._idle.clear()
            try:
                await _write_all(method(parse(raw)), context)
                return
            except HarkError as refusal:
                error = refusal
            except asyncio.CancelledError:
                if not self._ending:
                    raise  # whoever read is gone
                error = _ENDS
            except Exception:  # noqa: BLE001  whatever it is, its text stays here
                error = self._unexpected(name)
            finally:
                self._streams.discard(this)
                self._look_whether_idle()
            await abort(context, error)

        return call

    def _enter(self, size: int) -> None:
        self._calls_left -= 1
        self._bytes_left -= size
        self._idle.clear()

    def _leave(self, size: int) -> None:
        self._calls_left += 1
        self._bytes_left += size
        self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        calls = self._calls_max - self._calls_left
        if not calls and not self._request_streams and not self._streams:
            self._idle.set()

    def _no_call_because(self, size: int) -> HarkError | None:
        """Of so many bytes."""
        if self._ending:
            return _ENDS
        in_flight = self._calls_max - self._calls_left
        if self._waited_s(busy=in_flight >= BUSY_FROM) > WAITED_MAX_S:
            why = "more calls come here than can be answered soon"
        elif not self._calls_left or self._bytes_left < size:
            why = f"{in_flight} calls are in flight here, as many as may be"
        else:
            return None
        return ResourceExhausted(f"{why}; ask again later", retry_after_ms=self._turn_ms())

    def _turn_ms(self) -> int:
        """In how long one more who is refused shall come again: one after the other, because a
        crowd that comes again together is refused again together, and to refuse takes time too."""
        now_ms = self._clock.monotonic_s() * 1000
        after_others_ms = self._last_turn_ms + RETRY_EVERY_MS
        last_ms = now_ms + RETRY_AFTER_MAX_MS
        self._last_turn_ms = min(max(after_others_ms, now_ms + RETRY_AFTER_MS), last_ms)
        return round(self._last_turn_ms - now_ms)

    def _no_stream_because(self) -> HarkError | None:
        if self._ending:
            return _ENDS
        if len(self._streams) < self._streams_max:
            return None
        return _too_many(f"{self._streams_max} streams")

    def _no_request_stream_because(self) -> HarkError | None:
        refused = self._no_call_because(0)
        if refused is None and self._request_streams >= self._request_streams_max:
            return _too_many(f"{self._request_streams_max} streams of requests")
        return refused

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


def _too_many(those: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"{those} are open here, as many as may be; ask again later",
        retry_after_ms=RETRY_AFTER_MS,
    )


async def _write_all(responses: AsyncGenerator[Message], context: Context) -> None:
    """One after the other: gRPC lets the next one wait while whoever reads does not, so that
    nothing gathers here."""
    begun = False
    async with contextlib.aclosing(responses):
        async for response in responses:
            raw = response.SerializeToString()
            try:
                if not begun:
                    await _begin(context)
                    begun = True
                await context.write(raw)
            except grpc.aio.BaseError:
                # The connection is gone, and gRPC is about to cancel this call for it.
                await asyncio.sleep(GONE_S)
                return


async def _begin(context: Context) -> None:
    """Sends what a response begins with, wholly, even when cancelled: gRPC takes it for unsent
    until then, and would send it a second time, and break, when the call is ended meanwhile."""
    sent = asyncio.ensure_future(context.send_initial_metadata(()))
    try:
        await asyncio.shield(sent)
    except asyncio.CancelledError:
        with contextlib.suppress(grpc.aio.BaseError):
            await sent
        raise


def parser(name: str, described: MethodDescriptor) -> Callable[[bytes], Message]:
    """Bytes to the request. Raises `InvalidArgument` without a word of the parser's."""
    from_string = GetMessageClass(described.input_type).FromString
    refusal = f"{name}: the request is not a {described.input_type.full_name} message"

    def parse(raw: bytes) -> Message:
        try:
            return from_string(raw)
        except DecodeError:
            raise InvalidArgument(refusal) from None

    return parse
