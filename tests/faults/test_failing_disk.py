"""A farm on a disk that fails for good: nobody is told a falsehood, all who watch are told, and
nothing spins; when the disk is mended, everything that was acknowledged is there."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import FarmProcess, StartFarm, wait_until
from tests.power.test_failing_sync import failing_sync

pytestmark = pytest.mark.process
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
DEATHS_MAX = 10  # within the seconds until the health says so, with a backoff that doubles


def post_of(key: str) -> hark_pb2.PublishPostRequest:
    return hark_pb2.PublishPostRequest(post_id=key, author_id="user1", content="Hello")


def readiness(hark: FarmProcess) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://{hark.http_address}/ready", timeout=15) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, json.load(answer)


def test_a_disk_that_fails_for_good_is_told_of_and_not_hammered(
    farm: StartFarm, tmp_path: Path
) -> None:
    """Fault row 19."""
    broken = tmp_path / "broken"
    environment: Mapping[str, str] = failing_sync(tmp_path, broken)
    hark = farm("--workers", "1", environment=environment)
    with grpc.insecure_channel(hark.grpc_address) as channel:
        publisher: Any = hark_pb2_grpc.PublisherServiceStub(channel)
        assert publisher.PublishPost(post_of("before"), timeout=10).notifications_queued == 6
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(
            health_pb2.HealthCheckRequest(service="hark.v1.PublisherService"), timeout=60
        )
        assert next(watch).status == SERVING
        broken.touch()
        with pytest.raises(grpc.RpcError) as unknown:
            publisher.PublishPost(post_of("in flight"), timeout=1)
        assert unknown.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert next(watch).status == NOT_SERVING
        status, body = readiness(hark)
        assert (status, "store" in body["not_ready"]) == (503, True)
        assert "look whether the disk works" in hark.log().lower()
        deaths = re.findall(r"store 1 \(process \d+\) ended with status 1", hark.log())
        assert 2 <= len(deaths) <= DEATHS_MAX
        broken.unlink()
        assert next(watch).status == SERVING
        assert publisher.PublishPost(post_of("before"), timeout=20).duplicate
        assert publisher.PublishPost(post_of("in flight"), timeout=20).notifications_queued == 6
    wait_until(lambda: readiness(hark)[0] == 200)
    assert hark.stop() == 0
