"""The demonstration itself: one script, run twice; the second run's machine is killed in mid-step."""

import os
import random
import shutil
import sys
import time
from pathlib import Path

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


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown."""

    directory: Path
    steps: int = 120
    save_steps: int = 15
    kills: int = 2
    seed: int = 0

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
    base = plan.directory.absolute()
    os.environ["VAULTLAYER_HOME"] = str(base / "home")
    home = find_home()
    await _clear(base, home)
    write_config(home, config_text(None))
    began_at = time.time()
    stage = Stage(plan.steps)
    with stage:
        stage.line("starting the broker: nats-server, S3 server, five actors")
        await start_broker(home)
        try:
            return await _both(plan, base, stage, began_at)
        finally:
            await _end(home)


async def _clear(base: Path, home: Home) -> None:
    """An earlier demonstration may have been interrupted: end its broker, and forget it."""
    await _end(home)
    shutil.rmtree(base, ignore_errors=True)


async def _end(home: Home) -> None:
    found = broker_file(home)
    if found is not None:
        await stop_broker(found)


async def _both(plan: Plan, base: Path, stage: Stage, began_at: float) -> Figures:
    async def bare() -> None:
        stage.uninterrupted = await run_uninterrupted(base / "uninterrupted", plan.arguments)
        stage.line(f"the uninterrupted run has ended: {stage.uninterrupted[:16]}…", "green")

    resumed = ""
    async with session() as opened, anyio.create_task_group() as group:
        group.start_soon(bare)
        resumed = await _survive(plan, base, stage, opened.bus)
    assert stage.job is not None
    return figures(
        stage.job,
        stage.killed_at,
        stage.seen_step,
        bare=stage.uninterrupted,
        resumed=resumed,
        began_at=began_at,
        now_s=time.time(),
    )


async def _survive(plan: Plan, base: Path, stage: Stage, bus: Bus) -> str:
    """Submit the script, kill its machine, follow it to its end; gives the digest of its weights."""
    work = scan(script_directory(base / "work"), max_b=1 << 20)
    wish = Wish(
        command=[sys.executable, "train.py", *plan.arguments], name="demo", env=dict(PINNED)
    )
    prepared = await submit(bus, wish, work, os.environ)
    follower = Follower(bus, prepared.job, stage)
    stage.bind(follower.events)
    async with anyio.create_task_group() as group:
        group.start_soon(_kill_at, plan, stage, bus, prepared.job)
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


async def _kill_at(plan: Plan, stage: Stage, bus: Bus, job: JobId) -> None:
    """Kill the machine each time the script passes one of the planned steps, at a random moment in it."""
    dice = random.Random(plan.seed + 1)
    for step in plan.kill_steps():
        while stage.step < step or stage.attempt in stage.killed_at:  # noqa: ASYNC110  progress is a level
            await anyio.sleep(LOOK_S)
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
