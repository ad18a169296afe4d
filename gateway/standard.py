"""The services that gRPC's own libraries bring: health, and reflection.

By themselves they let gRPC parse what comes, which answers bytes that are no message with UNKNOWN
and the text of an exception. Here the bytes are parsed as those of our own services are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection, reflection_pb2

from farm.client import StoreClient
from farm.errors import HarkError, InvalidArgument, Unavailable
from farm.observe import log
from gateway.calls import parser
from gateway.status import Context, abort

HEALTH_CHECK = f"/{health.SERVICE_NAME}/Check"
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
# Clients ask for this name first. Its messages are those of v1alpha, the only one the library has.
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]

PATIENCE_S = 5.0
LOOK_EVERY_S = 1.0

Parse = Callable[[bytes], Message]


async def checked(server: grpc.aio.Server, names: Sequence[str]) -> health.aio.HealthServicer:
    """Offers the health of the named services, which serve from now on."""
    checks = health.aio.HealthServicer()
    for name in (*names, health.SERVICE_NAME):
        await checks.set(name, HealthCheckResponse.SERVING)
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Check": grpc.unary_unary_rpc_method_handler(
            _one(checks.Check, _parse_of(HEALTH.methods_by_name["Check"])),
            response_serializer=HealthCheckResponse.SerializeToString,
        ),
        "Watch": grpc.unary_stream_rpc_method_handler(
            _one(checks.Watch, _parse_of(HEALTH.methods_by_name["Watch"])),
            response_serializer=HealthCheckResponse.SerializeToString,
        ),
    }
    handler = grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods)
    server.add_generic_rpc_handlers([handler])
    return checks


async def look_after(
    checks: health.aio.HealthServicer, names: Sequence[str], store: StoreClient
) -> None:
    """Says NOT_SERVING of the named services while the store answers nobody, until cancelled.

    A store that is started again is back before that, and whoever asked meanwhile is answered.
    """
    serving = True
    while True:
        answers = await _answers(store)
        if answers != serving:
            log(logging.WARNING, "serving again" if answers else "the store does not answer")
            status = HealthCheckResponse.SERVING if answers else HealthCheckResponse.NOT_SERVING
            for name in (health.OVERALL_HEALTH, *names):
                await checks.set(name, status)
        serving = answers
        await asyncio.sleep(LOOK_EVERY_S)


async def _answers(store: StoreClient) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await store.stats()
    except (TimeoutError, Unavailable):
        return False
    except HarkError:
        # So much waits here that it was not asked; others were, who wait for its answer.
        return store.silent_s() < PATIENCE_S
    return True


def reflect(server: grpc.aio.Server, names: Sequence[str]) -> None:
    """Offers descriptions of the named services."""
    reflected = reflection.aio.ReflectionServicer((*names, reflection.SERVICE_NAME))
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        _many(
            reflected.ServerReflectionInfo,
            _parse_of(_REFLECTION.methods_by_name["ServerReflectionInfo"]),
        ),
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
            for name in (REFLECTION_V1, reflection.SERVICE_NAME)
        ]
    )


def _parse_of(method: Any) -> Parse:
    return parser(method.full_name, method)


def _one(answer: Callable[[Any, Context], Any], parse: Parse) -> Callable[[bytes, Context], Any]:
    async def call(raw: bytes, context: Context) -> Any:
        try:
            request = parse(raw)
        except InvalidArgument as refusal:
            await abort(context, refusal)
        return await answer(request, context)

    return call


def _many(
    answer: Callable[[Any, Context], Any], parse: Parse
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Message]]:
    async def call(raws: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        try:
            async for response in answer((parse(raw) async for raw in raws), context):
                yield response
        except InvalidArgument as refusal:
            await abort(context, refusal)

    return call
