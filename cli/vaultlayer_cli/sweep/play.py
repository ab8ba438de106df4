"""Runs the smoke jobs on one provider through the ordinary product, and judges them."""

import hashlib
import json
import os
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import msgspec

from vaultlayer import __version__, subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.errors import VaultLayerError
from vaultlayer.events import Budget
from vaultlayer.gpu import GpuNeed
from vaultlayer.ids import JobId
from vaultlayer.job import Job, Phase, spent_usd
from vaultlayer.messages import Cancel, Done, Drill, DrillAccepted, LogsPage, LogsRequest
from vaultlayer.settings import Settings
from vaultlayer_cli.connect import ASK_S, new_cmd_id
from vaultlayer_cli.state import read_job
from vaultlayer_cli.submit import Wish, submit
from vaultlayer_cli.sweep.records import Record
from vaultlayer_cli.workdir import scan

JOBS = Path(__file__).with_name("jobs")
LOOK_S = 0.5
KILL_AFTER_CHECKPOINTS = 1
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Smoke(msgspec.Struct, frozen=True):
    """One job: its script, its arguments, whether its machine is killed on the way."""

    name: str
    script: str
    arguments: list[str]
    kill: bool = False
    deadline_s: float = 1200.0


SMOKES = (
    Smoke("quick", "quick.py", ["--steps", "200"]),
    Smoke(
        "kill-and-resume",
        "quick.py",
        ["--steps", "900", "--pause", "0.1", "--save-every", "50"],
        kill=True,
    ),
    Smoke("adapter", "adapter.py", []),
)


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """Where the jobs run and what they may cost."""

    provider: str
    gpu: GpuNeed
    budget_usd: float
    settings: Settings
    python: str = "python3"


def kind_of(settings: Settings, provider: str) -> str:
    """Tell whether a provider's address is a simulator's, on this machine."""
    if provider == "local":
        return "local"
    endpoint = str(settings.providers.get(provider, {}).get("endpoint", ""))
    return "simulated" if urlsplit(endpoint).hostname in LOOPBACK else "live"


def expected_digest(smoke: Smoke) -> str:
    """Give the digest of an uninterrupted run of a plain smoke job, worked out here."""
    script = runpy.run_path(str(JOBS / smoke.script))
    state = script["fresh"]()
    for _ in range(int(smoke.arguments[1])):
        script["train_step"](state)
    return hashlib.sha256(json.dumps(state["weights"]).encode()).hexdigest()


async def play(bus: Bus, ground: Ground, smoke: Smoke, tell: Callable[[str], None]) -> Record:
    """Run one smoke job to its end and judge it; what is left of the budget is its cap."""
    began_at = time.time()
    record = Record(
        provider=ground.provider,
        smoke=smoke.name,
        kind=kind_of(ground.settings, ground.provider),
        gpu=f"{ground.gpu.name}:{ground.gpu.count}" if ground.gpu.name else "",
        at=began_at,
        version=__version__,
    )
    try:
        job = await _submit(bus, ground, smoke)
    except VaultLayerError as error:
        return msgspec.structs.replace(record, detail=str(error).replace("\n", "; "))
    tell(f"{smoke.name}: job {job}")
    record = msgspec.structs.replace(record, job=job)
    try:
        with anyio.fail_after(smoke.deadline_s):
            killed = await _kill(bus, job, tell) if smoke.kill else ""
            state = await _finished(bus, job)
    except TimeoutError:
        await bus.request(subjects.cancel(job), Cancel(cmd_id=new_cmd_id()), Done, timeout_s=ASK_S)
        state, killed = await read_job(bus, job), "it did not end in time, and was cancelled"
    except BaseException:
        with anyio.CancelScope(shield=True), anyio.move_on_after(ASK_S):
            await bus.request(
                subjects.cancel(job), Cancel(cmd_id=new_cmd_id()), Done, timeout_s=ASK_S
            )
        raise
    said = await _said(bus, job)
    fault = killed or judge(smoke, state, said)
    return msgspec.structs.replace(
        record,
        passed=not fault,
        detail=fault,
        attempts=state.attempt_count,
        resumed_step=max(
            (a.resumed_step for a in state.attempts.values() if a.resumed_step is not None),
            default=int(said["first"]) if said.get("first") else None,
        ),
        train_s=round(float(said.get("train_s", 0.0)), 3),
        wall_s=round(time.time() - began_at, 3),
        cost_usd=round(spent_usd(state, time.time()), 6),
    )


def judge(smoke: Smoke, state: Job, said: dict[str, Any]) -> str:
    """Say what is wrong with a smoke job that has ended; empty for nothing."""
    if state.outcome != "succeeded":
        return f"it {state.outcome or 'did not end'}: {state.reason}"
    if not said:
        return "its last line is missing in the log"
    if smoke.script == "quick.py" and said.get("digest") != expected_digest(smoke):
        return "its result is not that of an undisturbed run"
    if smoke.kill and (state.attempt_count < 2 or not said.get("first")):
        return "it was killed and did not go on from a checkpoint"
    if smoke.script == "adapter.py" and not said.get("fell"):
        return "its loss did not fall"
    return ""


async def _submit(bus: Bus, ground: Ground, smoke: Smoke) -> JobId:
    with tempfile.TemporaryDirectory(prefix="vaultlayer-sweep-") as directory:
        work = Path(directory)
        shutil.copy(JOBS / smoke.script, work)
        python = sys.executable if ground.provider == "local" else ground.python
        wish = Wish(
            command=[python, smoke.script, *smoke.arguments],
            name=f"sweep-{ground.provider}-{smoke.name}",
            gpu=ground.gpu,
            providers=[ground.provider],
            budget=Budget(max_cost_usd=ground.budget_usd, deadline_s=smoke.deadline_s),
        )
        prepared = await submit(bus, wish, scan(work, max_b=1 << 20), os.environ)
        return prepared.job


async def _kill(bus: Bus, job: JobId, tell: Callable[[str], None]) -> str:
    """Kill the machine once a checkpoint is committed; says why when that could not be done."""
    while True:
        state = await read_job(bus, job)
        active = state.active_attempt
        if state.outcome:
            return "it ended before it could be killed"
        if (
            active is not None
            and active.phase is Phase.ACTIVE
            and state.checkpoint_count >= KILL_AFTER_CHECKPOINTS
        ):
            break
        await anyio.sleep(LOOK_S)
    order = Drill(cmd_id=new_cmd_id(), verb="kill", grace_s=0.0)
    try:
        accepted = await bus.request(subjects.drill(job), order, DrillAccepted, timeout_s=ASK_S)
    except VaultLayerError as error:
        return f"its machine could not be killed: {error.what}"
    tell(f"killed the machine of attempt {accepted.attempt}")
    return ""


async def _finished(bus: Bus, job: JobId) -> Job:
    while True:
        state = await read_job(bus, job)
        if state.outcome:
            return state
        await anyio.sleep(LOOK_S)


async def _said(bus: Bus, job: JobId) -> dict[str, Any]:
    """Give what the script said of itself in its last line."""
    text, after = "", 0
    while True:
        page = await bus.request(
            subjects.query(job, "logs"), LogsRequest(after=after), LogsPage, timeout_s=ASK_S
        )
        text += "".join(stored.chunk.text for stored in page.logs)
        after = page.logs[-1].seq if page.logs else after
        if not page.more:
            break
    lines = [line for line in text.splitlines() if line.startswith("SMOKE ")]
    return json.loads(lines[-1].removeprefix("SMOKE ")) if lines else {}
