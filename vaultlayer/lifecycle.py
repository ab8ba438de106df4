"""The guards of a job's life: what may be appended to its log, as pure functions of the folded state.

Three guards carry the proof that a job has one chain of checkpoints (docs/architecture.md):
*generation* (only the active attempt commits), *monotone order* (`seq` rises within an attempt) and
*write isolation* (an attempt's credentials reach only its own prefix; the store keeps that one).
`vaultlayer.fold` applies the first two once more, so that an entry which should never have been
appended changes nothing.
"""

from vaultlayer.errors import ErrorBody
from vaultlayer.job import Job, Phase


def commit_fault(job: Job, number: int, seq: int) -> ErrorBody | None:
    """Say why attempt `number` may not commit its checkpoint `seq`, or None when it may."""
    attempt = job.attempts.get(number)
    if attempt is None or number != job.active or attempt.phase is not Phase.ACTIVE:
        return ErrorBody(
            code="superseded",
            what=f"attempt {number} may not commit",
            why=f"attempt {job.active} is the active one"
            if number != job.active
            else "the attempt is over",
        )
    if seq <= attempt.last_checkpoint_seq:
        return ErrorBody(
            code="out-of-order",
            what=f"checkpoint {seq} of attempt {number} comes too late",
            why=f"{attempt.last_checkpoint_seq} is already committed",
        )
    return None


def may_commit(job: Job, number: int, incarnation: str, seq: int) -> ErrorBody | None:
    """Generation, incarnation and monotone order: None when the commit may be appended."""
    fault = commit_fault(job, number, seq)
    if fault is None and job.attempts[number].incarnation != incarnation:
        return ErrorBody(
            code="superseded",
            what=f"attempt {number} may not commit",
            why="the log knows this attempt by another incarnation",
        )
    return fault


def may_take_over(job: Job, number: int) -> ErrorBody | None:
    """None when `takeover{number}` may be appended: ready, newer than the active one, job not over."""
    attempt = job.attempts.get(number)
    if job.outcome or job.cancel_requested_at:
        return ErrorBody(code="job-over", what=f"attempt {number} may not take over")
    if attempt is None or attempt.phase is not Phase.READY or number <= job.active:
        return ErrorBody(code="superseded", what=f"attempt {number} may not take over")
    active = job.active_attempt
    if active is None or not active.is_live or active.lapsed_at or active.noticed_until:
        return None
    return ErrorBody(
        code="not-yet",
        what=f"attempt {number} may not take over",
        why="the active one has its lease",
    )


def steps_again(job: Job, number: int, resumed_step: int | None) -> int | None:
    """Give how many steps attempt `number` makes again that one before it is known to have made.

    Args:
        job: the folded state.
        number: the attempt that has started the script.
        resumed_step: where it goes on; None: from zero.

    Returns:
        None for the first start of the script, and where nothing is known beyond `resumed_step`: a machine
        that dies between two beats takes its newest step with it.
    """
    before = [a for n, a in job.attempts.items() if n < number and a.started_at]
    if not before:
        return None
    dead = max(before, key=lambda a: a.number)
    last = dead.last_step if dead.last_step is not None else -1
    for checkpoint in job.checkpoints:
        if checkpoint.attempt == dead.number and checkpoint.step is not None:
            last = max(last, checkpoint.step)
    again = last - (resumed_step or 0)
    return again if last >= 0 and again >= 0 else None


def is_current(job: Job, number: int, incarnation: str) -> bool:
    """Whether the attempt may still speak: known by this incarnation, live, not superseded."""
    attempt = job.attempts.get(number)
    return (
        attempt is not None
        and attempt.incarnation == incarnation
        and attempt.is_live
        and number >= job.active
        and not job.outcome
    )


def faults(job: Job) -> list[str]:
    """List every broken invariant of a folded state; an empty list is what tests demand."""
    found: list[str] = []
    active = [n for n, a in job.attempts.items() if a.phase is Phase.ACTIVE]
    if len(active) > 1:
        found.append(f"several active attempts: {active}")
    if active and active[0] != job.active:
        found.append(f"attempt {active[0]} is active, the newest takeover is {job.active}")
    numbers = list(job.attempts)
    if numbers != sorted(set(numbers)) or job.past.attempts + len(numbers) != job.attempt_count:
        found.append(f"attempt numbers have gaps: {numbers}, and {job.past.attempts} before")
    order = [(c.attempt, c.seq) for c in job.checkpoints]
    if order != sorted(set(order)):
        found.append(f"checkpoints are out of order: {order}")
    for number, attempt in job.attempts.items():
        if attempt.is_live and number < job.active:
            found.append(f"attempt {number} lives beside its successor {job.active}")
        if attempt.phase is Phase.GONE and not attempt.gone_at:
            found.append(f"attempt {number} is gone without a time")
    if job.closed and any(a.phase is not Phase.GONE for a in job.attempts.values()):
        found.append("closed with machines that are not gone")
    return found
