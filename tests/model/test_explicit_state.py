"""The lineage of a job holds in every reachable state, and each guard is needed: without it, it breaks.

A checker that cannot fail proves nothing, so each guard is dropped once and the shortest way to the damage
is asserted.
"""

import pytest

from model.explicit import Rules, search
from vaultlayer import fold as fold_module
from vaultlayer import lifecycle
from vaultlayer.errors import ErrorBody
from vaultlayer.job import Job, Phase
from vaultlayer.lifecycle import may_take_over

STATES_MIN = 200_000
"""The full search must have gone somewhere; a model that cannot move finds no fault either."""

SMALL = Rules(attempts=2, checkpoints=2)


def no_guard(_job: Job, _number: int, _seq: int) -> ErrorBody | None:
    return None


def only_order(job: Job, number: int, seq: int) -> ErrorBody | None:
    """The commit guard without the generation."""
    late = seq <= job.attempts[number].last_checkpoint_seq
    return ErrorBody(code="out-of-order", what="late") if late else None


def only_generation(job: Job, number: int, _seq: int) -> ErrorBody | None:
    """The commit guard without the order."""
    active = number == job.active and job.attempts[number].phase is Phase.ACTIVE
    return None if active else ErrorBody(code="superseded", what="not active")


def without_lease(job: Job, number: int) -> ErrorBody | None:
    """Takeover whenever a newer attempt is ready, whatever the active one's lease says."""
    refused = may_take_over(job, number)
    return None if refused and refused.code == "not-yet" else refused


def drop_everywhere(monkeypatch: pytest.MonkeyPatch, guard: object) -> None:
    monkeypatch.setattr(lifecycle, "commit_fault", guard)
    monkeypatch.setattr(fold_module, "commit_fault", guard)


def test_with_all_guards_every_reachable_state_is_sound():
    found = search(Rules(attempts=3, checkpoints=2))
    assert (found.fault, found.path) == ("", ())
    assert found.states > STATES_MIN


def test_longer_chains_of_two_attempts_are_sound():
    assert search(Rules(attempts=2, checkpoints=3)).fault == ""


def test_without_the_generation_guard_a_dead_attempt_commits_after_its_successor_began(
    monkeypatch: pytest.MonkeyPatch,
):
    drop_everywhere(monkeypatch, only_order)
    found = search(SMALL)
    assert found.fault == "a1 commits after the takeover of a2"
    assert len(found.path) == 9, found.path
    assert found.path[-1] == "commit a1#1"


def test_without_the_order_guard_a_doubled_request_commits_twice(monkeypatch: pytest.MonkeyPatch):
    drop_everywhere(monkeypatch, only_generation)
    found = search(SMALL)
    assert found.fault.startswith("order does not rise")
    assert found.path == (
        "order a1",
        "ready a1",
        "takeover a1",
        "a1 uploads #1",
        "commit a1#1",
        "commit a1#1",
    )


def test_without_write_isolation_an_object_that_is_committed_is_overwritten():
    found = search(Rules(attempts=2, checkpoints=2, isolated=False))
    assert "was written by" in found.fault
    assert len(found.path) == 10, found.path


def test_without_compare_and_swap_an_old_decision_forks_the_chain(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(fold_module, "commit_fault", no_guard)
    found = search(Rules(attempts=2, checkpoints=1, atomic=False))
    assert found.fault == "a1 commits after the takeover of a2"
    assert found.path[-1] == "append the old decision on a1#1"


def test_the_fold_alone_ignores_what_should_never_have_been_appended(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(lifecycle, "commit_fault", no_guard)
    assert search(SMALL).fault == ""
    assert search(Rules(attempts=2, checkpoints=2, atomic=False)).fault == ""


def test_the_broker_alone_keeps_what_the_fold_would_take(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fold_module, "commit_fault", no_guard)
    assert search(SMALL).fault == ""


def test_lineage_does_not_rest_on_the_lease(monkeypatch: pytest.MonkeyPatch):
    with_lease = search(SMALL)
    monkeypatch.setattr(lifecycle, "may_take_over", without_lease)
    found = search(SMALL)
    assert found.fault == ""
    assert found.states > with_lease.states
