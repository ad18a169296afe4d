"""The gRPC process: its health, its end, and its life without a store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from gateway.pb.post import post_pb2, post_pb2_grpc
from tests.farm_process import FarmProcess, StartFarm, wait_until
from tests.gateway.gateway_process import Surroundings

pytestmark = pytest.mark.process
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
SERVICES = {
    "hark.v1.PublisherService",
    "hark.v1.SocialGraphService",
    "hark.v1.InboxService",
    "hark.v1.OperationsService",
    "notification.NotificationService",
    "post.PostService",
    "grpc.health.v1.Health",
    REFLECTION,
}


def health_of(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def posts_of(channel: grpc.Channel) -> Any:
    return post_pb2_grpc.PostServiceStub(channel)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_every_service(channel: grpc.Channel, version: str) -> None:
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    assert {one.name for one in answer.list_services_response.service} == SERVICES


def test_reflection_knows_every_method(hark: FarmProcess) -> None:
    buf = Path(sys.executable).with_name("buf")
    listed = subprocess.run(
        [
            buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--list-methods",
            f"http://{hark.grpc_address}",
        ],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout.split()  # fmt: skip
    assert "hark.v1.PublisherService/RetractPost" in listed
    assert "hark.v1.InboxService/WatchNotifications" in listed


@pytest.mark.parametrize("service", ["", *sorted(SERVICES - {REFLECTION})])
def test_every_service_says_that_it_serves(channel: grpc.Channel, service: str) -> None:
    answer = health_of(channel).Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == SERVING


def test_it_serves_before_there_is_a_store(alone: Surroundings) -> None:
    gateway = alone.gateway().wait_for_line("serving")
    with alone.channel() as channel:
        post = post_pb2.Post(postId="p1", authorId="ghost", content="Hello")
        with pytest.raises(grpc.RpcError) as refusal:
            posts_of(channel).PublishPost(post, timeout=0.2)
        assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # Those who wait are answered when the store comes; who gave up has not broken the line.
        waiting = [posts_of(channel).PublishPost.future(post, timeout=15) for _ in range(3)]
        alone.store()
        for one in waiting:
            assert one.result().message == "Post received, but no followers for user: ghost"
    gateway.process.terminate()
    assert gateway.process.wait(10) == 0


@pytest.mark.slow
def test_who_waits_for_the_store_is_told_in_the_end(alone: Surroundings) -> None:
    alone.gateway().wait_for_line("serving")
    with alone.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        posts_of(channel).PublishPost(post_pb2.Post(authorId="ghost", content="Hello"))
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refusal.value.details() == "the store does not answer; ask again with the same id"


def test_health_says_that_the_store_hangs_also_while_very_much_waits_for_it(
    alone: Surroundings,
) -> None:
    """So much that this process asks it for nothing more."""
    alone.gateway().wait_for_line("serving")
    store = alone.store()
    many = hark_pb2.PublishPostsRequest(
        posts=[hark_pb2.PublishPostRequest(author_id="ghost", content="Hello")] * 1_000
    )
    with alone.channel() as channel:
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        publisher.PublishPosts(many, timeout=15)
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert any(answer.status == SERVING for answer in watch)
        store.process.send_signal(signal.SIGSTOP)
        first = publisher.PublishPosts.future(many, timeout=20)
        waiting = [publisher.PublishPosts.future(many, timeout=20) for _ in range(6)]
        assert next(watch).status == NOT_SERVING
        assert not first.done()  # it is given up after ten seconds
        store.process.send_signal(signal.SIGCONT)
        assert next(watch).status == SERVING
        assert len(first.result().results) == 1_000
        refused = [one for one in waiting if one.exception() is not None]
        assert {one.code() for one in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_sigterm_ends_what_was_begun_and_says_so_first(alone: Surroundings) -> None:
    """100 calls in flight are all answered, and what comes later is sent elsewhere. Fault row
    12."""
    gateway = alone.gateway().wait_for_line("serving")
    store = alone.store()
    with alone.channel() as channel:
        posts = posts_of(channel)
        posts.PublishPost(post_pb2.Post(authorId="ghost", content="first"), timeout=15)
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        # A store that took its time to start may have been missed by then.
        assert any(answer.status == SERVING for answer in watch)
        # The store stands still, so that all of these are in flight when the signal comes.
        store.process.send_signal(signal.SIGSTOP)
        waiting = [
            posts.PublishPost.future(
                post_pb2.Post(postId=f"p{n}", authorId="ghost", content="x"), timeout=15
            )
            for n in range(100)
        ]
        with pytest.raises(grpc.RpcError):  # and when this has given up, those are under way
            posts.PublishPost(post_pb2.Post(authorId="ghost", content="last"), timeout=0.3)
        gateway.process.terminate()
        assert next(watch).status == NOT_SERVING
        with alone.channel() as another, pytest.raises(grpc.RpcError) as refusal:
            posts_of(another).PublishPost(post_pb2.Post(authorId="ghost", content="x"), timeout=5)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        store.process.send_signal(signal.SIGCONT)
        for one in waiting:
            assert one.result().message == "Post received, but no followers for user: ghost"
        assert gateway.process.wait(2) == 0  # the watcher does not keep it for the whole grace
    assert "ended" in gateway.log()


def test_a_port_that_is_not_to_be_had_is_one_line(alone: Surroundings) -> None:
    with socket.socket() as taken:  # by somebody who does not share
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        alone.address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway = alone.gateway()
        assert gateway.process.wait(10) == 1
    (line,) = [text for text in gateway.log().splitlines() if " gateway 1: " in text]
    sentence = "cannot listen there; choose another --host or --grpc-port"
    assert line.endswith(f"{alone.address}: {sentence}")


def test_gateways_share_the_port(farm: StartFarm) -> None:
    """While one is dead the other serves, and the port stays the same."""
    hark = farm("--gateways", "2", "--workers", "1")
    port, dead = hark.grpc_port, hark.pids("gateway")[0]
    os.kill(dead, signal.SIGKILL)
    for _ in range(8):
        # A pool of its own makes each channel a connection of its own.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            post = post_pb2.Post(authorId="user1", content="Hello")
            answer = posts_of(channel).PublishPost(post, timeout=5, wait_for_ready=True)
            assert answer.message == "Post from user1 sent to 6 followers"
    wait_until(lambda: len(hark.pids("gateway")) == 2 and dead not in hark.pids("gateway"), 10)
    assert hark.stop() == 0
