"""How calls are taken: what does not parse, what is too much, what goes wrong inside."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.internal import api_implementation
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.clock import SystemClock
from gateway.calls import Calls, Service
from gateway.pb.hark.v1 import hark_pb2
from gateway.pb.notification import notification_pb2
from gateway.pb.post import post_pb2

FILES = (hark_pb2, notification_pb2, post_pb2, health_pb2, reflection_pb2)
NOT_OFFERED = "grpc.health.v1.Health.List"
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.full_name != NOT_OFFERED
]
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
            # One that is taken goes on for ever, so its beginning is the answer.
            call = channel.unary_stream(path, bytes, bytes)(raw, timeout=10)
            next(iter(call))
            call.cancel()
        else:
            channel.unary_unary(path, bytes, bytes)(raw, timeout=10)
    except grpc.RpcError as error:
        return error
    return None


@pytest.mark.process
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
@pytest.mark.parametrize("raw", BROKEN)
def test_what_does_not_parse_is_refused_plainly(
    channel: grpc.Channel, method: MethodDescriptor, raw: bytes
) -> None:
    """Fault row 9: also by the services that gRPC's libraries bring."""
    error = ask(channel, method, raw)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == (
        f"{method.full_name}: the request is not a {method.input_type.full_name} message"
    )


@pytest.mark.process
@given(st.binary(max_size=64), st.integers(0, len(POST)), st.sampled_from(METHODS))
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
def test_more_than_four_mebibytes_are_refused(channel: grpc.Channel) -> None:
    """Fault row 8, of a whole message; fields have limits of their own."""
    publish_posts = next(method for method in METHODS if method.name == "PublishPosts")
    error = ask(channel, publish_posts, bytes(4 * 1024 * 1024 + 1))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_messages_are_parsed_by_native_code() -> None:
    """Fault row 9: the parser in pure Python recurses as deep as a message says (CVE-2025-4565)."""
    assert api_implementation.Type() == "upb"


@asynccontextmanager
async def served(calls: Calls, *services: Service) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of these alone."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([calls.handlers(service) for service in services])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


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

    def serve(self) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        services = hark_pb2.DESCRIPTOR.services_by_name
        return served(
            self.calls, Service(services["PublisherService"], {"PublishPost": self.method})
        )


def not_at_all(*, busy: bool) -> float:
    return 0.0


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
    """Fault row 11."""
    held = Held(Calls(random.Random(1), SystemClock(), not_at_all, calls_max=3))
    async with held.serve() as channel:
        for wave in range(1, 5):
            errors = await wave_of_ten(held, channel)
            assert held.entered == 3 * wave
            assert errors[7:] == [None] * 3
            assert {error.code() for error in errors[:7]} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await held.calls.idle()


