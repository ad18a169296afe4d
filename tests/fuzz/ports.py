"""Every port there is, by name."""

from __future__ import annotations

from tests.fuzz import files, grpc_calls, messages, web_requests, web_sockets, zmq_sockets
from tests.fuzz.run import Fuzz
from tests.fuzz.zmq_sockets import pushes, requests

PORTS: dict[str, Fuzz] = {
    "grpc": grpc_calls.fuzz,
    "http": web_requests.requests,
    "graphql": web_requests.questions,
    "sse": web_requests.streams,
    "websocket": web_sockets.fuzz,
    "store": requests(
        lambda place: place.addresses.store, messages.to_store, zmq_sockets.ASK_STORE
    ),
    "reader": requests(
        lambda place: place.addresses.reader(1), messages.to_reader, zmq_sockets.ASK_READER
    ),
    "control": requests(
        lambda place: place.addresses.control("store", 1),
        messages.to_control,
        zmq_sockets.ASK_CONTROL,
    ),
    "control of web": requests(
        lambda place: place.addresses.control("web", 1),
        messages.to_control,
        zmq_sockets.ASK_CONTROL,
    ),
    "supervisor": requests(
        lambda place: place.addresses.supervisor, messages.to_supervisor, zmq_sockets.ASK_FARM
    ),
    "outcomes": pushes(lambda place: place.addresses.outcomes, messages.to_outcomes),
    "live": pushes(lambda place: place.addresses.live("web-1"), messages.to_live),
    "raw sockets": zmq_sockets.raw_bytes,
    "cursors": files.tokens,
    "edge lists": files.edge_lists,
    "settings": files.settings,
}
