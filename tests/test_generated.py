"""The generated code is what protoc makes of the protos today, under the names people call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

from gateway.pb.hark.v1 import hark_pb2
from gateway.pb.notification import notification_pb2
from gateway.pb.post import post_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("proto/**/*.proto"))


def generated(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in root.glob("gateway/pb/**/*_pb2*")
        if path.suffix in {".py", ".pyi"}
    }


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Igateway/pb=proto", *outputs, *PROTOS]
    subprocess.run(command, cwd=ROOT, check=True)
    fresh, kept = generated(tmp_path), generated(ROOT)
    assert sorted(fresh) == sorted(kept), (
        "run `make proto`, and remove what no proto makes any more"
    )
    assert not [name for name in fresh if fresh[name] != kept[name]], "run `make proto`"


def methods(file: FileDescriptor) -> set[str]:
    return {
        f"{service.full_name}/{method.name}"
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_older_interfaces_keep_their_names() -> None:
    assert methods(notification_pb2.DESCRIPTOR) == {"notification.NotificationService/PublishPost"}
    assert methods(post_pb2.DESCRIPTOR) == {"post.PostService/PublishPost"}


def test_own_interface_is_hark_v1() -> None:
    services = {name: len(s.methods) for name, s in hark_pb2.DESCRIPTOR.services_by_name.items()}
    assert hark_pb2.DESCRIPTOR.package == "hark.v1"
    assert services == {
        "PublisherService": 4,
        "SocialGraphService": 7,
        "InboxService": 3,
        "OperationsService": 6,
    }


@pytest.mark.parametrize(
    ("file", "message", "fields"),
    [
        (
            notification_pb2.DESCRIPTOR,
            "Post",
            {"id": (1, 9), "author_id": (2, 9), "content": (3, 9), "created_at": (4, 3)},
        ),
        (
            notification_pb2.DESCRIPTOR,
            "NotificationResponse",
            {"post_id": (1, 9), "notifications_queued": (2, 5), "success": (3, 8)},
        ),
        (post_pb2.DESCRIPTOR, "Post", {"postId": (1, 9), "authorId": (2, 9), "content": (3, 9)}),
        (post_pb2.DESCRIPTOR, "NotificationResponse", {"message": (1, 9)}),
    ],
)
def test_older_messages_keep_numbers_and_types(
    file: FileDescriptor, message: str, fields: dict[str, tuple[int, int]]
) -> None:
    """The types are numbers of `FieldDescriptor`: 3 int64, 5 int32, 8 bool, 9 string."""
    found = file.message_types_by_name[message].fields
    assert {field.name: (field.number, field.type) for field in found} == fields
