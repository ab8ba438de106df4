"""`vaultlayer drill`."""

from typing import Annotated

import typer

from vaultlayer import subjects
from vaultlayer.errors import FlagError
from vaultlayer.messages import Drill, DrillAccepted
from vaultlayer_cli.connect import ASK_S, new_cmd_id, run_async, session
from vaultlayer_cli.names import find_job
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.options import Job as JobArgument
from vaultlayer_cli.submit import again
from vaultlayer_cli.terminal import print_json, say
from vaultlayer_cli.units import parse_duration

VERBS = {
    "kill": "its machine dies at once",
    "freeze": "its machine stops answering and goes on existing",
    "preempt": "its provider gives notice and takes the machine",
}


def drill(
    job: JobArgument,
    verb: Annotated[str, typer.Argument(metavar="kill|freeze|preempt", show_default=False)],
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="preempt: from the notice to the end.")
    ] = "30s",
    as_json: AsJson = False,
) -> None:
    """Kill, freeze or preempt a job's machine, to see it recover.

    kill: the machine dies at once. freeze: it stops answering and goes on existing. preempt: its provider
    gives notice, and takes it after the grace.
    """
    if verb not in VERBS:
        raise FlagError(f"no drill is called {verb!r}", mend=f"one of: {', '.join(VERBS)}")
    run_async(_drill, job, verb, parse_duration(grace, "--grace"), as_json)


async def _drill(wanted: str, verb: str, grace_s: float, as_json: bool) -> None:
    async with session() as opened:
        job = await find_job(opened.bus, wanted)
        request = Drill(cmd_id=new_cmd_id(), verb=verb, grace_s=grace_s)
        accepted = await again(
            lambda: opened.bus.request(subjects.drill(job), request, DrillAccepted, timeout_s=ASK_S)
        )
    if as_json:
        print_json({"job": job, "verb": verb, "attempt": accepted.attempt})
    else:
        say(f"{verb} attempt {accepted.attempt} of {job}: {VERBS[verb]}")
        say(f"see it recover: vaultlayer watch {job}")
