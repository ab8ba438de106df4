"""`vaultlayer sim`."""

import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import typer

from vaultlayer.errors import FlagError
from vaultlayer.settings import find_home
from vaultlayer.simulated import SimulatedProvider
from vaultlayer_cli import exit_codes, simulators, terminal
from vaultlayer_cli.connect import run_async
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.terminal import print_json, say


def sim(  # noqa: PLR0917  typer calls it by name
    verb: Annotated[str, typer.Argument(metavar="up", help="What to do: start them.")],
    providers: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROVIDER", help="Which ones; by default, all there are."),
    ] = None,
    configure: Annotated[
        bool,
        typer.Option("--configure", help="Write them into the configuration, keys to the vault."),
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="DIR",
            help="Disks and consoles of machines; by default, gone at the end.",
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=65000, help="Of the first, others follow; 0: any that is free."
        ),
    ] = 0,
    attended: Annotated[
        bool, typer.Option("--attended", help="End also when standard input ends.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Simulate providers on this machine, until Ctrl-C.

    Each one speaks its provider's own wire format over HTTP on loopback, in real time; a machine that is
    rented there is a real process group on this machine, which runs the real bootstrap and agent. The lines
    for the configuration come to stdout. Below `/_sim/` of each address stands what a bad day does: faults,
    slow boots, and for one machine `POST /_sim/machines/ID/interrupt`. All machines end with the simulators.
    """
    if verb != "up":
        raise FlagError(f"sim has no verb {verb!r}", mend="vaultlayer sim up")
    terminal.wants_json = as_json
    names = simulators.chosen(providers or [])
    with tempfile.TemporaryDirectory(prefix="vaultlayer-sim-") as scratch:
        root = (directory or Path(scratch)).absolute()
        run_async(_up, names, root, configure=configure, port=port, attended=attended)
    return exit_codes.OK


async def _up(
    names: Sequence[str], root: Path, *, configure: bool, port: int, attended: bool
) -> None:
    home = find_home()
    if configure:
        await simulators.refuse_real_ones(home, names)
    serve = simulators.server()

    def ready(served: list[SimulatedProvider]) -> None:
        _show(served)
        if configure:
            group.start_soon(_configure, served)

    async def _configure(served: list[SimulatedProvider]) -> None:
        live = await simulators.configure(home, served)
        say(f"written into {home.config_file}; the keys are in the vault")
        if live:
            say("a running broker takes it up when it starts again: vaultlayer down, vaultlayer up")

    async with anyio.create_task_group() as group:
        group.start_soon(_end_on_signal, group.cancel_scope)
        if attended:
            group.start_soon(_end_alone, group.cancel_scope)
        await serve(names, root, ready, port=port)


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


async def _end_alone(scope: anyio.CancelScope) -> None:
    """Who started us and died, however it died, must not leave machines behind."""
    await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
    scope.cancel()


def _show(served: Sequence[SimulatedProvider]) -> None:
    for one in served:
        if terminal.wants_json:
            print_json(one)
            continue
        typer.echo(f"# {one.provider}: {one.url}, direct it at {one.admin_url}/state")
        typer.echo(f"{simulators.config_lines(one)}\n")
        say(
            f"its key: printf %s '{simulators.key_text(one)}' | vaultlayer providers key {one.provider}"
        )
    say("Ctrl-C ends them, and all their machines")
