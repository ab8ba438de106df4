"""`vaultlayer watch`."""

from typing import Annotated

import typer

from vaultlayer_cli.attend import attend
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.names import find_job
from vaultlayer_cli.options import AsJson

TAIL = 20


def watch(
    job: Annotated[
        str,
        typer.Argument(
            metavar="[JOB]",
            help="Job id, the beginning of one, a job's name, or @last for the newest.",
        ),
    ] = "@last",
    tail: Annotated[
        int, typer.Option(metavar="N", min=-1, help="Lines of earlier output; -1 for all of it.")
    ] = TAIL,
    as_json: AsJson = False,
) -> int:
    """Follow a job: its output, its events, where it stands.

    All its events so far come first. Ctrl-C lets go of it, and the job goes on. The exit status is the
    script's own.
    """
    return run_async(_watch, job, tail, as_json)


async def _watch(wanted: str, tail: int, as_json: bool) -> int:
    async with session() as opened:
        job = await find_job(opened.bus, wanted)
        return await attend(opened.bus, job, as_json=as_json, lines=None if tail < 0 else tail)
