"""The HTTP process: `python -m gateway.web`, started by the supervisor.

Several share one port (SO_REUSEPORT); each has its own connections to the store. It serves whether
or not the store does: a question waits a while for it and is then told that it does not answer.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from random import Random

import uvloop
from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP
from sanic.server import AsyncioServer
from setproctitle import setproctitle

from farm import failpoints
from farm.client import FarmClient, StoreClient
from farm.clock import Clock, SystemClock
from farm.config import Child
from farm.errors import StartError
from farm.live import Live
from farm.observe import ProcessMetrics, log, start_logging
from farm.sockets import Addresses, Sockets, answer_pings
from gateway.context import Context
from gateway.exposition import Exposition
from gateway.graphql_http import GraphQL
from gateway.graphql_sse import EventStreams
from gateway.graphql_ws import GraphQLSockets
from gateway.held import USUAL, Connection, Heart, Terms
from gateway.refusals import Incidents
from gateway.running import Running
from gateway.schema import make_schema
from gateway.site import Site, make_site
from gateway.values import PostIds

BACKLOG_CONNECTIONS = 1_024
DRAIN_S = 4.0  # for requests in flight; the supervisor gives the whole farm ten
_LOOK_EVERY_S = 0.02
_GC_THRESHOLDS = (50_000, 20, 100)


def main(terms: Terms = USUAL) -> None:
    child = Child.from_standard_input()
    setproctitle(f"hark: web {child.number}")
    _make_ready_for_many()
    clock = SystemClock()
    start_logging(
        f"web {child.number}",
        clock,
        log_format=child.settings.log_format,
        log_level=child.settings.log_level,
    )
    failpoints.arm(child.failpoints)
    try:
        uvloop.run(serve(child, clock, Random(), terms))
    except StartError as error:
        log(logging.ERROR, error.message)
        sys.exit(error.exit_status)


async def serve(child: Child, clock: Clock, chance: Random, terms: Terms) -> None:
    """Serves until SIGTERM, then ends what is in flight."""
    stop = _stop_signal()
    settings = child.settings
    listener = listen(settings.host, settings.http_port)
    sockets, addresses = Sockets(), Addresses(child.sockets)
    metrics = ProcessMetrics()
    store = StoreClient(
        sockets, addresses,
        name=child.name, readers=settings.readers, clock=clock, metrics=metrics,
    )  # fmt: skip
    live = Live(
        sockets, addresses, store, clock, metrics,
        session=child.name, place=f"web-{child.number}",
    )  # fmt: skip
    farm = FarmClient(sockets, addresses)
    incidents = Incidents(child.name)
    schema = make_schema(introspection=not settings.no_introspection)
    context = Context(store, farm, live, PostIds(clock, chance))
    graphql = GraphQL(schema, context, incidents)
    running = Running(schema, context, graphql, incidents)
    heart = Heart(terms)
    site = make_site(
        graphql,
        EventStreams(running, heart),
        GraphQLSockets(running, heart, incidents),
        Exposition(store, farm, clock),
        incidents,
        allowed_origins=settings.allowed_origin,
    )
    server = await _start(site, listener)
    control = sockets.async_server(addresses.control("web", child.number))
    pings = asyncio.create_task(answer_pings(control, lambda: {"serving": not stop.is_set()}))
    beating = asyncio.create_task(heart.beat())
    log(logging.INFO, "serving", http=f"{settings.host}:{settings.http_port}")
    await stop.wait()
    await live.close()
    await _drain(site, server, clock)
    beating.cancel()
    pings.cancel()
    store.close()
    farm.close()
    sockets.close()
    log(logging.INFO, "ended")


def _make_ready_for_many() -> None:
    """As many connections as the machine allows; systems begin with 1,024 for old programs.

    Each is a hundred objects that stay. Looked through for garbage as often as Python does by
    itself, those of thousands hold up everybody.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.set_threshold(*_GC_THRESHOLDS)


def _stop_signal() -> asyncio.Event:
    """Set by SIGTERM. The supervisor answers the terminal's SIGINT for all of its children."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return stop


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the port that all web processes share. Raises `StartError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        raise StartError(
            f"{host}:{port}: cannot listen there ({error.strerror}); "
            "choose another --host or --http-port"
        ) from error
    return listener


async def _start(site: Site, listener: socket.socket) -> AsyncioServer:
    """Starts Sanic in this process alone; the manager of several is the supervisor, not Sanic's.

    It begins to accept only when the application is ready to answer.
    """
    server = await site.create_server(
        sock=listener,
        protocol=Connection,
        backlog=BACKLOG_CONNECTIONS,
        access_log=False,
        asyncio_server_kwargs={"start_serving": False},
    )
    assert server is not None
    # Only its own manager says so to Sanic, which otherwise sends an empty Alt-Svc header.
    site.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    # Sanic leaves these without types.
    await server.startup()  # type: ignore[no-untyped-call]
    await server.start_serving()  # type: ignore[no-untyped-call]
    return server


async def _drain(site: Site, server: AsyncioServer, clock: Clock) -> None:
    """Takes no new connections, ends those that are idle, and waits for requests in flight."""
    log(logging.INFO, "draining")
    closed = server.close()  # type: ignore[no-untyped-call]
    site.config.KEEP_ALIVE = False
    end_s = clock.monotonic_s() + DRAIN_S
    while server.connections and clock.monotonic_s() < end_s:
        for connection in list(server.connections):
            connection.close_if_idle()
        await asyncio.sleep(_LOOK_EVERY_S)
    for connection in list(server.connections):
        connection.abort()
    await closed


if __name__ == "__main__":
    main()
