"""Every bus subject, as a function. No other file spells one.

The slot (see `ids.slot_of`) stands in every subject that belongs to a job, so that streams and regions
can be split later without a change of protocol. The attempt's number stands in every subject of an
agent, so that the bus permission itself refuses an older attempt.
"""

from vaultlayer.ids import ActorId, Attempt, JobId, slot_of

JOB_STREAM = "JOBS"
LOG_STREAM = "LOGS"
JOB_LOG_SOURCE = "vl.job.>"
LIVE_DESTINATION = "vl.live.>"
LOG_SUBJECTS = "vl.log.*.*.*"
"""No agent may publish there: the server acknowledges to whatever reply subject a publisher names."""
INDEX_BUCKET = "vl_jobs"
REVOCATION_STREAM = "REVOCATIONS"
REVOCATIONS = "vl.revocations"
"""Which bus users are refused: one value under compare-and-swap, from which the account is signed."""
UPDATE_CLAIMS = "$SYS.REQ.CLAIMS.UPDATE"
SLOTS = 256


def event(job: JobId, kind: str) -> str:
    """Where one kind of event of a job's log is stored."""
    return f"vl.job.{slot_of(job)}.{job}.{kind}"


def job_log(job: JobId) -> str:
    """All events of a job: the scope of compare-and-swap."""
    return f"vl.job.{slot_of(job)}.{job}.*"


def live(job: JobId) -> str:
    """The same events as they are stored, for watchers."""
    return f"vl.live.{slot_of(job)}.{job}.>"


def stream_of(job: JobId, streams: int) -> str:
    """The name of the stream that holds a job for life; `streams` is fixed at creation."""
    return f"{JOB_STREAM}-{int(slot_of(job), 16) % streams}"


def stream_subjects(index: int, streams: int) -> list[str]:
    """The subjects of stream `index` of `streams`: every slot that falls to it."""
    return [f"vl.job.{slot:02x}.>" for slot in range(SLOTS) if slot % streams == index]


def parse_event(subject: str) -> tuple[JobId, str]:
    """Give (job, kind) of a stored or live event's subject."""
    tokens = subject.split(".")
    return JobId(tokens[3]), tokens[4]


# Requests of people -------------------------------------------------------------------------------

SUBMIT = "vl.cmd.submit"
UPLOAD_CREDENTIAL = "vl.cmd.upload_credential"
WHEELS_CREDENTIAL = "vl.cmd.wheels_credential"
VAULT_KEY = "vl.cmd.vault_key"
PROVIDER_KEY = "vl.cmd.provider_key"
PROVIDER_KEYS = "vl.q.provider_keys"
LIST_JOBS = "vl.q.jobs"
OFFERS = "vl.q.offers"
AUDIT = "vl.q.audit"
CHECK = "vl.q.check"
ACCOUNTS = "vl.q.accounts"
STATUS = "vl.q.status"


def cancel(job: JobId) -> str:
    """Ask that a job stop."""
    return f"vl.cmd.cancel.{slot_of(job)}.{job}"


def drill(job: JobId) -> str:
    """Ask that something be done to the job's machine."""
    return f"vl.cmd.drill.{slot_of(job)}.{job}"


def read_credential(job: JobId) -> str:
    """Ask for a key that reads one job's part of the bucket."""
    return f"vl.cmd.read_credential.{slot_of(job)}.{job}"


def read_credentials() -> str:
    """The same request for any job."""
    return "vl.cmd.read_credential.*.*"


def query(job: JobId, what: str) -> str:
    """Read a job: `what` is `state`, `events` or `logs`."""
    return f"vl.q.job.{slot_of(job)}.{job}.{what}"


def parse_job(subject: str) -> JobId:
    """Give the job of any subject that has `<slot>.<job>` as its fourth and fifth tokens."""
    return JobId(subject.split(".")[4])


# Agents -------------------------------------------------------------------------------------------


def agent(job: JobId, attempt: Attempt, verb: str) -> str:
    """What an agent says: `enrol renew beat secrets store_credential brief ready … log progress`."""
    return f"vl.agent.{slot_of(job)}.{job}.{attempt}.{verb}"


def agents(verb: str) -> str:
    """One verb of all agents."""
    return f"vl.agent.*.*.*.{verb}"


def parse_agent(subject: str) -> tuple[JobId, Attempt, str]:
    """Give (job, attempt, verb) of an agent's subject."""
    tokens = subject.split(".")
    return JobId(tokens[3]), Attempt(int(tokens[4])), tokens[5]


def progress(job: JobId) -> str:
    """The progress of all attempts of one job, not stored."""
    return f"vl.agent.{slot_of(job)}.{job}.*.progress"


def stored_log(job: JobId, attempt: Attempt) -> str:
    """Where the script's output in one attempt is stored; an agent sends it to its subject `…log`."""
    return f"vl.log.{slot_of(job)}.{job}.{attempt}"


def logs(job: JobId) -> str:
    """The script's output in all attempts of one job, stored."""
    return f"vl.log.{slot_of(job)}.{job}.*"


def parse_stored_log(subject: str) -> tuple[JobId, Attempt]:
    """Give (job, attempt) of stored output."""
    tokens = subject.split(".")
    return JobId(tokens[3]), Attempt(int(tokens[4]))


def control(job: JobId, attempt: Attempt, verb: str) -> str:
    """What the broker tells an agent: `takeover fenced stop save`."""
    return f"vl.ctl.{slot_of(job)}.{job}.{attempt}.{verb}"


def controls(job: JobId, attempt: Attempt) -> str:
    """All that the broker tells one agent."""
    return f"vl.ctl.{slot_of(job)}.{job}.{attempt}.*"


# Between actors -----------------------------------------------------------------------------------


def pool(provider: str, verb: str) -> str:
    """A request to the pool of one provider: `offers probe terminate absent audit account check rekeyed`."""
    return f"vl.pool.{provider}.{verb}"


def pools(verb: str) -> str:
    """The same request to every pool at once."""
    return f"vl.pool.*.{verb}"


def vault(verb: str) -> str:
    """A request to the vault: `enrol_credential revoke broker_store provider_secrets`."""
    return f"vl.vault.{verb}"


def account_claims(account: str) -> str:
    """Ask the server for the JWT that it holds of an account."""
    return f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP"


def actor_beat(kind: str) -> str:
    """How the processes of one kind of actor know of one another."""
    return f"vl.actor.{kind}.beat"


# Inboxes: services answer a caller only below the prefix that belongs to it -------------------------


ACTORS_INBOX = "_INBOX.actor"
"""Above the inboxes of all actors; only a broker's credential reaches it."""

USERS_INBOX = "_INBOX.user"
"""Above the inboxes of all command lines."""

SYSTEM_INBOX = "_INBOX.sys"
"""Above the inboxes of connections to the server's own account."""


def agent_inbox(job: JobId, attempt: Attempt) -> str:
    """The inbox prefix of an enrolled agent."""
    return f"_INBOX.agent.{job}.{attempt}"


def enrol_inbox(job: JobId, attempt: Attempt) -> str:
    """The inbox prefix of a machine that has not enrolled yet."""
    return f"_INBOX.enrol.{job}.{attempt}"


def actor_inbox(actor: ActorId) -> str:
    """The inbox prefix of an actor process."""
    return f"_INBOX.actor.{actor}"


def user_inbox(name: str) -> str:
    """The inbox prefix of one command line."""
    return f"_INBOX.user.{name}"
