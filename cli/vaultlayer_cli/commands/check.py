"""`vaultlayer check`."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from vaultlayer.settings import Settings, find_home
from vaultlayer_cli import exit_codes
from vaultlayer_cli import run_options as opt
from vaultlayer_cli.check.play import Plan, play
from vaultlayer_cli.check.snapshot import check_job
from vaultlayer_cli.check.verdict import EXACT, Found, lines_of
from vaultlayer_cli.config_file import settings_or_none
from vaultlayer_cli.connect import run_async
from vaultlayer_cli.environment import gather_env
from vaultlayer_cli.look.expect import Choice
from vaultlayer_cli.look.read import look
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.script import check_command
from vaultlayer_cli.submit import check_resume_args
from vaultlayer_cli.terminal import full, print_json, say
from vaultlayer_cli.units import parse_duration
from vaultlayer_cli.workdir import scan

MB = 1_000_000


def check(  # noqa: PLR0917  typer calls it by name
    command: opt.Command = None,
    steps: Annotated[int, typer.Option(min=3, help="Steps to compare after the kill.")] = 20,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Give up after so long.")] = "5m",
    env: opt.Env = None,
    env_file: opt.EnvFile = None,
    resume_args: opt.ResumeArgs = "",
    as_json: AsJson = False,
) -> int:
    """Try on this machine whether a script resumes, before money is spent.

    The script runs bare for some steps, then as a job whose machine is killed (SIGKILL) after its first
    snapshot; what the job does afterwards is compared, step by step, with what it had done before. All of it
    happens in copies of the working directory and with a broker of its own; nothing of yours is changed.

    With a job in place of a command, that job's newest snapshot is fetched and replayed here, while the job
    goes on: its next values must be those that the job has recorded.

    The exit status is 0 when it went on exactly, and 1 when it did not or that could not be seen.
    """
    words = list(command or [])
    variables = gather_env(env_file or [], env or [], os.environ)
    timeout_s = parse_duration(timeout, "--timeout")
    if len(words) == 1 and not Path(words[0]).exists() and not shutil.which(words[0]):
        found = run_async(check_job, words[0], variables, timeout_s)
        return _told(found, as_json=as_json)
    home = find_home()
    settings = settings_or_none(home) or Settings()
    workdir = scan(Path.cwd(), max_b=settings.run.workdir_max_mb * MB, home=home)
    check_command(words, workdir)
    plan = Plan(
        command=words,
        workdir=workdir,
        expected=look(words, workdir.path, Choice(resume_args=bool(resume_args))),
        env=variables,
        resume_args=check_resume_args(resume_args),
        steps=steps,
        timeout_s=timeout_s,
    )

    def tell(text: str) -> None:
        if not as_json:
            say(text)

    return _told(run_async(play, plan, tell), as_json=as_json)


def _told(found: Found, *, as_json: bool) -> int:
    if as_json:
        print_json({**full(found), "overhead": found.overhead})
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines_of(found)))
    return exit_codes.OK if found.verdict == EXACT else exit_codes.CHECK_FAILED
