"""gRPC: every method is called with messages that are nearly right, or not at all.

The bytes go through an identity serializer, so nothing in the client looks at them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway.pb.hark.v1 import hark_pb2
from gateway.pb.notification import notification_pb2
from gateway.pb.post import post_pb2
from tests.fuzz import mutate
from tests.fuzz.place import Place
from tests.fuzz.tally import Tally

FILES = (hark_pb2, notification_pb2, post_pb2, health_pb2, reflection_pb2)
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
IN_FLIGHT = 64
WITHIN_S = 10.0
SEEDS = 40  # valid messages of each type, to be changed
REFUSALS = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED",
}  # fmt: skip
NAMES = ("fuzz-a", "fuzz-b", "fuzz-c", "user1", "user2", "nobody")
# Streams cost more than calls, and a batch is many.
SELDOM = {"WatchNotifications", "ImportFollows", "Watch", "ServerReflectionInfo"}

Call = tuple[MethodDescriptor, bytes, Any]


def fuzz(place: Place, tally: Tally, count: int, chance: Random) -> None:
    """So many calls."""
    inputs = Inputs(chance)
    waiting: deque[Call] = deque()
    for _ in range(count):
        method, raw = inputs.next()
        waiting.append((method, raw, _begin(place.channel, method, raw)))
        if len(waiting) >= IN_FLIGHT:
            _end(tally, *waiting.popleft())
    while waiting:
        _end(tally, *waiting.popleft())


class Inputs:
    """Methods and the bytes to call them with."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._seeds = {
            method.full_name: [filled(chance, method.input_type) for _ in range(SEEDS)]
            for method in METHODS
        }
        self._all = [seed for seeds in self._seeds.values() for seed in seeds]

    def next(self) -> tuple[MethodDescriptor, bytes]:
        while True:
            method = self._chance.choice(METHODS)
            if method.name in SELDOM and self._chance.random() > 0.1:
                continue
            raw = self._raw(method)
            if not _changes_the_farm(method, raw):
                return method, raw

    def _raw(self, method: MethodDescriptor) -> bytes:
        seeds = self._seeds[method.full_name]
        match self._chance.randrange(10):
            case 0:
                return self._chance.randbytes(self._chance.randrange(64))
            case 1:
                return nested(self._chance)
            case 2:
                return filled(self._chance, method.input_type)
            case _:
                return mutate.damaged(self._chance, self._chance.choice(seeds), self._all)


def nested(chance: Random) -> bytes:
    """Groups within groups, or messages within messages, deeper than any parser should go."""
    depth = chance.choice((3, 99, 101, 1_000))
    if chance.random() < 0.5:
        return b"\x0b" * depth + b"\x0c" * chance.choice((depth, depth - 1, 0))
    raw = b""
    for _ in range(min(depth, 101)):
        raw = b"\x0a" + _varint(len(raw)) + raw
    return raw


def _varint(number: int) -> bytes:
    raw = bytearray()
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*raw, number])


def filled(chance: Random, described: Descriptor) -> bytes:
    """A valid message whose fields have odd values."""
    message = GetMessageClass(described)()
    _fill(chance, message, 0)
    raw: bytes = message.SerializeToString()
    return raw


def _fill(chance: Random, message: Any, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.3 or depth > 3:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            for _ in range(chance.randrange(4)):
                if field.message_type is not None:
                    _fill(chance, getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(_scalar(chance, field))
        elif field.message_type is not None:
            _fill(chance, getattr(message, field.name), depth + 1)
        else:
            setattr(message, field.name, _scalar(chance, field))


def _scalar(chance: Random, field: FieldDescriptor) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return chance.randbytes(5)
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.choice(NAMES) if chance.random() < 0.7 else mutate.text(chance)
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_ENUM:
            return mutate.number(chance) % 2**31
        case FieldDescriptor.CPPTYPE_UINT32:
            return mutate.number(chance) % 2**32
        case FieldDescriptor.CPPTYPE_INT64:
            return mutate.number(chance) % 2**63
        case FieldDescriptor.CPPTYPE_UINT64:
            return mutate.number(chance) % 2**64
        case _:
            return chance.random()


def _changes_the_farm(method: MethodDescriptor, raw: bytes) -> bool:
    """What asks rightly for more workers, or to end none, is no bad input."""
    if method.name != "SetWorkers":
        return False
    try:
        return 1 <= hark_pb2.SetWorkersRequest.FromString(raw).workers <= 64
    except DecodeError:
        return False


def _begin(channel: grpc.Channel, method: MethodDescriptor, raw: bytes) -> Any:
    assert method.containing_service is not None
    path = f"/{method.containing_service.full_name}/{method.name}"
    if method.client_streaming and method.server_streaming:
        return channel.stream_stream(path, bytes, bytes)(iter([raw]), timeout=WITHIN_S)
    if method.client_streaming:
        return channel.stream_unary(path, bytes, bytes).future(iter([raw]), timeout=WITHIN_S)
    if method.server_streaming:
        return channel.unary_stream(path, bytes, bytes)(raw, timeout=WITHIN_S)
    return channel.unary_unary(path, bytes, bytes).future(raw, timeout=WITHIN_S)


def _end(tally: Tally, method: MethodDescriptor, raw: bytes, call: Any) -> None:
    try:
        if method.server_streaming:
            # One that is taken goes on for ever, so its beginning is the answer.
            next(_responses(call), None)
            call.cancel()
        else:
            call.result()
    except grpc.RpcError as error:
        told: Any = error
        code, sentence = told.code().name, told.details() or ""
        tally.answered(code)
        if code not in REFUSALS:
            tally.blame(f"{method.full_name} answers {code}: {sentence}", raw)
        tally.told(sentence, (method.full_name, raw))
    else:
        tally.answered("OK")


def _responses(call: Any) -> Iterator[bytes]:
    yield from call
