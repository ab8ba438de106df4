"""What is to be appended next to a job's log, as a function of its state. Pure.

`next_step` is asked again after each entry, by any number of processes; the log takes one answer.
"""

from collections.abc import Callable, Sequence

import msgspec

from vaultlayer import events as ev
from vaultlayer.driver import OfferList
from vaultlayer.ids import token
from vaultlayer.job import INFRA_SIGNALS, AttemptState, End, Job, Outcome, Phase, spent_usd
from vaultlayer.lifecycle import may_take_over
from vaultlayer_actors.dispatcher.placement import choose

HOUR_S = 3600.0
STOP_GRACE_S = 45.0
"""How long a cancelled job's agent has to stop the script and save what it left."""

NO_OFFER_RETRY_S = 5.0
BACKOFF_S_MAX = 60.0
BOOT_FAILURES_MAX = 8
"""Machines in a row that never ran the script, before the job is given up."""

EXIT_CANCELLED = 130
EXIT_GIVEN_UP = 69


Age = Callable[[str, float], float]
"""Takes the name of something that happened to this job and when, by its writer's clock; gives the seconds
since then."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Append `event`; or ask for offers; or look again at `wake_at`; or nothing at all."""

    event: ev.Event | None = None
    wants_offers: bool = False
    wake_at: float | None = None


def next_step(
    job: Job,
    now_s: float,
    lists: Sequence[OfferList] | None,
    noise: bytes,
    age_s: Age | None = None,
) -> Step:
    """Say what is due.

    Args:
        job: the folded state.
        now_s: Unix seconds.
        lists: newest offers, or None when nobody was asked yet.
        noise: eight random bytes, for a new incarnation's name.
        age_s: how old something is by a clock that needs to agree with no other; by default `now_s` less
            the writer's time.
    """
    age_s = age_s or (lambda _name, at: now_s - at)
    if job.outcome:
        return _wind_up(job)
    if job.cancel_requested_at:
        return _cancel(job, now_s, age_s)
    verdict = _verdict(job, now_s)
    if verdict is not None:
        return Step(event=verdict)
    late = _boot_timeout(job, age_s)
    if late is not None:
        return Step(event=late)
    active = job.active_attempt
    if active is not None and active.phase is Phase.ACTIVE and not active.is_doubted:
        return _settle(job, active, now_s, age_s)
    step = _replace(job, now_s, lists, noise, age_s)
    return step if step.event or step.wants_offers else _wake(job, now_s, age_s, step.wake_at)


def _wind_up(job: Job) -> Step:
    """The job is over: let every machine go, then close the log."""
    for attempt in job.attempts.values():
        if attempt.is_live:
            return Step(
                event=ev.Released(attempt=attempt.number, reason=f"the job {job.outcome.value}")
            )
    if not job.closed and all(a.phase is Phase.GONE for a in job.attempts.values()):
        return Step(event=ev.Closed())
    return Step()


def _cancel(job: Job, now_s: float, age_s: Age) -> Step:
    active = job.active_attempt
    left_s = STOP_GRACE_S - age_s("cancel", job.cancel_requested_at)
    if active is not None and active.phase is Phase.ACTIVE and left_s > 0:
        return Step(wake_at=now_s + left_s)
    return Step(
        event=ev.Finished(
            outcome=Outcome.CANCELLED.value, exit_code=EXIT_CANCELLED, reason="cancelled"
        )
    )


def _verdict(job: Job, now_s: float) -> ev.Finished | None:
    """Give the job's end, when something has brought it about."""
    budget = job.spec.budget
    active = job.active_attempt
    if active is not None and active.end is End.EXITED and active.exit_code == 0:
        return ev.Finished(outcome=Outcome.SUCCEEDED.value, reason="the script ended")
    if active is not None and active.failed_by_itself and job.own_failures > budget.user_restarts:
        return ev.Finished(
            outcome=Outcome.FAILED.value,
            exit_code=active.exit_code or 1,
            reason=f"the script ended with status {active.exit_code}",
        )
    if budget.deadline_s is not None and now_s >= job.submitted_at + budget.deadline_s:
        return _given_up(f"the deadline of {budget.deadline_s:.0f} s has passed")
    if budget.max_cost_usd is not None and spent_usd(job, now_s) >= budget.max_cost_usd:
        return _given_up(f"the cap of ${budget.max_cost_usd:.2f} is spent")
    if _fruitless(job) >= budget.no_progress:
        return _given_up(f"the script died {budget.no_progress} times without a new checkpoint")
    if _boot_failures(job) >= BOOT_FAILURES_MAX:
        newest = job.newest
        why = newest.end_reason if newest else ""
        return _given_up(f"{BOOT_FAILURES_MAX} machines in a row never ran the script: {why}")
    return None


def _given_up(reason: str) -> ev.Finished:
    return ev.Finished(outcome=Outcome.FAILED.value, exit_code=EXIT_GIVEN_UP, reason=reason)


def _fruitless(job: Job) -> int:
    """Count the newest attempts whose script was ended by a signal before any new checkpoint."""
    count = 0
    for attempt in sorted(job.attempts.values(), key=lambda a: -a.number):
        if attempt.end is End.NOT_CREATED or attempt.is_live:
            continue
        died = attempt.end is End.EXITED and attempt.exit_signal in INFRA_SIGNALS
        if not died or attempt.last_checkpoint_seq:
            break
        count += 1
    return count


