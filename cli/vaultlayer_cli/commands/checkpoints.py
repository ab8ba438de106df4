"""`vaultlayer checkpoints`."""

import time

from vaultlayer.job import CheckpointState, Job
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.names import find_job
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.options import Job as JobArgument
from vaultlayer_cli.state import read_job
from vaultlayer_cli.table import Column, print_table
from vaultlayer_cli.terminal import full, print_json, say
from vaultlayer_cli.units import ago_text, size_text

COLUMNS = (
    Column("CHECKPOINT"),
    Column("STEP", is_number=True),
    Column("ATTEMPT", is_number=True),
    Column("SAVED"),
    Column("SIZE", is_number=True),
    Column("NEW", is_number=True),
    Column("FILES", is_number=True),
    Column("NOTE", least=8),
)
SHORT = 12


def checkpoints(job: JobArgument, as_json: AsJson = False) -> None:
    """List a job's checkpoints, the newest first.

    NEW is what had to be sent; the rest of SIZE lay in the bucket already.
    """
    run_async(_checkpoints, job, as_json)


async def _checkpoints(wanted: str, as_json: bool) -> None:
    async with session() as opened:
        job = await read_job(opened.bus, await find_job(opened.bus, wanted))
    newest_first = list(reversed(job.checkpoints))
    if as_json:
        for one in newest_first:
            print_json({**full(one), "is_newest": one is job.head})
    elif not newest_first:
        say(f"{job.job} has no checkpoint yet")
    else:
        print_table(COLUMNS, [cells(one, job, time.time()) for one in newest_first])


def cells(one: CheckpointState, job: Job, now_s: float) -> list[str]:
    """Give the cells of one checkpoint."""
    notes = [
        "newest" if one is job.head else "",
        "last of the script" if one.final else "",
        f"damaged: {one.rejected}" if one.rejected else "",
    ]
    return [
        one.manifest[:SHORT],
        "" if one.step is None else str(one.step),
        str(one.attempt),
        ago_text(one.at, now_s),
        size_text(one.size_b),
        size_text(one.new_b),
        str(one.files),
        ", ".join(note for note in notes if note),
    ]
