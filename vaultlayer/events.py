"""The entries of a job's log. They are kept for ever, so a published field is never reused.

Times (`at`) are Unix seconds by the writer's clock and are for people; no rule depends on two
clocks agreeing. A fold ignores types and fields that it does not know.
"""

from typing import Any

import msgspec

from vaultlayer.driver import Offer

SCHEMA = 1


def _snake(name: str) -> str:
    spelled = "".join("_" + char.lower() if char.isupper() else char for char in name)
    return spelled.lstrip("_")


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job may spend; None means no cap."""

    max_cost_usd: float | None = None
    """All attempts together."""
    max_price_usd_h: float | None = None
    """One machine."""
    deadline_s: float | None = None
    """Seconds from submission after which the job fails."""
    user_restarts: int = 0
    """How often a script that failed by itself is started again."""
    losses_per_h: int = 30
    """Machines lost within an hour before ordering pauses."""
    no_progress: int = 3
    """Scripts that die by a signal in a row without a new checkpoint between them."""


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the user asked for. Values of the environment are sealed to the vault, never plain."""

    command: list[str]
    name: str = ""
    gpu: str = ""
    gpu_count: int = 0
    providers: list[str] = []
    image: str = ""
    outputs: list[str] = []
    """More directories to keep, relative to the working directory or absolute."""
    resume_args: str = ""
    hooks: bool = True
    code: str = ""
    """SHA-256 of the code manifest below `jobs/<job>/code/`."""
    env_names: list[str] = []
    env_sealed: str = ""
    """Base64 of a box that only the vault opens: JSON `{"env": {…}, "host": {…}}`."""
    budget: Budget = Budget()
    exclusive: bool = False
    strict: bool = False
    snapshot_every: str = ""
    """How often a ghost snapshot is taken: `300s`, `200steps`, `off`, or "" for the agent to choose."""


class Event(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=_snake
):
    """What every entry carries. `attempt` 0 means the job as a whole."""

    job: str = ""
    """Stamped by the ledger, as are `cmd_id`, `at` and `actor`."""
    attempt: int = 0
    cmd_id: str = ""
    cause: str = ""
    """`cmd_id` of the entry that this one answers."""
    at: float = 0.0
    actor: str = ""
    v: int = SCHEMA


class Submitted(Event, frozen=True, kw_only=True):
    """The job exists."""

    spec: JobSpec


class Ordered(Event, frozen=True, kw_only=True):
    """Intent: a machine is to be made for a new attempt."""

    incarnation: str
    provider: str
    offer: Offer
    reason: str = ""
    sole: bool = False
    """This provider is the only capacity of its kind: fence before the next order."""
    work_path: str = ""
    """Absolute; the same in every attempt of the job."""
    boot_s: float = 600.0
    """Seconds from `at` within which the agent must be ready."""
    passed_over: list[str] = []


class CreateClaimed(Event, frozen=True, kw_only=True):
    """One pool process is about to call the provider; others wait `claim_s` and then look first."""

    claim_s: float = 120.0


class Created(Event, frozen=True, kw_only=True):
    """Outcome: the machine exists at the provider and may be billed."""

    instance: str
    price_usd_h: float = 0.0
    adopted: bool = False


class CreateFailed(Event, frozen=True, kw_only=True):
    """Outcome: no machine was made, and none is left behind."""

    code: str
    reason: str
    cooldown_s: float = 60.0


class Enrolled(Event, frozen=True, kw_only=True):
    """The machine has shown its key; `user_key` is what a revocation names."""

    user_key: str
    seal_key: str = ""
    agent_version: str = ""


class Ready(Event, frozen=True, kw_only=True):
    """Booted, environment set, newest checkpoint prefetched."""

    prefetched: str = ""
    boot_s: dict[str, float] = {}


class Takeover(Event, frozen=True, kw_only=True):
    """From this entry on, every older attempt is fenced for ever."""

    resume_from: str = ""
    resume_step: int | None = None


class Started(Event, frozen=True, kw_only=True):
    """The script runs in this attempt."""

    resumed_from: str = ""
    resumed_step: int | None = None
    restore_s: float = 0.0
    again_steps: int | None = None
    """Steps that the attempt before it was known to have made beyond `resumed_step`: they are made again."""


