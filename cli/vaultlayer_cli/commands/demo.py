"""`vaultlayer demo`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from vaultlayer.simulated import simulator_names
from vaultlayer_cli import exit_codes
from vaultlayer_cli.connect import run_async

if TYPE_CHECKING:
    from vaultlayer_cli.demo.play import Plan


def demo(  # noqa: PLR0917  typer calls it by name
    directory: Annotated[Path, typer.Option("--dir", help="Where everything is put.")] = Path(
        ".demo"
    ),
    steps: Annotated[int, typer.Option(min=20, help="Optimizer steps of the script.")] = 120,
    kills: Annotated[int, typer.Option(min=0, max=9, help="How often the machine dies.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the moments at which it dies.")] = 0,
    clouds: Annotated[
        bool,
        typer.Option("--clouds", help="Over simulated providers, each of which throws it out."),
    ] = False,
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="P", help="With --clouds: these; vast, runpod, lambda by default."),
    ] = None,
    gpu: Annotated[str, typer.Option(metavar="NAME[:N]", help="With --clouds.")] = "H100_80",
) -> int:
    """See a training job survive two deaths of its machine.

    An ordinary HuggingFace Trainer script is run twice: once as it is, once as a job whose machine is
    killed in mid-step. The last line is one JSON object with all figures; the exit status is 1 when the
    final weights differ.

    With --clouds the job runs on simulated providers that speak their own wire formats and whose machines
    run the real bootstrap and agent: cheapest first, and every provider but the last takes its machine away
    and has no other. The offers that were compared and what each attempt has cost are shown. The exit status
    is 1 also when it never had to move, or a machine is left that is billed.
    """
    from vaultlayer_cli.demo.play import Plan, play  # noqa: PLC0415  rich is slow to import
    from vaultlayer_cli.demo.stage import show_figures  # noqa: PLC0415

    plan = Plan(directory=directory, steps=steps, kills=kills, seed=seed)
    if clouds:
        return _clouds(plan, provider, gpu)
    found = run_async(play, plan)
    show_figures(found)
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return exit_codes.OK if found.identical else 1


def _clouds(plan: "Plan", names: list[str] | None, gpu: str) -> int:
    from vaultlayer_cli.demo.clouds import CLOUDS, play_clouds  # noqa: PLC0415
    from vaultlayer_cli.demo.stage import show_figures, show_ledger  # noqa: PLC0415
    from vaultlayer_cli.simulators import chosen  # noqa: PLC0415

    wanted = chosen(names or [name for name in CLOUDS if name in simulator_names()])
    plan = msgspec.structs.replace(plan, clouds=wanted, gpu=gpu, kills=len(wanted) - 1)
    found = run_async(play_clouds, plan)
    show_figures(found)
    show_ledger(found)
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return exit_codes.OK if found.is_good else 1
