"""Reading a job's folded state."""

import msgspec

from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.ids import JobId
from vaultlayer.job import Job
from vaultlayer.messages import Done, StateReply
from vaultlayer_cli.connect import ASK_S


async def read_job(bus: Bus, job: JobId) -> Job:
    """Give the job as its log tells it.

    Raises:
        JobUnknownError: there is none.
    """
    reply = await bus.request(subjects.query(job, "state"), Done(), StateReply, timeout_s=ASK_S)
    return msgspec.json.decode(reply.state, type=Job)
