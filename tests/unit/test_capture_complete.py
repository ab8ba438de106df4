"""Which checkpoint directories are complete."""

import json
from pathlib import Path

import pytest

from framework_files import safetensors_bytes, torch_bytes, trainer_files, write
from vaultlayer_agent.capture.complete import Finding, find_units, judge_file, judge_unit, step_of
from vaultlayer_agent.capture.scan import FileReader, scan
from vaultlayer_agent.capture.tree import below


def judge(top: Path, unit: str, *, world: int = 0) -> Finding:
    tree = scan(top)
    framework = find_units(tree)[unit]
    return judge_unit(framework, unit, below(tree, unit), FileReader(top / unit), world=world)


def test_a_whole_trainer_checkpoint_is_complete_and_exact(tmp_path: Path) -> None:
    write(tmp_path / "out/checkpoint-30", trainer_files(30))
    found = judge(tmp_path, "out/checkpoint-30")
    assert (found.framework, found.complete, found.marked, found.exact, found.step) == (
        "hf",
        True,
        True,
        True,
        30,
    )


def test_a_trainer_checkpoint_is_complete_only_after_its_last_file(tmp_path: Path) -> None:
    files = trainer_files(30, shards=3)
    (tmp_path / "out/checkpoint-30").mkdir(parents=True)
    for name, data in files.items():
        if find_units(scan(tmp_path)):
            assert not judge(tmp_path, "out/checkpoint-30").complete, f"before {name}"
        write(tmp_path / "out/checkpoint-30", {name: data})
    assert judge(tmp_path, "out/checkpoint-30").complete


NEEDED = sorted(
    set(trainer_files(30, shards=2)) - {"config.json", "training_args.bin", "scheduler.pt"}
)


@pytest.mark.parametrize("name", NEEDED)
def test_a_trainer_checkpoint_that_lost_a_file_is_not_complete(tmp_path: Path, name: str) -> None:
    write(tmp_path / "checkpoint-30", trainer_files(30, shards=2))
    (tmp_path / "checkpoint-30" / name).unlink()
    assert not judge(tmp_path, "checkpoint-30").complete


@pytest.mark.parametrize("name", [n for n in trainer_files(30) if n != "config.json"])
def test_a_trainer_checkpoint_with_a_truncated_file_is_not_complete(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path / "checkpoint-30", trainer_files(30))
    path = tmp_path / "checkpoint-30" / name
    path.write_bytes(path.read_bytes()[:-5])
    assert not judge(tmp_path, "checkpoint-30").complete


def test_the_state_of_another_step_does_not_complete_a_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-40", trainer_files(30))
    assert not judge(tmp_path, "checkpoint-40").complete


