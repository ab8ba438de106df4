"""More than the log takes: the recording ends and says why, and the script does not notice."""

from pathlib import Path

import pytest

from ghosts import SCRIPTS, Ghost, final_lines

pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.timeout(1500)]


@pytest.mark.parametrize(
    ("way", "reason"), [("array", "MB left tensors at once"), ("pickled", "tensors are pickled")]
)
def test_what_is_too_large_for_the_log_ends_the_recording(
    tmp_path: Path, way: str, reason: str
) -> None:
    ghost = Ghost(tmp_path, SCRIPTS / "too_large.py", way, every="12steps")
    bare = ghost.bare()
    assert bare.status == 0, bare.output
    run = ghost.attempt()
    assert run.status == 0, run.output
    assert final_lines(run) == final_lines(bare)
    assert "Traceback" not in run.output
    assert reason in run.told("ghost_off")[0]["detail"]
    assert {event["step"] for event in run.told("snapshot_end")} <= {12}
