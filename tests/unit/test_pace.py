"""How often a snapshot is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.every import Every, parse_every
from vaultlayer_agent import pace as pc
from vaultlayer_agent.capture.snapshots import Taken
from vaultlayer_agent.pace import Pace

HOUR_S = 3600.0


def taken(stall_s: float) -> Taken:
    return Taken(number=1, step=10, stall_s=stall_s, state_b=0, size_b=0)


@pytest.mark.parametrize(
    ("stall_s", "upload_s", "between_s", "wanted_s"),
    [
        (1.0, 0.0, 2 * HOUR_S, 120.0),
        (0.05, 0.0, 2 * HOUR_S, 30.0),
        (0.05, 170.0, 2 * HOUR_S, 204.0),
        (1.0, 0.0, 1000 * HOUR_S, 1800.0),
        (1.0, 0.0, 0.5 * HOUR_S, 60.0),
    ],
)
def test_the_interval_is_youngs_within_bounds(
    stall_s: float, upload_s: float, between_s: float, wanted_s: float
):
    pace = Pace(stall_s=stall_s, upload_s=upload_s, between_s=between_s)
    assert pc.interval_s(pace) == pytest.approx(wanted_s)


@given(
    stall_s=st.floats(0.3, 200.0),
    between_s=st.floats(0.5 * HOUR_S, 100 * HOUR_S),
    off=st.sampled_from([0.5, 0.8, 1.25, 2.0]),
)
def test_no_other_interval_wastes_less(stall_s: float, between_s: float, off: float):
    """Waste is the stall in each interval, and half an interval for each interruption."""

    def waste(interval_s: float) -> float:
        return stall_s / interval_s + interval_s / (2 * between_s)

    chosen_s = pc.interval_s(Pace(stall_s=stall_s, between_s=between_s))
    other_s = min(max(chosen_s * off, pc.LEAST_S), pc.MOST_S)
    assert waste(chosen_s) <= waste(other_s) * (1 + 1e-9)


@pytest.mark.parametrize("stall_s", [0.001, 0.05, 1.0])
def test_a_job_shorter_than_the_first_snapshot_stands_to_lose_less_than_a_boot(stall_s: float):
    """A new machine takes longer to come than all that a death before the first snapshot costs."""
    pace = pc.recording(Pace(stall_s=stall_s), 0.0)
    assert not pc.is_due(pace, pc.FIRST_S - 0.1)
    assert pc.is_due(pace, pc.FIRST_S)
    assert pc.FIRST_S <= pc.LEAST_S <= pc.interval_s(pace)


def test_the_first_comes_early_and_the_next_by_what_it_cost():
    pace = pc.recording(Pace(), 100.0)
    assert not pc.is_due(pace, 100.0 + pc.FIRST_S - 1)
    assert pc.is_due(pace, 100.0 + pc.FIRST_S)
    pace = pc.asked(pace, 120.0)
    assert not pc.is_due(pace, 120.0)
    pace = pc.took(pace, taken(1.0), 125.0)
    pace = pc.uploaded(pace, 10.0, 135.0)
    assert not pc.is_due(pace, 120.0 + 119)
    assert pc.is_due(pace, 120.0 + 120)
    assert pc.at_risk_s(pace) == pytest.approx(130.0)


def test_one_that_the_hook_took_by_itself_counts_for_the_first():
    pace = pc.took(pc.recording(Pace(), 100.0), taken(1.0), 105.0)
    assert not pc.is_due(pace, 224.0)
    assert pc.is_due(pace, 225.0)


def test_a_void_snapshot_is_asked_for_again_soon():
    pace = pc.asked(pc.recording(Pace(stall_s=100.0), 0.0), 20.0)
    pace = pc.came_to_nothing(pace, 21.0)
    assert pc.is_due(pace, 21.0 + pc.AGAIN_S)


def test_the_users_own_time_wins():
    pace = pc.recording(Pace(every=parse_every("5m")), 0.0)
    assert pc.is_due(pace, pc.FIRST_S)
    assert pc.interval_s(pace) == 300.0
    short = pc.recording(Pace(every=parse_every("2s")), 0.0)
    assert pc.is_due(short, 2.0)


@pytest.mark.parametrize("words", ["200steps", "off"])
def test_steps_are_counted_by_the_hook_and_off_asks_never(words: str):
    pace = pc.recording(Pace(every=parse_every(words)), 0.0)
    assert not pc.is_due(pace, 1e9)
    assert not pc.is_due(pc.uploaded(pc.took(pace, taken(1.0), 5.0), 1.0, 6.0), 1e9)


def test_ranks_are_told_a_step_that_lies_before_them():
    pace = pc.stepped(pc.stepped(Pace(), 10, 1.0), 60, 2.0)
    assert pace.rate == pytest.approx(50.0)
    assert pc.common_step(pace) == 60 + 50 + pc.AHEAD_STEPS
    assert pc.stepped(pace, 40, 3.0) == pace, "a slower rank takes nothing back"


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        ("", Every(), ""),
        ("5m", Every(seconds=300.0), "300s"),
        ("90 s", Every(seconds=90.0), "90s"),
        ("1.5h", Every(seconds=5400.0), "5400s"),
        ("200steps", Every(steps=200), "200steps"),
        ("1 step", Every(steps=1), "1steps"),
        ("OFF", Every(is_off=True), "off"),
    ],
)
def test_every_is_read_as_people_write_it(text: str, wanted: Every, words: str):
    assert parse_every(text) == wanted
    assert wanted.words == words
    assert parse_every(words) == wanted


@pytest.mark.parametrize("text", ["5", "0s", "-1m", "often", "1.5steps", "0steps"])
def test_every_refuses_what_it_cannot_mean(text: str):
    with pytest.raises(ValueError, match="steps"):
        parse_every(text)


# A machine that is about to be taken -------------------------------------------------------------


def test_a_notice_asks_at_once_and_again_as_often_as_the_uplink_allows():
    pace = pc.asked(pc.recording(Pace(), 0.0), 20.0)
    pace = pc.uploaded(pc.took(pace, taken(0.1), 21.0), 1.0, 22.0)
    assert not pc.is_due(pace, 40.0)
    pace = pc.noticed(pace, 30.0, 0.0, 40.0)
    assert pc.is_due(pace, 40.0)
    pace = pc.uploaded(pc.took(pc.asked(pace, 40.0), taken(0.1), 40.5), 3.0, 43.5)
    assert not pc.is_due(pace, 43.5)
    assert pc.is_due(pace, 40.0 + 3.0 * pc.UPLOADS), "so that as little as possible is lost"


@pytest.mark.parametrize(
    ("state_b", "uplink_b_s", "upload_s", "fits"),
    [
        (500_000_000, 125_000_000.0, 0.0, True),
        (112_000_000_000, 125_000_000.0, 0.0, False),
        (112_000_000_000, 0.0, 0.0, True),
        (0, 125_000_000.0, 0.0, True),
        (0, 0.0, 60.0, False),
        (500_000_000, 125_000_000.0, 60.0, True),
    ],
)
def test_what_cannot_reach_the_bucket_in_time_is_not_begun(
    state_b: int, uplink_b_s: float, upload_s: float, fits: bool
):
    pace = Pace(state_b=state_b, upload_s=upload_s)
    assert pc.is_due(pc.noticed(pace, 5.0, uplink_b_s, 100.0), 100.0) is fits


def test_the_last_seconds_are_not_spent_on_a_snapshot_that_would_be_too_late():
    pace = pc.noticed(Pace(upload_s=4.0, stall_s=0.5), 30.0, 0.0, 100.0)
    assert pc.is_due(pace, 125.0)
    assert not pc.is_due(pace, 125.5)


@pytest.mark.parametrize("words", ["200steps", "5m", ""])
def test_a_machine_that_outlives_its_notice_goes_on_as_before(words: str):
    pace = pc.recording(Pace(every=parse_every(words)), 0.0)
    before = pc.uploaded(pc.took(pc.asked(pace, 20.0), taken(0.1), 20.0), 1.0, 21.0)
    pace = pc.noticed(before, 10.0, 0.0, 25.0)
    assert pc.is_due(pace, 25.0), "however the user spaces them"
    pace = pc.asked(pace, 34.0)
    pace = pc.uploaded(pc.took(pace, taken(0.1), 36.0), 1.0, 37.0)
    assert pc.is_due(pace, 34.0 + pc.interval_s(pace)) is (words != "200steps")
    assert not pc.is_due(pace, 37.0)


def test_off_stays_off_under_notice():
    pace = pc.noticed(Pace(every=parse_every("off")), 30.0, 0.0, 1.0)
    assert not pc.is_due(pace, 2.0)
