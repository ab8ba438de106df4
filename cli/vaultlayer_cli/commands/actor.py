"""`vaultlayer actor`."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from vaultlayer.errors import ServerMissingError
from vaultlayer.settings import find_home


def actor(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Actors, or all.", show_default=False)
    ],
    bus: Annotated[
        list[str] | None,
        typer.Option("--bus", metavar="URL", help="The bus, in place of the configured one."),
    ] = None,
    creds: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Bus credential, in place of this machine's own."),
    ] = None,
) -> None:
    """Run one or more actors as a process of their own.

    dispatcher, provider_pool, watchdog, fencer, credential_vault. Run as many processes of each as you like,
    on as many machines; they share the work among themselves. Logs go to stderr as JSON lines.
    """
    found = {point.name: point for point in entry_points(group="vaultlayer.processes")}
    if "actors" not in found:
        raise ServerMissingError(
            "the actors are not installed", mend="pip install 'vaultlayer[all]'"
        )
    found["actors"].load()(names, home=find_home(), bus_urls=bus or [], creds=creds)
