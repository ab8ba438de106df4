"""The check itself: the script bare, then as a job on this machine that is killed and must go on."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import anyio
import msgspec
import psutil

from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.errors import CheckError
from vaultlayer.settings import find_home
from vaultlayer_cli.broker import broker_file, start_broker, stop_broker
from vaultlayer_cli.check import trace as tr
from vaultlayer_cli.check.bare import Bare, failure, run_bare
from vaultlayer_cli.check.trial import Trial
from vaultlayer_cli.check.verdict import Found
from vaultlayer_cli.config_file import config_text, write_config
from vaultlayer_cli.connect import session
from vaultlayer_cli.environment import host_part
from vaultlayer_cli.look.command import LAUNCHERS
from vaultlayer_cli.look.expect import Expected
from vaultlayer_cli.submit import Wish, submit
from vaultlayer_cli.workdir import Workdir

PROBE = Path(__file__).parent / "probe"
APART_S = 3.0
"""Between two snapshots, so that most steps are those of an ordinary run."""

FIRST_SHARE = 0.2
"""Of the time that a check may take: how long the bare run's first step may take."""

LEAST_STEPS = 3


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked."""

    command: list[str]
    workdir: Workdir
    expected: Expected
    env: dict[str, str] = {}
    resume_args: str = ""
    steps: int = 20
    timeout_s: float = 300.0


Tell = Callable[[str], None]


async def play(plan: Plan, tell: Tell) -> Found:
    """Check a script.

    Raises:
        CheckError: it cannot be checked here; says why and what helps.
    """
    base = Path(tempfile.mkdtemp(prefix="vaultlayer-check-"))
    os.environ["VAULTLAYER_HOME"] = str(base / "home")
    try:
        with anyio.fail_after(plan.timeout_s):
            async with task_group() as group:
                group.start_soon(_heed_signals)
                found = await _play(plan, base, tell)
                group.cancel_scope.cancel()
            return found
    except TimeoutError as error:
        raise CheckError(
            f"nothing was found out within {plan.timeout_s:.0f} s",
            why="the script, its first save or its way back took longer",
            mend=f"--timeout {plan.timeout_s * 3:.0f}, or fewer --steps",
        ) from error
    finally:
        shutil.rmtree(base, ignore_errors=True)


async def _heed_signals() -> None:
    """End as after an error when we are told to: a broker and a machine run for this check alone."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as received:
        async for number in received:
            raise CheckError(f"the check was ended by {number.name}")


async def _play(plan: Plan, base: Path, tell: Tell) -> Found:
    tell(f"running it bare for at least {2 * plan.steps} steps, in a copy")
    env = _environment(plan, base)
    bare = await run_bare(
        plan.command,
        plan.workdir,
        base,
        {**host_part(os.environ), **env},
        steps=2 * plan.steps,
        first_s=plan.timeout_s * FIRST_SHARE,
    )
    _refuse(bare, plan)
    every = _every(bare, plan)
    tell(f"running it as a job, with a snapshot each {every} steps; its machine will be killed")
    env["VAULTLAYER_SAVE_EVERY_STEPS"] = str(every)
    async with _broker(), session() as opened:
        wish = Wish(
            command=plan.command,
            name="check",
            env=env,
            resume_args=plan.resume_args,
            snapshot_every=f"{every}steps",
        )
        prepared = await submit(opened.bus, wish, plan.workdir, os.environ)
        trial = Trial(
            bare.trace,
            steps=plan.steps,
            every=every,
            traces=base / "traces",
            bus=opened.bus,
            job=prepared.job,
            tell=tell,
        )
        return await trial.run()


def _environment(plan: Plan, base: Path) -> dict[str, str]:
    """Give what both runs get: the user's own variables, what exactness needs pinned, and the witness."""
    is_launched = any(Path(word).name in LAUNCHERS for word in plan.command[:3]) or (
        "torch.distributed.run" in plan.command[:4]
    )
    cores = psutil.cpu_count(logical=False) or 1
    pins = {"PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONUNBUFFERED": "1"}
    if not is_launched:
        pins["OMP_NUM_THREADS"] = str(cores)
    old = plan.env.get("PYTHONPATH") or os.environ.get("PYTHONPATH")
    path = f"{PROBE}{os.pathsep}{old}" if old else str(PROBE)
    witness = {"PYTHONPATH": path, "VAULTLAYER_PROBE_DIR": str(base / "traces")}
    return {**pins, **plan.env, **witness}


def _refuse(bare: Bare, plan: Plan) -> None:
    """Refuse what cannot be checked.

    Raises:
        CheckError: the script fails, never steps, or is over too soon.
    """
    if bare.status:
        raise failure(bare, plan.workdir)
    steps, ended = bare.trace.steps, bare.status is not None
    if not steps and not plan.expected.tier:
        raise CheckError(
            "the script ended without an optimizer step"
            if ended
            else f"no optimizer step came within {plan.timeout_s * FIRST_SHARE:.0f} s",
            why="nothing in it that trains was seen: no torch.optim, no JAX, no Keras",
            mend="name the command that trains, or give it more time by --timeout",
        )
    if ended and 0 < steps < LEAST_STEPS:
        raise CheckError(
            f"the script is over after {steps} steps",
            why="a snapshot, a kill and a way back need a few more",
            mend="let it make more steps, by its own flags",
        )


def _every(bare: Bare, plan: Plan) -> int:
    return tr.snapshot_steps(
        tr.step_s(bare.trace),
        plan.steps,
        bare.trace.steps or plan.steps,
        ended=bare.status is not None and bool(bare.trace.steps),
        apart_s=APART_S,
    )


@contextlib.asynccontextmanager
async def _broker() -> AsyncGenerator[None]:
    """Serve for one check, in a home of its own."""
    home = find_home()
    write_config(home, config_text(None))
    await start_broker(home)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            found = broker_file(home)
            if found is not None:
                await stop_broker(found)
