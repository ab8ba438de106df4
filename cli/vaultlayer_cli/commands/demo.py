"""`vaultlayer demo`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultlayer_cli import exit_codes
from vaultlayer_cli.connect import run_async


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where everything is put.")] = Path(
        ".demo"
    ),
    steps: Annotated[int, typer.Option(min=20, help="Optimizer steps of the script.")] = 120,
    kills: Annotated[int, typer.Option(min=0, max=9, help="How often the machine dies.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the moments at which it dies.")] = 0,
) -> int:
    """See a training job survive two deaths of its machine.

    An ordinary HuggingFace Trainer script is run twice: once as it is, once as a job whose machine is
    killed in mid-step. The last line is one JSON object with all figures; the exit status is 1 when the
    final weights differ.
    """
    from vaultlayer_cli.demo.play import Plan, play  # noqa: PLC0415  rich is slow to import
    from vaultlayer_cli.demo.stage import show_figures  # noqa: PLC0415

    found = run_async(play, Plan(directory=directory, steps=steps, kills=kills, seed=seed))
    show_figures(found)
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return exit_codes.OK if found.identical else 1
