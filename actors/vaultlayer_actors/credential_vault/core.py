"""Who may be given what: the vault's whole policy as pure functions of a job's folded state."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from vaultlayer.errors import ErrorBody
from vaultlayer.events import Enrolled, Event
from vaultlayer.ids import Attempt, CmdId, Incarnation, JobId, is_job_id, job_prefix, prefix_of
from vaultlayer.job import Job
from vaultlayer.lifecycle import is_current
from vaultlayer.messages import PROTOCOL, Enrol

ENROL_LIFE_S = 900.0
"""How long a new machine has to show its key; it passes through a provider's console."""

AGENT_LIFE_S = 86_400.0
"""How long an enrolled machine may stay without renewing."""

STORE_LIFE_S = 900.0
"""How long a key to the bucket lives: the shortest that STS mints."""

REVOKED_S = AGENT_LIFE_S + 3600.0
"""How long a revocation is kept: any JWT of that user has expired by then."""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What a key to the bucket may do; whole prefixes with a closing slash."""

    read: list[str] = []
    write: str = ""
    may_delete: bool = False


# Attempts -----------------------------------------------------------------------------------------


def current_fault(job: Job | None, number: int, incarnation: str) -> ErrorBody | None:
    """None when the attempt is live, known by this incarnation, and not superseded."""
    if job is None:
        return no_job()
    if is_current(job, number, incarnation):
        return None
    attempt = job.attempts.get(number)
    why = "the attempt is over"
    if attempt is None:
        why = "the log knows no such attempt"
    elif attempt.incarnation != incarnation:
        why = "the log knows this attempt by another incarnation"
    elif job.outcome:
        why = f"the job has {job.outcome.value}"
    return ErrorBody(code="superseded", what=f"attempt {number} is given nothing", why=why)


def enrol_credential_fault(job: Job | None, number: int) -> ErrorBody | None:
    """None when a machine may be made that enrols for this attempt: it is live and has no key yet."""
    attempt = job.attempts.get(number) if job else None
    fault = current_fault(job, number, attempt.incarnation if attempt else "")
    if fault is None and attempt is not None and attempt.user_key:
        return _key_taken(number)
    return fault


def enrol_decision(job: Job | None, number: int, request: Enrol) -> Event | ErrorBody | None:
    """Take the first key that is shown for an attempt; the same one again changes nothing."""
    if request.protocol > PROTOCOL:
        return ErrorBody(
            code="denied",
            what=f"attempt {number} may not enrol",
            why=f"it speaks protocol {request.protocol}, the broker {PROTOCOL}",
            mend="update the broker",
        )
    fault = current_fault(job, number, request.incarnation)
    if fault is not None or job is None:
        return fault
    attempt = job.attempts[number]
    if not attempt.user_key:
        return Enrolled(
            attempt=number,
            user_key=request.user_key,
            seal_key=request.seal_key,
            agent_version=request.agent_version,
        )
    return enrolled_fault(job, number, request)


def enrolled_fault(job: Job | None, number: int, request: Enrol) -> ErrorBody | None:
    """None when the attempt is current and enrolled with just these keys."""
    fault = current_fault(job, number, request.incarnation)
    if fault is not None or job is None:
        return fault
    attempt = job.attempts[number]
    if (attempt.user_key, attempt.seal_key) != (request.user_key, request.seal_key):
        return _key_taken(number)
    return None


def enrol_cmd(number: int, request: Enrol) -> CmdId:
    """Give the command id of an enrolment: the same for the same keys."""
    return CmdId(f"enrol-{number}-{request.user_key}")


def no_job(job_id: str = "") -> ErrorBody:
    """Say that there is no such job."""
    named = f"no job is called {job_id}" if job_id else "there is no such job"
    return ErrorBody(code="job-unknown", what=named)


def not_enrolled(number: int) -> ErrorBody:
    """Say that a machine must show its keys before it is given anything."""
    return ErrorBody(
        code="denied",
        what=f"attempt {number} is given nothing",
        why="it has not enrolled: there is no key to seal to",
    )


def _key_taken(number: int) -> ErrorBody:
    return ErrorBody(
        code="denied",
        what=f"attempt {number} may not enrol again",
        why="another machine, or an earlier start of this one, has already shown its key",
    )


# The bucket ---------------------------------------------------------------------------------------


def upload_fault(job: Job | None, job_id: str) -> ErrorBody | None:
    """None when code may be uploaded for a job of this id: there is none yet."""
    if not is_job_id(job_id):
        return ErrorBody(code="input-bad", what="a job id of this shape cannot be used")
    if job is not None:
        return ErrorBody(
            code="denied",
            what=f"code cannot be uploaded for {job_id}",
            why="the job exists, and its code never changes",
        )
    return None


def read_fault(job: Job | None, job_id: str) -> ErrorBody | None:
    """None when there is such a job."""
    return None if job else no_job(job_id)


def attempt_reach(root: str, job: str, number: int, incarnation: str) -> Reach:
    """An attempt reads its job and writes only below its own prefix."""
    return Reach(
        read=[job_prefix(root, JobId(job))],
        write=prefix_of(root, JobId(job), Attempt(number), Incarnation(incarnation)),
    )


def upload_reach(root: str, job: str) -> Reach:
    """A submitter reads and writes the code of its new job."""
    code = f"{job_prefix(root, JobId(job))}code/"
    return Reach(read=[code], write=code)


WHEELS_URL_LIFE_S = 3600.0
"""How long a new machine may take to begin with its agent; the slowest provider boots in 20 minutes."""


def wheels_prefix(root: str) -> str:
    """Where the archives of wheels lie."""
    head = root.strip("/")
    return f"{head}/wheels/" if head else "wheels/"


def wheels_key(root: str, version: str) -> str:
    """Give the key of one version's archive."""
    return f"{wheels_prefix(root)}{version}.tar.gz"