class Stepped(Event, frozen=True, kw_only=True):
    """The first new optimizer step of this attempt."""

    step: int


class TierFound(Event, frozen=True, kw_only=True):
    """How this job will resume, as found at run time: tier A to E."""

    tier: str
    detail: str = ""


class CheckpointCommitted(Event, frozen=True, kw_only=True):
    """A checkpoint exists. `manifest` is the SHA-256 of its manifest, and its id."""

    seq: int
    manifest: str
    key: str
    parent: str = ""
    step: int | None = None
    size_b: int = 0
    new_b: int = 0
    files: int = 0
    final: bool = False


class CheckpointRejected(Event, frozen=True, kw_only=True):
    """A checkpoint was found damaged and is out of the chain."""

    manifest: str
    reason: str


class Suspected(Event, frozen=True, kw_only=True):
    """The agent is silent, or there is a hint; nothing is decided yet."""

    evidence: str
    silent_s: float = 0.0


class Cleared(Event, frozen=True, kw_only=True):
    """The agent beats again: a false alarm."""


class Lapsed(Event, frozen=True, kw_only=True):
    """The lease has ended at the broker; a standby may take over."""

    silent_s: float = 0.0


class Noticed(Event, frozen=True, kw_only=True):
    """The provider will take the machine in `grace_s` seconds."""

    grace_s: float
    source: str = ""


class Lost(Event, frozen=True, kw_only=True):
    """The attempt is over and was not asked to end."""

    evidence: str
    last_step: int | None = None
    silent_s: float = 0.0


class Released(Event, frozen=True, kw_only=True):
    """The attempt is over because it is no longer wanted."""

    reason: str


class Exited(Event, frozen=True, kw_only=True):
    """The script ended by itself, after its last checkpoint was committed."""

    exit_code: int
    signal: int = 0
    last_step: int | None = None
    detail: str = ""


class CancelRequested(Event, frozen=True, kw_only=True):
    """A person wants the job to end."""

    by: str = ""


class DrillRequested(Event, frozen=True, kw_only=True):
    """A person wants to see what happens: `kill`, `freeze` or `preempt`."""

    verb: str
    grace_s: float = 0.0


class Drilled(Event, frozen=True, kw_only=True):
    """The drill was carried out at this moment."""

    verb: str
    detail: str = ""


class Fenced(Event, frozen=True, kw_only=True):
    """Credentials are revoked and the provider was told to terminate."""


class Gone(Event, frozen=True, kw_only=True):
    """The provider no longer knows the machine: billing has ended."""

    billed_s: float = 0.0
    cost_usd: float = 0.0


class Finished(Event, frozen=True, kw_only=True):
    """The job's outcome: `succeeded`, `failed` or `cancelled`."""

    outcome: str
    exit_code: int = 0
    reason: str = ""


class Closed(Event, frozen=True, kw_only=True):
    """Nothing of the job is left anywhere but its bucket and this log."""


class Snapshot(Event, frozen=True, kw_only=True):
    """The folded state up to `through`, from which folds may start."""

    through: int
    state: msgspec.Raw


AnyEvent = (
    Submitted
    | Ordered
    | CreateClaimed
    | Created
    | CreateFailed
    | Enrolled
    | Ready
    | Takeover
    | Started
    | Stepped
    | TierFound
    | CheckpointCommitted
    | CheckpointRejected
    | Suspected
    | Cleared
    | Lapsed
    | Noticed
    | Lost
    | Released
    | Exited
    | CancelRequested
    | DrillRequested
    | Drilled
    | Fenced
    | Gone
    | Finished
    | Closed
    | Snapshot
)

EVENT_TYPES: dict[str, type[Event]] = {_snake(cls.__name__): cls for cls in Event.__subclasses__()}
_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyEvent)


def kind_of(event: Event) -> str:
    """Give the type name that stands in the subject."""
    return _snake(type(event).__name__)


def encode(event: Event) -> bytes:
    """Give the stored bytes: JSON, fields in declaration order."""
    return _ENCODER.encode(event)


def decode(kind: str, payload: bytes) -> Event | None:
    """Read stored bytes; None when the type is unknown to this version.

    Raises:
        msgspec.ValidationError: the type is known and the body is not of its shape.
    """
    return _DECODER.decode(payload) if kind in EVENT_TYPES else None
