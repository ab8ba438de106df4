"""The figures of a demonstration: a row an attempt, and the object of the last line. Pure."""

from collections.abc import Mapping

import msgspec

from vaultlayer.job import AttemptState, Job, spent_usd


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. Times are seconds from the kill that made it necessary; None for the first."""

    attempt: int
    provider: str
    first_step: int | None
    last_step: int | None
    resumed_from_step: int | None
    detect_s: float | None = None
    """From the kill to the log entry that says the attempt is lost."""
    takeover_s: float | None = None
    """From that entry to the takeover by the next attempt."""
    restore_s: float | None = None
    """Spent by the agent on placing code and checkpoint."""
    first_new_step_s: float | None = None
    """From the kill to the first step that the dead attempt's checkpoint did not hold."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of a demonstration, as one JSON object."""

    job: str
    digest_uninterrupted: str
    digest_resumed: str
    identical: bool
    attempts: list[AttemptRow]
    cost_usd: float
    wall_s: float


def rows(
    job: Job, killed_at: Mapping[int, float], seen_step: Mapping[int, int] | None = None
) -> list[AttemptRow]:
    """Give a row for each attempt that ran the script.

    Args:
        job: the folded job.
        killed_at: Unix seconds at which an attempt's machine was killed, by attempt.
        seen_step: newest step that a watcher heard of, by attempt: a machine that dies between two
            heartbeats takes its newest step with it, and the log need not know it.
    """
    seen_step = seen_step or {}
    ran = [
        msgspec.structs.replace(a, last_step=_newest(a.last_step, seen_step.get(a.number)))
        for a in job.attempts.values()
        if a.started_at
    ]
    befores: list[AttemptState | None] = [None, *ran]
    return [_row(attempt, before, killed_at) for attempt, before in zip(ran, befores, strict=False)]


def _newest(logged: int | None, seen: int | None) -> int | None:
    known = [step for step in (logged, seen) if step is not None]
    return max(known, default=None)


def _row(
    attempt: AttemptState, before: AttemptState | None, killed_at: Mapping[int, float]
) -> AttemptRow:
    row = AttemptRow(
        attempt=attempt.number,
        provider=attempt.provider,
        first_step=attempt.first_step,
        last_step=attempt.last_step,
        resumed_from_step=attempt.resumed_step,
        restore_s=round(attempt.restore_s, 3) if attempt.resumed_step is not None else None,
    )
    if before is None or before.number not in killed_at:
        return row
    killed = killed_at[before.number]
    return msgspec.structs.replace(
        row,
        detect_s=_since(killed, before.ended_at),
        takeover_s=_since(before.ended_at, attempt.active_at),
        first_new_step_s=_since(killed, attempt.first_step_at),
    )


def _since(start_at: float, end_at: float) -> float | None:
    return round(max(0.0, end_at - start_at), 3) if start_at and end_at else None


def figures(
    job: Job,
    killed_at: Mapping[int, float],
    seen_step: Mapping[int, int],
    *,
    bare: str,
    resumed: str,
    began_at: float,
    now_s: float,
) -> Figures:
    """Give the object of the last line; `bare` and `resumed` are the two digests."""
    return Figures(
        job=job.job,
        digest_uninterrupted=bare,
        digest_resumed=resumed,
        identical=bool(bare) and bare == resumed,
        attempts=rows(job, killed_at, seen_step),
        cost_usd=round(spent_usd(job, now_s), 6),
        wall_s=round(now_s - began_at, 1),
    )
