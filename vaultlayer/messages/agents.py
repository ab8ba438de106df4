"""What an agent asks of the broker, and the answers."""

from vaultlayer.events import JobSpec
from vaultlayer.messages.base import PROTOCOL, Message


class Enrol(Message, frozen=True, kw_only=True):
    """`…enrol`: a new machine shows its keys; the first one of an attempt is taken."""

    incarnation: str
    user_key: str
    seal_key: str
    protocol: int = PROTOCOL
    agent_version: str = ""


class Enrolment(Message, frozen=True, kw_only=True):
    """The machine's own bus credential."""

    user_jwt: str
    bus_urls: list[str] = []


class BriefRequest(Message, frozen=True, kw_only=True):
    """`…brief`: what is to be run."""

    incarnation: str


class CheckpointRef(Message, frozen=True, kw_only=True):
    """Where a committed checkpoint lies."""

    manifest: str
    key: str
    step: int | None = None


class Brief(Message, frozen=True, kw_only=True):
    """The job for one attempt; the environment comes sealed by `…secrets`."""

    spec: JobSpec
    work_path: str
    head: CheckpointRef | None = None
    first: bool = True
    """No attempt of this job has started the script yet."""
    sole: bool = False
    between_s: float = 0.0
    """Mean time between interruptions of this job; 0: not known."""


class SecretsRequest(Message, frozen=True, kw_only=True):
    """`…secrets` and `…store_credential`: sealed to the key shown at enrolment."""

    incarnation: str


class Beat(Message, frozen=True, kw_only=True):
    """`…beat`: numbered; an older number than the last one is ignored."""

    incarnation: str
    number: int
    stage: str = ""
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    active: bool = False


class TakeoverOrder(Message, frozen=True, kw_only=True):
    """The attempt is the active one from now on. No `head`: start from zero."""

    attempt: int
    head: CheckpointRef | None = None


class Grant(Message, frozen=True, kw_only=True):
    """The lease, counted from the beat's sending by the agent. `fenced`: stop at once."""

    number: int
    lease_s: float
    beat_s: float
    orphan_s: float
    active: int = 0
    takeover: TakeoverOrder | None = None
    fenced: bool = False
    stop: bool = False


class ReadyReport(Message, frozen=True, kw_only=True):
    """`…ready`: booted, code in place, newest checkpoint prefetched."""

    cmd_id: str
    incarnation: str
    prefetched: str = ""
    boot_s: dict[str, float] = {}


class ReadyReply(Message, frozen=True, kw_only=True):
    """With an order the attempt is active at once; without one it stands by."""

    takeover: TakeoverOrder | None = None


class StartedReport(Message, frozen=True, kw_only=True):
    """`…started`: the script runs."""

    cmd_id: str
    incarnation: str
    resumed_from: str = ""
    resumed_step: int | None = None
    restore_s: float = 0.0


class SteppedReport(Message, frozen=True, kw_only=True):
    """`…stepped`: the first new optimizer step."""

    cmd_id: str
    incarnation: str
    step: int


class TierReport(Message, frozen=True, kw_only=True):
    """`…tier`: how the job will resume."""

    cmd_id: str
    incarnation: str
    tier: str
    detail: str = ""


class CommitRequest(Message, frozen=True, kw_only=True):
    """`…ckpt`: packs and manifest are in the bucket; make it a checkpoint."""

    cmd_id: str
    incarnation: str
    seq: int
    manifest: str
    key: str
    parent: str = ""
    step: int | None = None
    size_b: int = 0
    new_b: int = 0
    files: int = 0
    final: bool = False


class RejectReport(Message, frozen=True, kw_only=True):
    """`…reject`: a committed checkpoint cannot be restored; the reply names the next one."""

    cmd_id: str
    incarnation: str
    manifest: str
    reason: str


class RejectReply(Message, frozen=True, kw_only=True):
    """No `head`: nothing is left to restore."""

    head: CheckpointRef | None = None


class NoticeReport(Message, frozen=True, kw_only=True):
    """`…notice`: the provider will take this machine."""

    cmd_id: str
    incarnation: str
    grace_s: float
    source: str = ""


class ExitReport(Message, frozen=True, kw_only=True):
    """`…exit`: the script ended, and all it left is committed."""

    cmd_id: str
    incarnation: str
    exit_code: int
    signal: int = 0
    last_step: int | None = None
    detail: str = ""


class Progress(Message, frozen=True, kw_only=True):
    """`…progress`: for watchers, not stored, at most five a second."""

    incarnation: str
    stage: str = ""
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    rate: float | None = None
    """Steps a second."""
    detail: str = ""
