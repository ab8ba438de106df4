"""A notice through the whole product: what is saved because of it is what the next machine goes on from."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.world import World

JOBS = Path(__file__).parents[1] / "jobs"
LIMIT_S = 120.0
pytestmark = [pytest.mark.integration, pytest.mark.train, pytest.mark.timeout(400)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.down()


def submitted(world: World, script: Path, *words: str) -> str:
    work = world.base / "work"
    work.mkdir()
    shutil.copy(script, work / "train.py")
    command = [sys.executable, "train.py", *words]
    pins = ("--env", "OMP_NUM_THREADS=1")
    out = world.call("run", "--detach", "--json", *pins, "--", *command, cwd=work)
    return next(row["job"] for row in map(json.loads, out.splitlines()) if "job" in row)


def entries(world: World, job: str, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[Any]:
    """Wait until the job's log is as wanted, and give it."""
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        found = [json.loads(line) for line in world.call("events", job, "--json").splitlines()]
        if wanted(found):
            return found
        time.sleep(0.3)
    raise AssertionError(world.call("events", job))


def preempted(world: World, job: str) -> list[Any]:
    entries(world, job, lambda log: any(one["type"] == "stepped" for one in log))
    world.call("drill", job, "preempt", "--grace", "20s")
    return entries(
        world, job, lambda log: any(o["type"] == "stepped" and o["attempt"] == 2 for o in log)
    )


def of(log: list[Any], kind: str) -> list[Any]:
    return [one for one in log if one["type"] == kind]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (JOBS / "check_loop.py", ()),
        (
            JOBS / "hf_trainer.py",
            ("--steps", "4000", "--save-steps", "0", "--step-delay", "0.02"),
        ),
        (
            JOBS / "hf_trainer.py",
            ("--steps", "4000", "--save-steps", "3000", "--step-delay", "0.02"),
        ),
    ],
    ids=["loop", "trainer without saves", "trainer"],
)
def test_what_a_notice_saves_is_where_the_next_machine_goes_on(
    world: World, script: Path, words: tuple[str, ...]
) -> None:
    job = submitted(world, script, *words)
    log = preempted(world, job)
    kinds = [one["type"] for one in log]
    between = log[kinds.index("noticed") : kinds.index("lost")]
    saved = of(between, "checkpoint_committed")
    assert saved, "the notice led to no checkpoint"
    [second] = [one for one in of(log, "started") if one["attempt"] == 2]
    assert second["resumed_step"] == saved[-1]["step"] > 0
    [stepped] = [one for one in of(log, "stepped") if one["attempt"] == 2]
    assert stepped["step"] > second["resumed_step"]
