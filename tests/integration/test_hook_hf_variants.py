"""The Trainer family in its variety, each killed twice, each compared with a run that nothing disturbed.

`VAULTLAYER_TEST_TRANSFORMERS_4` as in `test_hook_hf.py`: what the older line does otherwise is run with it.
"""

import os
from pathlib import Path

import pytest

from framework_files import trainer_files
from trainees import AtStep, Run, Trainee, killed_twice, resumed, trainee_of
from vaultlayer_agent.capture import hook_path

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [pytest.mark.train, pytest.mark.anyio, pytest.mark.timeout(300)]

FOUR = os.environ.get("VAULTLAYER_TEST_TRANSFORMERS_4", "")
with_four = pytest.mark.skipif(not FOUR, reason="no transformers 4")


@pytest.mark.parametrize(
    "variant", ["plain", "accumulate", "stream", "workers", "epochs", "lora", "subclass"]
)
async def test_killed_twice_it_ends_as_if_nothing_had_happened(
    tmp_path: Path, variant: str
) -> None:
    trainee = trainee_of(tmp_path, variant)
    _, one, two, three = await killed_twice(trainee, AtStep(8), AtStep(17))
    assert one.saved[-1].cut.tier == "A", one.saved[-1].cut.detail
    assert resumed(two) == [("out", one.saved[-1].cut.step, "exact")]
    assert resumed(three) == [("out", two.saved[-1].cut.step, "exact")]
    assert (two.saved[-1].cut.step or 0) >= 15, "the second life went on from the first"


async def test_the_best_checkpoint_outlives_rotation_and_death(tmp_path: Path) -> None:
    trainee = trainee_of(tmp_path, "best")
    await killed_twice(trainee, AtStep(8), AtStep(17))
    kept = sorted(path.name for path in (trainee.work / "out").glob("checkpoint-*"))
    assert len(kept) <= 2, "rotation removed the oldest, by their times, as without a restart"


