"""The comparison sees what differs, in the right column, and nothing else."""

from pathlib import Path

import pytest
import torch

from matrix.compare import compare

pytestmark = pytest.mark.matrix


def tree(root: Path, *, nudge: str = "") -> Path:
    """A finished run's directory; `nudge` names what is a little different in it."""
    root.mkdir()
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.fill_(0.25 + number)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    weights, moments = model.state_dict(), optimizer.state_dict()
    if nudge == "weights":
        weights["weight"][1, 2] = torch.nextafter(weights["weight"][1, 2], torch.tensor(9.0))
    if nudge == "optimizer":
        moments["state"][0]["exp_avg"][0, 0] += 1e-7
    torch.save({"model": weights, "optimizer": moments}, root / "last.pt")
    (root / "loss.csv").write_text("1,0.5\n2,0.25\n" + ("3,0.1\n" if nudge == "metrics" else ""))
    (root / "run.log").write_text("done" if nudge == "logs" else "done\n")
    (root / "train.py").write_text(nudge)
    return root


def test_equal_runs_are_equal(tmp_path: Path) -> None:
    found = compare(tree(tmp_path / "a"), tree(tmp_path / "b"))
    assert found.differences == []
    assert {column: found.verdict(column) for column in found.compared} == dict.fromkeys(
        ("weights", "optimizer", "metrics", "logs"), "identical"
    )


@pytest.mark.parametrize("column", ["weights", "optimizer", "metrics", "logs"])
def test_the_smallest_difference_is_seen_where_it_is(tmp_path: Path, column: str) -> None:
    found = compare(tree(tmp_path / "a"), tree(tmp_path / "b", nudge=column))
    assert [difference.column for difference in found.differences] == [column]
    assert found.verdict(column) == "differs"


def test_a_file_that_is_absent_is_a_difference(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "a"), tree(tmp_path / "b")
    (two / "loss.csv").unlink()
    assert [d.detail for d in compare(one, two).differences] == ["absent in the resumed run"]
    assert compare(one, two, ignored=["loss"]).differences == []


def test_what_was_not_written_is_not_called_identical(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text("1\n")
    assert compare(tmp_path / "a", tmp_path / "b").verdict("weights") == "none"
