"""Host memory of snapshots: whole copies, used again, and never lent twice."""

from collections.abc import Generator
from typing import Any

import pytest

from ghosts import hook_module

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train


@pytest.fixture
def staging() -> Generator[Any]:
    state = hook_module("state").run
    before, state.torch = state.torch, torch
    yield hook_module("staging").Staging(pinned=("cpu", "cuda"))
    state.torch = before


def test_a_copy_is_whole_and_its_memory_is_used_again(staging: Any) -> None:
    source = torch.arange(100.0)
    first = staging.copy(source.untyped_storage())
    staging.join()
    staging.land()
    assert torch.equal(first.view(torch.float32), source)
    other = staging.copy(source.untyped_storage())
    assert other.data_ptr() != first.data_ptr(), "it was lent still"
    staging.give_back([first])
    assert staging.own() == [id(first)]
    source.add_(1)
    again = staging.copy(source.untyped_storage())
    assert again is first
    assert torch.equal(again.view(torch.float32), source)
    assert staging.own() == []
