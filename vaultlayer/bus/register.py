"""One value that the server keeps and that changes by compare-and-swap, for broker processes."""

import msgspec

from vaultlayer.bus import jetstream
from vaultlayer.bus.connection import Connection
from vaultlayer.bus.jetstream import StreamError
from vaultlayer.bus.protocol import AppendConflictError


class Version(msgspec.Struct, frozen=True):
    """The value as it was read; `seq` 0 and no bytes before the first write."""

    value: bytes = b""
    seq: int = 0


class Register:
    """The newest message of a stream that keeps only a few.

    Args:
        connection: of a broker process.
        stream: the stream's name; nothing else is kept in it.
        subject: where the value is published.
    """

    def __init__(self, connection: Connection, *, stream: str, subject: str) -> None:
        self._connection = connection
        self._stream = stream
        self._subject = subject

    async def ensure(self, *, replicas: int = 1) -> None:
        """Make the stream unless it is there; may be called by several processes at once."""
        config: dict[str, object] = {
            "name": self._stream,
            "subjects": [self._subject],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_msgs": 8,
            "allow_direct": True,
            "num_replicas": replicas,
        }
        try:
            await jetstream.call(self._connection, f"STREAM.CREATE.{self._stream}", config)
        except StreamError as error:
            if error.number != jetstream.STREAM_EXISTS_OTHERWISE:
                raise

    async def read(self) -> Version:
        """Read the newest value. A replica may lag; `write` then refuses what rests on it."""
        stored = await jetstream.last(self._connection, self._stream, self._subject)
        return Version(stored.payload, stored.seq) if stored else Version()

    async def write(self, value: bytes, *, after: int) -> int:
        """Store a value iff the newest is still the one of sequence `after`; give the new sequence.

        Raises:
            AppendConflictError: there is a newer one; after a lost answer that may be our own.
            BusTimeoutError: whether it was stored is unknown.
        """
        headers = {"Nats-Expected-Last-Subject-Sequence": str(after)}
        try:
            return await jetstream.store(self._connection, self._subject, value, headers=headers)
        except StreamError as error:
            if error.number not in jetstream.WRONG_LAST_SEQUENCE:
                raise
            raise AppendConflictError(
                f"{self._subject} has moved on", why=error.why, retryable=True
            ) from None
