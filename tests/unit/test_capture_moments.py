"""When a cut is made: told by a hook, or found by looking."""

import os
import shutil
import time
from pathlib import Path

import anyio
import pytest

from captures import (
    LIMIT_S,
    QUIET_S,
    begin_of,
    capture_of,
    content,
    end_of,
    names,
    nothing_for,
    take,
)
from framework_files import safetensors_bytes, torch_bytes, trainer_files, write, write_trainer
from vaultlayer_agent.capture import Capture, Cut, HookEvent

pytestmark = pytest.mark.anyio


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


# Told by hooks ------------------------------------------------------------------------------------


async def test_a_checkpoint_that_a_hook_ends_is_put_aside_before_the_hook_goes_on(
    work: Path,
) -> None:
    capture = capture_of(work)
    capture.set_aside()
    (work / "log.csv").write_bytes(b"10\n")
    unit = write_trainer(work / "out", 10)
    capture.heard(end_of(unit, step=10))
    shutil.rmtree(unit)
    (work / "log.csv").write_bytes(b"10\n11\n")
    cut = await take(capture)
    assert cut.step == 10
    assert content(cut, "out/checkpoint-10/optimizer.pt") == trainer_files(10)["optimizer.pt"]
    assert content(cut, "log.csv") == b"10\n", "the log is of the same moment as the checkpoint"


async def test_putting_aside_takes_the_script_only_milliseconds(work: Path) -> None:
    write(work, {f"logs/{number}.txt": b"x" * 1000 for number in range(50)})
    capture = capture_of(work)
    capture.set_aside()
    took_s: list[float] = []
    for step in range(1, 8):
        unit = write_trainer(work / "out", step)
        begun_s = time.perf_counter()
        capture.heard(end_of(unit, step=step))
        took_s.append(time.perf_counter() - begun_s)
    assert sorted(took_s)[3] < 0.1, took_s


async def test_a_slow_consumer_gets_only_the_newest_cut(work: Path) -> None:
    capture = capture_of(work)
    for step in (10, 20, 30):
        capture.heard(end_of(write_trainer(work / "out", step), step=step))
    assert (await take(capture)).step == 30
    assert await nothing_for(capture, 1.5)
    assert len(list((work.parent / "staging").iterdir())) == 1, "those never seen are gone"


async def test_a_directory_being_written_is_not_in_a_cut_though_it_looks_complete(
    work: Path,
) -> None:
    capture = capture_of(work)
    capture.set_aside()
    capture.heard(begin_of(work / "out/checkpoint-20", "hf"))
    write_trainer(work / "out", 20)
    capture.heard(end_of(write_trainer(work / "out", 10), step=10))
    cut = await take(capture)
    assert cut.step == 10
    assert not any("checkpoint-20" in name for name in names(cut))
    capture.heard(HookEvent(kind="bye", pid=1))
    assert "out/checkpoint-20/optimizer.pt" in names(await take(capture)), "its writer is gone"


async def test_files_saved_together_go_into_one_cut(work: Path) -> None:
    capture = capture_of(work)
    capture.set_aside()
    for name in ("model.pt", "optim.pt"):
        capture.heard(begin_of(work / name))
        write(work, {name: torch_bytes(name.encode())})
        capture.heard(end_of(work / name, "torch"))
        await anyio.sleep(0.1)
    (work / "log.csv").write_bytes(b"written after the save\n")
    cut = await take(capture)
    assert names(cut) == {"model.pt", "optim.pt"}, (
        "the moment of the cut is the end of the last save"
    )
    folders = {path.name for path in (work.parent / "staging").iterdir()} - {"kept"}
    assert folders == {str(cut.number)}, "what was held for the first of them is gone"
    assert await nothing_for(capture, 1.0)


async def test_a_script_that_saves_all_the_time_is_cut_group_by_group(work: Path) -> None:
    """Saves a tenth of a second apart never pause, so the next round shows that one is whole."""
    capture = capture_of(work)
    capture.set_aside()
    seen: list[tuple[bytes, bytes]] = []
    async with anyio.create_task_group() as group:

        async def collect() -> None:
            async for cut in capture.cuts():
                seen.append((content(cut, "model.pt"), content(cut, "optim.pt")))
                capture.release(cut)

        group.start_soon(collect)
        for number in range(12):
            for name in ("model.pt", "optim.pt"):
                capture.heard(begin_of(work / name))
                write(work, {name: torch_bytes(b"%d" % number)})
                capture.heard(end_of(work / name, "torch"))
                await anyio.sleep(0.1)
        group.cancel_scope.cancel()
    assert len(seen) >= 3
    assert all(model == optim for model, optim in seen), "never new weights with old moments"


