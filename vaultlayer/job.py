"""A job as its log tells it: the folded state, as values.

`fold.apply` is the only maker of these; see `vaultlayer.lifecycle`.
"""

from enum import StrEnum

import msgspec

from vaultlayer.driver import Offer
from vaultlayer.events import JobSpec


class Phase(StrEnum):
    """Where an attempt is in its life; it only moves downwards in this list."""

    ORDERED = "ordered"
    BOOTING = "booting"
    READY = "ready"
    ACTIVE = "active"
    ENDED = "ended"
    FENCED = "fenced"
    GONE = "gone"


class End(StrEnum):
    """Why an attempt is over."""

    NONE = ""
    EXITED = "exited"
    RELEASED = "released"
    LOST = "lost"
    NOT_CREATED = "not_created"


class Outcome(StrEnum):
    """How a job ended."""

    NONE = ""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


INFRA_SIGNALS = frozenset({1, 9, 15})
"""HUP, KILL, TERM: somebody ended the script, it did not fail by itself."""


class AttemptState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One machine ordered for the job. Times are the writers' Unix seconds, 0 for not yet."""

    number: int
    incarnation: str
    provider: str
    offer: Offer
    sole: bool = False
    work_path: str = ""
    phase: Phase = Phase.ORDERED
    end: End = End.NONE
    end_reason: str = ""
    instance: str = ""
    price_usd_h: float = 0.0
    user_key: str = ""
    seal_key: str = ""
    ordered_at: float = 0.0
    boot_s: float = 0.0
    claim_until: float = 0.0
    claim_s: float = 0.0
    """How long the newest claim lasts; others count it from when they first saw the claim."""
    claim_by: str = ""
    """Actor of the newest create claim, so that a process knows its own."""
    claim_cmd: str = ""
    """Command id of the newest create claim, which tells two claims apart."""
    created_at: float = 0.0
    ready_at: float = 0.0
    active_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    cooldown_s: float = 0.0
    """How long its offer is left alone after a refused create."""
    fenced_at: float = 0.0
    gone_at: float = 0.0
    suspected_at: float = 0.0
    lapsed_at: float = 0.0
    noticed_until: float = 0.0
    last_checkpoint_seq: int = 0
    resumed_from: str = ""
    resumed_step: int | None = None
    restore_s: float = 0.0
    again_steps: int | None = None
    first_step: int | None = None
    first_step_at: float = 0.0
    last_step: int | None = None
    silent_s: float = 0.0
    exit_code: int | None = None
    exit_signal: int = 0
    billed_s: float = 0.0
    cost_usd: float = 0.0

    @property
    def is_live(self) -> bool:
        """Whether it may still become or be the one that trains."""
        return self.phase in {Phase.ORDERED, Phase.BOOTING, Phase.READY, Phase.ACTIVE}

    @property
    def is_standby(self) -> bool:
        """Whether it is on its way to take over."""
        return self.phase in {Phase.ORDERED, Phase.BOOTING, Phase.READY}

    @property
    def is_doubted(self) -> bool:
        """Whether a replacement should be on its way."""
        return bool(self.suspected_at or self.lapsed_at or self.noticed_until)

    @property
    def failed_by_itself(self) -> bool:
        """Whether its script ended badly, and nobody ended it."""
        return (
            self.end is End.EXITED and self.exit_code != 0 and self.exit_signal not in INFRA_SIGNALS
        )

    @property
    def deadline_at(self) -> float:
        """By when the agent must be ready."""
        return self.ordered_at + self.boot_s


class CheckpointState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A committed checkpoint; order is (attempt, seq), `step` is for people."""

    manifest: str
    key: str
    attempt: int
    seq: int
    ordinal: int = 0
    """Which commit of the job it was, from 1."""
    parent: str = ""
    step: int | None = None
    size_b: int = 0
    new_b: int = 0
    files: int = 0
    at: float = 0.0
    final: bool = False
    rejected: str = ""


class Past(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The sums over attempts that are gone and not listed any more."""

    attempts: int = 0
    cost_usd: float = 0.0
    own_failures: int = 0
    was_started: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The folded log of one job."""

    job: str
    spec: JobSpec
    submitted_at: float = 0.0
    active: int = 0
    """The attempt of the newest takeover; everything older is fenced for ever."""
    attempts: dict[int, AttemptState] = {}
    """By number; of a great many only those that matter still, and the newest. `past` sums up the others."""
    past: Past = Past()
    checkpoints: tuple[CheckpointState, ...] = ()
    """Oldest first; of a great many the newest, and fewer and fewer of the older ones. The log has all."""
    commits: int = 0
    """How many checkpoints were ever committed."""
    tier: str = ""
    tier_detail: str = ""
    drill: str = ""
    """Verb of a drill that was asked for and not yet carried out."""
    drill_attempt: int = 0
    drill_grace_s: float = 0.0
    cancel_requested_at: float = 0.0
    outcome: Outcome = Outcome.NONE
    exit_code: int = 0
    reason: str = ""
    finished_at: float = 0.0
    closed: bool = False
    seen: tuple[str, ...] = ()
    """The newest command ids, oldest first."""
    seq: int = 0
    """Stream sequence of the newest entry that is folded in."""
    entries: int = 0

    @property
    def newest(self) -> AttemptState | None:
        """The attempt with the highest number."""
        return self.attempts[max(self.attempts)] if self.attempts else None

    @property
    def active_attempt(self) -> AttemptState | None:
        """The attempt of the newest takeover, whether it still lives or not."""
        return self.attempts.get(self.active)

    @property
    def head(self) -> CheckpointState | None:
        """The newest checkpoint of the chain that was not rejected."""
        for checkpoint in reversed(self.checkpoints):
            if not checkpoint.rejected:
                return checkpoint
        return None

    @property
    def cost_usd(self) -> float:
        """What is billed for certain; machines that are not yet gone come on top."""
        return self.past.cost_usd + sum(attempt.cost_usd for attempt in self.attempts.values())

    @property
    def attempt_count(self) -> int:
        """How many attempts there ever were."""
        return max(self.attempts, default=0)

    @property
    def checkpoint_count(self) -> int:
        """How many checkpoints were committed and not rejected, as far as the rejected are listed."""
        committed = max(self.commits, len(self.checkpoints))
        return committed - sum(1 for c in self.checkpoints if c.rejected)

    @property
    def own_failures(self) -> int:
        """How many attempts ended because the script failed by itself."""
        return self.past.own_failures + sum(a.failed_by_itself for a in self.attempts.values())

    @property
    def has_started(self) -> bool:
        """Whether the script was ever started."""
        return self.past.was_started or any(a.started_at for a in self.attempts.values())

    @property
    def status(self) -> str:
        """One word for people: queued, starting, running, recovering, or the outcome."""
        if self.outcome:
            return self.outcome.value
        active = self.active_attempt
        if active is not None and active.phase is Phase.ACTIVE:
            return "suspect" if active.suspected_at else "running"
        if self.active:
            return "recovering"
        return "starting" if any(a.is_live for a in self.attempts.values()) else "queued"


def spent_usd(job: Job, now_s: float) -> float:
    """Give all that the job has cost up to now, machines that still run included."""
    running = sum(
        attempt.price_usd_h * max(0.0, now_s - attempt.created_at) / 3600.0
        for attempt in job.attempts.values()
        if attempt.created_at and not attempt.gone_at
    )
    return job.cost_usd + running
