"""`kill -9` of any one process, at any moment, ends in the same weights as an undisturbed run."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.world import ROLES, World, weights

pytestmark = [pytest.mark.chaos, pytest.mark.train, pytest.mark.timeout(600)]
ROUNDS = 20


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("chaos"))
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def bare(world: World) -> bytes:
    return weights_of_bare(world)


def weights_of_bare(world: World) -> bytes:
    return world.bare()


def began(world: World, job: str) -> float:
    """Wait until the script runs, and give the moment."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if world.find("script") is not None:
            return time.monotonic()
        time.sleep(0.05)
    raise AssertionError(world.call("events", job, check=False))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_weights_are_those_of_an_undisturbed_run(
    world: World, bare: bytes, seed: int, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(seed)
    # Each role in turn, so that twenty rounds are sure to meet every one; the moment is random.
    role = ROLES[seed % len(ROLES)]
    job = world.submit(f"round-{seed}")
    start = began(world, job)
    moment_s = dice.uniform(0.0, 14.0)
    time.sleep(max(0.0, start + moment_s - time.monotonic()))
    hit = world.kill(role)
    record_property("killed", f"{role} after {moment_s:.1f} s: {hit}")
    state = world.finish(job)
    assert state["outcome"] == "succeeded", state
    assert weights(world.pull(job)) == bare


def test_a_drilled_machine_comes_back_at_the_exact_step(world: World, bare: bytes) -> None:
    job = world.submit("drilled")
    began(world, job)
    for _ in range(2):
        deadline = time.monotonic() + 90
        before = len(world.state(job).get("checkpoints", []))  # type: ignore[arg-type]
        while len(world.state(job).get("checkpoints", [])) <= before:  # type: ignore[arg-type]
            assert time.monotonic() < deadline
            time.sleep(0.3)
        world.call("drill", job, "kill")
    state = world.finish(job)
    assert state["outcome"] == "succeeded"
    assert weights(world.pull(job)) == bare
    kept: list[dict[str, object]] = state["checkpoints"]  # type: ignore[assignment]
    assert said_again(kept) == [], "what was restored is not committed again"


def said_again(kept: list[dict[str, object]]) -> list[dict[str, object]]:
    """Give the checkpoints, the last one apart, that hold just what their parent holds.

    One with no new bytes may still be new: the final weights are often those of the newest checkpoint.
    """
    by_id = {c["manifest"]: c for c in kept}
    content = ("step", "files", "size_b")
    return [
        c
        for c in kept
        if not c.get("new_b")
        and not c.get("final")
        and (parent := by_id.get(c.get("parent")))
        and [c.get(name) for name in content] == [parent.get(name) for name in content]
    ]


def test_a_checkpoint_that_only_says_its_parent_again_is_seen() -> None:
    parent: dict[str, object] = {"manifest": "a", "step": 8, "files": 9, "size_b": 100, "new_b": 7}
    again = {**parent, "manifest": "b", "parent": "a", "new_b": 0}
    more = {**again, "files": 10, "size_b": 120}
    assert said_again([parent, again]) == [again]
    assert said_again([parent, more]) == []
    assert said_again([parent, {**again, "final": True}]) == []


def test_no_process_of_a_finished_job_is_left(world: World) -> None:
    deadline = time.monotonic() + 30
    left: list[Path] = []
    while time.monotonic() < deadline:
        left = [Path(str(p.pid)) for p in world.instance_processes()]
        if not left:
            return
        time.sleep(0.5)
    raise AssertionError(left)
