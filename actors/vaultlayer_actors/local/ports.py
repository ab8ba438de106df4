"""The ports of the embedded servers: chosen once, kept for ever, and never taken from a stranger.

Agents that outlive a broker find it again only if its ports stay; so a port that somebody else holds
later is an error, not a reason to move.
"""

import secrets
import socket
from collections.abc import Iterable

import anyio

from vaultlayer.endpoints import Endpoints, read_endpoints, write_endpoints
from vaultlayer.errors import PortTakenError
from vaultlayer.settings import Home
from vaultlayer.store.weed import INNER_PORTS, weed_ports

LOW = 11_000
HIGH = 21_900
"""Below the ranges from which operating systems take ports for outgoing connections."""

CLOSING_S = 2.0
"""How long a port may stay taken by a server that has just died."""

_TRIES = 200
_STRIDE = 16
_S3 = INNER_PORTS
_BUS = INNER_PORTS + 1
_MONITOR = INNER_PORTS + 2


async def settle_ports(home: Home) -> Endpoints:
    """Give this home's ports: those of the last time, or new ones, which are then kept.

    Raises:
        PortTakenError: somebody else listens on one of them; names port and process.
    """
    known = read_endpoints(home.run)
    if known is not None:
        for port in ports_of(known):
            await _wait_until_free(port, home)
        return known
    chosen = _choose()
    write_endpoints(home.run, chosen)
    return chosen


def ports_of(endpoints: Endpoints) -> list[int]:
    """Give every port that the embedded servers listen on."""
    inner = weed_ports(endpoints.s3_port, endpoints.weed_base_port)
    return [endpoints.bus_port, endpoints.monitor_port, *inner.every]


def is_free(port: int) -> bool:
    """Tell whether this port of loopback could be listened on now."""
    with socket.socket() as probe:
        # As the servers do it: a connection that is still closing does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _wait_until_free(port: int, home: Home) -> None:
    # A killed server's sockets outlive it by a moment, when the machine is busy.
    with anyio.move_on_after(CLOSING_S):
        while not is_free(port):  # noqa: ASYNC110  the kernel tells nobody that a port became free
            await anyio.sleep(0.02)
        return
    raise _taken(port, home)


def _choose() -> Endpoints:
    for _ in range(_TRIES):
        base = LOW + _STRIDE * secrets.randbelow((HIGH - LOW) // _STRIDE)
        endpoints = Endpoints(
            bus_port=base + _BUS,
            monitor_port=base + _MONITOR,
            s3_port=base + _S3,
            weed_base_port=base,
        )
        if all(map(is_free, ports_of(endpoints))):
            return endpoints
    raise PortTakenError(
        "no free ports were found",
        why=f"{_TRIES} places between {LOW} and {HIGH} each had one taken",
    )


def _taken(port: int, home: Home) -> PortTakenError:
    holder = _listener(port)
    return PortTakenError(
        f"port {port} is taken",
        why=f"{holder or 'another process'} listens on it",
        mend=f"end that process; or remove {home.run / 'endpoints.json'} to move this broker, "
        "which running agents then no longer find",
    )


def _listener(port: int) -> str:
    """Name the process that listens on a port, as far as this user may know."""
    import psutil  # noqa: PLC0415  only needed to explain an error

    try:
        for pid in _pids(port, psutil.net_connections(kind="tcp")):
            return f"{psutil.Process(pid).name()} (pid {pid})"
    except (psutil.Error, OSError):
        pass
    return ""


def _pids(port: int, connections: Iterable[object]) -> Iterable[int]:
    for connection in connections:
        address, pid = getattr(connection, "laddr", None), getattr(connection, "pid", None)
        if getattr(connection, "status", "") != "LISTEN" or not address or pid is None:
            continue
        if address[1] == port:
            yield pid
