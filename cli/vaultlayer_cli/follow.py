"""A job as it goes on: entries, output and progress, without a gap and without a double.

The stored pages are the truth. A live message only says that there is something new, so that losing one,
or the connection, costs a moment and never an entry.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import anyio
import msgspec
from anyio.abc import TaskStatus

from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.errors import BrokerDownError, BrokerError, VaultLayerError
from vaultlayer.ids import JobId
from vaultlayer.messages import EventsPage, EventsRequest, LogsPage, LogsRequest, Progress
from vaultlayer_cli.connect import ASK_S
from vaultlayer_cli.reading import EventReader, Happened, LogReader, Printed, tail

EVENTS_PAGE = 200
LOGS_PAGE = 16
"""Chunks a page: a chunk as JSON is up to 64 KiB, and a message of the server 1 MiB."""

LOOK_S = 2.0
"""How often the log is read even when nothing was heard."""

LOGS_LOOK_S = 0.3
PATIENCE_S = 900.0
"""How long an absent broker is waited for."""

T = TypeVar("T")


class View(Protocol):
    """Shows what a follower finds."""

    def happened(self, entry: Happened) -> None:
        """One log entry."""
        ...

    def printed(self, output: Printed) -> None:
        """Output of the script."""
        ...

    def progressed(self, attempt: int, progress: Progress) -> None:
        """Where the script is just now."""
        ...

    def told(self, text: str) -> None:
        """Something about the connection."""
        ...


@dataclass
class Follower:
    """Follows one job until its end.

    Args:
        bus: of a session.
        job: which.
        view: gets everything, in order.
        attempt: only the output of this one; 0 for all.
    """

    bus: Bus
    job: JobId
    view: View
    attempt: int = 0
    events: EventReader = field(default_factory=EventReader)
    logs: LogReader = field(default_factory=LogReader)
    _is_away: bool = False
    _over: anyio.Event = field(default_factory=anyio.Event)
    _poke: anyio.Event = field(default_factory=anyio.Event)
    _logs_lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def replay(self, lines: int | None = None) -> None:
        """Show what is stored: all entries with the output between them, of which the last `lines`.

        Raises:
            JobUnknownError: there is no such job.
            BrokerDownError: nobody answers.
        """
        entries = await self.read_events()
        output = await self.read_logs() if lines != 0 else await self._skip_logs()
        if lines is not None:
            output = tail(output, lines)
        timed: list[tuple[float, int, Happened | Printed]] = []
        latest = 0.0
        for entry in entries:
            # Clocks of several machines: an entry never stands before one that the log has before it.
            latest = max(latest, entry.at)
            timed.append((latest, len(timed), entry))
        latest = 0.0
        for one in output:
            latest = max(latest, one.at)
            timed.append((latest, len(timed), one))
        for _, _, one in sorted(timed, key=lambda found: found[:2]):
            if isinstance(one, Happened):
                self.view.happened(one)
            else:
                self.view.printed(one)

    async def run(self) -> None:
        """Show all that comes, until the job has its outcome and its last output is shown.

        Raises:
            BrokerDownError: the broker was away for too long.
        """
        try:
            async with anyio.create_task_group() as group:
                await group.start(self._hear_events)
                group.start_soon(self._hear_progress)
                async with anyio.create_task_group() as readers:
                    readers.start_soon(self._watch_events)
                    readers.start_soon(self._watch_logs)
                group.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # Both readers lose their patience at the same moment, and say the same.
            if group.split(BrokerDownError)[1] is not None:
                raise
            raise _lost_patience(self.job) from group

    # Stored ---------------------------------------------------------------------------------------

    async def read_events(self) -> list[Happened]:
        """Read all entries that are new."""
        found: list[Happened] = []
        while True:
            page = await self.bus.request(
                subjects.query(self.job, "events"),
                EventsRequest(after=self.events.seq, most=EVENTS_PAGE),
                EventsPage,
                timeout_s=ASK_S,
            )
            found += self.events.take(page.events)
            if not page.more or not page.events:
                return found

    async def read_logs(self) -> list[Printed]:
        """Read all output that is new."""
        found: list[Printed] = []
        while True:
            page = await self.logs_page()
            found += self.logs.take(page.logs)
            if not page.more or not page.logs:
                return found

    async def logs_page(self, most: int = LOGS_PAGE) -> LogsPage:
        """Read one page of output above what was taken."""
        return await self.bus.request(
            subjects.query(self.job, "logs"),
            LogsRequest(after=self.logs.seq, attempt=self.attempt, most=most),
            LogsPage,
            timeout_s=ASK_S,
        )

    async def _skip_logs(self) -> list[Printed]:
        self.logs.is_late = True
        self.logs.seq = max(self.logs.seq, (await self.logs_page(most=1)).head)
        return []

    # Live -----------------------------------------------------------------------------------------

    async def _watch_events(self) -> None:
        while True:
            poke = self._poke
            entries = await self._patiently(self.read_events)
            if entries:
                # What the script had said by then stands before what happened to it.
                await self._show_logs()
            for entry in entries:
                self.view.happened(entry)
            if self.events.is_over:
                self._over.set()
                return
            with anyio.move_on_after(LOOK_S):
                await poke.wait()

    async def _watch_logs(self) -> None:
        while True:
            was_over = self._over.is_set()
            await self._show_logs()
            if was_over:
                return
            with anyio.move_on_after(LOGS_LOOK_S):
                await self._over.wait()
                await anyio.sleep(LOGS_LOOK_S)

    async def _show_logs(self) -> None:
        async with self._logs_lock:
            for output in await self._patiently(self.read_logs):
                self.view.printed(output)

    async def _patiently(self, read: Callable[[], Awaitable[list[T]]]) -> list[T]:
        """Read, and wait out a broker that is away: the job needs neither it nor us."""
        deadline = anyio.current_time() + PATIENCE_S
        delay_s = 0.2
        while True:
            try:
                found = await read()
            except BrokerError as error:
                self._away(error)
                if anyio.current_time() > deadline:
                    raise _lost_patience(self.job) from error
            else:
                self._back()
                return found
            await anyio.sleep(delay_s)
            delay_s = min(delay_s * 2, LOOK_S)

    def _away(self, error: VaultLayerError) -> None:
        if not self._is_away:
            self._is_away = True
            self.view.told(f"the broker does not answer ({error.what}); the job goes on without it")

    def _back(self) -> None:
        if self._is_away:
            self._is_away = False
            self.view.told("the broker answers again")

    async def _hear_events(self, *, task_status: TaskStatus[None]) -> None:
        async with self.bus.subscribe(subjects.live(self.job)) as messages:
            task_status.started()
            async for _ in messages:
                poke, self._poke = self._poke, anyio.Event()
                poke.set()

    async def _hear_progress(self) -> None:
        async with self.bus.subscribe(subjects.progress(self.job)) as messages:
            async for message in messages:
                _, attempt, _ = subjects.parse_agent(message.subject)
                try:
                    progress = msgspec.json.decode(message.payload, type=Progress)
                except msgspec.MsgspecError:
                    continue
                self.view.progressed(int(attempt), progress)


def _lost_patience(job: JobId) -> BrokerDownError:
    return BrokerDownError(
        f"the broker was away for {PATIENCE_S / 60:.0f} minutes",
        why="the job may well go on without it",
        mend=f"vaultlayer watch {job}",
    )
