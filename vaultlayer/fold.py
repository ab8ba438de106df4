"""State out of entries: a job is the fold of its log. Pure, total, and blind to what it does not know."""

from collections.abc import Callable
from typing import Any

import msgspec

from vaultlayer import events as ev
from vaultlayer.job import AttemptState, CheckpointState, End, Job, Outcome, Past, Phase
from vaultlayer.lifecycle import commit_fault

ATTEMPTS_MAX = 128
"""Attempts listed in the state; more only while they live or may be billed."""

CHECKPOINTS_MAX = 256
RECENT = 100
"""Checkpoints of which none is left out of the state."""

SPARED_EVERY = 10
"""Of the older ones, the first and each so-many-th are left out last: retention keeps the same by default."""

SEEN_MAX = 512
"""Command ids kept per job; a retry comes seconds after the first try, not hundreds of entries later."""

replace = msgspec.structs.replace


def fold(job: Job | None, event: ev.Event, seq: int) -> Job | None:
    """Take one stored entry into the state.

    Args:
        job: the state so far; None before `submitted`.
        event: the entry.
        seq: its stream sequence; an entry at or below `job.seq` changes nothing.

    Returns:
        the new state; None while the job is not submitted.
    """
    if job is not None and seq <= job.seq:
        return job
    if isinstance(event, ev.Snapshot):
        return replace(job, seq=seq) if job is not None else _from_snapshot(event, seq)
    if job is None:
        return _submitted(event, seq) if isinstance(event, ev.Submitted) else None
    change = _CHANGES.get(type(event))
    if change is not None:
        job = change(job, event)
    seen = job.seen if event.cmd_id in job.seen else (*job.seen, event.cmd_id)[-SEEN_MAX:]
    return replace(job, seq=seq, entries=job.entries + 1, seen=seen)


def _submitted(event: ev.Submitted, seq: int) -> Job:
    return Job(
        job=event.job,
        spec=event.spec,
        submitted_at=event.at,
        seen=(event.cmd_id,),
        seq=seq,
        entries=1,
    )


def _from_snapshot(event: ev.Snapshot, seq: int) -> Job:
    state = msgspec.json.decode(event.state, type=Job)
    return replace(state, seq=seq)


def _with(job: Job, number: int, **fields: Any) -> Job:
    """Give the job with some fields of one attempt changed; an unknown attempt changes nothing."""
    attempt = job.attempts.get(number)
    if attempt is None:
        return job
    return replace(job, attempts={**job.attempts, number: replace(attempt, **fields)})


def _ordered(job: Job, event: ev.Ordered) -> Job:
    if event.attempt != max(job.attempts, default=0) + 1:
        return job
    attempt = AttemptState(
        number=event.attempt,
        incarnation=event.incarnation,
        provider=event.provider,
        offer=event.offer,
        sole=event.sole,
        work_path=event.work_path,
        price_usd_h=event.offer.price_usd_h,
        ordered_at=event.at,
        boot_s=event.boot_s,
    )
    return _without_old(replace(job, attempts={**job.attempts, event.attempt: attempt}))


def _without_old(job: Job) -> Job:
    """Leave out the oldest attempts that are gone and are nobody's concern any more; keep their sums."""
    surplus = len(job.attempts) - ATTEMPTS_MAX
    if surplus <= 0:
        return job
    needed = {job.active, job.drill_attempt, job.head.attempt if job.head else 0}
    over = [a for n, a in job.attempts.items() if a.phase is Phase.GONE and n not in needed]
    dropped = over[:surplus]
    if not dropped:
        return job
    past = Past(
        attempts=job.past.attempts + len(dropped),
        cost_usd=job.past.cost_usd + sum(a.cost_usd for a in dropped),
        own_failures=job.past.own_failures + sum(a.failed_by_itself for a in dropped),
        was_started=job.past.was_started or any(a.started_at for a in dropped),
    )
    numbers = {a.number for a in dropped}
    left = {n: a for n, a in job.attempts.items() if n not in numbers}
    return replace(job, attempts=left, past=past)


def _create_claimed(job: Job, event: ev.CreateClaimed) -> Job:
    return _with(
        job,
        event.attempt,
        claim_until=event.at + event.claim_s,
        claim_s=event.claim_s,
        claim_by=event.actor,
        claim_cmd=event.cmd_id,
    )


_AFTER_CREATED = {Phase.ORDERED: Phase.BOOTING, Phase.GONE: Phase.ENDED}


