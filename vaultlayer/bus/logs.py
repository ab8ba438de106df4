"""Output of the users' scripts, stored in the stream LOGS: losing the newest second is bearable there."""

import msgspec

from vaultlayer.bus import jetstream
from vaultlayer.bus.connection import Connection
from vaultlayer.ids import Attempt, JobId
from vaultlayer.messages import LogChunk, LogsPage, StoredLog
from vaultlayer.subjects import LOG_STREAM, logs, parse_stored_log, stored_log

_JSON = msgspec.json.Encoder()
_CHUNK = msgspec.json.Decoder(LogChunk)


async def keep_log(connection: Connection, job: JobId, attempt: Attempt, chunk: LogChunk) -> int:
    """Store a chunk that an agent sent and give its sequence; of a broker process.

    Raises:
        BusTimeoutError: whether it was stored is unknown; storing it twice does no harm.
        BrokerDownError: there is no connection or no stream; it was not stored.
        BrokerError: the server refuses it.
    """
    return await jetstream.store(connection, stored_log(job, attempt), _JSON.encode(chunk))


async def read_logs(
    connection: Connection, job: JobId, *, after: int = 0, attempt: int = 0, most: int = 200
) -> LogsPage:
    """Read chunks above a stream sequence, in stored order.

    Args:
        connection: of a broker process.
        job: whose output.
        after: the last `seq` that the caller has.
        attempt: only this one; 0 for all.
        most: chunks in the page.
    """
    subject = stored_log(job, Attempt(attempt)) if attempt else logs(job)
    page = await jetstream.read_page(connection, LOG_STREAM, subject, after=after, most=most)
    chunks = [
        StoredLog(
            seq=entry.seq,
            attempt=parse_stored_log(entry.subject)[1],
            chunk=_CHUNK.decode(entry.payload),
        )
        for entry in page.entries
    ]
    newest = await jetstream.last(connection, LOG_STREAM, subject)
    return LogsPage(logs=chunks, head=newest.seq if newest else 0, more=page.pending > 0)
