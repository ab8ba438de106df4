"""The whole set of embedded servers as one context: started together, watched, ended together."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from vaultlayer.endpoints import Endpoints
from vaultlayer.errors import VaultLayerError
from vaultlayer.logging import get_logger
from vaultlayer.settings import Home, Settings
from vaultlayer_actors.local.child import Child, ChildSpec, end_stale
from vaultlayer_actors.local.identity import ensure_identity
from vaultlayer_actors.local.lock import broker_lock
from vaultlayer_actors.local.nats_server import nats_spec
from vaultlayer_actors.local.ports import settle_ports
from vaultlayer_actors.local.s3_server import s3_spec


@dataclass(frozen=True, kw_only=True)
class LocalServers:
    """What runs."""

    endpoints: Endpoints
    children: dict[str, Child] = field(default_factory=dict[str, Child])
    """By program: `nats-server` and `weed`, those that the settings ask for."""
    ready_s: float = 0.0
    """From the call until all of them served."""


@asynccontextmanager
async def local_servers(
    home: Home, settings: Settings, *, environ: Mapping[str, str] | None = None
) -> AsyncGenerator[LocalServers]:
    """Run the embedded servers of one home while the context is open.

    A server is left out when the settings name one elsewhere (`[bus] urls`, `[store] endpoint`). One that
    dies is started again on the same ports and data. On the way out each gets SIGTERM, and SIGKILL after 5 s.

    Raises:
        BrokerRunningError: another broker owns this home.
        SealError: the vault is there and does not open.
        PortTakenError: a stranger listens on one of our ports.
        ServerMissingError: a server's program is not installed.
        ServerStartError: a server did not come up; the others are ended.
    """
    began = time.monotonic()
    with broker_lock(home.run):
        for name in ("nats-server", "weed"):
            await end_stale(home.run / f"{name}.pid")
        keys = ensure_identity(home, now_s=time.time(), environ=environ)
        endpoints = await settle_ports(home)
        specs: list[ChildSpec] = []
        if not settings.bus.urls:
            specs.append(nats_spec(home, endpoints, keys, environ))
        if not settings.store.endpoint:
            specs.append(s3_spec(home, settings, endpoints, keys, environ))
        async with _running(specs) as children:
            ready_s = time.monotonic() - began
            get_logger().info("servers_ready", ready_s=round(ready_s, 3))
            yield LocalServers(endpoints=endpoints, children=children, ready_s=ready_s)


@asynccontextmanager
async def _running(specs: list[ChildSpec]) -> AsyncGenerator[dict[str, Child]]:
    children = {spec.name: Child(spec) for spec in specs}
    failures: list[Exception] = []
    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as starting:
            for child in children.values():

                async def start(child: Child = child) -> None:
                    try:
                        await group.start(child.run)
                    except VaultLayerError as error:
                        failures.append(error)
                        starting.cancel_scope.cancel()

                starting.start_soon(start)
        if not failures:
            try:
                yield children
            except Exception as error:  # noqa: BLE001  given on below, without the group around it
                failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
