"""What silence means, with a clock that is a number."""

import msgspec

from histories import History, incarnation
from vaultlayer import events as ev
from vaultlayer.lease import LeaseTerms
from vaultlayer.messages import Beat
from vaultlayer_actors.watchdog import core
from vaultlayer_actors.watchdog.core import Kind, Seen, Verdict, judge

TERMS = LeaseTerms()
HEARD_S = 500.0


def beat(number: int, *, of: int = 1, step: int | None = None, active: bool = False) -> Beat:
    return Beat(incarnation=incarnation(of), number=number, step=step, active=active)


def seen(number: int = 3, *, of: int = 1, heard_s: float = HEARD_S, **fields: object) -> Seen:
    made = Seen(
        incarnation=incarnation(of),
        provider="cloud",
        heard_s=heard_s,
        number=number,
        expected=True,
        step=41,
    )
    return msgspec.structs.replace(made, **fields)


def verdict_of(history: History, silent_s: float, *, rank: int = 0, brake: bool = False) -> Verdict:
    return judge(
        history.attempt(), seen(), now_s=HEARD_S + silent_s, terms=TERMS, rank=rank, brake=brake
    )


# Silence ------------------------------------------------------------------------------------------


def test_an_agent_that_beats_is_left_alone():
    assert verdict_of(History().active(), 11.9) == core.NOTHING


def test_silence_of_suspect_s_makes_a_suspect_and_asks_the_provider():
    verdict = verdict_of(History().active(), 12.0)
    assert (verdict.kind, verdict.probe) == (Kind.SUSPECTED, True)


def test_a_suspect_is_suspected_once_but_probed_again():
    history = History().active().add(ev.Suspected(attempt=1, evidence="silent"))
    verdict = verdict_of(history, 20.0)
    assert (verdict.kind, verdict.probe) == (Kind.NONE, True)


def test_silence_of_broker_s_lapses_the_lease_and_not_sooner():
    history = History().active().add(ev.Suspected(attempt=1, evidence="silent"))
    assert verdict_of(history, 29.9).kind is Kind.NONE
    assert verdict_of(history, 30.0).kind is Kind.LAPSED


def test_a_sole_machine_is_lost_when_its_lease_ends():
    verdict = verdict_of(History().active(sole=True), 30.0)
    assert (verdict.kind, verdict.evidence, verdict.last_step) == (Kind.LOST, "lease", 41)


def test_an_agent_that_gave_notice_is_lost_as_soon_as_it_is_silent():
    history = History().active().add(ev.Noticed(attempt=1, grace_s=30.0))
    assert verdict_of(history, 11.0).kind is Kind.NONE
    assert verdict_of(history, 12.0).kind is Kind.LOST


def test_a_lapsed_machine_is_given_up_once_it_must_have_ended_itself():
    history = History().active().add(ev.Lapsed(attempt=1))
    assert verdict_of(history, 900.0).kind is Kind.NONE
    verdict = verdict_of(history, 930.0)
    assert (verdict.kind, verdict.evidence) == (Kind.LOST, "orphan")


def test_a_beat_clears_a_suspicion_and_a_lapse():
    for doubt in (ev.Suspected(attempt=1, evidence="silent"), ev.Lapsed(attempt=1)):
        history = History().active().add(doubt)
        verdict = verdict_of(history, 1.0)
        assert verdict.kind is Kind.CLEARED
        entry = core.entry_of(verdict, history.job, 1, incarnation(1))
        assert isinstance(entry, ev.Cleared)
        assert not history.add(entry).attempt().is_doubted


def test_a_lease_renewed_by_restart_is_no_beat_and_clears_nothing():
    history = History().active().add(ev.Suspected(attempt=1, evidence="silent"))
    fresh = core.watched(history.job, {}, HEARD_S)[1]
    verdict = judge(history.attempt(), fresh, now_s=HEARD_S + 1.0, terms=TERMS, rank=0)
    assert verdict.kind is Kind.NONE


def test_a_lost_attempt_is_never_cleared():
    history = History().active().add(ev.Lapsed(attempt=1), ev.Lost(attempt=1, evidence="x"))
    assert verdict_of(history, 1.0) == core.NOTHING
    assert core.entry_of(Verdict(kind=Kind.CLEARED), history.job, 1, incarnation(1)) is None


def test_a_machine_that_never_beat_is_only_probed():
    history = History().booting()
    fresh = core.watched(history.job, {}, HEARD_S)[1]
    for silent_s in (12.0, 30.0, 400.0):
        verdict = judge(history.attempt(), fresh, now_s=HEARD_S + silent_s, terms=TERMS, rank=0)
        assert (verdict.kind, verdict.probe) == (Kind.NONE, True)


