"""Recording changes nothing: what a hooked run computes, prints and leaves is what the bare one does."""

from pathlib import Path

import pytest

from ghosts import SCRIPTS, Ghost, final_lines

pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.timeout(600)]

MATRIX = SCRIPTS.parents[1] / "matrix" / "scripts"


@pytest.mark.parametrize(
    ("script", "snapshots"),
    [
        (SCRIPTS / "traces.py", None),
        (SCRIPTS / "children.py", None),
        (SCRIPTS / "again.py", None),
        (SCRIPTS / "patches.py", None),
        (SCRIPTS / "scripted.py", None),
        (SCRIPTS / "scalars_in_lists.py", None),
        (SCRIPTS / "overridden.py", None),
        (SCRIPTS / "pickled_functions.py", None),
        (SCRIPTS / "folds_of_averages.py", None),
        (SCRIPTS / "old_graph.py", 0),
        (SCRIPTS / "hidden_tensor.py", 0),
        (MATRIX / "maml.py", None),
        (MATRIX / "functional_vmap.py", None),
    ],
    ids=lambda value: getattr(value, "stem", ""),
)
def test_a_hooked_run_is_the_bare_one_bit_for_bit(
    tmp_path: Path, script: Path, snapshots: int | None
) -> None:
    ghost = Ghost(tmp_path, script)
    bare = ghost.bare()
    assert bare.status == 0, bare.output
    wanted = ghost.files()
    assert len(wanted) > 1 or final_lines(bare), "the script leaves nothing to compare"
    hooked = ghost.attempt()
    assert hooked.status == 0, hooked.output
    assert ghost.files() == wanted
    assert final_lines(hooked) == final_lines(bare)
    assert hooked.told("ghost"), "nothing was recorded"
    assert not hooked.told("hook_failed"), hooked.told("hook_failed")
    if snapshots is not None:
        assert len(hooked.told("snapshot_end")) == snapshots


def test_a_torch_that_is_too_old_is_told_and_left_alone(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "ancient.py").attempt()
    assert run.status == 0, run.output
    assert final_lines(run) == ["FINAL 2.0.1"]
    assert "torch 2.0.1 is older than 2.1" in run.told("ghost_off")[0]["detail"]
    assert not run.told("ghost")
