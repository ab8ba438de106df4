"""What silence means, with a clock that is a number."""

import dataclasses

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import History, incarnation
from vaultlayer import events as ev
from vaultlayer.ids import ActorId, JobId
from vaultlayer.lease import PROFILES, AgentLease, LeaseTerms
from vaultlayer.messages import ActorBeat, Beat
from vaultlayer_actors.watchdog import core
from vaultlayer_actors.watchdog.core import Kind, Seen, Verdict, judge
from vaultlayer_actors.watchdog.membership import MEMBER_S, Membership

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


# Ranks --------------------------------------------------------------------------------------------


def test_each_rank_judges_five_seconds_after_the_one_before():
    history = History().active()
    for rank, at_s in ((0, 12.0), (1, 17.0), (2, 22.0)):
        assert verdict_of(history, at_s - 0.1, rank=rank).kind is Kind.NONE
        assert verdict_of(history, at_s, rank=rank).kind is Kind.SUSPECTED


def test_the_fourth_watchdog_never_judges():
    assert verdict_of(History().active(sole=True), 5_000.0, rank=3) == core.NOTHING


@given(st.sets(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=8))
def test_the_ranks_of_a_slot_are_a_permutation(members: set[str]):
    ranks = sorted(core.rank_of(member, "3f", members) for member in members)
    assert ranks == list(range(len(members)))


def test_slots_are_shared_about_evenly():
    members = [f"watchdog-{n}" for n in range(4)]
    firsts = [
        next(m for m in members if core.rank_of(m, f"{slot:02x}", members) == 0)
        for slot in range(256)
    ]
    assert all(30 <= firsts.count(member) <= 100 for member in members)


def test_losing_one_member_moves_only_its_own_slots():
    members = [f"watchdog-{n}" for n in range(4)]
    for slot in (f"{n:02x}" for n in range(256)):
        first = next(m for m in members if core.rank_of(m, slot, members) == 0)
        if first != members[3]:
            assert core.rank_of(first, slot, members[:3]) == 0


def test_a_watchdog_that_is_silent_for_seven_seconds_is_no_member():
    clock = Clock()
    membership = Membership(ActorId("watchdog-a"), lambda: clock.now_s)
    membership.heard(ActorBeat(actor="watchdog-b"))
    assert membership.members == {"watchdog-a", "watchdog-b"}
    clock.now_s += MEMBER_S + 0.1
    membership.expire()
    assert membership.members == {"watchdog-a"}


def test_ranks_follow_who_joins_and_who_leaves():
    membership = Membership(ActorId("watchdog-a"), lambda: 0.0)
    jobs = [JobId(f"j{n:09d}") for n in range(60)]
    assert {membership.rank(job) for job in jobs} == {0}
    membership.heard(ActorBeat(actor="watchdog-b"))
    assert {membership.rank(job) for job in jobs} == {0, 1}
    membership.heard(ActorBeat(actor="watchdog-b", leaving=True))
    assert {membership.rank(job) for job in jobs} == {0}


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


def test_a_watchdog_that_stood_still_knows_it():
    assert not core.overslept(0.5, 2.9, TERMS)
    assert core.overslept(0.5, 3.1, TERMS)


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


# The brake ----------------------------------------------------------------------------------------


def crowd(silent: dict[str, int], well: dict[str, int]) -> list[Seen]:
    found = [
        seen(provider=name, heard_s=HEARD_S - 11.0) for name, n in silent.items() for _ in range(n)
    ]
    return found + [seen(provider=name) for name, n in well.items() for _ in range(n)]


@pytest.mark.parametrize(
    ("silent", "well", "expected"),
    [
        ({"a": 2, "b": 1}, {"a": 7}, True),
        ({"a": 1, "b": 1}, {"a": 8}, False),
        ({"a": 9}, {"b": 1}, False),
        ({"a": 2, "b": 2}, {}, False),
        ({"a": 3, "b": 2}, {}, True),
        ({}, {"a": 50}, False),
    ],
)
def test_many_silent_at_two_providers_is_us(
    silent: dict[str, int], well: dict[str, int], *, expected: bool
):
    assert core.braked(crowd(silent, well), HEARD_S, TERMS) is expected


