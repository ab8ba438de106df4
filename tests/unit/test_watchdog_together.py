"""Who judges, and when nobody should: ranks, membership, the brake, the lease on both sides."""

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
