"""A broker of many processes: each kind of actor dies once, its sibling or successor goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.test_kill_anything import began
from chaos.world import CLI, World, weights

pytestmark = [pytest.mark.chaos, pytest.mark.train, pytest.mark.timeout(600)]
KINDS = ("dispatcher", "provider_pool", "watchdog", "fencer", "credential_vault")


class Distributed(World):
    """The servers in one process, every actor in one of its own, two of each kind."""

    def start(self) -> None:
        self.call("init", "--yes")
        self.servers = self._spawn([sys.executable, "-m", "vaultlayer_actors.local"], "servers")
        deadline = time.monotonic() + 30
        while not (self.base / "home" / "creds" / "broker.creds").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.0)
        self.actors = {(kind, n): self.actor(kind) for kind in KINDS for n in (1, 2)}
        while "up" not in self.call("status", check=False) and time.monotonic() < deadline:
            time.sleep(0.2)

    def actor(self, kind: str) -> subprocess.Popen[bytes]:
        return self._spawn([*CLI, "actor", kind], kind)

    def _spawn(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self.base / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, env=self.environ, cwd=self.base, stdout=log, stderr=log
            )

    def stop(self) -> None:
        for process in [*self.actors.values(), self.servers]:
            process.terminate()
        for process in [*self.actors.values(), self.servers]:
            process.wait(20)
        for process in self.instance_processes():
            process.kill()

    def finish(self, job: str) -> dict[str, object]:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            state = self.state(job)
            if state.get("outcome"):
                return state
            time.sleep(0.5)
        raise AssertionError(self.call("events", job, check=False))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distributed]:
    made = Distributed(Path(tmp_path_factory.mktemp("actors")))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def bare(world: Distributed) -> bytes:
    return world.bare()


def test_both_of_every_kind_die_one_after_the_other_and_the_job_ends_the_same(
    world: Distributed, bare: bytes
) -> None:
    dice = random.Random(11)
    job = world.submit("actors")
    began(world, job)
    for kind in KINDS:
        for n in (1, 2):
            os.kill(world.actors[kind, n].pid, signal.SIGKILL)
            world.actors[kind, n].wait(10)
            time.sleep(dice.uniform(0.0, 0.5))
            world.actors[kind, n] = world.actor(kind)
        if kind == "provider_pool":
            world.kill("init")
    state = world.finish(job)
    assert state["outcome"] == "succeeded"
    assert weights(world.pull(job)) == bare


def test_one_of_each_kind_is_enough_to_recover(world: Distributed, bare: bytes) -> None:
    for kind in KINDS:
        os.kill(world.actors[kind, 2].pid, signal.SIGKILL)
        world.actors[kind, 2].wait(10)
    job = world.submit("halved")
    began(world, job)
    time.sleep(2.0)
    assert world.kill("agent")
    assert world.finish(job)["outcome"] == "succeeded"
    assert weights(world.pull(job)) == bare


def test_the_command_line_dies_and_the_job_does_not(world: Distributed, bare: bytes) -> None:
    work = world.work("attached")
    pins = ["--env", "OMP_NUM_THREADS=1"]
    with subprocess.Popen(
        [*CLI, "run", "--name", "attached", *pins, "--", *world.command],
        cwd=work,
        env=world.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as attached:
        assert attached.stdout is not None
        for line in attached.stdout:
            if "started the script" in line:
                break
        attached.kill()
    assert world.finish("attached")["outcome"] == "succeeded"
    assert weights(world.pull("attached")) == bare
