"""What a pool decides about orders, drills and machines."""

import msgspec
import pytest

from vaultlayer import events as ev
from vaultlayer.driver import Instance, Manifest, Offer
from vaultlayer.events import JobSpec
from vaultlayer.fold import fold
from vaultlayer.job import AttemptState, Job, Phase
from vaultlayer.lifecycle import faults
from vaultlayer_actors.provider_pool import core
from vaultlayer_actors.provider_pool.core import Step

ME, OTHER = "provider_pool-me", "provider_pool-other"
NAME = "vl-j22222222a-a1"
CLOUD = Manifest(name="cloud", drills=["kill"], create_s=120.0)
SUBMITTED = ev.Submitted(spec=JobSpec(command=["python", "train.py"]))
ORDERED = ev.Ordered(
    attempt=1,
    incarnation="aaaaaaaa",
    provider="cloud",
    offer=Offer(provider="cloud", offer_id="o1", price_usd_h=0.5),
)
CLAIMED = ev.CreateClaimed(attempt=1, claim_s=120.0, actor=OTHER, cmd_id="claim-1")
CREATED = ev.Created(attempt=1, instance="i-1")
READY, TAKEOVER = ev.Ready(attempt=1), ev.Takeover(attempt=1)
RELEASED = ev.Released(attempt=1, reason="cancelled")
FAILED = ev.CreateFailed(attempt=1, code="no-capacity", reason="none")


def job_of(*events: ev.Event) -> Job:
    """Fold `events` after submission and order of attempt 1."""
    job: Job | None = None
    for seq, event in enumerate((SUBMITTED, ORDERED, *events), 1):
        stamped = msgspec.structs.replace(
            event, job="j22222222a", cmd_id=event.cmd_id or f"c{seq}", at=float(seq)
        )
        job = fold(job, stamped, seq)
    assert job is not None
    return job


def step(job: Job, *, age_s: float = 0.0, me: str = ME) -> Step:
    return core.step_of(job, job.attempts[1], me=me, claim_age_s=age_s)


def machine(instance: str = "i-1", name: str = NAME, state: str = "running") -> Instance:
    return Instance(instance=instance, name=name, state=state)


# Orders


def test_a_fresh_order_is_claimed() -> None:
    assert step(job_of()) is Step.CLAIM


def test_a_claim_holds_others_off_for_as_long_as_they_have_seen_it() -> None:
    job = job_of(CLAIMED)
    assert step(job, age_s=119.9) is Step.WAIT
    assert step(job, age_s=120.0) is Step.TAKE_OVER


def test_a_claim_of_ones_own_never_waits_and_never_calls_blindly() -> None:
    assert step(job_of(CLAIMED), me=OTHER) is Step.GO_ON


@pytest.mark.parametrize(
    "over",
    [
        RELEASED,
        ev.CancelRequested(by="me"),
        ev.Finished(outcome="failed"),
    ],
)
def test_an_order_that_nobody_wants_is_refused_without_a_call(over: ev.Event) -> None:
    assert step(job_of(over)) is Step.REFUSE


def test_an_ended_order_under_claim_is_looked_for_when_the_claim_is_over() -> None:
    job = job_of(CLAIMED, RELEASED)
    assert step(job, age_s=1.0) is Step.WAIT
    assert step(job, age_s=121.0) is Step.TAKE_OVER
    assert not core.is_wanted(job, job.attempts[1])


@pytest.mark.parametrize("outcome", [CREATED, FAILED])
def test_an_order_with_an_outcome_needs_nothing(outcome: ev.Event) -> None:
    assert step(job_of(CLAIMED, outcome), age_s=500.0) is Step.NONE


def test_two_claims_on_the_same_sight_exclude_each_other() -> None:
    seen = job_of().attempts[1]
    assert core.claim(job_of(), seen, CLOUD) == ev.CreateClaimed(attempt=1, claim_s=120.0)
    assert core.claim(job_of(CLAIMED), seen, CLOUD) is None


