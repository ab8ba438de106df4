"""Edges of the module for checkpoints by hand that need no training."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vaultlayer_agent.capture import hook_path
from vaultlayer_agent.capture.complete import find_units, judge_unit
from vaultlayer_agent.capture.scan import FileReader, scan
from vaultlayer_agent.capture.tree import below

pytest.importorskip("torch")
pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vl", hook_path() / "vaultlayer_checkpoint.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_a_checkpoint_comes_whole_or_not_at_all(module: ModuleType, tmp_path: Path) -> None:
    class Unwritable:
        def state_dict(self) -> Any:
            return {"f": lambda: None}

    module.checkpoint(1, model={"w": 1}, save_path=tmp_path)
    with pytest.raises(Exception, match="pickle"):
        module.checkpoint(2, model=Unwritable(), save_path=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_the_same_step_may_be_saved_again(module: ModuleType, tmp_path: Path) -> None:
    for value in (1, 2):
        module.checkpoint(5, model={"w": value}, save_path=tmp_path / "checkpoint-5")
    held: dict[str, int] = {}
    assert module.restore(tmp_path, model=held) == 5
    assert held == {"w": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]


def test_only_the_newest_are_kept_when_asked(module: ModuleType, tmp_path: Path) -> None:
    for step in (8, 9, 10, 11):
        module.checkpoint(step, model={}, save_path=tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-11"]
    assert module.latest(tmp_path) == str(tmp_path / "checkpoint-11")


def test_a_part_that_was_not_saved_is_named(module: ModuleType, tmp_path: Path) -> None:
    module.checkpoint(3, model={}, save_path=tmp_path)
    with pytest.raises(module.CheckpointError, match="holds no optimizer; it was saved with model"):
        module.restore(tmp_path, optimizer={})
    assert module.restore(tmp_path / "none", model={}) == 0


@pytest.mark.parametrize("step", [-1, 1.5, "x", None])
def test_what_is_no_step_is_refused(module: ModuleType, tmp_path: Path, step: object) -> None:
    with pytest.raises(module.CheckpointError, match="no step"):
        module.checkpoint(step, save_path=tmp_path)


def test_only_the_first_rank_writes(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert module.checkpoint(4, model={}, save_path=tmp_path) == str(tmp_path / "checkpoint-4")
    assert not list(tmp_path.iterdir())


def test_the_agent_agrees_on_what_is_complete(module: ModuleType, tmp_path: Path) -> None:
    def why() -> str:
        tree = scan(tmp_path)
        unit = below(tree, "checkpoint-6")
        reader = FileReader(tmp_path / "checkpoint-6")
        return judge_unit(find_units(tree)["checkpoint-6"], "checkpoint-6", unit, reader).why

    module.checkpoint(6, model={"w": 1}, save_path=tmp_path, loss=float("nan"))
    assert why() == ""
    model = tmp_path / "checkpoint-6/model.pt"
    model.write_bytes(model.read_bytes()[:-9])
    assert "model.pt is not as long" in why()
    assert module.latest(tmp_path) is None
