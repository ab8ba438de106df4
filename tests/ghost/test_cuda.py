"""On a CUDA device: scripts that never save, killed twice; run by `make test-cuda` where there is one."""

from pathlib import Path

import pytest

from ghosts import SCRIPTS, Ghost, final_lines, through_deaths

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
STEADY = ":4096:8"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("mixed_precision", 45, 90),
        ("language_model", 45, 90),
        ("side_stream", 45, 90),
        ("adversarial", 85, 175),
        ("inductor", 45, 85),
    ],
)
def test_a_script_on_a_gpu_resumes_exactly_through_two_deaths(
    tmp_path: Path, name: str, first: int, second: int
) -> None:
    through_deaths(
        Ghost(tmp_path, SCRIPTS / f"{name}.py", CUBLAS_WORKSPACE_CONFIG=STEADY), first, second
    )


def test_a_recurrent_net_resumes_exactly_unless_cudnn_hides_its_dropout(tmp_path: Path) -> None:
    through_deaths(
        Ghost(tmp_path, SCRIPTS / "recurrent.py", "0.0", CUBLAS_WORKSPACE_CONFIG=STEADY), 45, 90
    )
    run = Ghost(tmp_path, SCRIPTS / "recurrent.py", "0.2", CUBLAS_WORKSPACE_CONFIG=STEADY).attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "dropout" in run.told("snapshot_void")[0]["detail"]


def test_a_captured_graph_ends_the_recording_and_works_as_before(tmp_path: Path) -> None:
    ghost = Ghost(tmp_path, SCRIPTS / "graphed.py", CUBLAS_WORKSPACE_CONFIG=STEADY)
    bare = ghost.bare()
    assert bare.status == 0, bare.output
    wanted = ghost.files()
    hooked = ghost.attempt()
    assert hooked.status == 0, hooked.output
    assert ghost.files() == wanted
    assert final_lines(hooked) == final_lines(bare)
    assert "CUDA graph" in hooked.told("ghost_off")[0]["detail"]
