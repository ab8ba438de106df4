"""The rows of `ps` in a key-value bucket: derived from the log, may lag, may be dropped and rebuilt."""

import msgspec

from vaultlayer.bus import jetstream
from vaultlayer.bus.connection import Connection
from vaultlayer.ids import JobId
from vaultlayer.messages import JobRow
from vaultlayer.subjects import INDEX_BUCKET

STREAM = f"KV_{INDEX_BUCKET}"
_JSON = msgspec.json.Encoder()
_ROW = msgspec.json.Decoder(JobRow)


class NatsIndex:
    """Implements `vaultlayer.bus.protocol.Index`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, job: JobId, row: JobRow) -> None:
        """Replace the row of one job."""
        await jetstream.store(self._connection, f"$KV.{INDEX_BUCKET}.{job}", _JSON.encode(row))

    async def all(self) -> list[JobRow]:
        """Read all rows."""
        stored = await jetstream.read_all(self._connection, STREAM, f"$KV.{INDEX_BUCKET}.>")
        # A row written while we read comes twice; the later one counts.
        newest = {entry.subject: entry for entry in stored}
        return [_ROW.decode(entry.payload) for entry in newest.values() if not entry.deleted]

    async def drop(self) -> None:
        """Forget all rows."""
        await jetstream.call(self._connection, f"STREAM.PURGE.{STREAM}")
