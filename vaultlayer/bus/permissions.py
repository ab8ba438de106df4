"""Who may say what on the bus: the permissions of each kind of user, in one place.

An agent reaches its own attempt's subjects and nothing else, above all no `$JS.API`: with it a reply
subject of its choice would make the server speak for it. Replies come to an inbox that only the
caller may read.
"""

from vaultlayer.bus.jwt import SubjectList, Template
from vaultlayer.ids import Attempt, JobId, is_job_id, slot_of
from vaultlayer.subjects import SYSTEM_INBOX, UPDATE_CLAIMS, account_claims

PAYLOAD_MAX_B = 128 * 1024
"""One message of an agent: a chunk of output with its envelope."""

SERVER_PAYLOAD_MAX_B = 1024 * 1024
"""One message on the server: an account with some ten thousand revocations must still fit."""

_ATTEMPT = "{{tag(slot)}}.{{tag(job)}}.{{tag(attempt)}}"

AGENT = Template(
    pub=SubjectList(allow=[f"vl.agent.{_ATTEMPT}.>"]),
    sub=SubjectList(allow=["_INBOX.agent.{{tag(job)}}.{{tag(attempt)}}.>", f"vl.ctl.{_ATTEMPT}.*"]),
    subs=20,
    payload=PAYLOAD_MAX_B,
)
"""An enrolled machine."""

ENROL = Template(
    pub=SubjectList(allow=[f"vl.agent.{_ATTEMPT}.enrol"]),
    sub=SubjectList(allow=["_INBOX.enrol.{{tag(job)}}.{{tag(attempt)}}.>"]),
    subs=5,
    payload=16 * 1024,
)
"""A machine that has not shown its key yet."""

CLI = Template(
    pub=SubjectList(allow=["vl.cmd.>", "vl.q.>"]),
    sub=SubjectList(allow=["vl.live.>", "vl.agent.*.*.*.progress", "_INBOX.user.>"]),
)
"""A command line."""

BROKER = Template(pub=SubjectList(), sub=SubjectList())
"""An actor: everything in the account."""

SYSTEM = Template(
    pub=SubjectList(
        allow=[UPDATE_CLAIMS, account_claims("*"), "$SYS.REQ.SERVER.PING.VARZ"],
    ),
    sub=SubjectList(allow=[f"{SYSTEM_INBOX}.>"]),
)
"""The vault's second connection: reads and replaces account claims, and asks servers how they sync."""


def attempt_tags(job: JobId, attempt: Attempt) -> dict[str, str]:
    """Give the tags that fill in the templates of an attempt."""
    assert is_job_id(job)
    return {"slot": slot_of(job), "job": job, "attempt": str(int(attempt))}
