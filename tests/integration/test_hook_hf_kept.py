"""What a Trainer's own checkpoints do not hold: the ghost stays for it, and without a ghost it is told."""

from pathlib import Path

import pytest

from ghosts import Ghost, through_deaths
from trainees import JOBS, AtStep, Trainee, history_of, killed_twice, resumed, trainee_of

pytest.importorskip("torch")
pytest.importorskip("transformers")
FINAL = """
import json, os, shutil, sys
sys.path.append({jobs!r})
import hf_variants
hf_variants.main()
with open("history.json") as file:
    print("FINAL", json.dumps(json.load(file)[:-1], sort_keys=True))
os.remove("history.json")
shutil.rmtree("out")
"""
"""Tells every loss and norm; what lies beside them holds running times."""

pytestmark = [pytest.mark.train, pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("variant", "why"),
    [
        ("draws", "draws random numbers"),
        ("counting", "Counting.batches is kept"),
        ("anchor", "Anchor.begun is kept"),
    ],
)
async def test_what_no_checkpoint_holds_is_told(tmp_path: Path, variant: str, why: str) -> None:
    trainee = trainee_of(tmp_path, variant)
    trainee.run_bare()
    history = history_of(trainee.work)
    run = await trainee.run(kill=lambda e: e.kind == "checkpoint_begin" and e.step == 10)
    assert run.status == -9
    assert not run.told("hook_failed")
    newest = run.saved[-1]
    assert newest.cut.step == 5
    assert newest.cut.tier == "C", newest.cut.detail
    assert why in newest.cut.detail
    second = await trainee.run(resume=newest)
    assert resumed(second)[0][2].startswith("not exact: ")
    assert why in resumed(second)[0][2]
    assert history_of(trainee.work) != history, "it is exact after all: nothing need be told"


@pytest.mark.parametrize("variant", ["draws-workers", "own-stream", "kept"])
async def test_the_ghost_stays_for_it(tmp_path: Path, variant: str) -> None:
    trainee = trainee_of(tmp_path, variant, "--steps", "12")
    trainee.more = {
        "VAULTLAYER_GHOST_DIR": str(tmp_path / "ghost"),
        "VAULTLAYER_GHOST_MODE": "record",
        "VAULTLAYER_WORK_DIR": str(trainee.work),
    }
    run = await trainee.run()
    assert run.status == 0, run.output
    assert run.told("ghost")
    assert not run.told("ghost_off"), run.told("ghost_off")
    noted = trainee.work / "out/checkpoint-5/vaultlayer_inexact"
    assert noted.is_file(), (
        "a death before the first snapshot would resume from it as if it were exact"
    )


def test_a_replay_brings_it_back(tmp_path: Path) -> None:
    words = ("--variant", "counting", "--steps", "48", "--after", "0", "--step-delay", "0")
    script = tmp_path / "script.py"
    script.write_text(FINAL.format(jobs=str(JOBS)))
    ghost = Ghost(tmp_path, script, *words, every="6steps")
    through_deaths(ghost, 22, 40)


async def test_patience_is_not_new_after_a_death(tmp_path: Path) -> None:
    trainee = trainee_of(tmp_path, "patience", "--steps", "40", "--save-steps", "4")
    bare, _, _, three = await killed_twice(trainee, AtStep(6), AtStep(10))
    assert "'step': 16" in str(history_of(trainee.work)[-1]), "it was to stop before its last step"
    del bare, three


async def test_a_training_that_had_lost_patience_takes_no_step_more(tmp_path: Path) -> None:
    trainee = trainee_of(tmp_path, "patience", "--steps", "40", "--save-steps", "4", "--after", "4")
    bare = trainee.run_bare()
    history = history_of(trainee.work)
    one = await trainee.run(kill_when="history.json")
    assert one.status == -9
    assert one.saved[-1].cut.step == 16
    two = await trainee.run(resume=one.saved[-1])
    assert two.digest == bare.digest
    assert history_of(trainee.work) == history


@pytest.mark.parametrize(
    ("which", "exact"), [("each-of-data", ["buffered"]), ("each-other", ["own-rate", "plain"])]
)
async def test_wherever_something_is_kept_it_is_found_and_nowhere_else(
    tmp_path: Path, which: str, exact: list[str]
) -> None:
    words = ("--variant", which, "--steps", "16", "--save-steps", "15", "--step-delay", "0")
    trainee = Trainee(tmp_path, "hf_state.py", *words)
    run = await trainee.run()
    assert run.status == 0, run.output
    assert not run.told("hook_failed")
    # A line may begin with what another process had not ended.
    rows = [line.rpartition(" ended ") for line in run.output.splitlines() if " ended " in line]
    ended = {before.split()[-1]: status for before, _, status in rows}
    assert set(ended.values()) == {"0"}, (ended, run.output)
    kinds = list(ended)
    assert len(kinds) > 15, run.output
    noted = {kind: trainee.work / kind / "out/checkpoint-15/vaultlayer_inexact" for kind in kinds}
    assert [kind for kind in kinds if not noted[kind].is_file()] == exact


@pytest.mark.parametrize("kind", ["curriculum", "average-global", "sampler-stream"])
def test_a_replay_brings_back_what_lies_anywhere(tmp_path: Path, kind: str) -> None:
    words = ("--variant", kind, "--steps", "40", "--after", "0", "--step-delay", "0")
    script = tmp_path / "script.py"
    script.write_text(FINAL.format(jobs=str(JOBS)).replace("hf_variants", "hf_state"))
    through_deaths(Ghost(tmp_path, script, *words, every="6steps"), 22, 34)
