"""Threads of the script that write files while training goes on: exact, or no snapshot while they do."""

from pathlib import Path

import pytest

from ghosts import SCRIPTS, Ghost, through_deaths

pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("words", [(), ("late",)])
def test_what_a_thread_saves_beside_the_training_is_exact(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A replay comes to its end before the thread does, and must not let it save stand-ins later."""
    through_deaths(Ghost(tmp_path, SCRIPTS / "saves_beside.py", *words), 45, 85)


def test_a_thread_in_the_middle_of_a_file_voids_the_snapshot(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "writes_beside.py", "rows").attempt(die_at=35)
    assert run.status == -9, run.output
    assert not run.told("snapshot_end")
    assert "the thread 'writer' writes to a file" in run.told("snapshot_void")[0]["detail"]


def test_a_thread_that_waits_with_an_open_file_does_not_keep_snapshots_away(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "writes_beside.py", "beats").attempt(die_at=35)
    assert run.status == -9, run.output
    assert run.told("snapshot_end")


def test_what_the_queue_of_a_pool_holds_for_a_while_is_waited_for(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "queue_beside.py"), 35, 50)


def test_a_file_that_a_thread_writes_beside_a_snapshot_is_whole(tmp_path: Path) -> None:
    """The image of the files is older than the look that finds no thread at work any more."""
    ghost = Ghost(tmp_path, SCRIPTS / "late_file.py", every="20steps")
    ghost.pause_s = 0.5
    through_deaths(ghost, 55, 95)