def test_the_sentinel_marks_a_checkpoint_as_unfinished(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-30", trainer_files(30) | {"checkpoint-is-incomplete.txt": b""})
    assert not judge(tmp_path, "checkpoint-30").complete


def test_weights_alone_are_complete_but_not_exact(tmp_path: Path) -> None:
    files = trainer_files(30)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        del files[name]
    write(tmp_path / "checkpoint-30", files)
    found = judge(tmp_path, "checkpoint-30")
    assert found.complete
    assert not found.exact


def test_every_rank_must_have_left_its_random_state(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-30", trainer_files(30, ranks=4))
    assert judge(tmp_path, "checkpoint-30", world=4).complete
    assert judge(tmp_path, "checkpoint-30", world=4).marked
    assert not judge(tmp_path, "checkpoint-30").marked, "how many ranks there are is not known"
    assert not judge(tmp_path, "checkpoint-30", world=5).complete
    (tmp_path / "checkpoint-30/rng_state_1.pth").unlink()
    assert not judge(tmp_path, "checkpoint-30").complete


def test_an_fsdp_checkpoint_needs_its_inner_metadata(tmp_path: Path) -> None:
    files = trainer_files(30)
    del files["optimizer.pt"], files["model.safetensors"]
    for folder in ("pytorch_model_fsdp_0", "optimizer_0"):
        files |= {f"{folder}/.metadata": b"m", f"{folder}/__0_0.distcp": b"d"}
    write(tmp_path / "checkpoint-30", files)
    assert find_units(scan(tmp_path)) == {"checkpoint-30": "hf"}
    assert judge(tmp_path, "checkpoint-30").exact
    (tmp_path / "checkpoint-30/optimizer_0/.metadata").unlink()
    assert not judge(tmp_path, "checkpoint-30").complete


def test_a_broken_neighbour_is_known_by_its_siblings(tmp_path: Path) -> None:
    write(tmp_path / "out/checkpoint-30", trainer_files(30))
    write(tmp_path / "out/checkpoint-40", {"model.safetensors": safetensors_bytes()})
    assert not judge(tmp_path, "out/checkpoint-40").complete


def test_distributed_checkpoints_are_complete_with_their_metadata(tmp_path: Path) -> None:
    write(tmp_path / "step-100", {"__0_0.distcp": b"d"})
    assert not judge(tmp_path, "step-100").complete
    write(tmp_path / "step-100", {".metadata": b"m"})
    found = judge(tmp_path, "step-100")
    assert (found.framework, found.complete, found.marked, found.step) == ("dcp", True, True, 100)


def test_orbax_is_complete_under_its_last_name(tmp_path: Path) -> None:
    files = {"_CHECKPOINT_METADATA": b"{}", "default/manifest.ocdbt": b"m"}
    write(tmp_path / "ckpt/30", files)
    write(tmp_path / "ckpt/40.orbax-checkpoint-tmp-7", files)
    assert judge(tmp_path, "ckpt/30").complete
    assert judge(tmp_path, "ckpt/30").step == 30
    assert not judge(tmp_path, "ckpt/40.orbax-checkpoint-tmp-7").complete


def test_accelerate_states_bear_no_mark(tmp_path: Path) -> None:
    files = {
        "model.safetensors": safetensors_bytes(),
        "optimizer.bin": torch_bytes(),
        "random_states_0.pkl": b"r",
    }
    write(tmp_path / "checkpoint_3", files)
    found = judge(tmp_path, "checkpoint_3")
    assert (found.framework, found.complete, found.marked, found.step) == (
        "accelerate",
        True,
        False,
        3,
    )


def test_a_diffusers_checkpoint_is_no_trainer_checkpoint(tmp_path: Path) -> None:
    files = {
        "unet/model.safetensors": safetensors_bytes(),
        "optimizer.bin": torch_bytes(),
        "random_states_0.pkl": b"r",
    }
    write(tmp_path / "checkpoint-500", files)
    assert judge(tmp_path, "checkpoint-500").framework == "accelerate"
    assert judge(tmp_path, "checkpoint-500").complete


def test_deepspeed_is_marked_by_latest(tmp_path: Path) -> None:
    files = {
        "zero_pp_rank_0_mp_rank_00_optim_states.pt": torch_bytes(),
        "mp_rank_00_model_states.pt": torch_bytes(),
    }
    write(tmp_path / "ds/global_step10", files)
    assert not judge(tmp_path, "ds/global_step10").marked
    (tmp_path / "ds/latest").write_text("global_step10\n")
    assert judge(tmp_path, "ds/global_step10").marked
    write(tmp_path / "ds/global_step20", files)
    assert not judge(tmp_path, "ds/global_step20").marked


def test_single_files_are_judged_by_their_format(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.ckpt": torch_bytes(), "b.pt": torch_bytes()[:-3], "train.bin": b"1234", "l.csv": b"1"},
    )
    tree = scan(tmp_path)
    found = {name: judge_file(name, entry, FileReader(tmp_path)) for name, entry in tree.items()}
    assert found["train.bin"] is None
    assert found["l.csv"] is None
    assert found["a.ckpt"] is not None
    assert (found["a.ckpt"].framework, found["a.ckpt"].complete) == ("lightning", True)
    assert found["b.pt"] is not None
    assert not found["b.pt"].complete


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("out/checkpoint-30", 30),
        ("checkpoint_7", 7),
        ("epoch=3-step=120.ckpt", 120),
        ("ckpt/40", 40),
        ("global_step10", 10),
        ("best.pt", None),
        ("epoch_3.pt", None),
    ],
)
def test_steps_are_read_from_names(name: str, step: int | None) -> None:
    assert step_of(name) == step


