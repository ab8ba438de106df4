"""`vaultlayer pull`."""

from pathlib import Path
from typing import Annotated

import typer

from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.names import find_job
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.options import Job as JobArgument
from vaultlayer_cli.pulling import check_destination, choose
from vaultlayer_cli.pulling import pull as fetch
from vaultlayer_cli.state import read_job
from vaultlayer_cli.terminal import print_json, say
from vaultlayer_cli.units import duration_text, size_text


def pull(
    job: JobArgument,
    dest: Annotated[
        Path | None,
        typer.Argument(metavar="[DEST]", help="Directory; by default one named as the job."),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(metavar="ID", help="Another one than the newest, or its beginning.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Also into what is not empty.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a job's newest checkpoint, which holds all its outputs.

    Files of the working directory come to DEST, each output directory outside it below DEST by its name.
    What only an exact resume needs (recorded log and snapshot) stays in the bucket.
    """
    run_async(_pull, job, dest, checkpoint, force, as_json)


async def _pull(
    wanted: str, dest: Path | None, checkpoint: str, force: bool, as_json: bool
) -> None:
    async with session() as opened:
        job = await read_job(opened.bus, await find_job(opened.bus, wanted))
        one = choose(job, checkpoint)
        destination = (dest or Path(job.job)).absolute()
        check_destination(destination, force=force)
        got = await fetch(opened.bus, job, one, destination)
    if as_json:
        print_json(
            {
                "job": job.job,
                "checkpoint": one.manifest,
                "step": one.step,
                "dest": str(destination),
                "files": got.files,
                "fetched_b": got.fetched_b,
                "took_s": round(got.seconds, 3),
            }
        )
        return
    step = f" of step {one.step}" if one.step is not None else ""
    size, took = size_text(got.fetched_b), duration_text(got.seconds)
    say(f"checkpoint {one.manifest[:12]}{step}: {got.files} files, {size} in {took}, verified")
    say(f"in {destination}")
