"""Keeps a port for the farm's whole life, whoever of its processes restarts.

All processes of a role listen on one port by SO_REUSEPORT. That option also hides that somebody
else listens there already, so a plain bind looks first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from farm.errors import StartError


class Port(NamedTuple):
    """Where a role listens; `host` is a numeric address."""

    host: str
    number: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.number}" if ":" in self.host else f"{self.host}:{self.number}"


@contextlib.contextmanager
def kept(host: str, number: int, flag: str) -> Iterator[Port]:
    """Holds a port, 0 being a free one, by a socket that is bound and never listens.

    Raises `StartError` where it is in use, forbidden, or the host is not of this machine.
    """
    family, address = _resolved(host, number)
    with socket.socket(family, socket.SOCK_STREAM) as holding:
        try:
            if number:
                _look_first(family, address)
            holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holding.bind(address)
        except OSError as error:
            raise StartError(_explained(error, host, number, flag)) from None
        yield Port(address[0], holding.getsockname()[1])


def is_loopback(host: str) -> bool:
    """Whether a numeric address is reached from this machine only."""
    return ip_address(host.partition("%")[0]).is_loopback


def _resolved(host: str, number: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The first address of a name, of version 4 where it has one."""
    try:
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such name"
        raise StartError(f"--host {host}: {why}: give an address of this machine") from None
    family, _, _, _, address = min(found, key=lambda row: row[0] != socket.AF_INET)
    return family, (str(address[0]), number)


def _look_first(family: socket.AddressFamily, address: tuple[str, int]) -> None:
    """Raises `OSError` where somebody has the port, by SO_REUSEPORT or not.

    With SO_REUSEADDR connections that linger from a former life are no obstacle.
    """
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _explained(error: OSError, host: str, number: int, flag: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {number} is in use on {host}: choose another with {flag}"
        case errno.EACCES:
            return f"port {number} is not allowed to this user: choose another with {flag}"
        case errno.EADDRNOTAVAIL:
            return f"--host {host}: is not an address of this machine"
        case _:
            return f"port {number} on {host}: {os.strerror(error.errno or 0)}: see --host, {flag}"
