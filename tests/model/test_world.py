"""Every actor's own code on a bad bus, among machines that die: the job ends well and leaves nothing behind.

Hours pass in seconds: no sleep is waited for.
"""

import os
from pathlib import Path

import pytest

from sim_chaos import bad_day, long_silence
from sim_world import CLOUD, LOCAL, SimWorld, finish, run_world
from vaultlayer.driver import Manifest
from vaultlayer.job import Outcome

SEEDS = range(int(os.environ.get("WORLD_SEEDS", "2")))
"""More of them find more; these fit into a few seconds."""

PROVIDERS = pytest.mark.parametrize("manifest", [LOCAL, CLOUD], ids=["sole", "cloud"])


def outcome(world: SimWorld) -> tuple[Outcome, str]:
    assert world.job is not None
    return world.job.outcome, world.job.reason


def test_a_quiet_day_costs_one_machine(tmp_path: Path) -> None:
    world = SimWorld(1, tmp_path)
    run_world(world, finish)
    assert outcome(world) == (Outcome.SUCCEEDED, "the script ended")
    assert world.provider.made == 1


@PROVIDERS
@pytest.mark.parametrize("seed", SEEDS)
def test_a_bad_day_ends_well(tmp_path: Path, seed: int, manifest: Manifest) -> None:
    world = SimWorld(seed, tmp_path, manifest, total=400)
    run_world(world, bad_day(for_s=600.0, every_s=20.0))
    assert outcome(world) == (Outcome.SUCCEEDED, "the script ended")


@PROVIDERS
@pytest.mark.parametrize("seed", SEEDS)
def test_when_everything_breaks_at_once_it_ends_well(
    tmp_path: Path, seed: int, manifest: Manifest
) -> None:
    world = SimWorld(1000 + seed, tmp_path, manifest, total=400)
    run_world(world, bad_day(for_s=900.0, every_s=7.0))
    assert outcome(world) == (Outcome.SUCCEEDED, "the script ended")


@PROVIDERS
@pytest.mark.parametrize("seed", SEEDS)
def test_a_cancelled_job_leaves_nothing_behind(
    tmp_path: Path, seed: int, manifest: Manifest
) -> None:
    world = SimWorld(2000 + seed, tmp_path, manifest, total=400)
    run_world(world, bad_day(for_s=600.0, every_s=10.0, cancels=True))
    assert outcome(world)[0] in {Outcome.SUCCEEDED, Outcome.CANCELLED}


@PROVIDERS
@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_minutes_without_a_bus_are_outlived(
    tmp_path: Path, seed: int, manifest: Manifest
) -> None:
    world = SimWorld(3000 + seed, tmp_path, manifest)
    run_world(world, long_silence)
    assert outcome(world) == (Outcome.SUCCEEDED, "the script ended")
