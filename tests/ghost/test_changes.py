"""What calls that a replay skips leave behind besides their results: it is there again after two deaths."""

from pathlib import Path

import pytest

from ghosts import SCRIPTS, Ghost, through_deaths

pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.timeout(1500)]


def test_what_calls_change_in_their_owners_is_as_it_was(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "changed_in_call.py"), 125, 230)


def test_tensors_that_calls_and_forward_hooks_leave_are_as_they_were(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "kept_in_call.py"), 130, 220)


def test_a_training_that_follows_another_does_not_depend_on_when_garbage_is_swept(
    tmp_path: Path,
) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "in_turn.py"), 45, 105)


def test_distributions_that_modules_hold_are_as_they_were(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "prior.py"), 45, 85)


def test_what_hooks_on_tensors_collect_is_as_it_was(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "tensor_hooks.py"), 45, 95)
