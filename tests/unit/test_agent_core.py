"""The agent's state machine."""

from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.messages import Grant, TakeoverOrder
from vaultlayer_agent import core
from vaultlayer_agent import effects as ef
from vaultlayer_agent import happenings as hp
from vaultlayer_agent.core import Stage, State, Status, may_commit, step

LEASE_S = 25.0


def fresh(*, strict: bool = False, attempt: int = 2) -> State:
    return State(attempt=attempt, born_s=100.0, strict=strict)


def grant(**fields: object) -> Grant:
    values = {"number": 1, "lease_s": LEASE_S, "beat_s": 5.0, "orphan_s": 900.0, **fields}
    return msgspec.convert(values, Grant)


def granted(sent_s: float, **fields: object) -> hp.Granted:
    return hp.Granted(sent_s=sent_s, grant=grant(**fields))


def order(attempt: int = 2) -> hp.TakeoverOrdered:
    return hp.TakeoverOrdered(order=TakeoverOrder(attempt=attempt))


def run(state: State, *events: hp.Happening, now_s: float = 101.0) -> core.Step:
    effects: tuple[ef.Effect, ...] = ()
    for event in events:
        state, more = step(state, event, now_s)
        effects = (*effects, *more)
    return state, effects


def running(*, strict: bool = False) -> State:
    state, _ = run(
        fresh(strict=strict),
        hp.Enrolled(),
        granted(100.5),
        hp.Prepared(),
        order(),
        hp.Placed(),
        hp.ScriptStarted(),
    )
    assert state.stage is Stage.ACTIVE
    assert state.has_script
    return state


def kinds(effects: tuple[ef.Effect, ...]) -> list[type[ef.Effect]]:
    return [type(effect) for effect in effects]


def test_a_whole_life_asks_for_each_thing_once_and_in_order():
    state, effects = run(
        fresh(),
        hp.Enrolled(),
        granted(100.5),
        hp.Prepared(),
        order(),
        hp.Placed(),
        hp.ScriptStarted(),
        hp.ScriptEnded(),
        hp.Finalised(),
        hp.ExitAnswered(),
    )
    assert kinds(effects) == [
        ef.Prepare,
        ef.SendReady,
        ef.Place,
        ef.StartScript,
        ef.Finalise,
        ef.SendExit,
        ef.KillScript,
        ef.Leave,
    ]
    assert state.stage is Stage.DONE
    assert state.status == Status.OK


def test_a_repeated_order_is_obeyed_once_whichever_way_it_comes():
    state, effects = run(
        fresh(),
        hp.Enrolled(),
        hp.Prepared(),
        granted(100.5, takeover=TakeoverOrder(attempt=2)),
        order(),
        granted(100.7, takeover=TakeoverOrder(attempt=2)),
    )
    assert kinds(effects).count(ef.Place) == 1
    assert state.stage is Stage.RESTORING


def test_an_order_for_another_attempt_is_not_obeyed():
    state, effects = run(fresh(), hp.Enrolled(), hp.Prepared(), order(attempt=3))
    assert state.stage is Stage.READY
    assert ef.Place not in kinds(effects)


def test_an_order_heard_before_the_files_are_fetched_is_obeyed_afterwards():
    state, effects = run(fresh(), hp.Enrolled(), order(), hp.Prepared())
    assert state.stage is Stage.RESTORING
    assert kinds(effects) == [ef.Prepare, ef.Place]


def test_a_lease_counts_from_the_sending_of_the_beat():
    state, _ = run(running(), granted(110.0), now_s=114.0)
    assert may_commit(state, 134.9)
    assert not may_commit(state, 135.0)


def test_a_late_answer_to_an_old_beat_does_not_shorten_the_lease():
    state, _ = run(running(), granted(110.0), granted(103.0), now_s=114.0)
    assert may_commit(state, 134.9)


def test_nothing_is_committed_before_the_takeover():
    state, _ = run(fresh(), hp.Enrolled(), granted(100.5), hp.Prepared())
    assert not may_commit(state, 101.0)


def test_a_lapsed_lease_blocks_commits_and_leaves_the_script_alone():
    state, effects = run(running(), hp.Tick(), now_s=200.0)
    assert not may_commit(state, 200.0)
    assert effects == ()
    state, effects = run(state, granted(201.0), now_s=201.1)
    assert may_commit(state, 201.1)
    assert effects == ()


def test_a_strict_script_is_paused_once_when_the_lease_lapses_and_goes_on_with_the_next_grant():
    state, effects = run(running(strict=True), hp.Tick(), hp.Tick(), now_s=200.0)
    assert kinds(effects) == [ef.PauseScript]
    state, effects = run(state, granted(201.0), hp.Tick(), now_s=201.1)
    assert kinds(effects) == [ef.ResumeScript]


