"""`vaultlayer cancel`."""

import getpass
from typing import Annotated

import typer

from vaultlayer import subjects
from vaultlayer.messages import Cancel, Done
from vaultlayer_cli.attend import attend
from vaultlayer_cli.connect import ASK_S, new_cmd_id, run_async, session
from vaultlayer_cli.names import find_job
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.options import Job as JobArgument
from vaultlayer_cli.state import read_job
from vaultlayer_cli.submit import again
from vaultlayer_cli.terminal import print_json, say


def cancel(
    job: JobArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop a job; what it has saved stays.

    The script gets SIGTERM and time to save; then its machine is ended.
    """
    run_async(_cancel, job, wait, as_json)


async def _cancel(wanted: str, wait: bool, as_json: bool) -> None:
    async with session() as opened:
        job = await find_job(opened.bus, wanted)
        before = await read_job(opened.bus, job)
        request = Cancel(cmd_id=new_cmd_id(), by=_who())
        await again(
            lambda: opened.bus.request(subjects.cancel(job), request, Done, timeout_s=ASK_S)
        )
        if as_json:
            print_json({"job": job, "was": before.status, "cancelled": not before.outcome})
        elif before.outcome:
            say(f"{job} is over already: {before.status}")
        else:
            say(f"{job} will stop; it was {before.status}")
        if wait and not before.outcome:
            await attend(opened.bus, job, as_json=as_json, lines=0)


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
