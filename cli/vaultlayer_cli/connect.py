"""The way to the broker, as a command line's user of the bus."""

import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

import anyio
import msgspec

from vaultlayer import subjects
from vaultlayer.bus.credential import BusCredential, read_credential
from vaultlayer.bus.nats import open_bus
from vaultlayer.bus.protocol import Bus
from vaultlayer.endpoints import read_endpoints
from vaultlayer.errors import BrokerDownError, BusTimeoutError
from vaultlayer.ids import CmdId, token
from vaultlayer.logging import set_up_logging
from vaultlayer.messages import Done, StatusReply
from vaultlayer.settings import Home, Settings, find_home, load_settings

P = ParamSpec("P")
R = TypeVar("R")

REACH_S = 2.0
"""How long the door of the bus may take to open before nobody is at home."""

ASK_S = 10.0
"""How long an answer to an ordinary question may take."""


class Session(msgspec.Struct, frozen=True):
    """One command's view of the world."""

    home: Home
    settings: Settings
    bus: Bus
    urls: list[str]


def run_async(main: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a command's asynchronous part to its end."""

    async def call() -> R:
        return await main(*args, **kwargs)

    return anyio.run(call)


def new_cmd_id() -> CmdId:
    """Give a name for one wish, so that it can be said twice and is done once."""
    return CmdId(f"cli-{token(secrets.token_bytes(12), 12)}")


def bus_urls(home: Home, settings: Settings) -> list[str]:
    """Give the bus that the settings name, else the embedded one.

    Raises:
        BrokerDownError: there is neither.
    """
    if settings.bus.urls:
        return list(settings.bus.urls)
    endpoints = read_endpoints(home.run)
    if endpoints is None:
        raise BrokerDownError("no broker was ever started here", mend="vaultlayer up")
    return [endpoints.bus_url]


def own_credential(home: Home, settings: Settings) -> BusCredential | None:
    """Give this machine's credential for the bus; None where a bus of one's own wants none.

    Raises:
        BrokerDownError: the embedded broker has not written one yet.
    """
    path = home.creds / "cli.creds"
    if path.exists():
        return read_credential(path)
    if settings.bus.urls:
        return None
    raise BrokerDownError(
        "this machine has no credential for the bus", why=f"{path} is missing", mend="vaultlayer up"
    )


@contextlib.asynccontextmanager
async def session(home: Home | None = None) -> AsyncGenerator[Session]:
    """Open the bus for one command.

    Raises:
        NotInitialisedError: there is no configuration.
        ConfigError: it is broken.
        BrokerDownError: nobody is there.
    """
    set_up_logging(level=os.environ.get("VAULTLAYER_LOG", "CRITICAL").upper())
    home = home or find_home()
    settings = load_settings(home.config_file)
    urls = bus_urls(home, settings)
    credential = own_credential(home, settings)
    if not settings.bus.urls:
        await _knock(urls[0])
    name = f"{os.getpid()}-{token(secrets.token_bytes(8), 8)}"
    async with open_bus(
        urls, credential, inbox=subjects.user_inbox(name), name=f"cli-{name}"
    ) as bus:
        yield Session(home, settings, bus, urls)


async def _knock(url: str) -> None:
    """Fail at once where nothing listens; a bus client would go on trying."""
    place = urlsplit(url)
    try:
        with anyio.fail_after(REACH_S):
            stream = await anyio.connect_tcp(place.hostname or "127.0.0.1", place.port or 4222)
            await stream.aclose()
    except (OSError, TimeoutError) as error:
        raise BrokerDownError(
            "the broker on this machine does not run",
            why=f"nothing answers at {url}",
            mend="vaultlayer up",
        ) from error


async def ask_status(bus: Bus, *, timeout_s: float = 5.0) -> StatusReply:
    """Ask a dispatcher how it is.

    Raises:
        BrokerDownError: the bus is there, and no dispatcher on it.
    """
    try:
        return await bus.request(subjects.STATUS, Done(), StatusReply, timeout_s=timeout_s)
    except (BrokerDownError, BusTimeoutError) as error:
        raise BrokerDownError(
            "no dispatcher answers",
            why=error.what,
            mend="vaultlayer doctor tells what is missing; vaultlayer up starts a broker here",
            retryable=True,
        ) from error