def _boot_failures(job: Job) -> int:
    """Count the newest attempts that were lost before they ran the script; none while one runs it."""
    active = job.active_attempt
    if active is not None and active.is_live:
        return 0
    count = 0
    for attempt in sorted(job.attempts.values(), key=lambda a: -a.number):
        if attempt.is_live or attempt.end is End.NOT_CREATED:
            continue
        if attempt.started_at or attempt.end is not End.LOST:
            break
        count += 1
    return count


def _boot_left_s(attempt: AttemptState, age_s: Age) -> float:
    return attempt.boot_s - age_s(f"boot-{attempt.number}", attempt.ordered_at)


def _boot_timeout(job: Job, age_s: Age) -> ev.Lost | None:
    for attempt in job.attempts.values():
        booting = attempt.phase in {Phase.ORDERED, Phase.BOOTING}
        if booting and _boot_left_s(attempt, age_s) <= 0:
            return ev.Lost(
                attempt=attempt.number, evidence=f"not ready within {attempt.boot_s:.0f} s"
            )
    return None


def _settle(job: Job, active: AttemptState, now_s: float, age_s: Age) -> Step:
    """The active attempt is well: a standby that was ordered out of doubt is let go."""
    for attempt in job.attempts.values():
        if attempt.number > active.number and attempt.is_standby:
            return Step(
                event=ev.Released(
                    attempt=attempt.number, reason=f"attempt {active.number} beats again"
                )
            )
    return _wake(job, now_s, age_s, None)


def _replace(
    job: Job, now_s: float, lists: Sequence[OfferList] | None, noise: bytes, age_s: Age
) -> Step:
    """Nobody trains, or the one that does is in doubt: see to the next."""
    standbys = [a for a in job.attempts.values() if a.is_standby and a.number > job.active]
    active = job.active_attempt
    for attempt in reversed(standbys):
        if may_take_over(job, attempt.number) is not None:
            continue
        if _is_exclusive_free(job, attempt.number):
            return Step(event=takeover(job, attempt.number))
        if active is not None and active.is_live:
            # Only a machine that is over is ever seen gone.
            evidence = "replaced: an exclusive job has one machine at a time"
            return Step(event=ev.Lost(attempt=active.number, evidence=evidence))
    if standbys:
        return Step()
    if active is not None and active.is_live and active.sole:
        return Step()
    pause_s = _pause_s(job, now_s, age_s)
    if pause_s > 0:
        return Step(wake_at=now_s + pause_s)
    if lists is None:
        return Step(wants_offers=True)
    return _order(job, now_s, lists, noise)


def takeover(job: Job, number: int) -> ev.Takeover:
    """Give the takeover entry: the newest checkpoint of the chain is where it goes on."""
    head = job.head
    return ev.Takeover(
        attempt=number,
        resume_from=head.manifest if head else "",
        resume_step=head.step if head else None,
    )


def _is_exclusive_free(job: Job, number: int) -> bool:
    """A job with side effects beyond the bucket waits until every older machine is gone."""
    return not job.spec.exclusive or all(
        a.phase is Phase.GONE for a in job.attempts.values() if a.number < number
    )


def _pause_s(job: Job, now_s: float, age_s: Age) -> float:
    """Give the seconds in which no order is made yet: after losses, and after failures in a row."""
    losses = sorted(a.ended_at for a in job.attempts.values() if a.end is End.LOST)
    cap = job.spec.budget.losses_per_h
    pause_s = losses[-cap] + HOUR_S - now_s if len(losses) >= cap else 0.0
    failed: list[AttemptState] = []
    for attempt in sorted(job.attempts.values(), key=lambda a: -a.number):
        if attempt.started_at or attempt.end is End.RELEASED:
            break
        failed.append(attempt)
    if not failed:
        return pause_s
    last = max(failed, key=lambda a: a.ended_at)
    backoff_s = min(0.5 * 2.0 ** min(len(failed), 10), BACKOFF_S_MAX)
    return max(pause_s, backoff_s - age_s(f"end-{last.number}", last.ended_at))


def _order(job: Job, now_s: float, lists: Sequence[OfferList], noise: bytes) -> Step:
    choice = choose(job, lists, now_s)
    if choice is None:
        return Step(wake_at=now_s + NO_OFFER_RETRY_S)
    first = next(iter(job.attempts.values()), None)
    return Step(
        event=ev.Ordered(
            attempt=job.attempt_count + 1,
            incarnation=token(noise, 8),
            provider=choice.offer.provider,
            offer=choice.offer,
            reason=choice.reason,
            sole=choice.manifest.sole,
            work_path=first.work_path
            if first is not None
            else f"{choice.manifest.work_root.rstrip('/')}/{job.job}",
            boot_s=choice.manifest.boot_s,
            passed_over=choice.passed_over,
        )
    )


def _wake(job: Job, now_s: float, age_s: Age, at: float | None) -> Step:
    """Give the earliest time at which a deadline of this job falls due."""
    times = [at] if at is not None else []
    times += [
        now_s + _boot_left_s(a, age_s)
        for a in job.attempts.values()
        if a.phase in {Phase.ORDERED, Phase.BOOTING}
    ]
    budget = job.spec.budget
    if budget.deadline_s is not None:
        times.append(job.submitted_at + budget.deadline_s)
    if budget.max_cost_usd is not None:
        rate = sum(a.price_usd_h for a in job.attempts.values() if a.created_at and not a.gone_at)
        if rate > 0:
            left_usd = budget.max_cost_usd - spent_usd(job, now_s)
            times.append(now_s + max(1.0, left_usd / rate * HOUR_S))
    return Step(wake_at=min(times) if times else None)