def test_a_state_file_with_infinite_losses_can_be_read(tmp_path: Path) -> None:
    files = trainer_files(30)
    log = [{"loss": float("inf")}, {"loss": float("-inf")}, {"note": "a NaN: Infinity, [NaN]"}]
    files["trainer_state.json"] = json.dumps({"global_step": 30, "log_history": log}).encode()
    write(tmp_path / "checkpoint-30", files)
    assert judge(tmp_path, "checkpoint-30").complete


def test_an_empty_directory_beside_distributed_checkpoints_is_one_that_was_begun(
    tmp_path: Path,
) -> None:
    write(tmp_path / "ckpt/step-100", {".metadata": b"m", "__0_0.distcp": b"s"})
    (tmp_path / "ckpt/step-200").mkdir()
    (tmp_path / "ckpt/other").mkdir()
    (tmp_path / "step-300").mkdir()
    assert sorted(find_units(scan(tmp_path))) == ["ckpt/step-100", "ckpt/step-200"]
    assert judge(tmp_path, "ckpt/step-200").why == "no .metadata"


@pytest.mark.parametrize(
    ("metadata", "complete"),
    [
        ({"init_timestamp_nsecs": 5, "commit_timestamp_nsecs": 9}, True),
        ({"init_timestamp_nsecs": 5, "commit_timestamp_nsecs": None}, False),
        ({}, True),
    ],
)
def test_orbax_without_a_rename_is_complete_once_it_names_its_commit(
    tmp_path: Path, metadata: dict[str, int | None], *, complete: bool
) -> None:
    data = json.dumps(metadata).encode()
    unit = write(tmp_path / "ckpt/40", {"_CHECKPOINT_METADATA": data, "default/d/x": b"1"})
    assert judge(tmp_path, "ckpt/40").complete is complete
    write(unit, {"commit_success.txt": b"done"})
    assert judge(tmp_path, "ckpt/40").complete


def test_a_checkpoint_by_hand_that_is_being_written_is_set_aside(tmp_path: Path) -> None:
    mark = json.dumps({"format": 1, "step": 4, "files": {"model.pt": 3}}).encode()
    write(tmp_path / "c/checkpoint-4", {"checkpoint.json": mark, "model.pt": b"abc"})
    write(tmp_path / "c/.checkpoint-8.tmp-77", {"model.pt": b"abc"})
    write(tmp_path / "elsewhere", {"checkpoint.json": b"of the user's own"})
    assert find_units(scan(tmp_path)) == {
        "c/checkpoint-4": "vaultlayer",
        "c/.checkpoint-8.tmp-77": "vaultlayer",
    }
    assert judge(tmp_path, "c/checkpoint-4").complete
    assert not judge(tmp_path, "c/.checkpoint-8.tmp-77").complete


def test_a_numbered_directory_of_a_plain_loop_is_not_taken_for_a_trainers(tmp_path: Path) -> None:
    files = {"model.pt": torch_bytes(), "optimizer.pt": torch_bytes(), "rng_state.pth": b"r"}
    write(tmp_path / "checkpoints/checkpoint-5", files)
    assert find_units(scan(tmp_path)) == {}
    by_hand = write(tmp_path / "c/checkpoint-4", files)
    (by_hand / "checkpoint.json").write_text(
        json.dumps({"format": 1, "step": 4, "files": {n: len(d) for n, d in files.items()}})
    )
    assert judge(tmp_path, "c/checkpoint-4").framework == "vaultlayer"
    assert judge(tmp_path, "c/checkpoint-4").complete
    write(tmp_path / "checkpoints", {f"checkpoint-6/{n}": d for n, d in trainer_files(6).items()})
    assert not judge(tmp_path, "checkpoints/checkpoint-5").complete, "beside a Trainer's own"
