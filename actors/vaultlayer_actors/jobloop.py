"""The level-triggered loop of an actor: a message only says that a job changed; the handler looks itself.

Whatever is lost, doubled or reordered costs nothing, because a handler always folds the job's log to its
head. A job is never handled twice at once in one process, and other processes are held off by
compare-and-swap.
"""

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from vaultlayer.bus.protocol import Changed
from vaultlayer.errors import VaultLayerError
from vaultlayer.ids import JobId
from vaultlayer_actors.context import ActorContext

Handle = Callable[[JobId], Awaitable[float | None]]
"""Looks at one job, does what is due, and gives the Unix time at which to look again, or None."""

RESYNC_S = 60.0
"""How often every open job is looked at although nothing said that it changed."""

CONCURRENCY_MAX = 64
RETRY_S_MAX = 15.0
WAIT_S_MAX = 3600.0


class JobLoop:
    """Calls a handler for each job that changed or is due."""

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._pending: dict[JobId, list[Changed]] = {}
        self._running: set[JobId] = set()
        self._due: list[tuple[float, JobId]] = []
        self._due_at: dict[JobId, float] = {}
        self._failures: dict[JobId, int] = {}
        self._wake = anyio.Event()
        self._slots = anyio.CapacityLimiter(CONCURRENCY_MAX)

    @property
    def open_jobs(self) -> int:
        """How many jobs have a timer here."""
        return len(self._due_at)

    def poke(self, job: JobId) -> None:
        """Look at a job soon."""
        self._pending.setdefault(job, [])
        self._wake.set()

    async def run(self, handle: Handle) -> None:
        """Serve until cancelled."""
        kind = self._context.kind
        async with anyio.create_task_group() as group, self._context.log.changes(kind) as changes:
            group.start_soon(self._hear, changes)
            group.start_soon(self._resync)
            while True:
                self._take_due()
                for job in [j for j in self._pending if j not in self._running]:
                    self._start(group, handle, job)
                await self._wait()

    async def _hear(self, changes: AsyncIterator[Changed]) -> None:
        async for change in changes:
            self._pending.setdefault(change.job, []).append(change)
            self._wake.set()

    async def _resync(self) -> None:
        while True:
            try:
                for job in await self._context.ledger.open_jobs():
                    self.poke(job)
            except VaultLayerError as error:
                self._context.logger.warning("resync_failed", code=error.code, why=str(error))
                await anyio.sleep(1.0)
                continue
            await anyio.sleep(RESYNC_S)

    def _start(self, group: TaskGroup, handle: Handle, job: JobId) -> None:
        self._running.add(job)
        self._due_at.pop(job, None)
        group.start_soon(self._look, handle, job, self._pending.pop(job))

    async def _look(self, handle: Handle, job: JobId, changes: list[Changed]) -> None:
        try:
            async with self._slots:
                again_at = await self._call(handle, job)
            if again_at is not None:
                self._look_again(job, again_at)
            for change in changes:
                await self._acknowledge(change)
        finally:
            self._running.discard(job)
            self._wake.set()

    async def _call(self, handle: Handle, job: JobId) -> float | None:
        try:
            again_at = await handle(job)
        except VaultLayerError as error:
            return self._failed(job, code=error.code, why=str(error))
        except Exception:  # one job's defect must not stop the others; it is told and tried again
            self._context.logger.exception("handler_failed", job=job)
            return self._failed(job, code="internal", why="see the traceback above")
        self._failures.pop(job, None)
        return again_at

    def _failed(self, job: JobId, *, code: str, why: str) -> float:
        failures = self._failures[job] = self._failures.get(job, 0) + 1
        delay_s = min(0.2 * 2**failures, RETRY_S_MAX)
        self._context.logger.warning("job_deferred", job=job, code=code, why=why, delay_s=delay_s)
        return self._context.now_s() + delay_s

    async def _acknowledge(self, change: Changed) -> None:
        try:
            await change.done()
        except VaultLayerError as error:
            # It comes again, and then finds nothing to do.
            self._context.logger.info("ack_failed", job=change.job, code=error.code)

    def _look_again(self, job: JobId, at: float) -> None:
        known = self._due_at.get(job)
        if known is None or at < known:
            self._due_at[job] = at
            heapq.heappush(self._due, (at, job))

    def _take_due(self) -> None:
        now_s = self._context.now_s()
        while self._due and self._due[0][0] <= now_s:
            at, job = heapq.heappop(self._due)
            # An entry that was replaced by an earlier or later one is void.
            if self._due_at.get(job) == at:
                del self._due_at[job]
                self._pending.setdefault(job, [])

    async def _wait(self) -> None:
        timeout_s = WAIT_S_MAX
        if self._due:
            timeout_s = max(0.0, self._due[0][0] - self._context.now_s())
        with anyio.move_on_after(min(timeout_s, WAIT_S_MAX)):
            await self._wake.wait()
        self._wake = anyio.Event()