def test_a_claim_that_was_taken_over_is_not_mine_any_more() -> None:
    again = ev.CreateClaimed(attempt=1, actor=ME, cmd_id="claim-2")
    assert core.is_mine(job_of(CLAIMED), 1, "claim-1") is not None
    assert core.is_mine(job_of(CLAIMED, again), 1, "claim-1") is None
    assert core.is_mine(job_of(CLAIMED, CREATED), 1, "claim-1") is None


def test_a_machine_made_for_an_ended_attempt_is_still_written_down() -> None:
    job = job_of(CLAIMED, RELEASED)
    entry = core.created(job, 1, machine(), adopted=False)
    assert isinstance(entry, ev.Created)
    after = job_of(CLAIMED, RELEASED, entry)
    assert (after.attempts[1].phase, after.attempts[1].instance) == (Phase.ENDED, "i-1")


def test_a_machine_made_for_a_gone_attempt_is_surplus_and_breaks_no_invariant() -> None:
    job = job_of(CLAIMED, RELEASED, ev.Gone(attempt=1))
    assert core.created(job, 1, machine(), adopted=False) is None
    assert core.is_surplus(job, 1, machine())
    assert faults(job) == []


def test_the_second_machine_of_an_attempt_is_surplus() -> None:
    job = job_of(CLAIMED, CREATED)
    assert core.is_surplus(job, 1, machine("i-2"))
    assert not core.is_surplus(job, 1, machine("i-1"))


def test_a_failure_is_written_once_and_never_over_a_machine() -> None:
    def failure(job: Job) -> ev.Event | None:
        return core.create_failed(job, 1, code="x", reason="y", cooldown_s=1.0)

    assert isinstance(failure(job_of(CLAIMED)), ev.CreateFailed)
    assert failure(job_of(CLAIMED, CREATED)) is None
    assert failure(job_of(CLAIMED, FAILED)) is None


def test_of_two_machines_with_one_name_the_one_that_runs_is_adopted() -> None:
    listed = [
        machine("i-9", state="stopped"),
        machine("i-2"),
        machine("i-0", name="vl-j22222222a-a11"),
        machine("i-1", state="gone"),
    ]
    found = core.named(listed, NAME)
    assert found is not None
    assert found.instance == "i-2"
    assert core.named(listed[3:], NAME) is None


# Machines that exist


@pytest.mark.parametrize("state", ["stopped", "gone"])
@pytest.mark.parametrize("before", [(), (READY,), (READY, TAKEOVER)])
def test_a_machine_that_its_provider_calls_over_is_lost(
    state: str, before: tuple[ev.Event, ...]
) -> None:
    seen = Instance(instance="i-1", name=NAME, state=state, detail="outbid")
    lost = core.lost(job_of(CLAIMED, CREATED, *before), 1, seen)
    assert lost == ev.Lost(attempt=1, evidence=f"provider: {state} (outbid)")


@pytest.mark.parametrize("state", ["booting", "running", "unknown", "on-fire"])
def test_a_state_that_does_not_say_so_is_no_verdict(state: str) -> None:
    assert core.lost(job_of(CLAIMED, CREATED), 1, machine(state=state)) is None


def test_a_verdict_on_another_machine_or_an_ended_attempt_is_none() -> None:
    gone = machine("i-2", state="gone")
    assert core.lost(job_of(CLAIMED, CREATED), 1, gone) is None
    assert core.lost(job_of(CLAIMED, CREATED, RELEASED), 1, machine(state="gone")) is None
    assert core.lost(job_of(CLAIMED), 1, machine("", state="gone")) is None
    assert core.lost(None, 1, gone) is None


