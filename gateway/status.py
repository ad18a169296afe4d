"""The face of an error towards gRPC: its code, its sentence, and when to ask again."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from farm.errors import HarkError
from gateway.pb.hark.v1 import hark_pb2
from gateway.values import duration

Context = grpc.aio.ServicerContext[Any, Any]

_STATUS = {status.value[0]: status for status in grpc.StatusCode}
# What gRPC's own retry policies read, so that a client need not know google.rpc.RetryInfo.
_PUSHBACK_KEY = "grpc-retry-pushback-ms"


async def abort(context: Context, error: HarkError) -> NoReturn:
    """Ends the call with the error."""
    if not error.retry_after_ms:
        await context.abort(_STATUS[error.code], error.message)
    info = AnyMessage()
    info.Pack(RetryInfo(retry_delay=duration(error.retry_after_ms / 1000)))
    rich = rpc_status.to_status(Status(code=error.code, message=error.message, details=[info]))
    pushback = (_PUSHBACK_KEY, str(error.retry_after_ms))
    await context.abort(rich.code, rich.details, (*rich.trailing_metadata, pushback))


def rejection(error: HarkError) -> hark_pb2.Rejection:
    """The error as the result of one of many."""
    if not error.retry_after_ms:
        return hark_pb2.Rejection(code=error.code, message=error.message)
    return hark_pb2.Rejection(
        code=error.code, message=error.message, retry_after=duration(error.retry_after_ms / 1000)
    )