def test_a_strict_script_that_is_being_stopped_is_not_paused_again():
    state, _ = run(running(strict=True), hp.Tick(), now_s=200.0)
    state, effects = run(state, hp.StopAsked(), hp.Tick(), now_s=200.5)
    assert kinds(effects) == [ef.StopScript]


@pytest.mark.parametrize(
    "event",
    [
        granted(101.0, fenced=True),
        granted(101.0, active=3),
        hp.FencedOff(reason="revoked"),
    ],
    ids=["grant", "newer active", "refused credentials"],
)
@pytest.mark.parametrize("stage", list(Stage)[:-1])
def test_a_fenced_attempt_kills_and_leaves_at_any_stage(event: hp.Happening, stage: Stage):
    state = msgspec.structs.replace(running(), stage=stage)
    state, effects = run(state, event)
    assert kinds(effects) == [ef.KillScript, ef.Leave]
    assert state.status == Status.FENCED
    assert not may_commit(state, 101.0)
    assert run(state, order(), hp.Placed(), hp.Tick(), granted(102.0)) == (state, ())


def test_a_grant_that_names_an_older_active_attempt_fences_nobody():
    state, effects = run(fresh(), hp.Enrolled(), granted(101.0, active=1))
    assert kinds(effects) == [ef.Prepare]
    assert state.stage is Stage.PREPARING


def test_an_orphan_saves_what_it_can_then_kills_and_leaves():
    state, effects = run(running(), hp.BeatFailed(sent_s=1000.4), now_s=100.5 + 899.9)
    assert effects == ()
    asked = hp.BeatFailed(sent_s=1000.5)
    state, effects = run(state, asked, hp.Tick(), now_s=100.5 + 900.0)
    assert kinds(effects) == [ef.Salvage]
    assert not may_commit(state, 1000.5)
    state, effects = run(state, hp.ScriptEnded(), hp.Salvaged(), now_s=1010.0)
    assert kinds(effects) == [ef.KillScript, ef.Leave]
    assert state.status == Status.ORPHANED


def test_a_machine_that_slept_asks_before_it_takes_itself_for_an_orphan():
    state, effects = run(running(), hp.BeatFailed(sent_s=105.0), hp.Tick(), now_s=9000.0)
    assert effects == ()
    assert not may_commit(state, 9000.0)
    state, effects = run(state, granted(9000.1), now_s=9000.2)
    assert effects == ()
    assert may_commit(state, 9000.2)


def test_an_orphan_without_a_script_leaves_at_once():
    state, effects = run(fresh(), hp.Enrolled(), hp.Tick(), now_s=100.0 + 900.0)
    assert kinds(effects) == [ef.Prepare, ef.KillScript, ef.Leave]
    assert state.status == Status.ORPHANED


def test_the_time_to_be_an_orphan_comes_with_the_grant():
    state, _ = run(running(), granted(101.0, orphan_s=10.0))
    _, effects = run(state, hp.BeatFailed(sent_s=111.0), now_s=111.0)
    assert kinds(effects) == [ef.Salvage]


def test_a_fenced_orphan_does_not_finish_its_upload():
    state, _ = run(running(), hp.BeatFailed(sent_s=1999.0), now_s=2000.0)
    assert state.is_orphan
    state, effects = run(state, hp.FencedOff(reason="superseded"), now_s=2001.0)
    assert kinds(effects) == [ef.KillScript, ef.Leave]
    assert state.status == Status.FENCED


def test_a_stop_ends_the_script_gently_and_still_commits_and_reports():
    state, effects = run(running(), hp.StopAsked(), hp.StopAsked())
    assert kinds(effects) == [ef.StopScript]
    state, effects = run(state, hp.ScriptEnded(), hp.Finalised(), hp.ExitAnswered())
    assert kinds(effects) == [ef.Finalise, ef.SendExit, ef.KillScript, ef.Leave]
    assert state.status == Status.STOPPED


def test_a_stop_that_meets_a_starting_script_stops_it_once_it_runs():
    state, _ = run(fresh(), hp.Enrolled(), hp.Prepared(), order(), hp.Placed())
    state, effects = run(state, hp.StopAsked(), hp.ScriptStarted())
    assert kinds(effects) == [ef.StopScript]


def test_a_stopped_standby_just_leaves():
    state, effects = run(fresh(), hp.Enrolled(), hp.Prepared(), hp.StopAsked())
    assert kinds(effects)[-2:] == [ef.KillScript, ef.Leave]
    assert state.status == Status.STOPPED


