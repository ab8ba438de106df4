"""The job log in JetStream: compare-and-swap append, batched direct reads, one stream per group of slots."""

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import anyio

from vaultlayer import subjects
from vaultlayer.bus import jetstream
from vaultlayer.bus.changes import hear_changes
from vaultlayer.bus.connection import Connection
from vaultlayer.bus.jetstream import StreamError
from vaultlayer.bus.protocol import AppendConflictError, Changed, Entry
from vaultlayer.events import Event, encode, kind_of
from vaultlayer.ids import JobId

HEADS_MAX = 20_000
CATCH_UP_S_MAX = 2.0
CATCH_UP_STEP_S = 0.01
_HEAD = re.compile(r"wrong last sequence: (\d+)")


class NatsJobLog:
    """Implements `vaultlayer.bus.protocol.JobLog`.

    Args:
        connection: of a broker process.
        streams: how many streams there are; fixed when they were made.
    """

    def __init__(self, connection: Connection, streams: int) -> None:
        self._connection = connection
        self._streams = streams
        self._heads: OrderedDict[JobId, int] = OrderedDict()

    async def append(self, event: Event, *, after: int) -> int:
        """Store `event` iff the job's newest entry is `after` (0: none); give its sequence.

        Raises:
            AppendConflictError: the job has a newer entry. After a lost answer that may be our own.
            BusTimeoutError: whether it was stored is unknown.
            BrokerDownError: there is no connection or no stream; it was not stored.
            StreamError: the server refuses it, because the disk is full for instance; it was not stored.
        """
        job = JobId(event.job)
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(after),
            "Nats-Expected-Last-Subject-Sequence-Subject": subjects.job_log(job),
        }
        subject = subjects.event(job, kind_of(event))
        try:
            seq = await jetstream.store(self._connection, subject, encode(event), headers=headers)
        except StreamError as error:
            if error.number not in jetstream.WRONG_LAST_SEQUENCE:
                raise
            if found := _HEAD.search(error.why):
                self._saw(job, int(found[1]))
            raise AppendConflictError(
                f"the log of {job} has moved on", why=error.why, retryable=True
            ) from None
        self._saw(job, seq)
        return seq

    async def read(self, job: JobId, *, after: int = 0) -> Sequence[Entry]:
        """Read the job's entries above `after`, oldest first, up to at least what was appended from here.

        A replica may answer that lags behind the entry that we know of; then it is asked again for a while.
        What comes in the end may still be old, and compare-and-swap refuses decisions based on it.
        """
        stream, subject = self._stream_of(job), subjects.job_log(job)
        until_s = anyio.current_time() + CATCH_UP_S_MAX
        while True:
            stored = await jetstream.read_all(self._connection, stream, subject, after=after)
            head = stored[-1].seq if stored else after
            if head >= self._heads.get(job, 0) or anyio.current_time() > until_s:
                break
            await anyio.sleep(CATCH_UP_STEP_S)
        return [Entry(seq=one.seq, subject=one.subject, payload=one.payload) for one in stored]

    async def last_snapshot(self, job: JobId) -> Entry | None:
        """Read the newest `snapshot` entry."""
        found = await jetstream.last(
            self._connection, self._stream_of(job), subjects.event(job, "snapshot")
        )
        return Entry(found.seq, found.subject, found.payload) if found else None

    async def kinds(self) -> dict[JobId, set[str]]:
        """Give every job in the log with the kinds of its entries."""
        kinds: dict[JobId, set[str]] = {}
        for stream in self.streams:
            for subject in await jetstream.subjects_of(
                self._connection, stream, subjects.JOB_LOG_SOURCE
            ):
                job, kind = subjects.parse_event(subject)
                kinds.setdefault(job, set()).add(kind)
        return kinds

    def changes(self, kind: str) -> AbstractAsyncContextManager[AsyncIterator[Changed]]:
        """Hear of changed jobs; all processes of one actor `kind` share them among themselves.

        What was appended before the kind's first process ever entered this context is not told: list the
        open jobs after entering, and nothing is missed. From then on the server remembers what was handled.
        """
        return hear_changes(self._connection, self.streams, kind)

    @property
    def streams(self) -> list[str]:
        """The names of all streams."""
        return [f"{subjects.JOB_STREAM}-{index}" for index in range(self._streams)]

    def _stream_of(self, job: JobId) -> str:
        return subjects.stream_of(job, self._streams)

    def _saw(self, job: JobId, seq: int) -> None:
        """Remember the highest sequence that is known of a job."""
        self._heads[job] = max(seq, self._heads.get(job, 0))
        self._heads.move_to_end(job)
        while len(self._heads) > HEADS_MAX:
            self._heads.popitem(last=False)
