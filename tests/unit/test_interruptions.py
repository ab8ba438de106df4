"""How long a job's machines last, and what follows for the interval between its snapshots."""

import math

import pytest

from histories import START_S, History
from vaultlayer import events as ev
from vaultlayer_actors.dispatcher.interruptions import PRIOR_S, mean_between_s
from vaultlayer_agent import pace as pc

HOUR_S = 3600.0


def lived(
    history: History, number: int, start_s: float, end: ev.Event | None, end_s: float
) -> None:
    history.active(number)
    history.add(ev.Started(attempt=number), at=start_s)
    if end is not None:
        history.add(end, at=end_s)


def lost(number: int) -> ev.Lost:
    return ev.Lost(attempt=number, evidence="gone")


def test_what_is_taken_for_known_while_nothing_is() -> None:
    assert mean_between_s(History().job, START_S) == PRIOR_S
    assert pc.BETWEEN_S == PRIOR_S, "an agent that is told nothing takes the same"


def test_an_attempt_that_lives_counts_as_time_without_an_interruption() -> None:
    history = History()
    lived(history, 1, START_S + 10, None, 0.0)
    assert mean_between_s(history.job, START_S + 10 + 10 * HOUR_S) == pytest.approx(12 * HOUR_S)
    assert mean_between_s(history.job, START_S) == PRIOR_S, "a clock that stands before the log's"


def test_every_loss_shortens_it_and_the_prior_fades() -> None:
    history = History()
    at_s = START_S + 100
    for number in range(1, 7):
        lived(history, number, at_s, lost(number), at_s + HOUR_S)
        at_s += HOUR_S
    found = mean_between_s(history.job, at_s)
    assert found == pytest.approx((6 * HOUR_S + PRIOR_S) / 7)
    assert HOUR_S < found < 1.2 * HOUR_S


def test_a_machine_that_was_let_go_or_never_ran_the_script_is_no_interruption() -> None:
    history = History()
    lived(history, 1, START_S + 10, ev.Released(attempt=1, reason="superseded"), START_S + 3610)
    history.booting(2)
    history.add(ev.Released(attempt=2, reason="not needed"))
    assert mean_between_s(history.job, START_S + 9999) == pytest.approx(PRIOR_S + HOUR_S)


def test_the_interval_follows_from_it_by_youngs_rule_and_the_uplink() -> None:
    history = History()
    lived(history, 1, START_S, lost(1), START_S + HOUR_S)
    between_s = mean_between_s(history.job, START_S + HOUR_S)
    pace = pc.Pace(stall_s=2.0, upload_s=10.0, between_s=between_s)
    assert pc.interval_s(pace) == pytest.approx(math.sqrt(2 * 2.0 * between_s))
    slow = pc.Pace(stall_s=2.0, upload_s=400.0, between_s=between_s)
    assert pc.interval_s(slow) == pytest.approx(480.0), (
        "an uplink may need longer than Young allows"
    )
