"""Supervision: build actors by name, give each its own bus connection, restart what falls.

Actors are found by the entry point group `vaultlayer.actors`, so that nobody imports them and a process may
run any set of them. To scale out, run more processes.
"""

import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import anyio
from anyio.abc import TaskStatus

from vaultlayer.bus.credential import BusCredential, read_credential
from vaultlayer.bus.nats import open_bus
from vaultlayer.bus.streams import check_server, ensure_streams
from vaultlayer.endpoints import read_endpoints
from vaultlayer.errors import BrokerDownError, FlagError, VaultLayerError
from vaultlayer.ids import ActorId, token
from vaultlayer.ledger import Ledger
from vaultlayer.logging import get_logger, set_up_logging
from vaultlayer.settings import Home, Settings, load_settings
from vaultlayer.subjects import actor_inbox
from vaultlayer_actors.context import Actor, ActorContext, ActorFactory
from vaultlayer_actors.jobloop import Handle, JobLoop

__all__ = [
    "Actor",
    "ActorContext",
    "ActorFactory",
    "Handle",
    "JobLoop",
    "run_actors",
    "serve_actors",
]

ALL = ("credential_vault", "provider_pool", "watchdog", "fencer", "dispatcher")
"""In the order of start: who is asked first comes first."""

RESTART_S_MAX = 10.0
SERVED_S = 10.0
"""How long a start waits for actors that do not come to serve, as with a provider that hangs."""


def factory_of(kind: str) -> ActorFactory:
    """Find the factory of one actor kind.

    Raises:
        FlagError: no installed package has an actor of that name.
    """
    found = {point.name: point for point in entry_points(group="vaultlayer.actors")}
    if kind not in found:
        raise FlagError(
            f"no actor is called {kind!r}", mend=f"one or more of: {', '.join(sorted(found))}, all"
        )
    return found[kind].load()


async def run_one(
    kind: str,
    *,
    home: Home,
    settings: Settings,
    urls: Sequence[str],
    credential: BusCredential | None,
    served: Callable[[], None] = lambda: None,
) -> None:
    """Run one actor until cancelled; an actor that falls is built anew with a growing pause.

    `served`: called once it serves, and when it has fallen before that.
    """
    factory = factory_of(kind)
    actor_id = ActorId(f"{kind}-{token(secrets.token_bytes(6), 6)}")
    logger = get_logger(actor=actor_id)
    failures = 0
    while True:
        try:
            async with open_bus(
                urls, credential, inbox=actor_inbox(actor_id), name=actor_id
            ) as bus:
                log = bus.job_log(settings.bus.streams)
                context = ActorContext(
                    actor=actor_id,
                    kind=kind,
                    bus=bus,
                    log=log,
                    ledger=Ledger(log, actor=actor_id, clock=time.time),
                    settings=settings,
                    terms=settings.lease.terms(),
                    home=home,
                    served=served,
                )
                logger.info("actor_started", kind=kind)
                await factory(context).run()
                return
        except VaultLayerError as error:
            logger.warning("actor_fell", code=error.code, why=str(error))
        except Exception:  # the supervisor's duty: whatever fell is told and started again
            logger.exception("actor_fell", code="internal")
        served()
        failures += 1
        await anyio.sleep(min(0.1 * 2**failures, RESTART_S_MAX))


async def serve_actors(
    names: Sequence[str],
    *,
    home: Home,
    settings: Settings,
    urls: Sequence[str],
    credential: BusCredential | None,
    monitor_url: str = "",
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Check the server, make the streams, and run the named actors until cancelled.

    It has started once all of them serve, or have fallen, or `SERVED_S` are over.

    Raises:
        ServerUnfitError: the nats-server is too old or acknowledges before it has synced.
        FlagError: an actor's name is unknown.
    """
    kinds = list(ALL) if "all" in names else list(dict.fromkeys(names))
    for kind in kinds:
        factory_of(kind)
    setup_id = ActorId(f"setup-{token(secrets.token_bytes(6), 6)}")
    async with open_bus(urls, credential, inbox=actor_inbox(setup_id), name=setup_id) as bus:
        await check_server(bus, monitor_url=monitor_url, vouched=settings.bus.vouched)
        await ensure_streams(bus, settings.bus.streams)
    async with anyio.create_task_group() as group:
        all_served = {kind: anyio.Event() for kind in kinds}
        for kind in kinds:

            async def one(kind: str = kind) -> None:
                await run_one(
                    kind,
                    home=home,
                    settings=settings,
                    urls=urls,
                    credential=credential,
                    served=all_served[kind].set,
                )

            group.start_soon(one)
        with anyio.move_on_after(SERVED_S):
            for event in all_served.values():
                await event.wait()
        task_status.started()


def where(
    home: Home, settings: Settings, urls: Sequence[str] = (), creds: Path | None = None
) -> tuple[list[str], BusCredential | None, str]:
    """Give (bus urls, credential, monitor url) of an actor process.

    Raises:
        BrokerDownError: neither the settings nor an embedded broker name a bus.
    """
    endpoints = read_endpoints(home.run)
    chosen = list(urls) or list(settings.bus.urls)
    monitor_url = settings.bus.monitor_url
    if not chosen:
        if endpoints is None:
            raise BrokerDownError("no bus is known here", mend="vaultlayer up, or set [bus] urls")
        chosen, monitor_url = [endpoints.bus_url], endpoints.monitor_url
    path = creds or home.creds / "broker.creds"
    return chosen, read_credential(path) if path.exists() else None, monitor_url


def run_actors(
    names: Sequence[str],
    *,
    home: Home,
    bus_urls: Sequence[str] = (),
    creds: Path | None = None,
) -> None:
    """Run actors as a process of their own until SIGINT or SIGTERM."""
    set_up_logging(sys.stderr)
    settings = load_settings(home.config_file)
    urls, credential, monitor_url = where(home, settings, bus_urls, creds)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(stop_on_signal, group.cancel_scope)
            await serve_actors(
                names,
                home=home,
                settings=settings,
                urls=urls,
                credential=credential,
                monitor_url=monitor_url,
            )

    anyio.run(main)


async def stop_on_signal(scope: anyio.CancelScope) -> None:
    """Cancel `scope` at the first SIGINT or SIGTERM."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return
