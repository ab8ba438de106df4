"""Which job a person means: an id, the beginning of one, a name, or the newest."""

from collections.abc import Sequence
from difflib import get_close_matches

from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.errors import FlagError, JobUnknownError
from vaultlayer.ids import JobId, is_job_id
from vaultlayer.messages import JobList, JobRow, ListJobs
from vaultlayer_cli.connect import ASK_S

NEWEST = ("@last", "-")
LIST_MAX = 10_000
SHOWN_MAX = 5


async def list_jobs(bus: Bus, *, everything: bool, most: int = LIST_MAX) -> list[JobRow]:
    """Give the rows of `ps`, newest first."""
    request = ListJobs(all=everything, most=most)
    reply = await bus.request(subjects.LIST_JOBS, request, JobList, timeout_s=ASK_S)
    return reply.jobs


async def find_job(bus: Bus, wanted: str) -> JobId:
    """Give the job that `wanted` names.

    Raises:
        JobUnknownError: there is none.
        FlagError: several begin like that.
    """
    if is_job_id(wanted):
        return JobId(wanted)
    return choose(wanted, await list_jobs(bus, everything=True))


def choose(wanted: str, rows: Sequence[JobRow]) -> JobId:
    """Choose among all jobs, newest first: by the newest, by name, by the beginning of an id.

    Of several jobs of one name the newest is meant.

    Raises:
        JobUnknownError: none fits; near names are told.
        FlagError: several ids begin like that.
    """
    if wanted in NEWEST:
        if not rows:
            raise JobUnknownError("there is no job yet", mend="vaultlayer run python train.py")
        return JobId(rows[0].job)
    for row in rows:
        if row.name and row.name == wanted:
            return JobId(row.job)
    found = [row.job for row in rows if wanted and row.job.startswith(wanted)]
    if len(found) == 1:
        return JobId(found[0])
    if found:
        shown = ", ".join(found[:SHOWN_MAX]) + (" …" if len(found) > SHOWN_MAX else "")
        raise FlagError(
            f"{len(found)} jobs begin with {wanted!r}", why=shown, mend="give more of the id"
        )
    known = dict.fromkeys(name for row in rows for name in (row.name, row.job) if name)
    near = get_close_matches(wanted, known)
    raise JobUnknownError(
        f"no job is called {wanted!r}",
        why=f"nearest: {', '.join(near)}" if near else "",
        mend="vaultlayer ps --all",
    )
