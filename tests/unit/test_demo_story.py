"""The demonstration's figures are taken from the log, not from hope."""

from vaultlayer.driver import Offer
from vaultlayer.events import JobSpec
from vaultlayer.job import AttemptState, Job, Phase
from vaultlayer_cli.demo.story import figures, rows

OFFER = Offer(provider="local", offer_id="local")


def job() -> Job:
    first = AttemptState(
        number=1, incarnation="a", provider="local", offer=OFFER, phase=Phase.GONE,
        active_at=100.0, started_at=101.0, first_step=1, first_step_at=102.0, last_step=37, ended_at=120.5,
    )  # fmt: skip
    refused = AttemptState(
        number=2, incarnation="b", provider="local", offer=OFFER, phase=Phase.GONE
    )
    third = AttemptState(
        number=3, incarnation="c", provider="local", offer=OFFER, phase=Phase.ACTIVE, resumed_step=30,
        active_at=122.0, started_at=123.0, first_step=31, first_step_at=128.0, last_step=40, restore_s=0.25,
    )  # fmt: skip
    return Job(
        job="j", spec=JobSpec(command=["x"]), attempts={1: first, 2: refused, 3: third}, active=3
    )


def test_a_replacement_is_timed_from_the_kill_of_the_one_before() -> None:
    first, third = rows(job(), {1: 120.0})
    assert (first.attempt, first.detect_s, first.restore_s) == (1, None, None)
    assert (third.detect_s, third.takeover_s, third.first_new_step_s) == (0.5, 1.5, 8.0)
    assert (third.resumed_from_step, third.restore_s) == (30, 0.25)


def test_the_last_step_is_the_newest_that_anybody_knows() -> None:
    assert [row.last_step for row in rows(job(), {}, {1: 39, 3: 12})] == [39, 40]


def test_an_attempt_that_never_ran_the_script_has_no_row() -> None:
    assert [row.attempt for row in rows(job(), {})] == [1, 3]


def test_equal_digests_are_called_identical_and_two_missing_ones_are_not() -> None:
    same = figures(job(), {}, {}, bare="d", resumed="d", began_at=0.0, now_s=9.0)
    assert same.identical
    none = figures(job(), {}, {}, bare="", resumed="", began_at=0.0, now_s=9.0)
    assert not none.identical
    assert not figures(job(), {}, {}, bare="d", resumed="e", began_at=0.0, now_s=9.0).identical
