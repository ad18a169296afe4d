"""The limits that are servers: the same messages and objects, and nothing behind them.

Each runs in a process of its own and tells its address through the connection it is given.
"""

from __future__ import annotations

import asyncio
import socket
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop
from sanic import HTTPResponse, Request, Sanic

from benchmarks.load import PUBLISHER
from gateway.pb.hark.v1 import hark_pb2
from gateway.refusals import encoded


def empty_publisher(ready: Connection) -> None:
    """A PublishPost that parses, does nothing, and answers; and one that tells how often it did."""
    uvloop.run(_publish_nothing(ready))


def encoding_site(ready: Connection, notifications: list[dict[str, Any]]) -> None:
    """A site that answers every request with these objects, encoded each time."""
    uvloop.run(_encode(ready, notifications))


async def _publish_nothing(ready: Connection) -> None:
    count = 0

    async def publish_post(raw: bytes, _: Any) -> bytes:
        nonlocal count
        request = hark_pb2.PublishPostRequest.FromString(raw)
        count += 1
        return hark_pb2.PublishPostResponse(
            post_id=request.post_id or "01234567890123456789", notifications_queued=200
        ).SerializeToString()

    async def taken(_: bytes, __: Any) -> bytes:
        return str(count).encode()

    methods = {"PublishPost": publish_post, "Taken": taken}
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(PUBLISHER[1:], handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready.send(f"127.0.0.1:{port}")
    await server.wait_for_termination()


async def _encode(ready: Connection, notifications: list[dict[str, Any]]) -> None:
    site = Sanic("bare", configure_logging=False)
    site.config.ACCESS_LOG = False

    @site.post("/graphql")
    async def answer(_: Request) -> HTTPResponse:
        body = {"data": {"getNotifications": notifications}}
        return HTTPResponse(encoded(body), content_type="application/json")

    listening = socket.create_server(("127.0.0.1", 0))
    server: Any = await site.create_server(
        sock=listening, return_asyncio_server=True, asyncio_server_kwargs={"start_serving": False}
    )
    await server.startup()
    await server.start_serving()
    ready.send(f"127.0.0.1:{listening.getsockname()[1]}")
    await asyncio.Event().wait()
