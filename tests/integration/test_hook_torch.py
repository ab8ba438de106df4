"""Hooks and capture around a plain PyTorch loop that rewrites one checkpoint file in place."""

from pathlib import Path

import pytest

from trainees import Trainee
from vaultlayer_agent.capture import HookEvent

pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.anyio, pytest.mark.timeout(300)]

WORDS = ("--steps", "40", "--save-steps", "5", "--step-delay", "0.1")


class Nth:
    """True at the n-th event of a kind, and only there."""

    def __init__(self, kind: str, number: int) -> None:
        self._kind = kind
        self._left = number

    def __call__(self, event: HookEvent) -> bool:
        self._left -= event.kind == self._kind
        return self._left == 0 and event.kind == self._kind


@pytest.mark.parametrize("moment", ["checkpoint_begin", "checkpoint_end"])
async def test_a_script_that_resumes_by_itself_ends_as_if_nothing_had_happened(
    tmp_path: Path, moment: str
) -> None:
    trainee = Trainee(tmp_path, "torch_loop.py", *WORDS)
    bare = trainee.run_bare()
    assert bare.status == 0, bare.output
    steps = (trainee.work / "steps.csv").read_bytes()
    first = await trainee.run(kill=Nth(moment, 5))
    assert first.status == -9
    assert first.saved[-1].cut.framework == "torch"
    assert first.saved[-1].cut.tier == "D", "nobody has seen it load yet"
    second = await trainee.run(resume=first.saved[-1])
    assert "continues at" in second.output
    assert second.digest == bare.digest
    assert (trainee.work / "steps.csv").read_bytes() == steps, (
        "log and checkpoint were of one moment"
    )
    assert second.final is not None
    assert second.final.cut.tier == "C", "now it has been seen to load"
    assert second.final.names == {"ckpt.pt", "steps.csv"}


async def test_without_hooks_the_file_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    trainee = Trainee(tmp_path, "torch_loop.py", *WORDS, "--save-steps", "30")
    bare = trainee.run_bare()
    run = await trainee.run(hooks=False)
    assert run.digest == bare.digest
    assert run.final is not None
    assert run.final.names == {"ckpt.pt", "steps.csv"}
    assert run.final.cut.tier == "D"