async def test_who_is_too_many_is_told_when_to_come_again() -> None:
    held = Held(Calls(random.Random(1), SystemClock(), not_at_all, calls_max=3))
    async with held.serve() as channel:
        errors = (await wave_of_ten(held, channel))[:7]
    delays = {int(one.trailing_metadata()["grpc-retry-pushback-ms"]): one for one in errors}
    error = delays[min(delays)]
    trailing = error.trailing_metadata()
    assert trailing["grpc-retry-pushback-ms"] == "1000"
    status = Status.FromString(trailing["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert (info.retry_delay.seconds, info.retry_delay.nanos) == (1, 0)
    assert 1_000 < max(delays) < 2_000, "not all of them together"


async def test_only_so_many_bytes_at_a_time() -> None:
    held = Held(Calls(random.Random(1), SystemClock(), not_at_all, bytes_max=1_000))
    held.let_go.set()
    async with held.serve() as channel:
        assert await publish(channel, "x" * 900) is None
        error = await publish(channel, "x" * 1_000)
        assert error is not None
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_bug_of_ours_is_a_number_outside_and_a_trace_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = Held(Calls(random.Random(1), SystemClock(), not_at_all))
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


# Streams of responses


class Flowing:
    """A method whose responses come as fast as they are taken, in a server of its own."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.made = 0
        self.ended = asyncio.Event()

    async def method(
        self, request: hark_pb2.WatchNotificationsRequest
    ) -> AsyncGenerator[hark_pb2.WatchNotificationsResponse]:
        try:
            while True:
                self.made += 1
                if self.made == 3 and request.since == "broken":
                    raise ZeroDivisionError("a secret of ours")
                yield hark_pb2.WatchNotificationsResponse(cursor=f"{self.made:05d}" + "x" * 995)
        finally:
            self.ended.set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[grpc.aio.Channel]:
        server = grpc.aio.server()
        descriptor = hark_pb2.DESCRIPTOR.services_by_name["InboxService"]
        service = Service(descriptor, {"WatchNotifications": self.method})
        server.add_generic_rpc_handlers([self.calls.handlers(service)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await server.stop(0)


def watch(channel: grpc.aio.Channel, since: str = "") -> Any:
    ask = channel.unary_stream(
        "/hark.v1.InboxService/WatchNotifications",
        hark_pb2.WatchNotificationsRequest.SerializeToString,
        hark_pb2.WatchNotificationsResponse.FromString,
    )
    return ask(hark_pb2.WatchNotificationsRequest(since=since), timeout=20)


async def end_of(stream: Any) -> grpc.aio.AioRpcError:
    """What a stream ends with, its responses left aside."""
    try:
        while await stream.read():
            pass
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("it ended well")


async def test_nothing_gathers_while_nobody_reads() -> None:
    """A kilobyte a response; what HTTP/2 and the kernel let be on its way ends by itself, at a few
    megabytes on each side."""
    flowing = Flowing(Calls(random.Random(1), SystemClock(), not_at_all))
    async with flowing.serve() as channel:
        stream = watch(channel)
        await stream.read()
        before = -1
        while before != flowing.made:  # as long as any goes out in a quarter of a second
            before = flowing.made
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flowing.ended.wait(), 0.25)
        assert flowing.made < 20_000
        for number in range(2, 10_000):  # and when it is read, it flows again, and all of it
            assert (await stream.read()).cursor.startswith(f"{number:05d}")
        stream.cancel()
        await asyncio.wait_for(flowing.ended.wait(), 5)
        await flowing.calls.idle()


async def test_streams_are_counted_apart_from_calls() -> None:
    flowing = Flowing(
        Calls(random.Random(1), SystemClock(), not_at_all, calls_max=1, streams_max=2)
    )
    async with flowing.serve() as channel:
        streams = [watch(channel), watch(channel)]
        for one in streams:
            await one.read()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await watch(channel).read()
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        sentence = "2 streams are open here, as many as may be; ask again later"
        assert refusal.value.details() == sentence
        assert refusal.value.trailing_metadata()["grpc-retry-pushback-ms"] == "1000"
        streams.pop().cancel()
        await asyncio.wait_for(flowing.ended.wait(), 5)
        await watch(channel).read()


async def test_who_reads_a_stream_is_sent_elsewhere_at_the_end() -> None:
    flowing = Flowing(Calls(random.Random(1), SystemClock(), not_at_all))
    async with flowing.serve() as channel:
        stream = watch(channel)
        await stream.read()
        flowing.calls.end()
        await asyncio.wait_for(flowing.calls.idle(), 5)
        for late in (stream, watch(channel)):
            end = await end_of(late)
            assert end.code() is grpc.StatusCode.UNAVAILABLE
            assert end.details() == (
                "this process is to end; ask again, from the last cursor if there was one"
            )


async def test_a_bug_within_a_stream_is_a_number_outside(caplog: pytest.LogCaptureFixture) -> None:
    flowing = Flowing(Calls(random.Random(1), SystemClock(), not_at_all))
    caplog.set_level(logging.ERROR, "hark")
    async with flowing.serve() as channel:
        error = await end_of(watch(channel, "broken"))
    assert error.code() is grpc.StatusCode.INTERNAL
    (record,) = [one for one in caplog.records if one.name == "hark"]
    fields: dict[str, str] = record.fields  # type: ignore[attr-defined]
    assert f"something went wrong here, error id {fields['error_id']};" in str(error.details())
    assert "ZeroDivisionError: a secret of ours" in fields["traceback"]


# Streams of requests


class Taking:
    """A method that takes requests for as long as they come, in a server of its own; beside it one
    that answers at once."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    async def take(
        self, requests: AsyncIterator[hark_pb2.ImportFollowsRequest]
    ) -> hark_pb2.ImportFollowsResponse:
        return hark_pb2.ImportFollowsResponse(added=len([one async for one in requests]))

    async def answer(self, request: hark_pb2.PublishPostRequest) -> hark_pb2.PublishPostResponse:
        return hark_pb2.PublishPostResponse(post_id=request.post_id)

    def serve(self) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        services = hark_pb2.DESCRIPTOR.services_by_name
        return served(
            self.calls,
            Service(services["SocialGraphService"], {"ImportFollows": self.take}),
            Service(services["PublisherService"], {"PublishPost": self.answer}),
        )


def open_import(channel: grpc.aio.Channel) -> Any:
    """One that has sent nothing yet."""
    method = "/hark.v1.SocialGraphService/ImportFollows"
    return channel.stream_unary(method, bytes, hark_pb2.ImportFollowsResponse.FromString)()


async def begin_import(channel: grpc.aio.Channel) -> Any:
    """One that has sent a message, and may send more."""
    stream = open_import(channel)
    await stream.write(b"")
    return stream


async def test_streams_of_requests_leave_calls_their_place() -> None:
    taking = Taking(
        Calls(random.Random(1), SystemClock(), not_at_all, calls_max=1, request_streams_max=2)
    )
    async with taking.serve() as channel:
        streams = [await begin_import(channel) for _ in range(2)]
        assert await publish(channel) is None
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await open_import(channel)
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        sentence = "2 streams of requests are open here, as many as may be; ask again later"
        assert refusal.value.details() == sentence
        assert refusal.value.trailing_metadata()["grpc-retry-pushback-ms"] == "1000"
        assert await publish(channel) is None
        for _ in range(3):  # each that ends makes room for one
            ended = streams.pop(0)
            await ended.done_writing()
            assert (await ended).added == 1
            streams.append(await begin_import(channel))
        for one in streams:
            await one.done_writing()
            assert (await one).added == 1
        await asyncio.wait_for(taking.calls.idle(), 5)


async def test_a_stream_of_requests_is_waited_for_at_the_end() -> None:
    taking = Taking(Calls(random.Random(1), SystemClock(), not_at_all))
    async with taking.serve() as channel:
        stream = await begin_import(channel)
        assert await publish(channel) is None
        idle = asyncio.create_task(taking.calls.idle())
        taking.calls.end()
        late = await publish(channel)
        assert late is not None
        assert late.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await open_import(channel)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not idle.done()
        await stream.done_writing()
        assert (await stream).added == 1
        await asyncio.wait_for(idle, 5)