def _created(job: Job, event: ev.Created) -> Job:
    attempt = job.attempts.get(event.attempt)
    if attempt is None or attempt.instance:
        return job
    # A machine made for an attempt that is already over keeps its end: the fencer must see it, even
    # after it had found nothing and said so.
    phase = _AFTER_CREATED.get(attempt.phase, attempt.phase)
    price = event.price_usd_h or attempt.price_usd_h
    return _with(
        job,
        event.attempt,
        phase=phase,
        instance=event.instance,
        created_at=event.at,
        price_usd_h=price,
        gone_at=0.0,
    )


def _create_failed(job: Job, event: ev.CreateFailed) -> Job:
    attempt = job.attempts.get(event.attempt)
    # Whoever has shown a key exists, whatever a listing says; the fencer must see it.
    if attempt is None or attempt.instance or attempt.user_key:
        return job
    return _with(
        job,
        event.attempt,
        phase=Phase.GONE,
        end=attempt.end or End.NOT_CREATED,
        end_reason=attempt.end_reason or event.reason,
        ended_at=attempt.ended_at or event.at,
        cooldown_s=event.cooldown_s,
        gone_at=event.at,
    )


def _enrolled(job: Job, event: ev.Enrolled) -> Job:
    return _with(job, event.attempt, user_key=event.user_key, seal_key=event.seal_key)


def _ready(job: Job, event: ev.Ready) -> Job:
    attempt = job.attempts.get(event.attempt)
    if attempt is None or attempt.phase not in {Phase.ORDERED, Phase.BOOTING}:
        return job
    return _with(job, event.attempt, phase=Phase.READY, ready_at=event.at)


def _takeover(job: Job, event: ev.Takeover) -> Job:
    attempt = job.attempts.get(event.attempt)
    if attempt is None or attempt.phase is not Phase.READY or event.attempt <= job.active:
        return job
    job = _with(
        job,
        event.attempt,
        phase=Phase.ACTIVE,
        active_at=event.at,
        resumed_from=event.resume_from,
        resumed_step=event.resume_step,
    )
    for number in [n for n, a in job.attempts.items() if n < event.attempt and a.is_live]:
        job = _end(job, number, End.RELEASED, f"superseded by attempt {event.attempt}", event.at)
    return replace(job, active=event.attempt)


def _end(job: Job, number: int, end: End, reason: str, at: float) -> Job:
    attempt = job.attempts.get(number)
    if attempt is None or not attempt.is_live:
        return job
    return _with(
        job, number, phase=Phase.ENDED, end=end, end_reason=reason, ended_at=at, suspected_at=0.0
    )


def _started(job: Job, event: ev.Started) -> Job:
    return _with(
        job,
        event.attempt,
        started_at=event.at,
        restore_s=event.restore_s,
        resumed_from=event.resumed_from,
        resumed_step=event.resumed_step,
        again_steps=event.again_steps,
    )


def _stepped(job: Job, event: ev.Stepped) -> Job:
    return _with(job, event.attempt, first_step=event.step, first_step_at=event.at)


def _tier_found(job: Job, event: ev.TierFound) -> Job:
    return replace(job, tier=event.tier, tier_detail=event.detail)


def _committed(job: Job, event: ev.CheckpointCommitted) -> Job:
    if commit_fault(job, event.attempt, event.seq) is not None:
        return job
    checkpoint = CheckpointState(
        manifest=event.manifest,
        key=event.key,
        attempt=event.attempt,
        seq=event.seq,
        ordinal=job.commits + 1,
        parent=event.parent,
        step=event.step,
        size_b=event.size_b,
        new_b=event.new_b,
        files=event.files,
        at=event.at,
        final=event.final,
    )
    job = _with(job, event.attempt, last_checkpoint_seq=event.seq)
    checkpoints = (*job.checkpoints, checkpoint)
    if len(checkpoints) > CHECKPOINTS_MAX:
        checkpoints = _thinned(checkpoints, job.head)
    return replace(job, checkpoints=checkpoints, commits=checkpoint.ordinal)


def _thinned(
    checkpoints: tuple[CheckpointState, ...], head: CheckpointState | None
) -> tuple[CheckpointState, ...]:
    """Leave out one old checkpoint, never the head: what nobody restores, or where they stand closest."""
    old = range(len(checkpoints) - RECENT)

    def worth(at: int) -> tuple[bool, int, int]:
        spared = checkpoints[at].ordinal % SPARED_EVERY == 1
        before = checkpoints[at - 1].ordinal if at else -CHECKPOINTS_MAX * SPARED_EVERY
        return spared, checkpoints[at + 1].ordinal - before if spared else 0, at

    kept = head.manifest if head else ""
    at = min((at for at in old if checkpoints[at].manifest != kept), key=worth)
    return checkpoints[:at] + checkpoints[at + 1 :]


def _rejected(job: Job, event: ev.CheckpointRejected) -> Job:
    marked = tuple(
        replace(c, rejected=event.reason or "damaged") if c.manifest == event.manifest else c
        for c in job.checkpoints
    )
    return replace(job, checkpoints=marked)