def test_a_new_machine_may_be_missing_from_the_list_as_long_as_lists_lag() -> None:
    def asks(*, listed: Instance | None, was_listed: bool, known_for_s: float) -> bool:
        return core.must_ask(
            listed=listed, was_listed=was_listed, known_for_s=known_for_s, manifest=CLOUD
        )

    assert not asks(listed=None, was_listed=False, known_for_s=19.0)
    assert asks(listed=None, was_listed=False, known_for_s=20.0)
    assert asks(listed=None, was_listed=True, known_for_s=0.0)
    assert asks(listed=machine(state="stopped"), was_listed=False, known_for_s=0.0)
    assert not asks(listed=machine(), was_listed=True, known_for_s=99.0)


# The sweeper


@pytest.mark.parametrize(
    "events",
    [(), (CLAIMED,), (CLAIMED, RELEASED), (CLAIMED, CREATED), (CLAIMED, CREATED, RELEASED)],
    ids=["ordered", "claimed", "ended under claim", "booting", "ended"],
)
def test_a_machine_that_the_log_still_counts_on_or_is_ending_is_left_alone(
    events: tuple[ev.Event, ...],
) -> None:
    assert core.unwanted(job_of(*events), 1, machine(), "cloud") == ""


def test_what_the_log_does_not_know_is_ended_with_its_reason() -> None:
    known = job_of(CLAIMED, CREATED)
    gone = job_of(CLAIMED, CREATED, RELEASED, ev.Fenced(attempt=1), ev.Gone(attempt=1))
    assert core.unwanted(None, 1, machine(), "cloud") == "the log has no such job"
    assert core.unwanted(known, 2, machine(), "cloud") == "the log has no such attempt"
    assert core.unwanted(known, 1, machine(), "elsewhere") == "the log has this attempt at cloud"
    assert core.unwanted(known, 1, machine("i-2"), "cloud") == "the attempt's machine is i-1"
    assert core.unwanted(gone, 1, machine(), "cloud") == "the log has it gone"
    assert core.unwanted(job_of(CLAIMED, FAILED), 1, machine(), "cloud") == "the log has it gone"


# Drills


def drill(verb: str, attempt: int = 1) -> ev.Event:
    return ev.DrillRequested(attempt=attempt, verb=verb)


def refusal(job: Job) -> str | None:
    return core.drill_refusal(job, {"cloud": CLOUD})


def test_a_drill_waits_for_its_machine_and_is_then_carried_out() -> None:
    assert refusal(job_of(CLAIMED)) is None
    assert refusal(job_of(CLAIMED, drill("kill"))) is None
    assert refusal(job_of(CLAIMED, drill("kill"), CREATED)) == ""


def test_a_drill_that_cannot_be_done_says_why() -> None:
    assert refusal(job_of(CLAIMED, CREATED, drill("freeze"))) == "cloud has no drill 'freeze'"
    assert refusal(job_of(CLAIMED, CREATED, RELEASED, drill("kill"))) == "attempt 1 is over"


def test_another_pools_drill_is_left_to_it() -> None:
    assert core.drill_refusal(job_of(CLAIMED, CREATED, drill("kill")), {}) is None
    assert refusal(job_of(CLAIMED, CREATED, drill("kill", attempt=7))) is None


def test_a_drill_is_written_down_once() -> None:
    seen = job_of(CLAIMED, CREATED, drill("kill"))
    entry = core.drilled(seen, seen, "done")
    assert isinstance(entry, ev.Drilled)
    assert (entry.attempt, entry.verb, entry.detail) == (1, "kill", "done")
    assert core.drilled(job_of(CLAIMED, CREATED, drill("kill"), entry), seen, "done") is None


def attempt_of(job: Job) -> AttemptState:
    return job.attempts[1]


def test_the_fold_keeps_whose_claim_it_is() -> None:
    attempt = attempt_of(job_of(CLAIMED))
    assert (attempt.claim_by, attempt.claim_cmd, attempt.claim_s) == (OTHER, "claim-1", 120.0)
