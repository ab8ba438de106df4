"""What has to be done to a machine that is over until it is seen gone. Pure.

The order is told, disconnected, terminated, confirmed; each step may be repeated at any time by anybody. The
state lies in the log: `ended` means that something is left to revoke or terminate, `fenced` that the
provider was told, `gone` that it no longer lists the machine.
"""

from enum import StrEnum

from vaultlayer import events as ev
from vaultlayer.job import AttemptState, Job, Phase

BACKOFF_S_MAX = 60.0
ALERT_S = 120.0
"""A machine that is not gone after so long is reported as one that may still bill."""


class Step(StrEnum):
    """What an attempt needs next."""

    NONE = ""
    FENCE = "fence"
    CONFIRM = "confirm"


def step_of(attempt: AttemptState) -> Step:
    """Give the next step of an attempt; live ones and gone ones need none."""
    if attempt.phase is Phase.ENDED:
        return Step.FENCE
    if attempt.phase is Phase.FENCED:
        return Step.CONFIRM
    return Step.NONE


def unfinished(job: Job) -> list[int]:
    """List the attempts that are over and not seen gone."""
    return [number for number, attempt in job.attempts.items() if step_of(attempt)]


def claim_rest_s(attempt: AttemptState, claim_seen_s: float, now_s: float) -> float:
    """Give the seconds for which a machine may still come of a pending create; 0 when none may.

    Counted from when this process first saw the claim, so that no two clocks need to agree. Only after
    that does "the provider lists nothing" mean that nothing was made.
    """
    if attempt.instance or not attempt.claim_cmd:
        return 0.0
    return max(0.0, claim_seen_s + attempt.claim_s - now_s)


def backoff_s(failures: int) -> float:
    """Give the pause after so many failures in a row: 1, 2, 4 … 60 seconds."""
    return min(2.0 ** min(max(failures, 1) - 1, 10), BACKOFF_S_MAX)


def bill(attempt: AttemptState, now_s: float) -> tuple[float, float]:
    """Give (seconds billed, dollars) of a machine that was seen gone at `now_s`.

    Counted to the moment of certainty, so that it errs on the dear side. The provider's own granule
    (`Manifest.billing_step_s`) is not added.
    """
    if not attempt.instance or not attempt.created_at:
        return 0.0, 0.0
    billed_s = max(0.0, now_s - attempt.created_at)
    return billed_s, attempt.price_usd_h * billed_s / 3600.0


def fenced_entry(job: Job | None, seen: AttemptState) -> ev.Event | None:
    """Give the entry after `seen` was revoked and terminated; None when it no longer applies."""
    attempt = job.attempts.get(seen.number) if job else None
    if attempt is None or attempt.phase is not Phase.ENDED or not _same(attempt, seen):
        return None
    return ev.Fenced(attempt=seen.number)


def gone_entry(job: Job | None, seen: AttemptState, now_s: float) -> ev.Event | None:
    """Give the entry after the machine of `seen` was confirmed absent; None when it no longer applies.

    A machine that came to light meanwhile is another one than was looked for, so nothing is said of it.
    """
    attempt = job.attempts.get(seen.number) if job else None
    if attempt is None or not step_of(attempt) or not _same(attempt, seen):
        return None
    billed_s, cost_usd = bill(attempt, now_s)
    return ev.Gone(attempt=seen.number, billed_s=billed_s, cost_usd=cost_usd)


def cmd_id(kind: str, attempt: AttemptState) -> str:
    """Give the same command id to every fencer that speaks of the same machine."""
    return f"{kind}-{attempt.number}-{attempt.incarnation}-{attempt.instance or 'none'}"


def _same(attempt: AttemptState, seen: AttemptState) -> bool:
    return (
        attempt.incarnation == seen.incarnation
        and attempt.instance == seen.instance
        and attempt.user_key == seen.user_key
        and attempt.claim_cmd == seen.claim_cmd
    )
