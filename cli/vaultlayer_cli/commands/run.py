"""`vaultlayer run`."""

import os
import time
from pathlib import Path

import typer

from vaultlayer import gpu as gpus
from vaultlayer.errors import FlagError
from vaultlayer.events import Budget
from vaultlayer.every import parse_every
from vaultlayer.settings import Home, Settings, find_home
from vaultlayer_cli import exit_codes
from vaultlayer_cli import run_options as opt
from vaultlayer_cli.attend import attend
from vaultlayer_cli.broker import ensure_broker
from vaultlayer_cli.config_file import config_text, settings_or_none, write_config
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.environment import gather_env
from vaultlayer_cli.look.expect import Choice
from vaultlayer_cli.look.read import look
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.providers import check_providers
from vaultlayer_cli.script import check_command
from vaultlayer_cli.submit import Wish, check_every, check_outputs, check_resume_args, submit
from vaultlayer_cli.terminal import full, print_json, say
from vaultlayer_cli.units import duration_text, parse_duration, size_text
from vaultlayer_cli.workdir import Workdir, scan

MB = 1_000_000
TELL_B = 10 * MB
"""More than this takes long enough to be announced."""


def run(  # noqa: PLR0917  typer calls it by name
    command: opt.Command = None,
    gpu: opt.Gpu = "",
    env: opt.Env = None,
    env_file: opt.EnvFile = None,
    name: opt.Name = "",
    provider: opt.Provider = None,
    image: opt.Image = "",
    output: opt.Output = None,
    resume_args: opt.ResumeArgs = "",
    no_hooks: opt.NoHooks = False,
    detach: opt.Detach = False,
    max_cost: opt.MaxCost = None,
    max_price: opt.MaxPrice = None,
    restarts: opt.Restarts = 0,
    deadline: opt.Deadline = "",
    exclusive: opt.Exclusive = False,
    strict: opt.Strict = False,
    snapshot_every: opt.SnapshotEvery = "",
    as_json: AsJson = False,
) -> int:
    """Run a command as a job that survives its machine.

    The working directory is sent with it, without what .gitignore and .vaultlayerignore name. The script's
    output comes to stdout, what happens to the job to stderr. Ctrl-C detaches; the job goes on. The exit
    status is the script's own.
    """
    home = find_home()
    settings = settings_or_none(home)
    wish = Wish(
        command=list(command or []),
        name=name,
        gpu=gpus.parse(gpu) if gpu else gpus.GpuNeed(),
        providers=check_providers(provider or [], settings),
        image=image,
        outputs=check_outputs(output or [], Path.cwd()),
        resume_args=check_resume_args(resume_args),
        hooks=not no_hooks,
        env=gather_env(env_file or [], env or [], os.environ),
        budget=Budget(
            max_cost_usd=_positive(max_cost, "--max-cost"),
            max_price_usd_h=_positive(max_price, "--max-price"),
            deadline_s=parse_duration(deadline, "--deadline") if deadline else None,
            user_restarts=restarts,
        ),
        exclusive=exclusive,
        strict=strict,
        snapshot_every=check_every(snapshot_every),
    )
    max_b = (settings or Settings()).run.workdir_max_mb * MB
    workdir = scan(Path.cwd(), max_b=max_b, home=home)
    check_command(wish.command, workdir)
    tell_expected(wish, workdir, as_json=as_json)
    return run_async(
        _submit_and_attend, home, settings, wish, workdir, detach=detach, as_json=as_json
    )


def _positive(value: float | None, flag: str) -> float | None:
    if value is not None and value <= 0:
        raise FlagError(f"{flag} {value:g}: it must be above zero", mend=f"{flag} 5")
    return value


def tell_expected(wish: Wish, workdir: Workdir, *, as_json: bool) -> None:
    """Say before anything is spent when an interruption would cost all that was done."""
    choice = Choice(
        hooks=wish.hooks, no_ghost=_no_ghost(wish, workdir), resume_args=bool(wish.resume_args)
    )
    expected = look(wish.command, workdir.path, choice)
    if as_json and expected.tier:
        print_json({"type": "expected", **full(expected)})
    for line in [] if as_json else expected.lines:
        say(line)


def _no_ghost(wish: Wish, workdir: Workdir) -> str:
    """Say what rules snapshots for exact resume out: they hold the working directory, and no other."""
    if parse_every(wish.snapshot_every).is_off:
        return "--snapshot-every off"
    top = workdir.path.resolve()
    for output in wish.outputs:
        if not Path(top, output).resolve().is_relative_to(top):
            return (
                f"--output {output} lies outside the working directory, which rules snapshots out"
            )
    return ""


async def _submit_and_attend(
    home: Home,
    settings: Settings | None,
    wish: Wish,
    workdir: Workdir,
    *,
    detach: bool,
    as_json: bool,
) -> int:
    def tell(text: str) -> None:
        if not as_json:
            say(text)

    if settings is None:
        path = write_config(home, config_text())
        settings = Settings()
        tell(f"first use on this machine: wrote {path}")
    began_s = time.monotonic()
    if await ensure_broker(home, is_local=not settings.bus.urls):
        tell(f"started the broker on this machine in {duration_text(time.monotonic() - began_s)}")
    if workdir.size_b > TELL_B:
        tell(f"sending {len(workdir.files)} files, {size_text(workdir.size_b)}")
    async with session(home) as opened:
        prepared = await submit(opened.bus, wish, workdir, os.environ)
        if as_json:
            print_json({"type": "job", "job": prepared.job, "name": wish.name})
        code = prepared.code
        tell(f"job {prepared.job}: sent {code.files} files, {size_text(code.size_b)}")
        if detach:
            tell(f"follow it: vaultlayer watch {prepared.job}")
            if not as_json:
                typer.echo(prepared.job)
            return exit_codes.OK
        return await attend(opened.bus, prepared.job, as_json=as_json)