async def test_supervised_fine_tuning_with_lora_goes_on_exactly(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    pytest.importorskip("peft")
    trainee = Trainee(tmp_path, "hf_sft.py")
    _, one, _, three = await killed_twice(trainee, AtStep(6), AtStep(10))
    assert any(name.endswith("adapter_model.safetensors") for name in one.saved[-1].names)
    assert three.told("step")[0].step == 9


@pytest.mark.parametrize("variant", ["two-places", "one-place"])
async def test_two_trainings_of_one_script_are_told_apart(tmp_path: Path, variant: str) -> None:
    trainee = trainee_of(tmp_path, variant, "--steps", "12", "--save-steps", "5")
    bare, _, two, three = await killed_twice(trainee, AtStep(7), AtStep(7, training=2))
    del bare
    place = "out2" if variant == "two-places" else "out"
    assert (place, 5, "exact") in resumed(three)
    assert resumed(two) == [("out", 5, "exact")]


@pytest.mark.parametrize("variant", ["plain", "classes"])
async def test_a_training_that_was_over_leaves_all_as_it_did(tmp_path: Path, variant: str) -> None:
    """Killed after the last step of 12, before the end of the script."""

    def left_by(run: Run) -> tuple[str, str]:
        random = next(x for x in run.output.splitlines() if x.startswith("random "))
        return random, (trainee.work / "final/config.json").read_text()

    trainee = trainee_of(tmp_path, variant, "--steps", "12", "--after", "5")
    bare = trainee.run_bare()
    left = left_by(bare)
    one = await trainee.run(kill_when="out/checkpoint-12/trainer_state.json")
    assert one.status == -9
    last = next(saved for saved in reversed(one.saved))
    assert last.cut.step == 12
    two = await trainee.run(resume=last)
    assert resumed(two) == [("out", 12, "exact")]
    assert two.digest == bare.digest
    assert left_by(two) == left


async def test_a_script_that_resumes_by_itself_is_left_alone(tmp_path: Path) -> None:
    trainee = trainee_of(tmp_path, "plain", "--from-own")
    trainee.code = {}
    bare = trainee.run_bare()
    assert "script resumes None" not in bare.output or bare.status == 0
    one = await trainee.run(kill=AtStep(8))
    broken = one.saved[-1].directory / "out/checkpoint-99"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half of it")
    two = await trainee.run(resume=one.saved[-1], kill=AtStep(17))
    assert "script resumes out/checkpoint-5" in two.output, "the broken one was set aside"
    three = await trainee.run(resume=two.saved[-1])
    assert "script resumes out/checkpoint-15" in three.output
    assert three.digest == bare.digest


async def test_a_checkpoint_that_came_with_the_code_is_not_resumed_from(tmp_path: Path) -> None:
    trainee = trainee_of(tmp_path, "plain")
    bare = trainee.run_bare()
    old = trainer_files(500)
    trainee.code = {f"out/checkpoint-500/{name}": data for name, data in old.items()}
    one = await trainee.run(kill=AtStep(8))
    assert resumed(one) == []
    two = await trainee.run(resume=one.saved[-1])
    assert resumed(two) == [("out", 5, "exact")]
    assert two.digest == bare.digest


@pytest.mark.parametrize(
    ("variant", "why"), [("skip", "ignore_data_skip"), ("never", "save_strategy=no")]
)
async def test_what_is_not_exact_is_told(tmp_path: Path, variant: str, why: str) -> None:
    run = await trainee_of(tmp_path, variant, "--steps", "12").run()
    assert run.final is not None
    assert run.final.cut.tier == {"skip": "C", "never": "E"}[variant]
    assert why in run.final.cut.detail


@with_four
@pytest.mark.parametrize("variant", ["accumulate", "workers", "epochs"])
async def test_the_older_line_goes_on_exactly_too(tmp_path: Path, variant: str) -> None:
    trainee = trainee_of(tmp_path, variant, packages=FOUR)
    _, one, two, three = await killed_twice(trainee, AtStep(8), AtStep(17))
    assert one.saved[-1].cut.tier == "A", one.saved[-1].cut.detail
    assert resumed(two) == [("out", one.saved[-1].cut.step, "exact")]
    assert resumed(three) == [("out", two.saved[-1].cut.step, "exact")]


@with_four
async def test_the_older_line_tells_two_trainings_apart(tmp_path: Path) -> None:
    trainee = trainee_of(tmp_path, "one-place", "--steps", "12", packages=FOUR)
    _, _, _, three = await killed_twice(trainee, AtStep(7), AtStep(7, training=2))
    assert ("out", 5, "exact") in resumed(three)


@with_four
async def test_the_older_line_is_not_exact_on_streams_and_says_so(tmp_path: Path) -> None:
    run = await trainee_of(tmp_path, "stream", "--steps", "12", packages=FOUR).run()
    assert run.final is not None
    assert run.final.cut.tier == "C"
    assert "without a length" in run.final.cut.detail


GHOST = (hook_path() / "vaultlayer_hooks" / "ghost").is_dir()


@pytest.mark.skipif(not GHOST, reason="no ghost among the hooks")
@pytest.mark.parametrize(
    ("variant", "off"), [("plain", True), ("never", False), ("skip", False), ("online", False)]
)
async def test_the_ghost_leaves_only_what_the_trainer_resumes_exactly(
    tmp_path: Path, variant: str, *, off: bool
) -> None:
    trainee = trainee_of(tmp_path, variant, "--steps", "6")
    trainee.more = {
        "VAULTLAYER_GHOST_DIR": str(tmp_path / "ghost"),
        "VAULTLAYER_GHOST_MODE": "record",
        "VAULTLAYER_WORK_DIR": str(trainee.work),
    }
    run = await trainee.run()
    assert run.status == 0, run.output
    assert run.told("ghost")
    assert bool(run.told("ghost_off")) is off, run.told("ghost_off")
