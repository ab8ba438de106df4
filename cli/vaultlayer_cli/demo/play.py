"""The demonstration itself: one script, run twice; the second run's machine is killed in mid-step."""

import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import msgspec

from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.errors import BrokerError, VaultLayerError
from vaultlayer.ids import JobId
from vaultlayer.messages import Drill, DrillAccepted
from vaultlayer.settings import Home, find_home
from vaultlayer_cli.broker import broker_file, start_broker, stop_broker
from vaultlayer_cli.config_file import config_text, write_config
from vaultlayer_cli.connect import new_cmd_id, session
from vaultlayer_cli.demo.stage import Stage
from vaultlayer_cli.demo.story import Figures, figures
from vaultlayer_cli.demo.uninterrupted import PINNED, digest, run_uninterrupted, script_directory
from vaultlayer_cli.follow import Follower
from vaultlayer_cli.pulling import choose, pull
from vaultlayer_cli.submit import Wish, submit
from vaultlayer_cli.workdir import scan

LOOK_S = 0.05

Disturb = Callable[[Bus, JobId], Coroutine[Any, Any, None]]
"""Does to a job what the demonstration is about, at moments of its choice."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown."""

    directory: Path
    steps: int = 120
    save_steps: int = 15
    kills: int = 2
    seed: int = 0
    clouds: list[str] = []
    """Providers, simulated, in the place of this machine."""
    gpu: str = ""

    @property
    def base(self) -> Path:
        """The directory, wherever we go."""
        return self.directory.absolute()

    @property
    def arguments(self) -> list[str]:
        """Of the script."""
        return ["--steps", str(self.steps), "--save-steps", str(self.save_steps)]

    def kill_steps(self) -> list[int]:
        """Give the steps at which the machine dies: spread over the run, each at a random place."""
        dice = random.Random(self.seed)
        share = self.steps / (self.kills + 1)
        return [round(share * (n + dice.uniform(0.55, 1.25))) for n in range(self.kills)]


async def play(plan: Plan) -> Figures:
    """Run the demonstration and give its figures."""
    home = await clear(plan)
    began_at = time.time()
    stage = Stage(plan.steps, "a training job survives two deaths of its machine")
    with stage:
        stage.line("starting the broker: nats-server, S3 server, five actors")
        await start_broker(home)
        try:
            return await _play(plan, stage, began_at)
        finally:
            await end(home)


async def clear(plan: Plan) -> Home:
    """Give a fresh home; an earlier demonstration may have been interrupted: end its broker first."""
    os.environ["VAULTLAYER_HOME"] = str(plan.base / "home")
    home = find_home()
    await end(home)
    shutil.rmtree(plan.base, ignore_errors=True)
    write_config(home, config_text(None))
    return home


async def end(home: Home) -> None:
    """Stop the broker of a home, when there is one."""
    found = broker_file(home)
    if found is not None:
        await stop_broker(found)


async def _play(plan: Plan, stage: Stage, began_at: float) -> Figures:
    wish = Wish(
        command=[sys.executable, "train.py", *plan.arguments], name="demo", env=dict(PINNED)
    )

    async def disturb(bus: Bus, job: JobId) -> None:
        await _kill_at(plan, stage, bus, job)

    async with session() as opened:
        await both(plan, stage, opened.bus, wish, disturb)
    assert stage.job is not None
    return figures(
        stage.job,
        stage.killed_at,
        stage.seen_step,
        bare=stage.uninterrupted,
        resumed=stage.resumed,
        began_at=began_at,
        now_s=time.time(),
    )


async def both(plan: Plan, stage: Stage, bus: Bus, wish: Wish, disturb: Disturb) -> None:
    """Run the script bare and as a job, side by side; the stage gets the digests of both.

    Raises:
        BrokerError: the job did not succeed.
        CommandError: the bare run failed.
    """

    async def bare() -> None:
        stage.uninterrupted = await run_uninterrupted(plan.base / "uninterrupted", plan.arguments)
        stage.line(f"the uninterrupted run has ended: {stage.uninterrupted[:16]}…", "green")

    async with anyio.create_task_group() as group:
        group.start_soon(bare)
        stage.resumed = await _survive(plan.base, stage, bus, wish, disturb)


async def _survive(base: Path, stage: Stage, bus: Bus, wish: Wish, disturb: Disturb) -> str:
    """Submit the script, disturb it, follow it to its end; gives the digest of its weights."""
    work = scan(script_directory(base / "work"), max_b=1 << 20)
    prepared = await submit(bus, wish, work, os.environ)
    follower = Follower(bus, prepared.job, stage)
    stage.bind(follower.events)
    async with anyio.create_task_group() as group:
        group.start_soon(disturb, bus, prepared.job)
        await follower.replay()
        await follower.run()
        group.cancel_scope.cancel()
    job = stage.job
    if job is None or job.outcome != "succeeded":
        raise BrokerError(
            f"the job ended as {job.outcome if job else 'unknown'}",
            why=job.reason if job else "",
            mend=f"VAULTLAYER_HOME={base / 'home'} vaultlayer up, then vaultlayer logs @last",
        )
    into = base / "pulled"
    await pull(bus, job, choose(job, ""), into)
    return digest(into / "out")


async def wait_for_step(stage: Stage, step: int) -> None:
    """Return when the script has passed a step on a machine that nothing has happened to."""
    while stage.step < step or stage.attempt in stage.killed_at:  # noqa: ASYNC110  progress is a level
        await anyio.sleep(LOOK_S)


async def _kill_at(plan: Plan, stage: Stage, bus: Bus, job: JobId) -> None:
    """Kill the machine each time the script passes one of the planned steps, at a random moment in it."""
    dice = random.Random(plan.seed + 1)
    for step in plan.kill_steps():
        await wait_for_step(stage, step)
        await anyio.sleep(dice.uniform(0.0, 0.2))
        await _kill(stage, bus, job)


async def _kill(stage: Stage, bus: Bus, job: JobId) -> None:
    order = Drill(cmd_id=new_cmd_id(), verb="kill", grace_s=0.0)
    killed_at = time.time()
    try:
        accepted = await bus.request(subjects.drill(job), order, DrillAccepted, timeout_s=5.0)
    except VaultLayerError as error:
        stage.told(f"the machine could not be killed: {error.what}")
        return
    stage.killed_at[accepted.attempt] = killed_at
    stage.line(f"SIGKILL to everything on the machine of attempt {accepted.attempt}", "red bold")
