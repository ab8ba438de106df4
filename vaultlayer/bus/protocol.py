"""What the rest of VaultLayer needs of a message bus; `vaultlayer.bus.nats` is the one that is used.

Delivery is at most once for core messages and at least once for consumed ones; order across jobs
is never relied on. A request that timed out has an *unknown* outcome.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import msgspec

from vaultlayer.errors import VaultLayerError
from vaultlayer.events import Event
from vaultlayer.ids import Attempt, JobId
from vaultlayer.messages import JobRow, LogChunk, LogsPage

T = TypeVar("T", bound=msgspec.Struct)

Handler = Callable[[str, bytes], Awaitable[msgspec.Struct | None]]
"""Takes (subject, payload) and gives the reply; None answers nothing. A raised VaultLayerError is
sent back as an error; any other exception as `internal`."""

ReplyPrefix = Callable[[str], str]
"""Gives the inbox prefix that may be answered for a request on this subject; others are dropped."""


class AppendConflictError(VaultLayerError):
    """The job has a newer entry than the one appended after; fold again and decide again."""

    code = "append-conflict"


class Incoming(msgspec.Struct, frozen=True):
    """One received message; `seq` is its stream sequence where it was stored, else 0."""

    subject: str
    payload: bytes
    seq: int = 0


class Entry(msgspec.Struct, frozen=True):
    """One stored message of a job."""

    seq: int
    subject: str
    payload: bytes


class Changed(Protocol):
    """`this job has changed`, to be acknowledged when it was looked at."""

    @property
    def job(self) -> JobId:
        """The job."""
        ...

    @property
    def seq(self) -> int:
        """Stream sequence of the entry that says so."""
        ...

    async def done(self) -> None:
        """It was handled; it is not delivered again."""
        ...

    async def later(self, delay_s: float) -> None:
        """It could not be handled; deliver it again after `delay_s`."""
        ...


class JobLog(Protocol):
    """The job log: append by compare-and-swap, read, and hear of changes."""

    async def append(self, event: Event, *, after: int) -> int:
        """Store `event` iff the job's newest entry is `after` (0: none); give its sequence.

        Raises:
            AppendConflictError: the job has a newer entry.
            BusTimeoutError: whether it was stored is unknown.
        """
        ...

    async def read(self, job: JobId, *, after: int = 0) -> Sequence[Entry]:
        """Read the job's entries above `after`, oldest first."""
        ...

    async def last_snapshot(self, job: JobId) -> Entry | None:
        """Read the newest `snapshot` entry."""
        ...

    async def kinds(self) -> dict[JobId, set[str]]:
        """Give every job in the log with the kinds of its entries."""
        ...

    def changes(self, kind: str) -> AbstractAsyncContextManager[AsyncIterator[Changed]]:
        """Hear of changed jobs; all processes of one actor `kind` share them among themselves."""
        ...


class Index(Protocol):
    """The rows of `ps`: derived from the log, may lag, may be dropped and rebuilt."""

    async def put(self, job: JobId, row: JobRow) -> None:
        """Replace the row of one job."""
        ...

    async def all(self) -> list[JobRow]:
        """Read all rows."""
        ...

    async def drop(self) -> None:
        """Forget all rows."""
        ...


class Bus(Protocol):
    """Requests, services and live messages."""

    @property
    def inbox(self) -> str:
        """The prefix below which this connection is answered."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection just now, as far as this side knows."""
        ...

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each new connection: what was said in between was not heard."""
        ...

    async def publish(self, subject: str, message: msgspec.Struct) -> None:
        """Send and forget."""
        ...

    async def request(
        self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout_s: float = 5.0
    ) -> T:
        """Ask once.

        Raises:
            BusTimeoutError: no answer; whether it took effect is unknown.
            BrokerDownError: nobody serves this subject, or there is no connection.
            VaultLayerError: the error that the service gave.
        """
        ...

    async def gather(
        self, subject: str, message: msgspec.Struct, reply: type[T], *, wait_s: float, most: int = 0
    ) -> list[T]:
        """Ask everybody who listens and give what came within `wait_s`, or the first `most`."""
        ...

    def serve(
        self, subject: str, handler: Handler, *, queue: str = "", allowed: ReplyPrefix | None = None
    ) -> AbstractAsyncContextManager[None]:
        """Answer requests while the context is open; `queue` shares them among processes."""
        ...

    def subscribe(self, subject: str) -> AbstractAsyncContextManager[AsyncIterator[Incoming]]:
        """Receive messages while the context is open."""
        ...

    async def keep_log(self, job: JobId, attempt: Attempt, chunk: LogChunk) -> int:
        """Store output that an agent sent and give its sequence. Broker processes only."""
        ...

    async def read_logs(
        self, job: JobId, *, after: int = 0, attempt: int = 0, most: int = 200
    ) -> LogsPage:
        """Read stored output of a job's scripts; `attempt` 0 means all. Broker processes only."""
        ...

    def index(self) -> Index:
        """Give the index of jobs. Broker processes only."""
        ...

    async def close(self) -> None:
        """Flush what was sent and end the connection."""
        ...
