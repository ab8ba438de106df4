"""`vaultlayer show`."""

import shlex
import sys
import time
from typing import Any

from vaultlayer.ids import Attempt, JobId, instance_name
from vaultlayer.job import AttemptState, End, Job, Phase, spent_usd
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.events_text import TIERS
from vaultlayer_cli.names import find_job
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.options import Job as JobArgument
from vaultlayer_cli.state import read_job
from vaultlayer_cli.table import Column, pairs_text, print_table
from vaultlayer_cli.terminal import STATUS_STYLES, full, has_colour, paint, print_json
from vaultlayer_cli.units import ago_text, duration_text, size_text, usd_text

COLUMNS = (
    Column("ATTEMPT", is_number=True),
    Column("PROVIDER"),
    Column("STATE"),
    Column("ORDERED", is_number=True),
    Column("LIVED", is_number=True),
    Column("FROM", is_number=True),
    Column("TO", is_number=True),
    Column("AGAIN", is_number=True),
    Column("COST", is_number=True),
    Column("INSTANCE", least=8, is_optional=True),
    Column("WHY", least=24),
)


def show(job: JobArgument, as_json: AsJson = False) -> None:
    """Show one job: attempts, checkpoints, cost.

    FROM is the step that an attempt went on from, TO the last one that is known of it; AGAIN is how many
    steps the attempt before it is known to have made beyond FROM.
    """
    run_async(_show, job, as_json)


async def _show(wanted: str, as_json: bool) -> None:
    async with session() as opened:
        job = await read_job(opened.bus, await find_job(opened.bus, wanted))
    now_s = time.time()
    if as_json:
        print_json(job_object(job, now_s))
        return
    colour = has_colour(sys.stdout)
    sys.stdout.write(pairs_text(pairs(job, now_s, colour=colour), colour=colour))
    if job.attempts:
        sys.stdout.write("\n")
        sys.stdout.flush()
        print_table(COLUMNS, [cells(a, job, now_s) for a in job.attempts.values()])


def job_object(job: Job, now_s: float) -> dict[str, Any]:
    """Give the job as `--json` prints it: every field, the attempts as a list, and what follows from it."""
    return {
        **full(job),
        "attempts": [full(attempt) for attempt in job.attempts.values()],
        "status": job.status,
        "spent_usd": spent_usd(job, now_s),
    }


def pairs(job: Job, now_s: float, *, colour: bool) -> list[tuple[str, str]]:
    """Give what stands above the table of attempts."""
    spec, budget = job.spec, job.spec.budget
    caps = [
        f"at most {usd_text(budget.max_cost_usd)}" if budget.max_cost_usd else "",
        f"{usd_text(budget.max_price_usd_h)}/h a machine" if budget.max_price_usd_h else "",
        f"within {duration_text(budget.deadline_s)}" if budget.deadline_s else "",
        f"{budget.user_restarts} restarts" if budget.user_restarts else "",
    ]
    status = paint(job.status, STATUS_STYLES.get(job.status, ""), colour=colour)
    return [
        ("job", f"{job.job}{'  ' + spec.name if spec.name else ''}"),
        ("status", f"{status}{': ' + job.reason if job.reason else ''}"),
        ("exit status", str(job.exit_code) if job.outcome else ""),
        ("command", shlex.join(spec.command)),
        ("submitted", ago_text(job.submitted_at, now_s)),
        ("took", duration_text(job.finished_at - job.submitted_at) if job.outcome else ""),
        ("gpu", f"{spec.gpu}:{spec.gpu_count}" if spec.gpu else ""),
        ("providers", ", ".join(spec.providers)),
        ("image", spec.image),
        ("outputs", ", ".join(spec.outputs)),
        ("environment", f"{', '.join(spec.env_names)} (sealed)" if spec.env_names else ""),
        ("limits", ", ".join(cap for cap in caps if cap)),
        ("resume", _resume(job)),
        ("checkpoints", _checkpoints(job, now_s)),
        ("cost", usd_text(spent_usd(job, now_s))),
    ]


def _resume(job: Job) -> str:
    if not job.tier:
        return ""
    return f"tier {job.tier}: {job.tier_detail or TIERS.get(job.tier, '')}"


def _checkpoints(job: Job, now_s: float) -> str:
    head = job.head
    if head is None:
        return "none yet"
    step = f"step {head.step}, " if head.step is not None else ""
    return f"{job.checkpoint_count}, newest: {step}{size_text(head.size_b)}, {ago_text(head.at, now_s)}"


def cells(attempt: AttemptState, job: Job, now_s: float) -> list[str]:
    """Give the cells of one attempt."""
    end = attempt.ended_at or (job.finished_at or now_s)
    tag = instance_name(JobId(job.job), Attempt(attempt.number))
    return [
        str(attempt.number),
        attempt.provider,
        state_text(attempt),
        f"+{duration_text(attempt.ordered_at - job.submitted_at)}",
        duration_text(end - attempt.ordered_at),
        "" if attempt.resumed_step is None else str(attempt.resumed_step),
        "" if attempt.last_step is None else str(attempt.last_step),
        "" if attempt.again_steps is None else str(attempt.again_steps),
        usd_text(attempt.cost_usd) if attempt.cost_usd else "",
        "" if attempt.instance == tag else attempt.instance,
        attempt.end_reason,
    ]


def state_text(attempt: AttemptState) -> str:
    """Give where an attempt is, and for one that is over whether its machine is gone."""
    if attempt.is_live:
        return "suspect" if attempt.suspected_at else attempt.phase.value
    how = attempt.end.value.replace("_", " ")
    if attempt.end is End.EXITED and attempt.exit_code:
        how = f"exited ({attempt.exit_code})"
    return how if attempt.phase is Phase.GONE else f"{how}, not gone yet"
