"""`vaultlayer up`."""

import os
import time
from typing import Annotated

import typer

from vaultlayer.errors import BrokerDownError, ConfigError
from vaultlayer.settings import Home, find_home, load_settings
from vaultlayer_cli.broker import (
    broker_command,
    broker_environment,
    broker_file,
    ensure_broker,
)
from vaultlayer_cli.connect import run_async
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.terminal import print_json, say
from vaultlayer_cli.units import duration_text


def up(
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Stay here and log to stderr.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start the broker on this machine.

    It goes on in the background until `vaultlayer down`. Jobs that were open when it last stopped go on.
    """
    home = find_home()
    settings = load_settings(home.config_file)
    if settings.bus.urls:
        raise ConfigError(
            "this machine's broker is elsewhere",
            why=f"{home.config_file} names [bus] urls",
            mend="vaultlayer actor all runs the actors of such a broker",
        )
    if foreground:
        command = broker_command()
        home.run.mkdir(parents=True, exist_ok=True)
        env = broker_environment(home)
        os.chdir(home.run)
        os.execve(command[0], command, env)  # noqa: S606  the broker takes our place
    run_async(_up, home, as_json)


async def _up(home: Home, as_json: bool) -> None:
    began_s = time.monotonic()
    is_started = await ensure_broker(home, is_local=True)
    took_s = time.monotonic() - began_s
    found = broker_file(home)
    if found is None:
        raise BrokerDownError(
            "the broker serves and has not said who it is", mend="vaultlayer down"
        )
    if as_json:
        print_json({"pid": found.pid, "started": is_started, "took_s": round(took_s, 3)})
    elif is_started:
        say(f"the broker serves (pid {found.pid}), started in {duration_text(took_s)}")
    else:
        say(f"the broker serves already (pid {found.pid})")
