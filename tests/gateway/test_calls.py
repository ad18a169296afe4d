"""How calls are taken: what does not parse, what is too much, what goes wrong inside."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.calls import Calls, Service
from gateway.pb.hark.v1 import hark_pb2
from gateway.pb.notification import notification_pb2
from gateway.pb.post import post_pb2

FILES = (hark_pb2, notification_pb2, post_pb2)
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
LATER = {"WatchNotifications"}
NOW = [method for method in METHODS if method.name not in LATER]
POST = hark_pb2.PublishPostRequest(author_id="user1", content="Hello").SerializeToString()
# A tag without a value, one too long for a tag, a field longer than the message, and half a group.
BROKEN = [b"\x08", b"\xff" * 11, b"\x0a\x7f", b"\x0b"]


def ask(channel: grpc.Channel, method: MethodDescriptor, raw: bytes) -> Any:
    """The error of a call with these bytes, or None where it went well."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.client_streaming:
            channel.stream_unary(path, bytes, bytes)(iter([raw]), timeout=10)
        elif method.server_streaming:
            list(channel.unary_stream(path, bytes, bytes)(raw, timeout=10))
        else:
            channel.unary_unary(path, bytes, bytes)(raw, timeout=10)
    except grpc.RpcError as error:
        return error
    return None


@pytest.mark.process
@pytest.mark.parametrize("method", NOW, ids=lambda method: method.full_name)
@pytest.mark.parametrize("raw", BROKEN)
def test_what_does_not_parse_is_refused_plainly(
    channel: grpc.Channel, method: MethodDescriptor, raw: bytes
) -> None:
    error = ask(channel, method, raw)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == (
        f"{method.full_name}: the request is not a {method.input_type.full_name} message"
    )


@pytest.mark.process
@given(st.binary(max_size=64), st.integers(0, len(POST)), st.sampled_from(NOW))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_get_an_answer(
    channel: grpc.Channel, noise: bytes, cut: int, method: MethodDescriptor
) -> None:
    allowed = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"}
    for raw in (noise, POST[:cut], POST[:cut] + noise):
        error = ask(channel, method, raw)
        if error is not None:
            assert error.code().name in allowed, error
            assert not any(word in error.details() for word in ("Error", "Exception", "google"))


@pytest.mark.process
@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.name in LATER], ids=lambda method: method.full_name
)
def test_what_comes_later_says_so(channel: grpc.Channel, method: MethodDescriptor) -> None:
    error = ask(channel, method, b"")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert error.details() == f"{method.full_name}: this version of Hark does not offer it yet"


@pytest.mark.process
def test_more_than_four_mebibytes_are_refused(channel: grpc.Channel) -> None:
    publish_posts = next(method for method in NOW if method.name == "PublishPosts")
    error = ask(channel, publish_posts, bytes(4 * 1024 * 1024 + 1))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class Held:
    """A method that answers when it is let go, in a server of its own."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.entered = 0
        self.let_go = asyncio.Event()

    async def method(self, request: hark_pb2.PublishPostRequest) -> hark_pb2.PublishPostResponse:
        self.entered += 1
        await self.let_go.wait()
        if request.content == "broken":
            raise ZeroDivisionError("a secret of ours")
        return hark_pb2.PublishPostResponse(post_id=request.post_id)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[grpc.aio.Channel]:
        server = grpc.aio.server()
        descriptor = hark_pb2.DESCRIPTOR.services_by_name["PublisherService"]
        service = Service(descriptor, {"PublishPost": self.method})
        server.add_generic_rpc_handlers([self.calls.handlers(service)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await server.stop(0)


async def publish(channel: grpc.aio.Channel, content: str = "Hello") -> grpc.aio.AioRpcError | None:
    raw = hark_pb2.PublishPostRequest(post_id="p", content=content).SerializeToString()
    try:
        publish_post = channel.unary_unary("/hark.v1.PublisherService/PublishPost", bytes, bytes)
        await publish_post(raw, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def wave_of_ten(held: Held, channel: grpc.aio.Channel) -> list[Any]:
    """The errors of ten calls at once, in the order of their answers; three are held till last."""
    held.let_go.clear()
    errors: list[Any] = []
    for one in asyncio.as_completed([publish(channel) for _ in range(10)]):
        errors.append(await one)
        if len(errors) == 7:
            held.let_go.set()
    return errors


async def test_only_so_many_calls_at_a_time_wave_after_wave() -> None:
    held = Held(Calls(random.Random(1), calls_max=3))
    async with held.serve() as channel:
        for wave in range(1, 5):
            errors = await wave_of_ten(held, channel)
            assert held.entered == 3 * wave
            assert errors[7:] == [None] * 3
            assert {error.code() for error in errors[:7]} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await held.calls.idle()


async def test_who_is_too_many_is_told_when_to_come_again() -> None:
    held = Held(Calls(random.Random(1), calls_max=3))
    async with held.serve() as channel:
        error = (await wave_of_ten(held, channel))[0]
    trailing = error.trailing_metadata()
    assert trailing["grpc-retry-pushback-ms"] == "1000"
    status = Status.FromString(trailing["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert (info.retry_delay.seconds, info.retry_delay.nanos) == (1, 0)


async def test_only_so_many_bytes_at_a_time() -> None:
    held = Held(Calls(random.Random(1), bytes_max=1_000))
    held.let_go.set()
    async with held.serve() as channel:
        assert await publish(channel, "x" * 900) is None
        error = await publish(channel, "x" * 1_000)
        assert error is not None
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_bug_of_ours_is_a_number_outside_and_a_trace_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = Held(Calls(random.Random(1)))
    held.let_go.set()
    caplog.set_level(logging.ERROR, "hark")
    async with held.serve() as channel:
        error = await publish(channel, "broken")
    assert error is not None
    assert error.code() is grpc.StatusCode.INTERNAL
    (record,) = [one for one in caplog.records if one.name == "hark"]
    fields: dict[str, str] = record.fields  # type: ignore[attr-defined]
    assert error.details() == (
        f"something went wrong here, error id {fields['error_id']}; whether it took effect is "
        "unknown: ask again with the same id"
    )
    assert "ZeroDivisionError: a secret of ours" in fields["traceback"]
    assert fields["method"] == "hark.v1.PublisherService.PublishPost"
