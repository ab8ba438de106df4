"""Frameworks that reload by themselves, and those that our hooks send to their last checkpoint."""

import importlib.util
import sys
from pathlib import Path

import pytest

from trainees import Run, Trainee
from vaultlayer_agent.capture import HookEvent

pytestmark = [pytest.mark.train, pytest.mark.anyio, pytest.mark.timeout(300)]


class Nth:
    """True at the n-th event of a kind."""

    def __init__(self, kind: str, number: int) -> None:
        self._kind = kind
        self._left = number

    def __call__(self, event: HookEvent) -> bool:
        self._left -= event.kind == self._kind
        return self._left == 0 and event.kind == self._kind


async def killed_twice(trainee: Trainee, *moments: str) -> tuple[Run, Run, Run]:
    """Kill at the moment the output shows a word, twice; give all three runs."""
    first = await trainee.run(kill_when=moments[0])
    assert first.status == -9, first.output
    second = await trainee.run(resume=first.saved[-1], kill_when=moments[1])
    assert second.status == -9, second.output
    third = await trainee.run(resume=second.saved[-1])
    assert third.status == 0, third.output
    for run in (first, second, third):
        assert not run.told("hook_failed"), run.told("hook_failed")
    return first, second, third


def started_after(run: Run) -> int:
    line = next(line for line in run.output.splitlines() if line.startswith("starts after"))
    return int(line.split()[-1])


async def test_a_loop_with_distributed_checkpoints_reloads_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    trainee = Trainee(tmp_path, "dcp_loop.py", "0.12")
    bare = trainee.run_bare()
    first = await trainee.run(kill=Nth("checkpoint_end", 4))
    newest = first.saved[-1]
    assert newest.cut.framework == "dcp"
    trainee.beside = {"ckpt/step-77/__0_0.distcp": b"half of it"}
    second = await trainee.run(resume=newest, kill=Nth("checkpoint_end", 3))
    assert started_after(second) == newest.cut.step, "what is not complete was set aside"
    assert second.saved[-1].cut.tier == "A", second.saved[-1].cut.detail
    third = await trainee.run(resume=second.saved[-1])
    assert started_after(third) == second.saved[-1].cut.step
    assert third.digest == bare.digest
    assert third.final is not None
    assert third.final.cut.tier == "A"


async def test_a_jax_loop_with_orbax_reloads_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    pytest.importorskip("orbax.checkpoint")
    trainee = Trainee(tmp_path, "orbax_loop.py", "0.15")
    bare = trainee.run_bare()
    first, second, third = await killed_twice(
        trainee, "ckpt/12/commit_success.txt", "ckpt/24/commit_success.txt"
    )
    assert first.saved[-1].cut.framework == "orbax"
    assert started_after(second) == first.saved[-1].cut.step
    assert started_after(third) == second.saved[-1].cut.step
    assert third.digest == bare.digest
    assert third.final is not None
    assert third.final.cut.tier == "A", third.final.cut.detail


async def test_lightning_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    trainee = Trainee(tmp_path, "lightning_fit.py")
    first, second, third = await killed_twice(trainee, "epoch 3", "epoch 6")
    assert first.saved[-1].cut.tier == "C", first.saved[-1].cut.detail
    assert "not restored" in first.saved[-1].cut.detail
    assert second.told("resumed")[0].detail.startswith("not exact")
    assert "epoch 0" not in second.output
    assert "epoch 3" not in third.output
    assert "steps 64" in third.output, "no step was done twice or left out"


async def test_lightning_checkpoints_of_another_model_or_broken_ones_are_left(
    tmp_path: Path,
) -> None:
    pytest.importorskip("lightning")
    trainee = Trainee(tmp_path, "lightning_fit.py")
    first = await trainee.run(kill_when="epoch 2")
    trainee.command += ["--width", "24"]
    second = await trainee.run(resume=first.saved[-1])
    assert second.status == 0, second.output
    assert not second.told("resumed")
    assert "steps 64" in second.output


async def test_keras_goes_on_from_the_epoch_it_had_saved(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    if importlib.util.find_spec("keras") is None:
        pytest.skip("no keras")
    trainee = Trainee(tmp_path, "keras_fit.py")
    trainee.more = {"VAULTLAYER_KERAS_BACKUP_EVERY_S": "0"}
    first, second, third = await killed_twice(trainee, "epoch 3", "epoch 6")
    assert first.saved[-1].cut.tier == "C", first.saved[-1].cut.detail
    assert "from epoch" in second.told("resumed")[0].detail
    assert "epoch 0" not in second.output
    assert "epoch 0" not in third.output
    assert "iterations 64" in third.output
    assert not (trainee.work / "checkpoints/keras-backup-1").exists(), "Keras deletes it at the end"


async def test_accelerate_numbers_go_on_instead_of_crashing(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    trainee = Trainee(tmp_path, "accelerate_loop.py", "0.1")
    first = await trainee.run(kill=Nth("checkpoint_end", 3))
    second = await trainee.run(resume=first.saved[-1])
    assert second.status == 0, second.output
    assert "ends" in second.output
    numbers = sorted(
        int(path.name.split("_")[1]) for path in trainee.work.glob("project/checkpoints/*")
    )
    assert numbers[-1] >= 4
    assert len(numbers) == 3


@pytest.mark.parametrize("flags", [["-I"], ["-E"], ["-S"]])
async def test_an_interpreter_without_hooks_is_told_so(tmp_path: Path, flags: list[str]) -> None:
    trainee = Trainee(tmp_path, "torch_loop.py")
    code = "import time; open('out.txt', 'w').write('x'); time.sleep(1)"
    trainee.command = [sys.executable, *flags, "-c", code]
    run = await trainee.run()
    assert run.status == 0, run.output
    assert run.final is not None
    assert ("not been heard from" in run.final.cut.detail) == (flags != ["-S"] or not run.events)