def test_a_machine_that_beat_while_booting_is_judged_by_its_silence():
    assert verdict_of(History().booting(), 12.0).kind is Kind.SUSPECTED
    assert verdict_of(History().booting(), 30.0).kind is Kind.LAPSED


def test_a_provider_is_asked_at_most_every_five_seconds():
    history = History().active().add(ev.Suspected(attempt=1, evidence="silent"))
    asked = seen(probed_s=HEARD_S + 14.0)

    def probes(at_s: float) -> bool:
        return judge(history.attempt(), asked, now_s=HEARD_S + at_s, terms=TERMS, rank=0).probe

    assert not probes(18.9)
    assert probes(19.0)


def test_a_machine_without_an_instance_cannot_be_probed():
    history = History().ordered()
    assert not verdict_of(history, 12.0).probe


def test_the_provider_may_say_at_once_that_a_machine_is_gone():
    history = History().active()
    verdict = core.vanished("gone", "", seen(), HEARD_S + 2.0)
    entry = core.entry_of(verdict, history.job, 1, incarnation(1))
    assert isinstance(entry, ev.Lost)
    assert (entry.evidence, entry.last_step, entry.silent_s) == ("provider: gone", 41, 2.0)


# Receipts and grants ------------------------------------------------------------------------------


def test_a_beat_that_is_not_newer_is_ignored():
    attempt = History().active().attempt()
    first = core.heard(None, attempt, beat(7, step=3), 10.0)
    assert first is not None
    assert core.heard(first, attempt, beat(7), 11.0) is None
    assert core.heard(first, attempt, beat(6), 12.0) is None
    second = core.heard(first, attempt, beat(8), 13.0)
    assert second is not None
    assert (second.heard_s, second.number, second.step) == (13.0, 8, 3)


def test_a_beat_of_another_incarnation_counts_for_nothing():
    attempt = History().active().attempt()
    assert core.heard(seen(), attempt, beat(99, of=2), 10.0) is None


def test_the_active_attempt_gets_the_lease_and_its_order_again():
    history = History().active()
    grant = core.granted(history.job, 1, beat(1), TERMS)
    assert grant is not None
    assert (grant.lease_s, grant.active, grant.fenced) == (25.0, 1, False)
    assert grant.takeover is not None
    assert grant.takeover.head is None


def test_the_order_names_the_newest_checkpoint():
    history = History().active()
    history.add(ev.CheckpointCommitted(attempt=1, seq=1, manifest="m1", key="k1", step=10))
    history.add(ev.CheckpointCommitted(attempt=1, seq=2, manifest="m2", key="k2", step=20))
    history.add(ev.Lost(attempt=1, evidence="x")).active(2)
    grant = core.granted(history.job, 2, beat(1, of=2), TERMS)
    assert grant is not None
    assert grant.takeover is not None
    assert grant.takeover.head is not None
    assert (grant.takeover.head.manifest, grant.takeover.head.step) == ("m2", 20)


def test_an_agent_that_knows_it_is_active_is_not_told_again():
    grant = core.granted(History().active().job, 1, beat(1, active=True), TERMS)
    assert grant is not None
    assert grant.takeover is None


def test_a_standby_is_granted_without_an_order():
    grant = core.granted(History().active().ready(2).job, 2, beat(1, of=2), TERMS)
    assert grant is not None
    assert (grant.takeover, grant.fenced, grant.active) == (None, False, 1)


def test_a_superseded_attempt_is_fenced():
    history = History().active().add(ev.Lapsed(attempt=1)).active(2)
    grant = core.granted(history.job, 1, beat(9), TERMS)
    assert grant is not None
    assert (grant.fenced, grant.lease_s, grant.takeover) == (True, 0.0, None)


def test_the_wrong_incarnation_of_a_live_attempt_is_fenced():
    grant = core.granted(History().active().job, 1, beat(9, of=2), TERMS)
    assert grant is not None
    assert grant.fenced


def test_an_attempt_that_the_log_does_not_know_is_not_answered():
    assert core.granted(History().active().job, 2, beat(1, of=2), TERMS) is None


def test_a_cancelled_job_is_told_to_stop_but_keeps_its_lease():
    grant = core.granted(
        History().active().add(ev.CancelRequested()).job, 1, beat(1, active=True), TERMS
    )
    assert grant is not None
    assert (grant.stop, grant.fenced, grant.lease_s) == (True, False, 25.0)


