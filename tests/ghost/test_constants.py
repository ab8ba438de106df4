"""What set-up made is hashed later than the snapshot, so it must not have changed meanwhile."""

import pytest

from ghosts import hook_module

torch = pytest.importorskip("torch")
constants = hook_module("constants")
state = hook_module("state")


def test_what_is_written_to_while_it_is_hashed_voids_the_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state.run, "torch", torch)
    table = torch.arange(3)
    known = constants.Constants()
    known.take()
    known.check_steady(table, "table", "hash")
    table.add_(1)
    with pytest.raises(constants.Unsteady, match="table has changed while it was hashed"):
        known.check_steady(table, "table", "hash")
