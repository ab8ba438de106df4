"""A job log in memory, for tests of what stands on one: the same compare-and-swap, and faults on demand."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import StrEnum

import anyio
from anyio.abc import TaskGroup

from vaultlayer import subjects
from vaultlayer.bus.protocol import AppendConflictError, Changed, Entry
from vaultlayer.errors import BrokerDownError, BusTimeoutError
from vaultlayer.events import Event, encode, kind_of
from vaultlayer.ids import JobId


class Fault(StrEnum):
    """What becomes of one append."""

    NONE = "none"
    ACK_LOST = "ack_lost"
    """It is stored, but the writer does not learn it."""
    NOT_STORED = "not_stored"
    """It is not stored, and the writer cannot know."""
    DOWN = "down"
    """It is refused at once."""
    DELAYED = "delayed"
    """The writer gives up; it arrives when `deliver_delayed` is called, and is checked only then."""


class MemoryLog:
    """Implements `vaultlayer.bus.protocol.JobLog`; sequences rise over all jobs, as in one stream."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.faults: deque[Fault] = deque()
        """Taken one an append; empty means none."""
        self.reads = 0
        """Entries that were read so far."""
        self._delayed: list[tuple[Event, int]] = []
        self._by_job: dict[JobId, list[Entry]] = {}
        self._queues: dict[str, _Queue] = {}

    async def append(self, event: Event, *, after: int) -> int:
        """Store `event` iff the job's newest entry is `after`; see `JobLog.append`."""
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if fault is Fault.DOWN:
            raise BrokerDownError("there is no connection to the bus", retryable=True)
        if fault is Fault.DELAYED:
            self._delayed.append((event, after))
        if fault in {Fault.DELAYED, Fault.NOT_STORED}:
            raise _unknown()
        seq = self.store(event, after=after)
        if fault is Fault.ACK_LOST:
            raise _unknown()
        return seq

    def deliver_delayed(self) -> int:
        """Let the delayed appends arrive in order, and give how many were stored."""
        stored = 0
        for event, after in self._delayed:
            try:
                self.store(event, after=after)
            except AppendConflictError:
                continue
            stored += 1
        self._delayed.clear()
        return stored

    def store(self, event: Event, *, after: int) -> int:
        """Store as another process would, at once and without faults; raises AppendConflictError."""
        job = JobId(event.job)
        mine = self._by_job.get(job, [])
        newest = mine[-1].seq if mine else 0
        if newest != after:
            raise AppendConflictError(
                f"the log of {job} has moved on",
                why=f"wrong last sequence: {newest}",
                retryable=True,
            )
        return self.store_bytes(job, kind_of(event), encode(event))

    def store_bytes(self, job: JobId, kind: str, payload: bytes) -> int:
        """Store an entry of any kind and content, such as one of a later version."""
        entry = Entry(len(self.entries) + 1, subjects.event(job, kind), payload)
        self.entries.append(entry)
        self._by_job.setdefault(job, []).append(entry)
        for queue in self._queues.values():
            queue.put(job, entry.seq)
        return entry.seq

    async def read(self, job: JobId, *, after: int = 0) -> Sequence[Entry]:
        """Read the job's entries above `after`, oldest first."""
        found = [entry for entry in self._by_job.get(job, []) if entry.seq > after]
        self.reads += len(found)
        return found

    async def last_snapshot(self, job: JobId) -> Entry | None:
        """Read the newest `snapshot` entry."""
        subject = subjects.event(job, "snapshot")
        mine = reversed(self._by_job.get(job, []))
        return next((entry for entry in mine if entry.subject == subject), None)

    async def kinds(self) -> dict[JobId, set[str]]:
        """Give every job in the log with the kinds of its entries."""
        return {
            job: {subjects.parse_event(entry.subject)[1] for entry in entries}
            for job, entries in self._by_job.items()
            if entries
        }

    def changes(self, kind: str) -> AbstractAsyncContextManager[AsyncIterator[Changed]]:
        """Hear of changed jobs; those of one `kind` share them, from the first time that one listened."""
        return self._changes(kind)

    @asynccontextmanager
    async def _changes(self, kind: str) -> AsyncGenerator[AsyncIterator[Changed]]:
        queue = self._queues.setdefault(kind, _Queue())
        held: set[MemoryChanged] = set()
        async with anyio.create_task_group() as group:
            try:
                yield _Taken(queue, held, group)
            finally:
                # As after the server's wait for an acknowledgement: another process gets them.
                for change in held:
                    queue.put(change.job, change.seq)
                group.cancel_scope.cancel()


class _Queue:
    """The changes of one actor kind that wait for a process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[JobId, int]] = deque()
        self._news = anyio.Event()

    def put(self, job: JobId, seq: int) -> None:
        self._waiting.append((job, seq))
        self._news.set()

    async def get(self) -> tuple[JobId, int]:
        while not self._waiting:
            self._news = anyio.Event()
            await self._news.wait()
        return self._waiting.popleft()


class MemoryChanged:
    """Implements `vaultlayer.bus.protocol.Changed`."""

    def __init__(
        self, queue: _Queue, held: "set[MemoryChanged]", group: TaskGroup, job: JobId, seq: int
    ) -> None:
        self._queue = queue
        self._held = held
        self._group = group
        self._job = job
        self._seq = seq
        held.add(self)

    @property
    def job(self) -> JobId:
        """The job."""
        return self._job

    @property
    def seq(self) -> int:
        """Sequence of the entry that says so."""
        return self._seq

    async def done(self) -> None:
        """It was handled; it is not delivered again."""
        self._held.discard(self)

    async def later(self, delay_s: float) -> None:
        """It could not be handled; deliver it again after `delay_s`."""
        self._group.start_soon(self._come_again, delay_s)

    async def _come_again(self, delay_s: float) -> None:
        await anyio.sleep(delay_s)
        if self in self._held:
            self._held.discard(self)
            self._queue.put(self._job, self._seq)


class _Taken:
    """Iterates over the changes; an iteration that was cancelled may be taken up again."""

    def __init__(self, queue: _Queue, held: set[MemoryChanged], group: TaskGroup) -> None:
        self._queue = queue
        self._held = held
        self._group = group

    def __aiter__(self) -> AsyncIterator[Changed]:
        return self

    async def __anext__(self) -> Changed:
        job, seq = await self._queue.get()
        return MemoryChanged(self._queue, self._held, self._group, job, seq)


def _unknown() -> BusTimeoutError:
    return BusTimeoutError(
        "no answer to an append", why="whether it was stored is unknown", retryable=True
    )
