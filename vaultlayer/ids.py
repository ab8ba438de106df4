"""Names of things, as distinct types, so that a job is never passed where an instance is meant."""

import hashlib
import re
from typing import NewType

JobId = NewType("JobId", str)
"""`j` and nine lower-case letters or digits without look-alikes; chosen by the submitter."""

Attempt = NewType("Attempt", int)
"""1, 2, 3 … in the order of `ordered` entries of one job; also the fencing token."""

Incarnation = NewType("Incarnation", str)
"""Eight random characters that tell two attempts of the same number apart after a log was lost."""

InstanceId = NewType("InstanceId", str)
"""The provider's own name of a machine."""

CmdId = NewType("CmdId", str)
"""Chosen by whoever asks for a change; a repeated one changes nothing."""

ActorId = NewType("ActorId", str)
"""`<kind>-<random>`: one running actor process."""

ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"
_JOB = re.compile(r"j[2-9a-z]{9}\Z")
_INSTANCE = re.compile(r"vl-(j[2-9a-z]{9})-a([1-9][0-9]*)\Z")


def token(noise: bytes, length: int) -> str:
    """Spell the first `length` bytes of `noise` in an alphabet without look-alikes."""
    assert len(noise) >= length
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in noise[:length])


def job_id(noise: bytes) -> JobId:
    """Make a job id of at least nine random bytes."""
    return JobId("j" + token(noise, 9))


def is_job_id(text: str) -> bool:
    """Tell whether `text` has the shape of a job id."""
    return bool(_JOB.match(text))


def slot_of(job: JobId) -> str:
    """Give the job's slot: the first byte of SHA-256 of its id, as two hex digits."""
    return hashlib.sha256(job.encode()).hexdigest()[:2]


def instance_name(job: JobId, attempt: Attempt) -> str:
    """Give the name and tag that an attempt's machine carries at its provider."""
    return f"vl-{job}-a{attempt}"


def parse_instance_name(name: str) -> tuple[JobId, Attempt] | None:
    """Give (job, attempt) of a tag of ours, or None for a stranger's."""
    found = _INSTANCE.match(name)
    return (JobId(found[1]), Attempt(int(found[2]))) if found else None


def prefix_of(root: str, job: JobId, attempt: Attempt, incarnation: Incarnation) -> str:
    """Give the only bucket prefix that an attempt may write below, with a closing slash."""
    return f"{job_prefix(root, job)}a{attempt}-{incarnation}/"


def job_prefix(root: str, job: JobId) -> str:
    """Give the bucket prefix of a job, with a closing slash; `root` may be empty."""
    head = root.strip("/")
    return f"{head}/jobs/{job}/" if head else f"jobs/{job}/"
