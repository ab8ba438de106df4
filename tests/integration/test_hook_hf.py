"""The hooks and the capture around a real HF Trainer, killed for real.

With `VAULTLAYER_TEST_TRANSFORMERS_4` naming a directory that holds transformers 4.57 and what it needs
(`pip install --target`), all of it runs with that version too.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainees import AtStep, Run, Trainee, history_of, restore
from vaultlayer_agent.capture import HookEvent

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [pytest.mark.train, pytest.mark.timeout(300)]

WORDS = ("--steps", "40", "--save-steps", "8", "--step-delay", "0.02")
FOUR = os.environ.get("VAULTLAYER_TEST_TRANSFORMERS_4", "")
VERSIONS = ["", pytest.param(FOUR, marks=pytest.mark.skipif(not FOUR, reason="no transformers 4"))]


class Bare:
    """The uninterrupted run without us that all others are measured against."""

    def __init__(self, top: Path, packages: str) -> None:
        trainee = Trainee(top, "hf_trainer.py", *WORDS, packages=packages)
        self.run = trainee.run_bare()
        assert self.run.status == 0, self.run.output
        self.history = history_of(trainee.work)
        self.steps = (trainee.work / "steps.csv").read_bytes()
        self.state = (trainee.work / "out/checkpoint-40/model.safetensors").read_bytes()
        self.names = sorted(str(path.relative_to(trainee.work)) for path in trainee.work.rglob("*"))


@pytest.fixture(scope="module", params=VERSIONS, ids=["transformers-5", "transformers-4"])
def packages(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def bare(packages: str, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    return Bare(tmp_path_factory.mktemp("bare"), packages)


@pytest.fixture
def trainee(packages: str, tmp_path: Path) -> Trainee:
    return Trainee(tmp_path, "hf_trainer.py", *WORDS, packages=packages)


def in_save_of(step: int) -> Callable[[HookEvent], bool]:
    return lambda event: event.kind == "checkpoint_begin" and event.step == step


def same_as_bare(trainee: Trainee, run: Run, bare: Bare) -> None:
    assert run.status == 0, run.output
    assert run.digest == bare.run.digest
    assert history_of(trainee.work) == bare.history
    assert (trainee.work / "steps.csv").read_bytes() == bare.steps


@pytest.mark.anyio
async def test_a_hooked_run_computes_bit_for_bit_what_a_bare_one_does(
    trainee: Trainee, bare: Bare
) -> None:
    run = await trainee.run()
    same_as_bare(trainee, run, bare)
    assert (trainee.work / "out/checkpoint-40/model.safetensors").read_bytes() == bare.state
    assert (
        sorted(str(path.relative_to(trainee.work)) for path in trainee.work.rglob("*"))
        == bare.names
    )
    assert not run.told("hook_failed")
    assert [event.step for event in run.told("checkpoint_end")] == [8, 16, 24, 32, 40]
    assert run.told("step")[0].step == 1
    assert run.told("step")[-1].steps == 40


@pytest.mark.anyio
@pytest.mark.parametrize("step", [13, 27])
async def test_a_run_killed_at_a_step_ends_as_if_nothing_had_happened(
    trainee: Trainee, bare: Bare, step: int
) -> None:
    first = await trainee.run(kill=AtStep(step))
    assert first.status == -9
    newest = first.saved[-1]
    assert newest.cut.step == step // 8 * 8
    assert newest.cut.latest == f"out/checkpoint-{newest.cut.step}"
    assert newest.cut.tier == "A", newest.cut.detail
    second = await trainee.run(resume=newest)
    same_as_bare(trainee, second, bare)
    assert [(event.step, event.detail) for event in second.told("resumed")] == [
        (newest.cut.step, "exact")
    ]
    assert second.told("step")[0].step == (newest.cut.step or 0) + 1


@pytest.mark.anyio
async def test_a_run_killed_in_a_save_goes_on_from_the_save_before(
    trainee: Trainee, bare: Bare
) -> None:
    first = await trainee.run(kill=in_save_of(24))
    assert first.status == -9
    newest = first.saved[-1]
    assert newest.cut.step == 16
    assert not any(name.startswith("out/checkpoint-24") for name in newest.names)
    second = await trainee.run(resume=newest)
    same_as_bare(trainee, second, bare)


@pytest.mark.anyio
async def test_a_run_killed_twice_ends_as_if_nothing_had_happened(
    trainee: Trainee, bare: Bare
) -> None:
    first = await trainee.run(kill=AtStep(11))
    second = await trainee.run(resume=first.saved[-1], kill=AtStep(30))
    assert second.status == -9
    newest = second.saved[-1]
    assert newest.cut.step == 24
    third = await trainee.run(resume=newest)
    same_as_bare(trainee, third, bare)
    assert third.told("resumed")[0].step == 24


@pytest.mark.anyio
async def test_without_hooks_polling_finds_every_checkpoint_whole(
    trainee: Trainee, bare: Bare
) -> None:
    run = await trainee.run(hooks=False)
    same_as_bare(trainee, run, bare)
    assert run.saved, "nothing was found while the script ran"
    assert run.saved[-1].cut.framework == "hf"
    assert run.final is not None
    assert run.final.cut.step == 40
    assert run.final.cut.final


@pytest.mark.anyio
async def test_a_half_written_checkpoint_that_lies_there_is_not_resumed_from(
    trainee: Trainee, bare: Bare
) -> None:
    first = await trainee.run(kill=AtStep(20))
    broken = first.saved[-1].directory / "out/checkpoint-99"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half of it")
    (broken / "config.json").write_text("{}")
    second = await trainee.run(resume=first.saved[-1])
    same_as_bare(trainee, second, bare)
    assert second.told("resumed")[0].step == 16


@pytest.mark.anyio
async def test_a_save_that_the_agent_asks_for_is_made_at_the_end_of_the_step(
    trainee: Trainee,
) -> None:
    # A busy machine may come seconds late with what it asks.
    trainee.command += ["--step-delay", "0.5"]
    run = await trainee.run(
        save=AtStep(11), kill=lambda event: event.kind == "checkpoint_begin" and event.step == 16
    )
    asked = [event.step or 0 for event in run.told("checkpoint_end")]
    assert any(8 < step < 16 for step in asked)
    assert 8 < (run.saved[-1].cut.step or 0) < 16


@pytest.mark.anyio
async def test_weights_alone_are_told_as_not_exact(packages: str, tmp_path: Path) -> None:
    trainee = Trainee(
        tmp_path,
        "hf_trainer.py",
        "--steps",
        "20",
        "--save-steps",
        "8",
        "--save-only-model",
        packages=packages,
    )
    run = await trainee.run()
    assert run.final is not None
    assert run.final.cut.tier == "C"
    assert "save_only_model" in run.final.cut.detail


@pytest.mark.anyio
async def test_what_a_cut_holds_is_what_lay_on_disk(trainee: Trainee) -> None:
    run = await trainee.run()
    assert run.final is not None
    restored = trainee.top / "restored"
    restore(run.final, restored)
    for path in trainee.work.rglob("*"):
        copy = restored / path.relative_to(trainee.work)
        if path.is_file():
            assert copy.read_bytes() == path.read_bytes()
            assert copy.stat().st_mtime_ns == path.stat().st_mtime_ns


@pytest.mark.anyio
async def test_two_ranks_go_on_together_from_a_checkpoint_in_the_middle(tmp_path: Path) -> None:
    trainee = Trainee(tmp_path, "hf_trainer.py", "--steps", "24", "--save-steps", "6", ranks=2)
    bare = trainee.run_bare()
    assert bare.status == 0, bare.output
    history = history_of(trainee.work)
    first = await trainee.run()
    assert first.digest == bare.digest
    middle = next(saved for saved in first.saved if saved.cut.step != 24)
    step = middle.cut.step
    assert {f"out/checkpoint-{step}/rng_state_{rank}.pth" for rank in (0, 1)} <= middle.names
    second = await trainee.run(resume=middle)
    assert second.digest == bare.digest
    assert history_of(trainee.work) == history
    assert [event.step for event in second.told("resumed")] == [step, step]
