"""A stand-in for the agent: the worst script that an instance can have to contain."""

import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec

from vaultlayer.driver import BootPayload, Offer, Order
from vaultlayer.ids import Attempt, JobId, instance_name
from vaultlayer_actors.drivers.local.driver import LocalDriver, LocalOptions
from vaultlayer_actors.drivers.local.processes import Identity, is_alive, look_at

QUIET = "import time; time.sleep(600)"

# The agent starts a script that ignores SIGTERM; the script has a child, a grandchild in a session of its
# own, and one whose environment is empty, so that no mark can be found on it.
WILD = """
import json, os, signal, subprocess, sys, time
boot = json.load(open(sys.argv[sys.argv.index("--boot") + 1]))
def note(word):
    with open(os.path.join(boot["state_path"], "pids"), "a") as file:
        file.write(f"{word} {os.getpid()}\\n")
def settle(word):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(word)
    time.sleep(600)
note("agent")
if os.fork() == 0:
    if os.fork() == 0:
        settle("child")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            settle("grandchild")
        os._exit(0)
    if os.fork() == 0:
        code = "import os, time; print('bare', os.getpid(), flush=True); time.sleep(600)"
        out = open(os.path.join(boot["state_path"], "pids"), "a")
        os.setsid()
        if os.fork() == 0:
            os.dup2(out.fileno(), 1)
            os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code], {})
        os._exit(0)
    settle("script")
time.sleep(600)
"""
WILD_KINDS = {"agent", "script", "child", "grandchild", "bare"}
JOB = JobId("j234567abc")


def agent_of(code: str, path: Path) -> list[str]:
    """Give the command of an agent that runs `code`."""
    path.mkdir(parents=True, exist_ok=True)
    file = path / "standin_agent.py"
    if not file.exists() or file.read_text() != code:
        file.write_text(code)
    return [sys.executable, "-I", "-S", str(file)]


def local_driver(path: Path, code: str = QUIET, *, slots: int = 50) -> LocalDriver:
    return LocalDriver(path / "local", LocalOptions(agent=agent_of(code, path), slots=slots))


Make = Callable[..., LocalDriver]


@asynccontextmanager
async def drivers_below(path: Path) -> AsyncGenerator[Make]:
    """Give what makes drivers with one state; all their instances are ended on the way out."""
    made: list[LocalDriver] = []

    def make(code: str = QUIET, *, slots: int = 50) -> LocalDriver:
        made.append(local_driver(path, code, slots=slots))
        return made[-1]

    yield make
    for driver in made:
        for instance in await driver.list():
            await driver.terminate(instance.instance)
        await driver.close()


def order_of(job: JobId = JOB, attempt: int = 1, *, gpu: str = "", gpu_count: int = 0) -> Order:
    name = instance_name(job, Attempt(attempt))
    return Order(
        name=name,
        offer=Offer(provider="local", offer_id="local-cpu", gpu=gpu, gpu_count=gpu_count),
        boot=BootPayload(
            job=job,
            attempt=attempt,
            incarnation="abcdefgh",
            provider="local",
            bus_urls=["nats://127.0.0.1:1"],
            enrol_jwt="jwt",
            enrol_seed="seed",
            work_path="",
        ),
    )


async def wild_pids(state_path: Path) -> dict[str, Identity]:
    """Wait until every process of WILD has told its id."""

    def read() -> dict[str, Identity]:
        try:
            lines = [line.split() for line in (state_path / "pids").read_text().splitlines()]
        except FileNotFoundError:
            return {}
        found = {word: look_at(int(pid)) for word, pid in lines}
        return {word: process.identity for word, process in found.items() if process is not None}

    await until(lambda: set(read()) == WILD_KINDS)
    return read()


async def until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    """Wait until `condition` holds."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        await anyio.sleep(0.01)


def living(identities: dict[str, Identity]) -> set[str]:
    return {word for word, identity in identities.items() if is_alive(identity)}


def read_json(path: Path) -> dict[str, object]:
    return json.loads(path.read_bytes())


def first_of(driver_path: Path, name: str) -> Identity:
    """Read who the first process of an instance is."""
    file = driver_path / "local" / "instances" / name / "instance.json"
    return msgspec.json.decode(file.read_bytes(), type=Identity)
