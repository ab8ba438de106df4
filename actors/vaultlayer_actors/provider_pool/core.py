"""What a pool does next for an order, a drill, a machine that vanished or one that nobody wants. Pure.

An order is *claimed* in the log before its provider is called, so that one process calls it. A claim that ran
out is taken over by another process, which first looks whether a machine of that name came of it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from vaultlayer import events as ev
from vaultlayer.driver import Instance, Manifest
from vaultlayer.job import AttemptState, Job, Phase

ANSWER_SHARE = 0.5
"""Part of a claim within which the provider must answer; the rest is for finding out what came of it."""

LISTED = frozenset({"booting", "running", "stopped", "unknown"})
VANISHED = frozenset({"stopped", "gone"})


class Step(StrEnum):
    """What an attempt needs of its pool next."""

    NONE = ""
    WAIT = "wait"
    """Somebody else's claim runs."""
    CLAIM = "claim"
    """Claim it, then make it."""
    TAKE_OVER = "take_over"
    """Claim it after somebody else, then look for a machine before anything else."""
    GO_ON = "go_on"
    """The claim is this process's own, from a try that broke off: look first."""
    REFUSE = "refuse"
    """Nobody has called the provider and nobody wants it any more."""


def is_open(attempt: AttemptState) -> bool:
    """Whether the outcome of its create is not in the log yet."""
    return not attempt.instance and attempt.phase is not Phase.GONE


def is_wanted(job: Job, attempt: AttemptState) -> bool:
    """Whether a machine should still be made for it."""
    return (
        attempt.phase is Phase.ORDERED
        and not job.outcome
        and not job.cancel_requested_at
        and attempt.number > job.active
    )


def step_of(job: Job, attempt: AttemptState, *, me: str, claim_age_s: float) -> Step:
    """Give the next step of one attempt of a provider of ours.

    Args:
        job: the newest state.
        attempt: one of its attempts.
        me: this process's actor id.
        claim_age_s: for how long this process has seen the newest claim, by its own steady clock; so
            that no two clocks need to agree. Without a claim it has no meaning.
    """
    if not is_open(attempt):
        return Step.NONE
    if not attempt.claim_cmd:
        return Step.CLAIM if is_wanted(job, attempt) else Step.REFUSE
    if attempt.claim_by == me:
        return Step.GO_ON
    return Step.WAIT if claim_age_s < attempt.claim_s else Step.TAKE_OVER


def claim(job: Job | None, seen: AttemptState, manifest: Manifest) -> ev.Event | None:
    """Give the claim on an order as it was `seen`; None when it has moved on."""
    attempt = job.attempts.get(seen.number) if job else None
    if attempt is None or not is_open(attempt) or attempt.claim_cmd != seen.claim_cmd:
        return None
    return ev.CreateClaimed(attempt=seen.number, claim_s=manifest.create_s)


def is_mine(job: Job | None, number: int, claim_cmd: str) -> AttemptState | None:
    """Give the attempt when its create is open and the newest claim on it is this one."""
    attempt = job.attempts.get(number) if job else None
    if attempt is None or not is_open(attempt) or attempt.claim_cmd != claim_cmd:
        return None
    return attempt


def created(job: Job | None, number: int, made: Instance, *, adopted: bool) -> ev.Event | None:
    """Give the entry for a machine that exists; None when the log needs none or will have none.

    An attempt that ended meanwhile gets it too: the fencer must see the machine. One that is already
    gone does not: the caller terminates the machine itself.
    """
    attempt = job.attempts.get(number) if job else None
    if attempt is None or not is_open(attempt):
        return None
    return ev.Created(
        attempt=number, instance=made.instance, price_usd_h=made.price_usd_h, adopted=adopted
    )


def is_surplus(job: Job | None, number: int, made: Instance) -> bool:
    """Whether a machine that was just made is not the one that the log has for its attempt."""
    attempt = job.attempts.get(number) if job else None
    return attempt is None or attempt.instance != made.instance


def create_failed(
    job: Job | None, number: int, *, code: str, reason: str, cooldown_s: float
) -> ev.Event | None:
    """Give the entry for a create that left nothing behind.

    None when its outcome is in the log, or when its machine has spoken and so was made after all.
    """
    attempt = job.attempts.get(number) if job else None
    if attempt is None or not is_open(attempt) or attempt.user_key:
        return None
    return ev.CreateFailed(attempt=number, code=code, reason=reason, cooldown_s=cooldown_s)


def named(instances: Sequence[Instance], name: str) -> Instance | None:
    """Find the machine of that name that may still be billed; the one that runs first."""
    found = [one for one in instances if one.name == name and one.state in LISTED]
    return min(found, key=lambda one: (not one.is_alive, one.instance), default=None)


# Machines that exist ------------------------------------------------------------------------------


def should_run(attempt: AttemptState) -> bool:
    """Whether the log counts on the machine."""
    return bool(attempt.instance) and attempt.is_live


def lost(job: Job | None, number: int, seen: Instance) -> ev.Event | None:
    """Give the verdict on a machine that its provider says is gone or stopped."""
    attempt = job.attempts.get(number) if job else None
    if attempt is None or not should_run(attempt):
        return None
    if attempt.instance != seen.instance or seen.state not in VANISHED:
        return None
    detail = f" ({seen.detail})" if seen.detail else ""
    return ev.Lost(attempt=number, evidence=f"provider: {seen.state}{detail}")


def must_ask(
    *, listed: Instance | None, was_listed: bool, known_for_s: float, manifest: Manifest
) -> bool:
    """Whether to ask the provider for a machine that its listing does not show as running.

    A machine that was never listed may be too new for the listing, so it gets as long as the provider's
    listings may lag; one that was listed and is no more is asked for at once.
    """
    if listed is not None:
        return not listed.is_alive
    return was_listed or known_for_s >= manifest.absent_checks * manifest.absent_gap_s


def unwanted(job: Job | None, number: int, found: Instance, provider: str) -> str:
    """Say why a machine with our tag must be terminated; empty when it must be left alone."""
    if job is None:
        return "the log has no such job"
    attempt = job.attempts.get(number)
    if attempt is None:
        return "the log has no such attempt"
    if attempt.provider != provider:
        return f"the log has this attempt at {attempt.provider}"
    if attempt.phase is Phase.GONE:
        return "the log has it gone"
    if attempt.instance and attempt.instance != found.instance:
        return f"the attempt's machine is {attempt.instance}"
    return ""


# Drills -------------------------------------------------------------------------------------------


def drill_refusal(job: Job, manifests: Mapping[str, Manifest]) -> str | None:
    """Judge the drill that was asked for.

    Returns:
        None: there is none, it is not this pool's, or its machine is not made yet; empty: carry it out;
        otherwise why it cannot be done.
    """
    attempt = job.attempts.get(job.drill_attempt)
    if not job.drill or attempt is None or attempt.provider not in manifests:
        return None
    if job.drill not in manifests[attempt.provider].drills:
        return f"{attempt.provider} has no drill {job.drill!r}"
    if not attempt.is_live:
        return f"attempt {attempt.number} is over"
    return "" if attempt.instance else None


def drilled(job: Job | None, seen: Job, detail: str) -> ev.Event | None:
    """Give the entry for a drill that was carried out or refused; None when another pool was first."""
    if job is None or (job.drill, job.drill_attempt) != (seen.drill, seen.drill_attempt):
        return None
    return ev.Drilled(attempt=seen.drill_attempt, verb=seen.drill, detail=detail)