def wheels_reach(root: str) -> Reach:
    """A person reads and writes what new machines install."""
    return Reach(read=[wheels_prefix(root)], write=wheels_prefix(root))


def read_reach(root: str, job: str) -> Reach:
    """A person reads one job."""
    return Reach(read=[job_prefix(root, JobId(job))])


def broker_reach(root: str, *, write: bool) -> Reach:
    """An actor reads all jobs; with `write` it also keeps HEADs and takes away what retention drops."""
    head = root.strip("/")
    jobs = f"{head}/jobs/" if head else "jobs/"
    return Reach(read=[jobs], write=jobs if write else "", may_delete=write)


# Providers ----------------------------------------------------------------------------------------

KEYS_B_MAX = 16 * 1024
"""All keys of one provider; the largest known, a service account's JSON, is 2.4 kB."""


def key_fault(provider: str, values: Mapping[str, str]) -> str:
    """Say why these API keys cannot be kept; empty when they can."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", provider):
        return "a provider's name is lower-case letters, digits, - and _"
    for name, value in values.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
            return "a field's name is lower-case letters, digits and _"
        if not value.strip():
            return f"{name} is empty"
    if sum(len(value.encode()) for value in values.values()) > KEYS_B_MAX:
        return f"they are longer than {KEYS_B_MAX} bytes"
    return ""


# Revocations --------------------------------------------------------------------------------------


def revoked(
    known: Mapping[str, int], user_keys: Sequence[str], now_s: float
) -> dict[str, int] | None:
    """Add users to the revocations and drop those that no longer matter.

    The time lies ahead, so that a JWT which another vault signs at the same moment is void too.

    Returns:
        the new revocations by user key; None when they are the same.
    """
    kept = {key: until for key, until in known.items() if until > now_s}
    new = {key: int(now_s + REVOKED_S) for key in user_keys if key not in kept}
    return {**kept, **new} if new else None


def holds(claimed: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    """Tell whether every wanted revocation is in force."""
    return all(claimed.get(key, 0) >= until for key, until in wanted.items())
