"""The gRPC process: `python -m gateway.grpc_server`, started by the supervisor.

Several share one port (SO_REUSEPORT); each has its own connections to the store. It serves whether
or not the store does: calls wait a while for it and are then told that it does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from random import Random

import grpc
import uvloop
from grpc_health.v1 import health
from setproctitle import setproctitle

from farm import failpoints
from farm.client import FarmClient, StoreClient
from farm.clock import Clock, SystemClock
from farm.config import Child
from farm.errors import StartError
from farm.live import Live
from farm.observe import ProcessMetrics, log, start_logging
from farm.sockets import Addresses, Sockets, answer_pings
from gateway import heap, standard
from gateway.calls import Calls, Service
from gateway.compat import NotificationService, PostService
from gateway.graph import SocialGraphService
from gateway.inbox import InboxService
from gateway.operations import OperationsService
from gateway.publisher import PublisherService
from gateway.queue_delay import QueueDelay, health_check_of
from gateway.values import PostIds

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
STREAMS_PER_CONNECTION_MAX = 2_048
METADATA_BYTES_MAX = 16 * 1024
# Calls that arrived and were not looked at yet. From 1,000 on gRPC would otherwise cancel some by
# chance, most of them when all who watch come back at once; here each is taken or told why not.
PENDING_MAX = 20_000
# Whoever does not answer pings is gone, and is taken for gone after both of these. Clients may ping
# as often as is sensible for them; one that floods is sent away.
KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 10_000
PING_INTERVAL_MIN_MS = 5_000
PING_STRIKES_MAX = 10
DRAIN_S = 3.9  # for calls in flight; the supervisor gives the whole farm ten
LAST_ANSWERS_S = 0.1  # behind it, for answers that are made but not yet on the wire

_OPTIONS = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.server.max_pending_requests", PENDING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),  # a minute, whatever the line before says
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MIN_MS),
    ("grpc.http2.max_ping_strikes", PING_STRIKES_MAX),
)
# Ten thousand who watch are very many objects that stay. Looked through for garbage as often as
# Python does by itself, they take half of this process's time. But what calls leave behind goes in
# small pieces: what 2,000 of them left, taken away at once, held up all others for 60 to 300 ms.
_GC_THRESHOLDS = (5_000, 20, 100)


def main() -> None:
    child = Child.from_standard_input()
    setproctitle(f"hark: gateway {child.number}")
    gc.set_threshold(*_GC_THRESHOLDS)
    clock = SystemClock()
    start_logging(
        f"gateway {child.number}",
        clock,
        log_format=child.settings.log_format,
        log_level=child.settings.log_level,
    )
    failpoints.arm(child.failpoints)
    try:
        uvloop.run(serve(child, clock, Random()))
    except StartError as error:
        log(logging.ERROR, error.message)
        sys.exit(error.exit_status)


async def serve(child: Child, clock: Clock, chance: Random) -> None:
    """Serves until SIGTERM, then ends what is in flight, and with it the process."""
    stop = _stop_signal()
    sockets, addresses = Sockets(), Addresses(child.sockets)
    metrics = ProcessMetrics()
    store = StoreClient(
        sockets, addresses,
        name=child.name, readers=child.settings.readers, clock=clock, metrics=metrics,
    )  # fmt: skip
    live = Live(
        sockets, addresses, store, clock, metrics,
        session=child.name, place=f"gateway-{child.number}",
    )  # fmt: skip
    farm = FarmClient(sockets, addresses)
    control = sockets.async_server(addresses.control("gateway", child.number))
    own_address = addresses.own("gateway", child.number)
    calls = Calls(chance, clock, QueueDelay(health_check_of(own_address), clock).at_least_s)
    server = grpc.aio.server(options=_OPTIONS)
    services = _services(store, farm, live, PostIds(clock, chance), clock)
    names = [service.descriptor.full_name for service in services]
    checks = await _add(server, calls, services, names)
    address = _listen(server, child.settings.host, child.settings.grpc_port)
    server.add_insecure_port(own_address)
    await server.start()
    pings = asyncio.create_task(answer_pings(control, lambda: {"serving": not stop.is_set()}))
    health_told = asyncio.create_task(standard.look_after(checks, names, store))
    trimming = asyncio.create_task(heap.give_back())
    log(logging.INFO, "serving", grpc=address)
    await stop.wait()
    health_told.cancel()
    trimming.cancel()
    await _drain(calls, checks)
    await live.close()
    pings.cancel()
    store.close()
    farm.close()
    sockets.close()
    log(logging.INFO, "ended")
    # A server of gRPC's that is stopped answers CANCELLED to what comes at that moment. The
    # kernel, which closes the connections of a process that is gone, makes UNAVAILABLE of it.
    os._exit(0)


def _stop_signal() -> asyncio.Event:
    """Set by SIGTERM. The supervisor answers the terminal's SIGINT for all of its children."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return stop


def _services(
    store: StoreClient, farm: FarmClient, live: Live, post_ids: PostIds, clock: Clock
) -> list[Service]:
    """All that is offered. gRPC looks them through in this order at every call."""
    return [
        PublisherService(store, post_ids).service(),
        NotificationService(store, post_ids).service(),
        PostService(store, post_ids).service(),
        SocialGraphService(store, clock).service(),
        InboxService(store, live, clock).service(),
        OperationsService(store, farm).service(),
    ]


async def _add(
    server: grpc.aio.Server, calls: Calls, services: Sequence[Service], names: Sequence[str]
) -> health.aio.HealthServicer:
    """The services, the health of each, and reflection of them all. Returns the health."""
    server.add_generic_rpc_handlers([calls.handlers(service) for service in services])
    standard.reflect(server, [*names, health.SERVICE_NAME])
    return await standard.checked(server, names)


def _listen(server: grpc.aio.Server, host: str, port: int) -> str:
    """Raises `StartError` where the port is not to be had."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise StartError(f"{address}: cannot listen there; choose another --host or --grpc-port")
    return address


async def _drain(calls: Calls, checks: health.aio.HealthServicer) -> None:
    """Says so first, takes no new calls, and waits for those in flight, while those who watch an
    inbox are sent elsewhere at once.

    A watcher of the health or a reader of the reflection may stay for ever: they are not waited
    for.
    """
    log(logging.INFO, "draining")
    await checks.enter_graceful_shutdown()
    calls.end()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await calls.idle()
    await asyncio.sleep(LAST_ANSWERS_S)


if __name__ == "__main__":
    main()
