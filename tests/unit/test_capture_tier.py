"""How a job will go on, as it is told for what has been seen of the script."""

from pathlib import Path

import pytest

from framework_files import trainer_files, write
from trainees import code_of
from vaultlayer_agent.capture import Capture, HookEvent
from vaultlayer_agent.capture.tier import Seen, find_tier
from vaultlayer_agent.own import write_own_files

EXACT = {"save_strategy": "steps", "save_steps": "10", "save_only_model": "false"}


@pytest.mark.parametrize(
    ("seen", "letter", "words"),
    [
        (Seen(), "E", "not been heard from"),
        (Seen(hooked=True), "E", "starts from zero"),
        (Seen(hooked=True, found=["torch"]), "D", "--resume-args"),
        (Seen(hooked=True, found=["torch"], loads=True), "C", "resumes from your last"),
        (Seen(hooked=True, found=["dcp"]), "D", "--resume-args"),
        (Seen(hooked=True, found=["dcp"], loads=True), "A", "reloads its newest"),
        (Seen(hooked=True, found=["orbax"]), "C", "Orbax"),
        (Seen(hooked=True, found=["orbax"], loads=True), "A", "by itself"),
        (Seen(hooked=True, found=["vaultlayer"], loads=True), "A", "vaultlayer_checkpoint"),
        (Seen(hooked=True, native="lightning"), "C", "data order and randomness are not"),
        (Seen(hooked=True, train=EXACT), "A", "exact step"),
        (Seen(hooked=True, train=EXACT | {"inexact": "GRPO keeps"}), "C", "GRPO keeps"),
        (Seen(hooked=True, train=EXACT | {"save_strategy": "no"}), "E", "save_strategy=no"),
        (Seen(hooked=True, train=EXACT, latest="checkpoint-8"), "C", "weights only"),
        (Seen(hooked=True, void="a thread holds"), "E", "exact resume: a thread holds"),
        (Seen(hooked=True, void="a thread holds", ghost=8), "B", "newest snapshot at step 8"),
    ],
)
def test_the_tier_follows_from_what_was_seen(seen: Seen, letter: str, words: str) -> None:
    found, detail = find_tier(seen)
    assert (found, words in detail) == (letter, True), detail


def test_only_silent_hooks_are_spoken_of() -> None:
    for found in ((), ("torch",)):
        assert "not been heard" in find_tier(Seen(found=found))[1]
        assert "not been heard" not in find_tier(Seen(found=found, hooked=True))[1]


def test_a_hook_that_goes_on_by_itself_is_believed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    capture = Capture(places={"work": work}, code=None, staging=tmp_path / "staging")
    assert capture.tier()[0] == "E"
    capture.heard(HookEvent(kind="native", framework="keras", detail="not exact", pid=1))
    assert capture.tier() == (
        "C",
        "Keras: resumes from its last checkpoint; data order and randomness are not restored",
    )


def test_the_files_of_the_job_itself_are_listed_by_their_real_paths(tmp_path: Path) -> None:
    work = write(
        tmp_path / "real", {f"out/checkpoint-8/{n}": d for n, d in trainer_files(8).items()}
    )
    (tmp_path / "work").symlink_to(work)
    manifest = code_of(work, ["out/checkpoint-8/trainer_state.json"])
    write_own_files(tmp_path / "own", manifest, {"work": tmp_path / "work"})
    expected = f"{work.resolve()}/out/checkpoint-8/trainer_state.json\0"
    assert (tmp_path / "own").read_text() == expected
