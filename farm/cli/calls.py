"""Calling Hark by gRPC: the connection, the deadlines, and what failed in one sentence."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from farm.cli.answers import Failed, printable

CONNECT_S = 5.0
CALL_S = 15.0
STREAM_S = 24 * 3600.0

_OPTIONS = (
    # What is set for fetching web pages has nothing to do with a Hark.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # Whoever goes on until it is ended finds out by this that the other end is gone without a word,
    # and is soon back when it is there again.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
_PACKAGE = "hark.v1"

Response = TypeVar("Response", bound=Message)


class Hark:
    """A running Hark. Raises `Failed` where it is not there or does not do what is asked."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address, _OPTIONS)

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def _connect(self) -> None:
        """At the first refusal it is not there; gRPC alone would go on trying.

        What is not there is not closed: gRPC's thread, which looks for the state until nobody asks
        for it any more, would now and then tell on standard error that it was.
        """
        states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
        self._channel.subscribe(states.put, try_to_connect=True)
        state = None
        try:
            with contextlib.suppress(queue.Empty):
                while state not in {
                    grpc.ChannelConnectivity.READY,
                    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                }:
                    state = states.get(timeout=CONNECT_S)
        finally:
            self._channel.unsubscribe(states.put)
        if state is not grpc.ChannelConnectivity.READY:
            raise Failed(
                "UNAVAILABLE",
                f"no Hark answers at {self._address}; start one with `make run`, or "
                "say with --grpc ADDR where it is",
            )

    def call(
        self, method: str, request: Message, response: type[Response], *, within_s: float = CALL_S
    ) -> Response:
        """One request, one response; `method` is `Service/Method` of `hark.proto`."""
        made = self._channel.unary_unary(
            f"/{_PACKAGE}.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        with _told(within_s):
            answer: Response = made(request, timeout=within_s)
            return answer

    def stream(
        self, method: str, requests: Iterator[Message], response: type[Response]
    ) -> Response:
        """Many requests, one response."""
        made: Any = self._channel.stream_unary(
            f"/{_PACKAGE}.{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=response.FromString,
        )
        with _told(STREAM_S):
            answer: Response = made(requests, timeout=STREAM_S)
            return answer

    def responses(
        self, method: str, request: Message, response: type[Response]
    ) -> Iterator[Response]:
        """One request, responses for as long as they come. Waits for a Hark that went away."""
        made: Any = self._channel.unary_stream(
            f"/{_PACKAGE}.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        call = made(request, wait_for_ready=True)
        try:
            with _told(STREAM_S):
                yield from call
        finally:
            call.cancel()


@contextlib.contextmanager
def _told(within_s: float) -> Iterator[None]:
    """What gRPC raises as what is told to people: the server's own sentence, where it has one."""
    try:
        yield
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        message = error.details() or code.value[1]
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"no answer within {within_s:g} s; whether it took effect is unknown"
        raise Failed(code.name, printable(message)) from None
