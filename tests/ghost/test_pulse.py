"""The elements of a parameter that go into the log: read in place where that is the same, else by torch."""

from typing import Any

import pytest
import torch

from ghosts import hook_module

COUNT = 6


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Any:
    state = hook_module("state")
    monkeypatch.setattr(state.run, "torch", torch)
    return hook_module("pulse").Pulse()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize(("at", "count"), [(0, 4), (3, 2), (5, 1)])
def test_elements_are_those_that_torch_reads(
    pulse: Any, kind: torch.dtype, at: int, count: int
) -> None:
    whole = torch.randn(2 * COUNT, dtype=kind)
    p = torch.nn.Parameter(whole[COUNT:])
    wanted: list[float] = p.detach()[at : at + count].numpy().tolist()
    assert pulse._in_memory(p, at, count) == wanted


@pytest.mark.parametrize(
    "p",
    [
        torch.nn.Parameter(torch.randn(3, 2).t()),
        torch.nn.Parameter(torch.randn(COUNT, dtype=torch.bfloat16)),
        torch.nn.Parameter(torch.randn(COUNT, device="meta")),
        torch.randn(COUNT),
    ],
    ids=["transposed", "half", "meta", "no parameter"],
)
def test_others_are_left_to_torch(pulse: Any, p: torch.Tensor) -> None:
    assert pulse._in_memory(p, 0, 2) is None
