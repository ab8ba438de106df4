"""What a command line asks of the broker, and the answers."""

import msgspec

from vaultlayer.driver import Account, Need, OfferList
from vaultlayer.events import JobSpec
from vaultlayer.messages.base import Message


class Submit(Message, frozen=True, kw_only=True):
    """`vl.cmd.submit`: run a job. The code must already lie below `jobs/<job>/code/`."""

    job: str
    cmd_id: str
    spec: JobSpec


class Submitted(Message, frozen=True, kw_only=True):
    """The job is in the log, durably."""

    job: str


class Cancel(Message, frozen=True, kw_only=True):
    """`vl.cmd.cancel.<slot>.<job>`."""

    cmd_id: str
    by: str = ""


class Drill(Message, frozen=True, kw_only=True):
    """`vl.cmd.drill.<slot>.<job>`: `kill`, `freeze` or `preempt` the active machine."""

    cmd_id: str
    verb: str
    grace_s: float = 30.0


class DrillAccepted(Message, frozen=True, kw_only=True):
    """The attempt that it will be done to."""

    attempt: int


class VaultKey(Message, frozen=True, kw_only=True):
    """Reply of `vl.cmd.vault_key`: the public key to which secrets are sealed, base64."""

    key: str


class ProviderKey(Message, frozen=True, kw_only=True):
    """`vl.cmd.provider_key`: keep these API keys of a provider in place of older ones."""

    provider: str
    box: str
    """A `ProviderSecrets`, sealed to the vault's public key; one without values takes the keys away."""


class ProviderKeysReply(Message, frozen=True, kw_only=True):
    """Reply of `vl.q.provider_keys`: which fields of which provider the vault holds, never a value."""

    fields: dict[str, list[str]] = {}


class UploadCredentialRequest(Message, frozen=True, kw_only=True):
    """`vl.cmd.upload_credential`: a key to write one new job's code."""

    job: str
    seal_key: str


class WheelsCredentialRequest(Message, frozen=True, kw_only=True):
    """`vl.cmd.wheels_credential`: a key to write the wheels that new machines install."""

    seal_key: str


class ReadCredentialRequest(Message, frozen=True, kw_only=True):
    """`vl.cmd.read_credential.<slot>.<job>`: a key to read one job."""

    seal_key: str


class Sealed(Message, frozen=True, kw_only=True):
    """A secret for one reader: base64 of a box sealed to the key in the request."""

    box: str


class StoreCredential(Message, frozen=True, kw_only=True):
    """What lies in the box: a key to one part of one bucket, for minutes."""

    endpoint: str
    bucket: str
    region: str
    root: str
    access_key: str
    secret_key: str
    session_token: str = ""
    expires_in_s: float = 900.0
    write_prefix: str = ""
    """Empty: may not write."""
    read_prefix: str = ""
    read_access_key: str = ""
    """A second key, for reading, where one cannot read widely and write narrowly (R2); empty: the same."""
    read_secret_key: str = ""
    read_session_token: str = ""


class EventsRequest(Message, frozen=True, kw_only=True):
    """`vl.q.job.<slot>.<job>.events`: entries above a stream sequence, oldest first."""

    after: int = 0
    most: int = 500


class StoredEvent(Message, frozen=True, kw_only=True):
    """One entry with its place in the stream."""

    seq: int
    kind: str
    body: msgspec.Raw


class EventsPage(Message, frozen=True, kw_only=True):
    """`head` is the job's newest sequence when the page was read; `more` asks to call again."""

    events: list[StoredEvent] = []
    head: int = 0
    more: bool = False


class LogsRequest(Message, frozen=True, kw_only=True):
    """`vl.q.job.<slot>.<job>.logs`: output above a stream sequence, in stored order."""

    after: int = 0
    attempt: int = 0
    most: int = 200


class LogChunk(Message, frozen=True, kw_only=True):
    """`…log`: output of the script, stored in LOGS by the broker. `offset`: the first byte's place.

    The same chunk may be stored twice; readers drop what lies below the offset they have.
    """

    incarnation: str
    offset: int
    text: str
    at: float = 0.0


class LogStored(Message, frozen=True, kw_only=True):
    """Reply of `…log`: the chunk's place in the stream LOGS; it is on the server's disk, or about to be."""

    seq: int


class StoredLog(Message, frozen=True, kw_only=True):
    """One chunk with its place in the stream."""

    seq: int
    attempt: int
    chunk: LogChunk