# The table ----------------------------------------------------------------------------------------


def test_only_live_attempts_are_watched():
    history = History().active().ready(2)
    assert set(core.watched(history.job, {}, 0.0)) == {1, 2}
    history.add(ev.Lost(attempt=1, evidence="x"))
    assert set(core.watched(history.job, {}, 0.0)) == {2}
    history.add(ev.Finished(outcome="failed"))
    assert core.watched(history.job, {}, 0.0) == {}


def test_an_attempt_found_in_the_log_gets_a_full_lease():
    history = History().active()
    table = core.watched(history.job, {}, 100.0)
    assert judge(history.attempt(), table[1], now_s=111.9, terms=TERMS, rank=0) == core.NOTHING
    assert (
        judge(history.attempt(), table[1], now_s=112.0, terms=TERMS, rank=0).kind is Kind.SUSPECTED
    )


def test_an_attempt_that_becomes_ready_unheard_gets_a_full_lease_from_then():
    history = History().booting()
    table = core.watched(history.job, {}, 100.0)
    history.add(ev.Ready(attempt=1))
    assert core.watched(history.job, table, 300.0)[1].heard_s == 300.0


def test_reconnecting_gives_everybody_a_full_lease():
    table = {1: seen(heard_s=1.0), 2: seen(heard_s=2.0, number=0)}
    renewed = core.renewed(table, 900.0)
    assert {s.heard_s for s in renewed.values()} == {900.0}
    assert [s.number for s in renewed.values()] == [3, 0]


def test_what_another_watchdog_cleared_was_heard_by_somebody():
    history = History().active().add(ev.Suspected(attempt=1, evidence="silent"))
    table = core.watched(history.job, {1: seen(heard_s=10.0)}, 25.0)
    assert (table[1].heard_s, table[1].doubted) == (10.0, True)
    history.add(ev.Cleared(attempt=1))
    table = core.watched(history.job, table, 26.0)
    assert (table[1].heard_s, table[1].doubted) == (26.0, False)


def test_a_watchdog_that_stood_still_does_not_count_that_time():
    assert core.stall_s(0.5, 2.9, TERMS) == 0.0
    assert core.stall_s(0.5, 4.5, TERMS) == 4.0
    table = core.forgiven({1: seen(heard_s=100.0)}, 4.0, 110.0, TERMS)
    assert table[1].heard_s == 104.0


def test_a_long_stall_gives_everybody_a_full_lease():
    table = core.forgiven({1: seen(heard_s=100.0)}, 30.0, 400.0, TERMS)
    assert table[1].heard_s == 400.0


def test_a_watchdog_that_stalls_again_and_again_still_judges():
    history, table, now_s = History().active(), {1: seen(heard_s=0.0)}, 0.0
    while (
        judge(history.attempt(), table[1], now_s=now_s, terms=TERMS, rank=0).kind is not Kind.LAPSED
    ):
        now_s += 10.0
        table = core.forgiven(table, 5.0, now_s, TERMS)
        assert now_s < 100.0


def test_the_cheap_look_never_hides_a_verdict():
    history = History().active()
    for silent_s in range(40):
        now_s = HEARD_S + silent_s
        if core.is_quiet(seen(), now_s, TERMS):
            assert (
                judge(history.attempt(), seen(), now_s=now_s, terms=TERMS, rank=0) == core.NOTHING
            )


# Entries on the newest state ----------------------------------------------------------------------


def test_a_verdict_that_came_too_late_appends_nothing():
    superseded = History().active().add(ev.Lapsed(attempt=1)).active(2)
    for kind in (Kind.SUSPECTED, Kind.LAPSED, Kind.LOST, Kind.CLEARED):
        assert core.entry_of(Verdict(kind=kind), superseded.job, 1, incarnation(1)) is None


def test_a_verdict_on_another_incarnation_appends_nothing():
    job = History().active().job
    assert core.entry_of(Verdict(kind=Kind.LOST, evidence="x"), job, 1, "other") is None


def test_the_second_of_two_equal_verdicts_appends_nothing():
    history = History().active()
    for kind in (Kind.SUSPECTED, Kind.LAPSED):
        verdict = Verdict(kind=kind, evidence="silent", silent_s=30.0)
        entry = core.entry_of(verdict, history.job, 1, incarnation(1))
        assert entry is not None
        history.add(entry)
        assert core.entry_of(verdict, history.job, 1, incarnation(1)) is None
