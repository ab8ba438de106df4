"""The dispatcher's shell: it asks the core what is due, appends it, and tells whom it concerns."""

import secrets

import anyio

from vaultlayer import events as ev
from vaultlayer import messages as ms
from vaultlayer import subjects
from vaultlayer.driver import OfferList
from vaultlayer.errors import VaultLayerError
from vaultlayer.ids import Attempt, CmdId, JobId, token
from vaultlayer.job import Job, Phase
from vaultlayer_actors.context import Actor, ActorContext
from vaultlayer_actors.dispatcher.ages import Ages
from vaultlayer_actors.dispatcher.core import Step, next_step
from vaultlayer_actors.dispatcher.custody import Custody
from vaultlayer_actors.dispatcher.offers import Offers
from vaultlayer_actors.dispatcher.people import PeopleDesk, row_of
from vaultlayer_actors.dispatcher.placement import need_of
from vaultlayer_actors.dispatcher.reports import ReportDesk, order_of
from vaultlayer_actors.jobloop import JobLoop

STEPS_MAX = 50
"""Entries appended for one job before others get their turn."""


def build(context: ActorContext) -> Actor:
    """Make a dispatcher."""
    return Dispatcher(context)


class Dispatcher:
    """One dispatcher process; any number may run, the log takes one answer."""

    kind = "dispatcher"

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._loop = JobLoop(context)
        self._ages = Ages(context.mono_s)
        self._offers = Offers(context)
        self._custody = Custody(context)
        self._people = PeopleDesk(context, self._loop, self._offers)
        self._reports = ReportDesk(context, self._loop, self._custody, self.advance)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with self._people.serve(), self._reports.serve(), anyio.create_task_group() as group:
            self._context.served()
            group.start_soon(self._rebuild_index)
            group.start_soon(self._custody.run)
            await self._loop.run(self._handle)

    async def _handle(self, job: JobId) -> float | None:
        again_at = await self.advance(job)
        state = self._context.ledger.peek(job)
        if state is not None:
            await self._context.bus.index().put(job, row_of(state))
            self._custody.see(state)
        return again_at

    async def advance(self, job: JobId) -> float | None:
        """Append what is due, entry by entry, until nothing is; give when to look again."""
        context = self._context
        lists = None
        for _ in range(STEPS_MAX):
            state = await context.ledger.read(job)
            if state is None or state.closed:
                self._ages.forget(job)
                return None
            noise = secrets.token_bytes(8)
            step = self._next(state, lists, noise)
            if step.wants_offers:
                lists = await self._offers.of(need_of(state.spec))
                continue
            if step.event is None:
                await self._remind(state)
                return step.wake_at
            await self._append(job, lists, noise)
        return context.now_s()

    def _next(self, state: Job, lists: list[OfferList] | None, noise: bytes) -> Step:
        job = JobId(state.job)
        now_s = self._context.now_s()
        return next_step(state, now_s, lists, noise, lambda name, _at: self._ages.age_s(job, name))

    async def _append(self, job: JobId, lists: list[OfferList] | None, noise: bytes) -> None:
        def decide(state: Job | None) -> ev.Event | None:
            if state is None:
                return None
            return self._next(state, lists, noise).event

        cmd_id = CmdId(f"{self._context.actor}-{token(secrets.token_bytes(10), 10)}")
        appended = await self._context.ledger.append(job, decide, cmd_id)
        if appended.event is None or appended.job is None:
            return
        self._context.logger.info(
            "job_advanced", job=job, event_kind=ev.kind_of(appended.event), seq=appended.job.seq
        )
        if isinstance(appended.event, ev.Takeover):
            await self._tell_takeover(appended.job)
        if isinstance(appended.event, ev.CreateFailed | ev.Lost | ev.Gone):
            self._offers.forget()

    async def _tell_takeover(self, job: Job) -> None:
        """Push the order; a lost push heals with the next beat's grant."""
        attempt = Attempt(job.active)
        subject = subjects.control(JobId(job.job), attempt, "takeover")
        await self._publish(subject, ms.ControlMessage(takeover=order_of(job)))

    async def _remind(self, job: Job) -> None:
        """A cancelled job's active agent is told to stop, at each look until it has."""
        active = job.active_attempt
        if job.cancel_requested_at and active is not None and active.phase is Phase.ACTIVE:
            subject = subjects.control(JobId(job.job), Attempt(job.active), "stop")
            await self._publish(subject, ms.ControlMessage(reason="cancelled"))

    async def _publish(self, subject: str, message: ms.ControlMessage) -> None:
        try:
            await self._context.bus.publish(subject, message)
        except VaultLayerError as error:
            self._context.logger.info("push_failed", subject=subject, code=error.code)

    async def _rebuild_index(self) -> None:
        """Write the rows that the index lacks: it is derived, and may have been dropped."""
        index = self._context.bus.index()
        known = {row.job for row in await index.all()}
        for job in await self._context.ledger.all_jobs():
            if job not in known:
                state = await self._context.ledger.read(job)
                if state is not None:
                    await index.put(job, row_of(state))