class LogsPage(Message, frozen=True, kw_only=True):
    """`more` asks to call again with `after` = the last `seq`."""

    logs: list[StoredLog] = []
    head: int = 0
    more: bool = False


class StateReply(Message, frozen=True, kw_only=True):
    """Reply of `vl.q.job.<slot>.<job>.state`: the folded job (vaultlayer.job.Job)."""

    state: msgspec.Raw


class JobRow(Message, frozen=True, kw_only=True):
    """One line of `ps`; secrets have no place in it."""

    job: str
    name: str = ""
    status: str = ""
    command: list[str] = []
    gpu: str = ""
    provider: str = ""
    attempts: int = 0
    checkpoints: int = 0
    step: int | None = None
    tier: str = ""
    submitted_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int | None = None
    cost_usd: float = 0.0
    may_bill: int = 0
    """Machines that are over but not yet seen gone."""


class ListJobs(Message, frozen=True, kw_only=True):
    """`vl.q.jobs`."""

    all: bool = False
    most: int = 200


class JobList(Message, frozen=True, kw_only=True):
    """Newest first."""

    jobs: list[JobRow] = []


class OffersRequest(Message, frozen=True, kw_only=True):
    """`vl.q.offers`: what each provider answers to a need."""

    need: Need
    providers: list[str] = []
    patient: bool = False
    """Wait for a slow provider as long as a submission does, not as long as a person who looks."""


class OffersReply(Message, frozen=True, kw_only=True):
    """One entry a provider, those that did not answer in time included, with the reason."""

    lists: list[OfferList] = []


class AuditRow(Message, frozen=True, kw_only=True):
    """One machine with our tag, as its provider lists it and as the log knows it."""

    provider: str
    instance: str
    name: str
    state: str
    price_usd_h: float = 0.0
    job: str = ""
    attempt: int = 0
    phase: str = ""
    """The attempt's phase in the log; empty: the log knows of none."""
    since: float = 0.0
    """Unix seconds at which it was made, as the log has it."""
    unknown: str = ""
    """Why nobody wants it: the sweeper ends it. Empty: it is wanted, or the fencer is at it."""
    detail: str = ""


class AuditReply(Message, frozen=True, kw_only=True):
    """Reply of `vl.pool.<provider>.audit` and, by provider, part of that of `vl.q.audit`."""

    provider: str
    rows: list[AuditRow] = []
    fault: str = ""
    """Why this provider cannot be asked now."""


class AuditRequest(Message, frozen=True, kw_only=True):
    """`vl.q.audit`: what stands under our tag at these providers; none named: at all that are allowed."""

    providers: list[str] = []


class AuditReplies(Message, frozen=True, kw_only=True):
    """One reply a provider, also of one that cannot be asked now."""

    replies: list[AuditReply] = []


class AccountReply(Message, frozen=True, kw_only=True):
    """Reply of `vl.pool.<provider>.account` and, by provider, part of that of `vl.q.accounts`."""

    provider: str
    account: Account = Account()
    fault: str = ""
    """Why this provider cannot be asked now."""


class AccountsRequest(Message, frozen=True, kw_only=True):
    """`vl.q.accounts`: what these providers tell of our account; none named: all that are allowed."""

    providers: list[str] = []


class AccountReplies(Message, frozen=True, kw_only=True):
    """One reply a provider, also of one that cannot be asked now."""

    replies: list[AccountReply] = []


class CheckRow(Message, frozen=True, kw_only=True):
    """One thing that was looked at: `ok`, `warn` or `fail`, what was found, how to mend it."""

    name: str
    verdict: str
    found: str
    mend: str = ""


class CheckRequest(Message, frozen=True, kw_only=True):
    """`vl.q.check`: whether a provider can be used, asked of itself; nothing is made there."""

    provider: str


class CheckReply(Message, frozen=True, kw_only=True):
    """Reply of `vl.q.check` and of `vl.pool.<provider>.check`."""

    provider: str
    rows: list[CheckRow] = []


class ActorRow(Message, frozen=True, kw_only=True):
    """One running actor process."""

    actor: str
    kind: str
    since_s: float = 0.0
    jobs: int = 0
    version: str = ""


class StatusReply(Message, frozen=True, kw_only=True):
    """Reply of `vl.q.status`; each dispatcher answers for itself."""

    actor: str
    kind: str
    up_s: float = 0.0
    open_jobs: int = 0
    version: str = ""