# Found by looking ---------------------------------------------------------------------------------


async def test_looking_finds_a_marked_checkpoint_at_once(work: Path) -> None:
    capture = capture_of(work)
    capture.set_aside()
    write_trainer(work / "out", 10)
    assert (await take(capture)).step == 10
    assert await nothing_for(capture, 1.2), "nothing new has come"
    write_trainer(work / "out", 20)
    assert (await take(capture)).step == 20


async def test_what_was_restored_is_not_cut_again(work: Path) -> None:
    write_trainer(work / "out", 10)
    write(work, {"ckpt.pt": torch_bytes()})
    capture = capture_of(work)
    capture.set_aside()
    assert capture.latest() == "out/checkpoint-10"
    assert await nothing_for(capture, 1.5)


async def test_a_file_without_a_mark_is_waited_for_until_it_is_quiet(work: Path) -> None:
    capture = capture_of(work)
    capture.set_aside()
    whole = torch_bytes(b"x" * 1000)

    async def write_slowly() -> None:
        with (work / "ckpt.pt").open("wb") as file:
            for at in range(0, len(whole), 300):
                file.write(whole[at : at + 300])
                file.flush()
                await anyio.sleep(0.4)

    cuts: list[Cut] = []
    async with anyio.create_task_group() as group:
        group.start_soon(write_slowly)
        cuts.append(await take(capture))
    assert content(cuts[0], "ckpt.pt") == whole
    assert cuts[0].framework == "torch"


async def test_a_file_held_open_for_writing_is_not_complete(work: Path) -> None:
    capture = Capture(
        places={"work": work},
        code=None,
        staging=work.parent / "staging",
        quiet_s=QUIET_S,
        pids=lambda: [os.getpid()],
    )
    capture.set_aside()
    with (work / "ckpt.pt").open("wb") as file:
        file.write(torch_bytes())
        file.flush()
        assert await nothing_for(capture, 1.5)
    assert names(await take(capture)) == {"ckpt.pt"}


async def test_output_without_any_checkpoint_is_cut_when_it_is_quiet(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultlayer_agent.capture.capture.OUTPUT_S", 0.5)
    capture = capture_of(work)
    capture.set_aside()
    (work / "samples.txt").write_text("one")
    cut = await take(capture)
    assert (names(cut), cut.framework, cut.tier) == ({"samples.txt"}, "files", "E")


async def test_logs_that_outrun_an_exact_checkpoint_wait_for_the_next_one(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OUTPUT_S", "OUTPUT_BESIDE_S"):
        monkeypatch.setattr(f"vaultlayer_agent.capture.capture.{name}", 0.2)
    capture = capture_of(work)
    write_trainer(work / "out", 10)
    capture.set_aside()
    (work / "log.csv").write_text("11\n")
    assert await nothing_for(capture, 1.5)


async def test_a_directory_that_accelerate_has_saved_needs_no_quiet(work: Path) -> None:
    capture = Capture(
        places={"work": work}, code=None, staging=work.parent / "staging", quiet_s=LIMIT_S
    )
    capture.set_aside()
    files = {"model.safetensors": safetensors_bytes(), "optimizer.bin": torch_bytes()}
    unit = write(work / "out/checkpoint_0", files | {"random_states_0.pkl": b"r"})
    capture.heard(end_of(unit, "accelerate"))
    cut = await take(capture)
    assert (cut.framework, cut.latest) == ("accelerate", "out/checkpoint_0")


async def test_a_rank_that_has_not_saved_yet_is_waited_for(work: Path) -> None:
    capture = capture_of(work)
    capture.set_aside()
    files = trainer_files(10, ranks=2)
    last = {"rng_state_1.pth": files.pop("rng_state_1.pth")}
    unit = write(work / "out/checkpoint-10", files)
    two = end_of(unit, step=10, world="2")
    capture.heard(two)
    assert await nothing_for(capture, 1.0)
    write(unit, last)
    capture.heard(two)
    assert "out/checkpoint-10/rng_state_1.pth" in names(await take(capture))
