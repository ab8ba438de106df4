"""The module for checkpoints by hand: with the hooks around it, and copied beside a script without them."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainees import JOBS, Trainee
from vaultlayer_agent.capture import HookEvent, hook_path

pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.timeout(300)]

MODULE = hook_path() / "vaultlayer_checkpoint.py"


def alone(work: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run with nothing of ours but the one file beside the script."""
    code = work / "code"
    code.mkdir(exist_ok=True)
    shutil.copy(MODULE, code)
    shutil.copy(JOBS / "contract_loop.py", code)
    return subprocess.run(
        [sys.executable, "-I", "-c", RUN, str(code), *words],
        cwd=work,
        env={"OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); import contract_loop; contract_loop.main()"


def digest_of(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("digest"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    done = alone(tmp_path_factory.mktemp("bare"))
    assert done.returncode == 0, done.stderr
    return digest_of(done.stdout)


@pytest.mark.parametrize("name", ["CHECKPOINT_DIR", "VAULTLAYER_CHECKPOINT_DIR"])
def test_without_us_a_script_killed_twice_ends_as_if_nothing_had_happened(
    tmp_path: Path, bare: str, name: str
) -> None:
    env = {name: str(tmp_path / "kept here")}
    first = alone(tmp_path, "--die-at", "10", **env)
    assert first.returncode == 9
    (tmp_path / "kept here/checkpoint-99").mkdir()
    (tmp_path / "kept here/checkpoint-99/model.pt").write_bytes(b"half of it")
    second = alone(tmp_path, "--die-at", "27", **env)
    assert "starts after 8\n" in second.stdout
    newest = tmp_path / "kept here/checkpoint-24/optimizer.pt"
    newest.write_bytes(newest.read_bytes()[:-40])
    third = alone(tmp_path, **env)
    assert "starts after 20\n" in third.stdout, "what is cut short is not complete"
    assert digest_of(third.stdout) == bare


class AtSave:
    """True at the n-th checkpoint."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, event: HookEvent) -> bool:
        self._left -= event.kind == "checkpoint_end"
        return self._left == 0


def kills(number: int) -> Callable[[HookEvent], bool]:
    return AtSave(number)


@pytest.mark.anyio
async def test_with_us_a_script_killed_twice_ends_as_if_nothing_had_happened(
    tmp_path: Path, bare: str
) -> None:
    trainee = Trainee(tmp_path, "contract_loop.py", "--step-delay", "0.15")
    first = await trainee.run(kill=kills(3))
    assert first.saved, (first.status, first.output, [event.kind for event in first.events])
    assert first.saved[-1].cut.framework == "vaultlayer"
    second = await trainee.run(resume=first.saved[-1], kill=kills(3))
    assert "starts after 0\n" not in second.output
    third = await trainee.run(resume=second.saved[-1])
    assert third.status == 0, third.output
    assert digest_of(third.output) == bare
    assert "starts after 0\n" not in third.output
    assert third.final is not None
    assert third.final.cut.tier == "A", third.final.cut.detail
    assert third.final.cut.step == 40
