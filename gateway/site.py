"""The HTTP application: which path answers what, and from whom a browser may ask."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from sanic import Request, Sanic
from sanic.config import Config
from sanic.response import BaseHTTPResponse, HTTPResponse

from gateway.exposition import Exposition
from gateway.graphql_http import GraphQL
from gateway.graphql_sse import EventStreams
from gateway.graphql_ws import GraphQLSockets
from gateway.pages import Pages
from gateway.refusals import (
    GRAPHQL_PATHS,
    JSON,
    HttpRefusal,
    HttpRequest,
    Incidents,
    JsonErrors,
    encoded,
    refused,
)

BODY_BYTES_MAX = 64 * 1024
REQUEST_WITHIN_S = 10  # a request that drips in slower is ended
ANSWER_WITHIN_S = 30  # the client of the store gives up after 10
IDLE_S = 75
HOSTS_KEPT_MAX = 256

Site = Sanic[Config, SimpleNamespace]

_READ = ("GET", "HEAD")


def make_site(
    graphql: GraphQL,
    event_streams: EventStreams,
    sockets: GraphQLSockets,
    exposition: Exposition,
    incidents: Incidents,
    *,
    allowed_origins: Collection[str],
) -> Site:
    """The application, for one process to serve."""
    site = Sanic(
        "hark",
        config=_config(),
        error_handler=JsonErrors(incidents),
        request_class=HttpRequest,
        configure_logging=False,
    )
    _guard(site, frozenset(origin.rstrip("/").lower() for origin in allowed_origins))
    pages = Pages()
    _add_graphql(site, graphql, event_streams, sockets, pages)
    _add_pages(site, pages)
    _add_state(site, exposition)
    return site


def _config() -> Config:
    """No environment: what a process is told, it is told by the supervisor."""
    return Config(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "MOTD": False,
            "REQUEST_MAX_SIZE": BODY_BYTES_MAX,
            "REQUEST_TIMEOUT": REQUEST_WITHIN_S,
            "RESPONSE_TIMEOUT": ANSWER_WITHIN_S,
            "KEEP_ALIVE_TIMEOUT": IDLE_S,
        },
        env_prefix="",
    )


def _add_graphql(
    site: Site,
    graphql: GraphQL,
    event_streams: EventStreams,
    sockets: GraphQLSockets,
    pages: Pages,
) -> None:
    async def answer(request: Request) -> HTTPResponse | None:
        """None where it is answered already, or will be by more than one response."""
        if request.headers.get("upgrade", "").lower() == "websocket":
            await sockets.accept(request)
            return None
        if event_streams.wanted(request):
            await event_streams.answer(request)
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return pages.graphiql()
        return await graphql.answer(request)

    async def file(request: Request, name: str) -> HTTPResponse:
        return pages.graphiql_file(name)

    answer.is_websocket = True  # type: ignore[attr-defined]  # so Sanic lets it answer nothing
    for path in GRAPHQL_PATHS:
        site.add_route(answer, path, methods=("GET", "POST"), name=path.strip("/"))
    site.add_route(file, "/graphiql/<name:str>", methods=_READ, name="file")


def _add_pages(site: Site, pages: Pages) -> None:
    """What people look at."""

    async def operator(request: Request) -> HTTPResponse:
        return pages.operator()

    async def inbox(request: Request, user: str) -> HTTPResponse:
        return pages.inbox()

    async def inbox_of(request: Request) -> HTTPResponse:
        return pages.inbox_of(request.args.get("user", ""))

    async def file(request: Request, version: str, name: str) -> HTTPResponse:
        return pages.file(version, name)

    site.add_route(operator, "/", methods=_READ)
    site.add_route(inbox_of, "/inbox", methods=_READ)
    site.add_route(inbox, "/inbox/<user:str>", methods=_READ)
    site.add_route(file, "/browser/<version:str>/<name:str>", methods=_READ, name="page_file")


def _add_state(site: Site, exposition: Exposition) -> None:
    """What watches Hark asks these."""

    async def metrics(request: Request) -> HTTPResponse:
        accept = request.headers.get("accept", "")
        if JSON in accept:
            return await metrics_json(request)
        body, media_type = await exposition.prometheus(accept)
        return HTTPResponse(body, headers={"vary": "Accept"}, content_type=media_type)

    async def metrics_json(request: Request) -> HTTPResponse:
        body = encoded(await exposition.seed())
        return HTTPResponse(body, headers={"vary": "Accept"}, content_type=JSON)

    async def health(request: Request) -> HTTPResponse:
        return HTTPResponse("OK", content_type="text/plain; charset=utf-8")

    async def ready(request: Request) -> HTTPResponse:
        missing = await exposition.missing()
        body = {"ready": not missing, "not_ready": missing}
        if not missing:
            return HTTPResponse(encoded(body), content_type=JSON)
        error = {"code": "UNAVAILABLE", "message": f"no answer from: {', '.join(missing)}"}
        return HTTPResponse(encoded(body | {"error": error}), status=503, content_type=JSON)

    site.add_route(metrics, "/metrics", methods=_READ)
    site.add_route(metrics_json, "/metrics.json", methods=_READ)
    site.add_route(health, "/health", methods=_READ)
    site.add_route(ready, "/ready", methods=_READ)


def _guard(site: Site, allowed: frozenset[str]) -> None:
    """Lets pages of this site and of allowed ones ask, and no other page.

    There are no accounts yet: without this, any page that somebody opens could read and write here
    through their browser. Programs send no Origin and are not asked for one.
    """
    allowed_hosts = frozenset(urlsplit(origin).netloc for origin in allowed)

    async def before(request: Request) -> HTTPResponse | None:
        host, connection = request.headers.get("host", ""), request.conn_info
        led_here = connection is not None and _may_be_led_here(host, connection.sockname)
        if led_here and host.lower() not in allowed_hosts:
            message = "this host may be the name of anybody's page; --allowed-origin lets it ask"
            return refused(request, HttpRefusal(403, "PERMISSION_DENIED", message))
        origin = request.headers.get("origin")
        if origin is None:
            return None
        if not _is_friend(origin, host, allowed):
            message = "pages of this origin may not ask here; --allowed-origin lets them"
            return refused(request, HttpRefusal(403, "PERMISSION_DENIED", message))
        if request.method == "OPTIONS":
            return HTTPResponse(status=204, headers=_PREFLIGHT)
        return None

    async def after(request: Request, response: BaseHTTPResponse) -> None:
        response.headers["x-content-type-options"] = "nosniff"
        response.headers.setdefault("cache-control", "no-store")
        origin = request.headers.get("origin", "")
        if origin.lower() in allowed:
            response.headers["access-control-allow-origin"] = origin
            response.headers.add("vary", "Origin")

    site.register_middleware(before, "request")
    site.register_middleware(after, "response")


_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "Accept, Content-Type, Last-Event-ID",
    "access-control-max-age": "600",
}


def _is_friend(origin: str, host: str, allowed: frozenset[str]) -> bool:
    """Whether a page is ours or allowed. The host decides, for a proxy that ends TLS changes the
    scheme.
    """
    if origin.lower() in allowed:
        return True
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


@lru_cache(HOSTS_KEPT_MAX)
def _may_be_led_here(host: str, address: tuple[Any, ...]) -> bool:
    """Whether a page of somebody else's may have this host, though it came to this address.

    Whoever owns a name can make it one of 127.0.0.1 (DNS rebinding); then the browser takes their
    page for one of ours. Nobody owns numbers and names without a dot, and what comes through a
    proxy has that one's port.
    """
    try:
        asked = urlsplit(f"//{host}")
        name, port = (asked.hostname or "").rstrip("."), asked.port or 80  # in lower case
    except ValueError:
        return False
    if port != address[1] or not ip_address(address[0].partition("%")[0]).is_loopback:
        return False
    return "." in name and not name.endswith(".localhost") and not _is_number(name)


def _is_number(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
