"""`vaultlayer ps`."""

import time
from typing import Annotated

import typer

from vaultlayer.messages import JobRow
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.names import list_jobs
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.table import Column, print_table
from vaultlayer_cli.terminal import STATUS_STYLES, print_json, say
from vaultlayer_cli.units import duration_text, usd_text

COLUMNS = (
    Column("JOB"),
    Column("NAME", least=4),
    Column("STATUS"),
    Column("GPU"),
    Column("PROVIDER", is_optional=True),
    Column("ATT", is_number=True),
    Column("CKPT", is_number=True),
    Column("STEP", is_number=True),
    Column("TIER", is_optional=True),
    Column("COST", is_number=True),
    Column("AGE", is_number=True),
    Column("TOOK", is_number=True, is_optional=True),
    Column("COMMAND", least=12),
)


def ps(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also jobs that are over.")
    ] = False,
    most: Annotated[int, typer.Option("-n", metavar="N", min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first.

    ATT counts the machines that a job has had, CKPT the checkpoints that can be restored. AGE is the time
    since it was submitted, TOOK how long one lasted that is over.
    """
    run_async(_ps, everything, most, as_json)


async def _ps(everything: bool, most: int, as_json: bool) -> None:
    async with session() as opened:
        rows = await list_jobs(opened.bus, everything=everything, most=most)
    if as_json:
        for row in rows:
            print_json(row)
    elif not rows:
        say(
            "no job" if everything else "no open job; vaultlayer ps --all shows those that are over"
        )
    else:
        now_s = time.time()
        print_table(COLUMNS, [cells(row, now_s) for row in rows], [styles(row) for row in rows])
        if billing := sum(row.may_bill for row in rows if row.cost_usd):
            say(f"{billing} machines are over and not yet seen gone: they may still be billing")


def cells(row: JobRow, now_s: float) -> list[str]:
    """Give the cells of one job."""
    status = row.status
    if row.exit_code and status == "failed":
        status = f"failed ({row.exit_code})"
    return [
        row.job,
        row.name,
        status,
        row.gpu,
        row.provider,
        str(row.attempts),
        str(row.checkpoints),
        "" if row.step is None else str(row.step),
        row.tier,
        usd_text(row.cost_usd) if row.cost_usd else "",
        duration_text(now_s - row.submitted_at),
        duration_text(row.finished_at - row.submitted_at) if row.finished_at else "",
        " ".join(row.command),
    ]


def styles(row: JobRow) -> list[str]:
    """Give the colours of one job's cells."""
    return [STATUS_STYLES.get(row.status, "") if c.head == "STATUS" else "" for c in COLUMNS]
