"""What a cut holds and when one is made, on real directories."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from captures import capture_of, content, end_of, names, take
from framework_files import safetensors_bytes, torch_bytes, trainer_files, write, write_trainer
from vaultlayer.checkpoint.manifest import FORMAT, FileEntry, Manifest, Piece
from vaultlayer_agent.capture import HookEvent, plan, stage

pytestmark = pytest.mark.anyio


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


# What is in a cut ---------------------------------------------------------------------------------


async def test_the_last_cut_holds_everything_but_half_written_checkpoints(work: Path) -> None:
    write_trainer(work / "out", 10)
    write_trainer(work / "out", 20)
    write(work / "out/checkpoint-30", {"model.safetensors": safetensors_bytes()})
    write(work, {"log.csv": b"1,2\n", "results/a.json": b"{}"})
    cut = await capture_of(work).final()
    expected = {
        f"out/checkpoint-{step}/{name}" for step in (10, 20) for name in trainer_files(step)
    }
    assert names(cut) == expected | {"log.csv", "results/a.json"}
    assert (cut.step, cut.framework, cut.final, cut.latest) == (20, "hf", True, "out/checkpoint-20")


async def test_a_script_that_ended_well_left_nothing_half_written(work: Path) -> None:
    """`optimizer.bin` without random states: half of what accelerate saves, or all that a script does."""
    left = {"out/model.safetensors": safetensors_bytes(), "out/optimizer.bin": b"x"}
    write(work, left | {"out/recall.txt": b"0.5", "odd.pt": torch_bytes()[:-30]})
    assert names(await capture_of(work).final()) == set()
    assert names(await capture_of(work).final(well=True)) == {*left, "out/recall.txt", "odd.pt"}


async def test_a_large_file_of_the_last_moment_is_in_the_last_cut(work: Path) -> None:
    write(work, {"log.txt": b"1"})
    capture = capture_of(work)
    capture.set_aside()
    with (work / "embeddings.npy").open("wb") as file:
        file.truncate(plan.SMALL_B + 1)
    assert names(await capture.final()) == {"log.txt", "embeddings.npy"}


async def test_directories_of_checkpoints_carry_their_times(work: Path) -> None:
    unit = write_trainer(work / "out", 10)
    os.utime(unit, ns=(7_000_000_000, 7_000_000_000))
    cut = await capture_of(work).final()
    assert [(file.name, file.mtime_ns) for file in cut.files if file.kind == "dir"] == [
        ("out/checkpoint-10", 7_000_000_000)
    ]


async def test_what_no_attempt_needs_is_left_out(work: Path) -> None:
    keep = {"a.txt": b"a", "data/b.txt": b"b"}
    leave = [
        ".git/x",
        "p/__pycache__/m.pyc",
        ".venv/x",
        "node_modules/x",
        "c.tmp",
        "d.part",
        "e.incomplete",
    ]
    write(work, keep | dict.fromkeys([*leave, ".vaultlayer/aside/x", ".vaultlayer-part-1"], b"x"))
    os.mkfifo(work / "pipe")
    cut = await capture_of(work).final()
    assert names(cut) == set(keep)


async def test_links_are_kept_and_not_followed(work: Path) -> None:
    write(work, {"real/weights.bin": b"w"})
    (work / "latest").symlink_to("real")
    (work / "dangling").symlink_to("/nowhere/at all")
    cut = await capture_of(work).final()
    links = {file.name: file.target for file in cut.files if file.kind == "symlink"}
    assert links == {"latest": "real", "dangling": "/nowhere/at all"}
    assert "latest/weights.bin" not in names(cut)


async def test_places_do_not_hold_one_another(work: Path) -> None:
    write(work, {"a.txt": b"a", "out/b.txt": b"b"})
    cut = await capture_of(work, out0=work / "out").final()
    assert {(file.root, file.name) for file in cut.files if file.kind == "file"} == {
        ("work", "a.txt"),
        ("out0", "b.txt"),
    }


def code_of(work: Path, *file_names: str) -> Manifest:
    import hashlib  # noqa: PLC0415

    entries: list[FileEntry] = []
    for name in file_names:
        data, found = (work / name).read_bytes(), (work / name).stat()
        pieces = (Piece(0, 0, len(data), hashlib.sha256(data).hexdigest()),) if data else ()
        entries.append(
            FileEntry(
                root="work", name=name, kind="file", mode=0o644, mtime_ns=found.st_mtime_ns,
                size_b=len(data), pieces=pieces, target="",
            )
        )  # fmt: skip
    return Manifest(
        format=FORMAT, job="jabcdefghi", attempt=0, incarnation="", seq=0, step=None, parent="",
        created_ms=0, files=tuple(entries), packs=(), meta={},
    )  # fmt: skip


async def test_code_is_left_out_until_its_content_changes(work: Path) -> None:
    write(
        work,
        {
            "train.py": b"import x",
            "table.csv": b"1234",
            "model.pt": torch_bytes(),
            "same.py": b"touched",
        },
    )
    code = code_of(work, "train.py", "table.csv", "model.pt", "same.py")
    os.utime(work / "same.py", ns=(1, 1))
    (work / "table.csv").write_bytes(b"5678")
    os.utime(work / "table.csv", ns=(1, 1))
    cut = await capture_of(work, code=code).final()
    assert names(cut) == {"table.csv"}
    assert cut.framework == "files"


async def test_a_cut_survives_rotation_and_rename(work: Path) -> None:
    write_trainer(work / "out", 10)
    capture = capture_of(work)
    cut = await capture.final()
    shutil.rmtree(work / "out")
    assert content(cut, "out/checkpoint-10/model.safetensors") == safetensors_bytes()
    capture.release(cut)
    assert not any(file.path.exists() for file in cut.files)


async def test_sizes_and_times_told_are_those_of_the_staged_bytes(work: Path) -> None:
    write_trainer(work / "out", 10)
    write(work, {"log.csv": b"1,2\n"})
    for file in (await capture_of(work).final()).files:
        if file.kind == "file":
            found = file.path.stat()
            assert (file.size_b, file.mtime_ns) == (found.st_size, found.st_mtime_ns)
            assert file.mtime_ns == (work / file.name).stat().st_mtime_ns


# Rewritten in place, deleted, torn ----------------------------------------------------------------


async def test_a_checkpoint_rewritten_in_place_does_not_reach_an_earlier_cut(work: Path) -> None:
    capture = capture_of(work)
    capture.set_aside()
    write(work, {"ckpt.pt": torch_bytes(b"first")})
    first = await take(capture)
    write(work, {"ckpt.pt": torch_bytes(b"second")})
    second = await take(capture)
    assert content(first, "ckpt.pt") == torch_bytes(b"first")
    assert content(second, "ckpt.pt") == torch_bytes(b"second")


async def test_a_save_that_died_half_way_leaves_the_last_good_version(work: Path) -> None:
    capture = capture_of(work)
    capture.set_aside()
    write(work, {"ckpt.pt": torch_bytes(b"good")})
    cut = await take(capture)
    when_ns = next(file.mtime_ns for file in cut.files)
    capture.release(cut)
    (work / "ckpt.pt").write_bytes(torch_bytes(b"worse")[:-10])
    last = await capture.final()
    assert content(last, "ckpt.pt") == torch_bytes(b"good")
    assert next(file.mtime_ns for file in last.files) == when_ns
    assert not last.meta


async def test_a_rewrite_that_begins_while_we_copy_spoils_no_cut(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = capture_of(work)
    capture.set_aside()
    write(work, {"ckpt.pt": torch_bytes(b"good")})
    capture.release(await take(capture))
    write(work, {"ckpt.pt": torch_bytes(b"newer")})
    copy = stage._copy_bytes  # pyright: ignore[reportPrivateUsage]

    def racing(source: int, target: int, size_b: int) -> int:
        os.truncate(work / "ckpt.pt", 40)
        return copy(source, target, size_b)

    monkeypatch.setattr(stage, "_copy_bytes", racing)
    last = await capture.final()
    assert content(last, "ckpt.pt") == torch_bytes(b"good")


async def test_a_broken_file_of_which_there_is_no_good_version_is_told(work: Path) -> None:
    write(work, {"ckpt.pt": torch_bytes()[:-10], "log.csv": b"1"})
    last = await capture_of(work).final()
    assert names(last) == {"log.csv"}
    assert last.meta == {"torn": "work:ckpt.pt"}


async def test_a_checkpoint_that_rotation_is_deleting_is_left_out(work: Path) -> None:
    """`scheduler.pt` alone is gone: no rule of the format knows it, but it was there a look before."""
    capture = capture_of(work)
    old = write_trainer(work / "out", 10)
    capture.heard(end_of(old, step=10))
    (old / "scheduler.pt").unlink()
    capture.heard(end_of(write_trainer(work / "out", 20), step=20))
    cut = await take(capture)
    assert not any("checkpoint-10" in name for name in names(cut))
    assert cut.step == 20


async def test_a_checkpoint_that_vanishes_between_look_and_link_is_left_out_whole(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trainer(work / "out", 10)
    write_trainer(work / "out", 20)
    link: Callable[..., None] = os.link

    def racing(source: Path, target: Path, **words: bool) -> None:
        if source.parent.name == "checkpoint-10" and source.name == "optimizer.pt":
            shutil.rmtree(source.parent)
        link(source, target, **words)

    monkeypatch.setattr(os, "link", racing)
    cut = await capture_of(work).final()
    assert {name.split("/")[1] for name in names(cut)} == {"checkpoint-20"}
    assert not any(file.name.startswith("out/checkpoint-10") for file in cut.files)


async def test_a_file_system_without_hard_links_is_copied_from(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    write_trainer(work / "out", 10)
    cut = await capture_of(work).final()
    assert {name.split("/")[-1] for name in names(cut)} == set(trainer_files(10))


# Before the start ---------------------------------------------------------------------------------


async def test_incomplete_checkpoints_are_set_aside_before_the_start(work: Path) -> None:
    write_trainer(work / "out", 10)
    write(work / "out/checkpoint-99", {"model.safetensors": safetensors_bytes()})
    write(work / "orbax/7.orbax-checkpoint-tmp-1", {"x": b"x"})
    capture = capture_of(work)
    assert sorted(capture.set_aside()) == ["orbax/7.orbax-checkpoint-tmp-1", "out/checkpoint-99"]
    assert not (work / "out/checkpoint-99").exists()
    assert (work / ".vaultlayer/aside/out__checkpoint-99.0/model.safetensors").exists() or (
        work / ".vaultlayer/aside/out__checkpoint-99.1/model.safetensors"
    ).exists()
    assert names(await capture.final()) == {
        f"out/checkpoint-10/{name}" for name in trainer_files(10)
    }


async def test_what_came_with_the_code_is_not_set_aside(work: Path) -> None:
    write_trainer(work / "out", 10)
    write(work / "out/checkpoint-99", {"model.safetensors": safetensors_bytes()})
    capture = capture_of(work, code=code_of(work, "out/checkpoint-99/model.safetensors"))
    assert capture.set_aside() == []


# Tiers --------------------------------------------------------------------------------------------

TRAIN = {"world": "1", "save_strategy": "steps", "save_steps": "10", "trained": "1"}


def train(**more: str) -> HookEvent:
    return HookEvent(kind="train", framework="hf", meta=TRAIN | more)


async def test_the_tier_follows_from_what_is_seen(work: Path) -> None:
    capture = capture_of(work)
    assert capture.tier()[0] == "E"
    write_trainer(work / "out", 10)
    capture.set_aside()
    assert capture.tier()[0] == "D", "without the hook nothing loads it"
    capture.heard(train())
    assert capture.tier()[0] == "A"
    assert "checkpoint-10, saved every 10 steps" in capture.tier()[1]


@pytest.mark.parametrize(
    ("more", "letter", "word"),
    [
        ({"ignore_data_skip": "true"}, "C", "data order"),
        ({"save_only_model": "true"}, "C", "weights only"),
        ({"inexact": "GRPOTrainer keeps samples"}, "C", "GRPOTrainer keeps samples"),
        ({"save_strategy": "no"}, "E", "starts from zero"),
    ],
)
async def test_a_trainer_that_cannot_be_exact_is_told_so(
    work: Path, more: dict[str, str], letter: str, word: str
) -> None:
    write_trainer(work / "out", 10)
    capture = capture_of(work)
    capture.set_aside()
    capture.heard(train(**more))
    assert capture.tier()[0] == letter
    assert word in capture.tier()[1]


async def test_a_script_that_reads_its_checkpoint_again_resumes_by_itself(work: Path) -> None:
    write(work, {"ckpt.pt": torch_bytes()})
    capture = capture_of(work)
    capture.set_aside()
    assert capture.tier()[0] == "D"
    capture.heard(HookEvent(kind="loaded", path=str(work / "ckpt.pt")))
    assert capture.tier()[0] == "C"


async def test_the_newest_checkpoint_is_a_frameworks_before_a_lone_file(work: Path) -> None:
    write_trainer(work / "out", 10)
    write(work, {"cache.pt": torch_bytes()})
    os.utime(work / "cache.pt", ns=(2**62, 2**62))
    capture = capture_of(work)
    capture.set_aside()
    assert capture.latest() == "out/checkpoint-10"