def test_a_stop_during_the_restore_reports_an_exit_and_starts_nothing():
    state, _ = run(fresh(), hp.Enrolled(), hp.Prepared(), order())
    state, effects = run(state, hp.StopAsked(), hp.Placed())
    assert effects == (
        ef.SendExit(exit_code=143, signal=15, detail="stopped before the script began"),
    )


def test_a_grant_may_carry_the_stop():
    _, effects = run(running(), granted(101.0, stop=True))
    assert kinds(effects) == [ef.StopScript]


def test_what_cannot_be_prepared_after_the_takeover_is_reported_as_the_exit():
    state, _ = run(fresh(), hp.Enrolled(), hp.Prepared(), order())
    state, effects = run(state, hp.PrepareFailed(exit_code=65, detail="the code is damaged"))
    assert effects == (ef.SendExit(exit_code=65, detail="the code is damaged"),)
    state, effects = run(state, hp.ExitAnswered())
    assert kinds(effects) == [ef.KillScript, ef.Leave]


def test_a_standby_that_cannot_prepare_leaves_room_for_another_machine():
    state, effects = run(fresh(), hp.Enrolled(), hp.PrepareFailed(exit_code=74, detail="disk full"))
    assert kinds(effects)[-1] is ef.Leave
    assert state.status == Status.REFUSED


def test_a_notice_is_reported_once_and_again_only_when_it_shortens_the_time():
    state, effects = run(running(), hp.Noticed(grace_s=120.0, source="file"))
    assert effects == (ef.SendNotice(grace_s=120.0, source="file"),)
    state, effects = run(state, hp.Noticed(grace_s=120.0, source="file"), now_s=102.0)
    assert effects == ()
    state, effects = run(state, hp.Noticed(grace_s=5.0, source="sigterm"), now_s=103.0)
    assert effects == (ef.SendNotice(grace_s=5.0, source="sigterm"),)


def test_an_idle_machine_that_is_asked_to_end_reports_it_and_leaves():
    state, effects = run(
        fresh(), hp.Enrolled(), hp.Noticed(grace_s=5.0, source="sigterm", ends_idle=True)
    )
    assert kinds(effects)[-3:] == [ef.SendNotice, ef.KillScript, ef.Leave]
    assert state.status == Status.NOTICED


def test_a_machine_that_finishes_its_last_checkpoint_does_not_leave_on_sigterm():
    state, _ = run(running(), hp.ScriptEnded())
    state, effects = run(state, hp.Noticed(grace_s=30.0, source="sigterm", ends_idle=True))
    assert kinds(effects) == [ef.SendNotice]
    assert state.stage is Stage.EXITING


class Beat(NamedTuple):
    """A beat that was answered; one of thirty is answered with the fence."""

    ago_s: float
    dice: int


EVENTS: st.SearchStrategy[hp.Happening | Beat] = st.one_of(
    st.sampled_from(
        [
            hp.Tick(),
            hp.Enrolled(),
            hp.Briefed(strict=True),
            hp.Prepared(),
            hp.Placed(),
            hp.ScriptStarted(),
            hp.ScriptEnded(),
            hp.Finalised(),
            hp.ExitAnswered(),
            hp.Salvaged(),
            hp.BeatFailed(sent_s=1500.0),
            hp.StopAsked(),
            hp.Noticed(grace_s=30.0, source="file"),
            hp.Noticed(grace_s=5.0, source="sigterm", ends_idle=True),
            hp.PrepareFailed(exit_code=65, detail="damaged"),
            order(),
            order(attempt=1),
            hp.FencedOff(reason="superseded"),
        ]
    ),
    st.builds(Beat, st.floats(0, 40), st.integers(0, 30)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.floats(0.0, 60.0)), max_size=60))
def test_whatever_happens_in_whatever_order_the_rules_hold(
    story: "list[tuple[hp.Happening | Beat, float]]",
):
    state, now_s = fresh(), 100.0
    order_of_stages = list(Stage)
    left = starts = 0
    for event, after_s in story:
        now_s += after_s
        before = state
        if isinstance(event, Beat):
            event = granted(now_s - event.ago_s, fenced=event.dice == 0)
        state, effects = step(state, event, now_s)
        names = kinds(effects)
        assert order_of_stages.index(state.stage) >= order_of_stages.index(before.stage)
        starts += names.count(ef.StartScript)
        left += names.count(ef.Leave)
        if ef.Leave in names:
            assert names[-2:] == [ef.KillScript, ef.Leave]
        if state.stage is Stage.DONE:
            assert not may_commit(state, now_s)
        if may_commit(state, now_s):
            assert state.order is not None
            assert now_s < state.lease.last_grant_s + LEASE_S + 1e-6
        if ef.StartScript in names:
            assert state.order is not None
    assert starts <= 1
    assert left <= 1
    assert (left == 1) == (state.stage is Stage.DONE)
