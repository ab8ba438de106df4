"""What is done to a machine that is over, with a clock that is a number."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histories import History
from vaultlayer import events as ev
from vaultlayer.job import Phase
from vaultlayer.lifecycle import faults
from vaultlayer_actors.fencer import core
from vaultlayer_actors.fencer.core import Step

LOST = ev.Lost(attempt=1, evidence="lease")


def test_every_end_makes_work_for_the_fencer():
    ends: dict[str, ev.Event] = {
        "lost": LOST,
        "released": ev.Released(attempt=1, reason="not wanted"),
        "exited": ev.Exited(attempt=1, exit_code=0),
    }
    for end in ends.values():
        history = History().active().add(end)
        assert core.unfinished(history.job) == [1]
        assert core.step_of(history.attempt()) is Step.FENCE
    superseded = History().active().add(ev.Lapsed(attempt=1)).active(2)
    assert core.unfinished(superseded.job) == [1]


def test_what_lives_and_what_is_gone_is_left_alone():
    history = History().active()
    assert core.unfinished(history.job) == []
    history.add(LOST, ev.Fenced(attempt=1))
    assert core.step_of(history.attempt()) is Step.CONFIRM
    history.add(ev.Gone(attempt=1))
    assert core.unfinished(history.job) == []


def test_an_attempt_that_was_never_made_is_fenced_by_its_name():
    history = History().ordered().add(ev.Released(attempt=1, reason="not wanted"))
    assert core.unfinished(history.job) == [1]
    assert core.bill(history.attempt(), 1e9) == (0.0, 0.0)


def test_a_pending_create_is_waited_for_by_this_process_own_clock():
    history = History().ordered().add(ev.CreateClaimed(attempt=1, claim_s=120.0), LOST)
    assert core.claim_rest_s(history.attempt(), 50.0, 50.0) == 120.0
    assert core.claim_rest_s(history.attempt(), 50.0, 169.0) == 1.0
    assert core.claim_rest_s(history.attempt(), 50.0, 170.0) == 0.0


def test_a_known_machine_and_an_unclaimed_order_are_not_waited_for():
    assert core.claim_rest_s(History().booting().add(LOST).attempt(), 0.0, 0.0) == 0.0
    assert core.claim_rest_s(History().ordered().add(LOST).attempt(), 0.0, 0.0) == 0.0


def test_the_bill_runs_from_created_to_gone():
    history = History().booting()
    attempt = history.add(LOST).attempt()
    billed_s, cost_usd = core.bill(attempt, attempt.created_at + 1800.0)
    assert (billed_s, cost_usd) == (1800.0, pytest.approx(0.5))
    assert core.bill(attempt, attempt.created_at - 5.0) == (0.0, 0.0)


def test_gone_is_not_said_of_a_machine_that_came_to_light_meanwhile():
    history = History().ordered().add(ev.CreateClaimed(attempt=1), LOST)
    looked_for = history.attempt()
    history.add(ev.Created(attempt=1, instance="late"))
    assert core.gone_entry(history.job, looked_for, 2_000.0) is None
    assert core.fenced_entry(history.job, looked_for) is None
    assert isinstance(core.gone_entry(history.job, history.attempt(), 2_000.0), ev.Gone)


def test_fenced_is_not_said_of_a_key_that_was_enrolled_meanwhile():
    history = History().ordered().add(ev.Created(attempt=1, instance="i1"), LOST)
    revoked = history.attempt()
    history.add(ev.Enrolled(attempt=1, user_key="U1"))
    assert core.fenced_entry(history.job, revoked) is None


def test_a_machine_found_after_gone_was_said_is_fenced_again():
    history = History().ordered().add(ev.CreateClaimed(attempt=1), LOST, ev.Fenced(attempt=1))
    first = core.cmd_id("gone", history.attempt())
    history.add(ev.Gone(attempt=1)).add(ev.Created(attempt=1, instance="late"))
    assert history.attempt().phase is Phase.ENDED
    assert core.unfinished(history.job) == [1]
    assert faults(history.job) == []
    assert core.cmd_id("gone", history.attempt()) != first


def test_two_fencers_speak_of_one_machine_with_one_command_id():
    attempt = History().active().add(LOST).attempt()
    assert core.cmd_id("gone", attempt) == core.cmd_id("gone", msgspec.structs.replace(attempt))


@given(st.integers(0, 10_000))
def test_the_pause_grows_to_a_minute_and_no_further(failures: int):
    assert 1.0 <= core.backoff_s(failures) <= 60.0
    assert core.backoff_s(failures) <= core.backoff_s(failures + 1)