def _suspected(job: Job, event: ev.Suspected) -> Job:
    attempt = job.attempts.get(event.attempt)
    if attempt is None or not attempt.is_live:
        return job
    return _with(job, event.attempt, suspected_at=event.at, silent_s=event.silent_s)


def _cleared(job: Job, event: ev.Cleared) -> Job:
    return _with(job, event.attempt, suspected_at=0.0, lapsed_at=0.0)


def _lapsed(job: Job, event: ev.Lapsed) -> Job:
    attempt = job.attempts.get(event.attempt)
    if attempt is None or not attempt.is_live:
        return job
    return _with(job, event.attempt, lapsed_at=event.at, silent_s=event.silent_s)


def _noticed(job: Job, event: ev.Noticed) -> Job:
    return _with(job, event.attempt, noticed_until=event.at + event.grace_s)


def _lost(job: Job, event: ev.Lost) -> Job:
    attempt = job.attempts.get(event.attempt)
    if attempt is None or not attempt.is_live:
        return job
    last_step = attempt.last_step if event.last_step is None else event.last_step
    job = _with(job, event.attempt, last_step=last_step, silent_s=event.silent_s)
    return _end(job, event.attempt, End.LOST, event.evidence, event.at)


def _released(job: Job, event: ev.Released) -> Job:
    return _end(job, event.attempt, End.RELEASED, event.reason, event.at)


def _exited(job: Job, event: ev.Exited) -> Job:
    if event.attempt != job.active:
        return job
    attempt = job.attempts[event.attempt]
    if not attempt.is_live:
        return job
    job = _with(
        job,
        event.attempt,
        exit_code=event.exit_code,
        exit_signal=event.signal,
        last_step=attempt.last_step if event.last_step is None else event.last_step,
    )
    return _end(job, event.attempt, End.EXITED, event.detail, event.at)


def _cancel_requested(job: Job, event: ev.CancelRequested) -> Job:
    return replace(job, cancel_requested_at=job.cancel_requested_at or event.at)


def _drill_requested(job: Job, event: ev.DrillRequested) -> Job:
    return replace(job, drill=event.verb, drill_attempt=event.attempt, drill_grace_s=event.grace_s)


def _drilled(job: Job, _event: ev.Drilled) -> Job:
    return replace(job, drill="", drill_attempt=0, drill_grace_s=0.0)


def _fenced(job: Job, event: ev.Fenced) -> Job:
    attempt = job.attempts.get(event.attempt)
    if attempt is None or attempt.phase is not Phase.ENDED:
        return job
    return _with(job, event.attempt, phase=Phase.FENCED, fenced_at=event.at)


def _gone(job: Job, event: ev.Gone) -> Job:
    attempt = job.attempts.get(event.attempt)
    if attempt is None or attempt.is_live or attempt.phase is Phase.GONE:
        return job
    return _with(
        job,
        event.attempt,
        phase=Phase.GONE,
        gone_at=event.at,
        billed_s=event.billed_s,
        cost_usd=event.cost_usd,
    )


def _finished(job: Job, event: ev.Finished) -> Job:
    if job.outcome:
        return job
    return replace(
        job,
        outcome=Outcome(event.outcome),
        exit_code=event.exit_code,
        reason=event.reason,
        finished_at=event.at,
    )


def _closed(job: Job, _event: ev.Closed) -> Job:
    return replace(job, closed=True)


_CHANGES: dict[type[ev.Event], Callable[[Job, Any], Job]] = {
    ev.Ordered: _ordered,
    ev.CreateClaimed: _create_claimed,
    ev.Created: _created,
    ev.CreateFailed: _create_failed,
    ev.Enrolled: _enrolled,
    ev.Ready: _ready,
    ev.Takeover: _takeover,
    ev.Started: _started,
    ev.Stepped: _stepped,
    ev.TierFound: _tier_found,
    ev.CheckpointCommitted: _committed,
    ev.CheckpointRejected: _rejected,
    ev.Suspected: _suspected,
    ev.Cleared: _cleared,
    ev.Lapsed: _lapsed,
    ev.Noticed: _noticed,
    ev.Lost: _lost,
    ev.Released: _released,
    ev.Exited: _exited,
    ev.CancelRequested: _cancel_requested,
    ev.DrillRequested: _drill_requested,
    ev.Drilled: _drilled,
    ev.Fenced: _fenced,
    ev.Gone: _gone,
    ev.Finished: _finished,
    ev.Closed: _closed,
}
assert set(_CHANGES) | {ev.Submitted, ev.Snapshot} == set(ev.EVENT_TYPES.values())