def test_the_brake_counts_agents_that_this_process_never_heard():
    expected = [msgspec.structs.replace(s, number=0) for s in crowd({"a": 3, "b": 3}, {})]
    assert core.braked(expected, HEARD_S, TERMS)


def test_machines_that_boot_do_not_count_for_the_brake():
    booting = [
        msgspec.structs.replace(s, number=0, expected=False) for s in crowd({"a": 3, "b": 3}, {})
    ]
    assert not core.braked(booting, HEARD_S, TERMS)


def test_under_the_brake_silence_proves_nothing_but_the_provider_is_asked():
    for history in (History().active(), History().active(sole=True)):
        for silent_s in (12.0, 30.0, 800.0):
            verdict = verdict_of(history, silent_s, brake=True)
            assert verdict.kind is Kind.NONE
            assert verdict.probe


def test_under_the_brake_the_agents_own_notice_still_counts():
    history = History().active().add(ev.Noticed(attempt=1, grace_s=30.0))
    assert verdict_of(history, 12.0, brake=True).kind is Kind.LOST


def test_the_brake_is_let_go_when_the_machines_have_ended_themselves():
    verdict = verdict_of(History().active(), 930.0, brake=True)
    assert (verdict.kind, verdict.evidence) == (Kind.LOST, "orphan")
    late = crowd({"a": 30, "b": 30}, {"a": 5})
    assert not core.braked(late, HEARD_S + 930.0, TERMS)


# The lease against the agent's own view -----------------------------------------------------------


@dataclasses.dataclass
class Clock:
    now_s: float = 100.0


@pytest.mark.parametrize("profile", sorted(PROFILES))
@given(
    agent_rate=st.floats(0.99, 1.01),
    broker_rate=st.floats(0.99, 1.01),
    delays=st.lists(st.floats(0.0, 40.0), min_size=1, max_size=12),
    skew_s=st.floats(-1e6, 1e6),
)
@settings(max_examples=150, deadline=None)
def test_the_agent_stops_before_its_lease_lapses_here(
    profile: str, agent_rate: float, broker_rate: float, delays: list[float], skew_s: float
):
    """Beats are delayed at will, clocks run up to one percent wrong and agree on nothing."""
    terms = PROFILES[profile]
    attempt = History().active().attempt()
    receipts = sorted((n * terms.beat_s + late, n) for n, late in enumerate(delays, 1))
    agent = AgentLease()
    table: Seen | None = None
    for at, number in receipts:
        taken = core.heard(table, attempt, beat(number), skew_s + at * broker_rate)
        if taken is not None:
            table = taken
            agent = agent.granted(number * terms.beat_s * agent_rate, terms.agent_s)
    assert table is not None
    lapse_at = (table.heard_s + terms.broker_s - skew_s) / broker_rate
    assert not agent.is_held(lapse_at * agent_rate)


@given(st.lists(st.sampled_from(["beat", "suspect", "lapse", "lose", "clear"]), max_size=12))
def test_whatever_is_appended_a_fenced_agent_stays_fenced(kinds: list[str]):
    """A stale fold that says `fenced` is right for ever, so it needs no fresh read."""
    history = History().active().add(ev.Lapsed(attempt=1)).active(2)
    made = {
        "suspect": ev.Suspected(attempt=1, evidence="x"),
        "lapse": ev.Lapsed(attempt=1),
        "lose": ev.Lost(attempt=1, evidence="x"),
        "clear": ev.Cleared(attempt=1),
        "beat": ev.Ready(attempt=1),
    }
    for kind in kinds:
        history.add(made[kind])
        grant = core.granted(history.job, 1, beat(1), TERMS)
        assert grant is not None
        assert grant.fenced
