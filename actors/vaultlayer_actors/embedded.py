"""The embedded broker: both servers as children and every actor in one process.

`python -m vaultlayer_actors.embedded` runs it in the foreground. It writes `<run>/broker.json` once it serves
and `<run>/broker.error.json` when it cannot start, for whoever started it.
"""

import contextlib
import os
import sys
import time
from collections.abc import Generator
from typing import NoReturn, TypeVar, cast

import anyio
import msgspec

from vaultlayer import __version__
from vaultlayer.disk import ROOM_B, check_room, disk_error
from vaultlayer.errors import DiskFullError, ErrorBody, VaultLayerError
from vaultlayer.logging import get_logger, set_up_logging
from vaultlayer.settings import Home, Settings, find_home, load_settings
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.credential_vault.minter import make_minter
from vaultlayer_actors.drivers import check_options
from vaultlayer_actors.local.servers import local_servers
from vaultlayer_actors.runtime import ALL, serve_actors, stop_on_signal, where

E = TypeVar("E", bound=BaseException)


class BrokerFile(msgspec.Struct, frozen=True, kw_only=True):
    """`<run>/broker.json`: the process that serves this home."""

    pid: int
    started_at: float
    version: str
    ready_s: float = 0.0
    """Seconds from the process's start to the moment it served."""


def main() -> None:
    """Run the embedded broker of the home that the environment names."""
    began_s = time.monotonic()
    set_up_logging(sys.stderr)
    home = find_home()
    with exit_on_error(home):
        settings = load_settings(home.config_file)
        (home.run / "broker.error.json").unlink(missing_ok=True)
        check_room(home.state, ROOM_B)
        check_options(settings, home.config_file)
        anyio.run(_serve, home, settings, began_s)


@contextlib.contextmanager
def exit_on_error(home: Home) -> Generator[None]:
    """Tell an error of ours to whoever started this process, and end it with the error's status."""
    try:
        home.run.mkdir(parents=True, exist_ok=True)
        yield
    except* VaultLayerError as group:
        _end_with(home, _first(group))
    except* OSError as group:
        fault = _first(group)
        error = disk_error(fault, f"cannot use {fault.filename or home.state}")
        if fault.filename is None and not isinstance(error, DiskFullError):
            raise
        _end_with(home, error)


def _first(group: BaseExceptionGroup[E]) -> E:
    error = group.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[E]", error))
    return error


def _end_with(home: Home, error: VaultLayerError) -> NoReturn:
    # On a full disk the words on stderr must do.
    with contextlib.suppress(OSError):
        _tell_failure(home, error.body())
    sys.stderr.write(f"{error}\n")
    raise SystemExit(error.exit_status) from None


def _tell_failure(home: Home, body: ErrorBody) -> None:
    (home.run / "broker.error.json").write_bytes(msgspec.json.encode(body))


async def _serve(home: Home, settings: Settings, began_s: float) -> None:
    logger = get_logger(actor="embedded")
    async with anyio.create_task_group() as group:
        group.start_soon(stop_on_signal, group.cancel_scope)
        async with local_servers(home, settings) as servers:
            # What could never mint a key is refused here; the vault itself would only fall, and again.
            make_minter(settings.store, servers.endpoints, KeyStore(home.keys).open())
            urls, credential, monitor_url = where(home, settings)

            async def actors(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                await serve_actors(
                    ALL,
                    home=home,
                    settings=settings,
                    urls=urls,
                    credential=credential,
                    monitor_url=monitor_url,
                    task_status=task_status,
                )

            await group.start(actors)
            ready_s = time.monotonic() - began_s
            _tell_ready(home, ready_s)
            logger.info("broker_started", pid=os.getpid(), ready_s=round(ready_s, 3))
            try:
                await anyio.sleep_forever()
            finally:
                (home.run / "broker.json").unlink(missing_ok=True)


def _tell_ready(home: Home, ready_s: float) -> None:
    file = BrokerFile(pid=os.getpid(), started_at=time.time(), version=__version__, ready_s=ready_s)
    draft = home.run / "broker.json.tmp"
    draft.write_bytes(msgspec.json.encode(file))
    draft.replace(home.run / "broker.json")


if __name__ == "__main__":
    main()
