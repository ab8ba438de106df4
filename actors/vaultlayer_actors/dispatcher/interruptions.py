"""How long a job's machines last, which decides how often its state is worth saving. Pure."""

from vaultlayer.job import End, Job

PRIOR_S = 2 * 3600.0
"""What is taken for one interruption's time while nothing is known: a market of spot machines."""


def mean_between_s(job: Job, now_s: float) -> float:
    """Give the mean time between interruptions: the job's own, and one more after the prior's time.

    Args:
        job: its attempts, as far as they are listed.
        now_s: the wall clock.
    """
    lost = sum(1 for attempt in job.attempts.values() if attempt.end is End.LOST)
    ran_s = sum(
        max(0.0, (attempt.ended_at or now_s) - attempt.started_at)
        for attempt in job.attempts.values()
        if attempt.started_at
    )
    return (ran_s + PRIOR_S) / (lost + 1)
