"""What people ask: submit, cancel, drill, and every query. Nothing here needs a key to the bucket."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

import anyio
import msgspec

from vaultlayer import __version__, subjects
from vaultlayer import events as ev
from vaultlayer import messages as ms
from vaultlayer.errors import (
    CommandError,
    DrillError,
    ErrorBody,
    GpuUnknownError,
    InputError,
    JobUnknownError,
    PlacementError,
    VaultLayerError,
    error_of,
)
from vaultlayer.gpu import GPUS
from vaultlayer.ids import CmdId, JobId, is_job_id
from vaultlayer.job import Job, Phase
from vaultlayer.ledger import Decide
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.dispatcher.offers import GLANCE_S, PATIENT_S, Offers
from vaultlayer_actors.dispatcher.placement import need_of, refusals
from vaultlayer_actors.jobloop import JobLoop

PAGE_MAX = 500
PAGE_B_MAX = 512 * 1024
"""Half of what the server takes in one message: the rest is for the page's own JSON."""

AUDIT_S = 30.0
"""A provider lists all its machines, page by page, in less."""

ACCOUNT_S = 2.5
"""Less than a person's command waits: one slow provider must not hide what the others tell."""
CHECK_S = 90.0
"""A check asks several things of a provider whose calls must be seconds apart."""

Told = TypeVar("Told", ms.AuditReply, ms.AccountReply)

VERBS = ("kill", "freeze", "preempt")


def fitting(sizes_b: Sequence[int], most: int) -> int:
    """Give how many of these fit one message, in order; at least one, so that a reader gets on."""
    total_b = 0
    for count, size_b in enumerate(sizes_b[:most]):
        total_b += size_b
        if count and total_b > PAGE_B_MAX:
            return count
    return min(len(sizes_b), most)


def row_of(job: Job) -> ms.JobRow:
    """Give the line that `ps` shows of a job."""
    newest, head = job.newest, job.head
    steps = [a.last_step for a in job.attempts.values() if a.last_step is not None]
    steps += [head.step] if head and head.step is not None else []
    return ms.JobRow(
        job=job.job,
        name=job.spec.name,
        status=job.status,
        command=job.spec.command,
        gpu=f"{job.spec.gpu}:{job.spec.gpu_count}" if job.spec.gpu else "",
        provider=newest.provider if newest else "",
        attempts=job.attempt_count,
        checkpoints=job.checkpoint_count,
        step=max(steps, default=None),
        tier=job.tier,
        submitted_at=job.submitted_at,
        finished_at=job.finished_at,
        exit_code=job.exit_code if job.outcome else None,
        cost_usd=job.cost_usd,
        may_bill=sum(
            1 for a in job.attempts.values() if not a.is_live and a.phase is not Phase.GONE
        ),
    )


class PeopleDesk:
    """Serves people; every change goes through the ledger."""

    def __init__(self, context: ActorContext, loop: JobLoop, offers: Offers) -> None:
        self._context = context
        self._loop = loop
        self._offers = offers
        self._since_s = context.mono_s()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncGenerator[None]:
        """Answer while the context is open."""
        bus, kind = self._context.bus, self._context.kind
        services = {
            subjects.SUBMIT: self._submit,
            subjects.LIST_JOBS: self._list,
            subjects.OFFERS: self._list_offers,
            subjects.AUDIT: self._audit,
            subjects.ACCOUNTS: self._accounts,
            subjects.CHECK: self._check,
            subjects.STATUS: self._status,
            "vl.cmd.cancel.*.*": self._cancel,
            "vl.cmd.drill.*.*": self._drill,
            "vl.q.job.*.*.state": self._state,
            "vl.q.job.*.*.events": self._events,
            "vl.q.job.*.*.logs": self._logs,
        }
        async with contextlib.AsyncExitStack() as stack:
            for subject, handler in services.items():
                await stack.enter_async_context(bus.serve(subject, handler, queue=kind))
            yield

    async def _submit(self, _subject: str, payload: bytes) -> ms.Submitted:
        request = msgspec.json.decode(payload, type=ms.Submit)
        spec, job = request.spec, JobId(request.job)
        check_spec(job, spec)
        unknown = [name for name in spec.providers if name not in self._context.settings.allowed]
        if unknown:
            raise PlacementError(
                f"provider {unknown[0]!r} is not allowed here",
                why=f"allowed: {', '.join(self._context.settings.allowed) or 'none'}",
                mend=f"set [providers.{unknown[0]}] allow = true in the configuration",
            )
        need = need_of(spec)
        lists = await self._offers.of(need)
        if (said := refusals(lists, spec)) and any(one.late for one in lists):
            said = refusals(await self._offers.ask(need, PATIENT_S), spec)
        if said:
            raise PlacementError(
                "no provider can serve this job", why="; ".join(said), mend="vaultlayer offers"
            )

        def decide(state: Job | None) -> ev.Event | ErrorBody:
            if state is not None:
                return ErrorBody(code="input-bad", what=f"there is already a job {job}")
            return ev.Submitted(spec=spec)

        await self._append(job, decide, CmdId(request.cmd_id))
        self._loop.poke(job)
        return ms.Submitted(job=job)

    async def _cancel(self, subject: str, payload: bytes) -> ms.Done:
        request = msgspec.json.decode(payload, type=ms.Cancel)
        job = subjects.parse_job(subject)

        def decide(state: Job | None) -> ev.Event | ErrorBody | None:
            if state is None:
                return _unknown(job)
            if state.outcome or state.cancel_requested_at:
                return None
            return ev.CancelRequested(by=request.by)

        await self._append(job, decide, CmdId(request.cmd_id))
        self._loop.poke(job)
        return ms.Done()

    async def _drill(self, subject: str, payload: bytes) -> ms.DrillAccepted:
        request = msgspec.json.decode(payload, type=ms.Drill)
        job = subjects.parse_job(subject)
        if request.verb not in VERBS:
            raise DrillError(f"no drill is called {request.verb!r}", mend=f"one of {VERBS}")

        def decide(state: Job | None) -> ev.Event | ErrorBody:
            if state is None:
                return _unknown(job)
            active = state.active_attempt
            if state.outcome or active is None or active.phase is not Phase.ACTIVE:
                return ErrorBody(
                    code="drill-refused",
                    what=f"job {job} has no machine that trains just now",
                    why=f"it is {state.status}",
                    mend=f"vaultlayer watch {job}",
                )
            return ev.DrillRequested(
                attempt=active.number, verb=request.verb, grace_s=request.grace_s
            )

        state = await self._append(job, decide, CmdId(request.cmd_id))
        return ms.DrillAccepted(attempt=state.active if state else 0)

    async def _append(self, job: JobId, decide: Decide, cmd_id: CmdId) -> Job | None:
        appended = await self._context.ledger.append(job, decide, cmd_id)
        if appended.refused is not None:
            raise error_of(appended.refused)
        return appended.job

    async def _job(self, subject: str) -> Job:
        job = subjects.parse_job(subject)
        state = await self._context.ledger.read(job)
        if state is None:
            raise error_of(_unknown(job))
        return state

    async def _state(self, subject: str, _payload: bytes) -> ms.StateReply:
        state = await self._job(subject)
        # The command ids are bookkeeping; the sealed environment is nobody's business but the vault's.
        shown = msgspec.structs.replace(
            state, seen=(), spec=msgspec.structs.replace(state.spec, env_sealed="")
        )
        return ms.StateReply(state=msgspec.Raw(msgspec.json.encode(shown)))

    async def _events(self, subject: str, payload: bytes) -> ms.EventsPage:
        request = msgspec.json.decode(payload, type=ms.EventsRequest)
        job = (await self._job(subject)).job
        entries = await self._context.log.read(JobId(job), after=request.after)
        page = entries[: fitting([len(e.payload) for e in entries], min(request.most, PAGE_MAX))]
        stored = [
            ms.StoredEvent(
                seq=entry.seq,
                kind=subjects.parse_event(entry.subject)[1],
                body=msgspec.Raw(entry.payload),
            )
            for entry in page
        ]
        head = entries[-1].seq if entries else request.after
        return ms.EventsPage(events=stored, head=head, more=len(entries) > len(page))

    async def _logs(self, subject: str, payload: bytes) -> ms.LogsPage:
        request = msgspec.json.decode(payload, type=ms.LogsRequest)
        job = await self._job(subject)
        page = await self._context.bus.read_logs(
            JobId(job.job),
            after=request.after,
            attempt=request.attempt,
            most=min(request.most, PAGE_MAX),
        )
        sizes_b = [len(msgspec.json.encode(stored)) for stored in page.logs]
        fits = fitting(sizes_b, len(sizes_b))
        if fits == len(sizes_b):
            return page
        return msgspec.structs.replace(page, logs=page.logs[:fits], more=True)

    async def _list(self, _subject: str, payload: bytes) -> ms.JobList:
        request = msgspec.json.decode(payload, type=ms.ListJobs)
        rows = await self._context.bus.index().all()
        chosen = [row for row in rows if request.all or not row.finished_at]
        chosen.sort(key=lambda row: row.submitted_at, reverse=True)
        return ms.JobList(jobs=chosen[: request.most])

    async def _list_offers(self, _subject: str, payload: bytes) -> ms.OffersReply:
        request = msgspec.json.decode(payload, type=ms.OffersRequest)
        return ms.OffersReply(
            lists=await self._offers.ask(
                request.need, PATIENT_S if request.patient else GLANCE_S, request.providers
            )
        )

    async def _audit(self, _subject: str, payload: bytes) -> ms.AuditReplies:
        request = msgspec.json.decode(payload, type=ms.AuditRequest)
        return ms.AuditReplies(
            replies=await self._ask_each(request.providers, "audit", ms.AuditReply, AUDIT_S)
        )

    async def _accounts(self, _subject: str, payload: bytes) -> ms.AccountReplies:
        request = msgspec.json.decode(payload, type=ms.AccountsRequest)
        return ms.AccountReplies(
            replies=await self._ask_each(request.providers, "account", ms.AccountReply, ACCOUNT_S)
        )

    async def _ask_each(
        self, providers: Sequence[str], verb: str, kind: type[Told], timeout_s: float
    ) -> list[Told]:
        """Ask the pools of these allowed providers at once; one that cannot answer says why.

        Args:
            providers: none: all that are allowed.
            verb: of the request.
            kind: of the reply.
            timeout_s: how long each may take.
        """
        allowed = self._context.settings.allowed
        wanted = [name for name in allowed if not providers or name in providers]
        replies: dict[str, Told] = {}

        async def ask(name: str) -> None:
            try:
                replies[name] = await self._context.bus.request(
                    subjects.pool(name, verb), ms.Done(), kind, timeout_s=timeout_s
                )
            except VaultLayerError as error:
                replies[name] = kind(provider=name, fault=error.what)

        async with anyio.create_task_group() as group:
            for name in wanted:
                group.start_soon(ask, name)
        return [replies[name] for name in wanted]

    async def _check(self, _subject: str, payload: bytes) -> ms.CheckReply:
        provider = msgspec.json.decode(payload, type=ms.CheckRequest).provider
        if provider not in self._context.settings.allowed:
            raise PlacementError(
                f"provider {provider!r} is not allowed here",
                mend=f"vaultlayer providers allow {provider}, then vaultlayer down and up",
            )
        return await self._context.bus.request(
            subjects.pool(provider, "check"), ms.Done(), ms.CheckReply, timeout_s=CHECK_S
        )

    async def _status(self, _subject: str, _payload: bytes) -> ms.StatusReply:
        return ms.StatusReply(
            actor=self._context.actor,
            kind=self._context.kind,
            up_s=self._context.mono_s() - self._since_s,
            open_jobs=len(await self._context.ledger.open_jobs()),
            version=__version__,
        )


def _unknown(job: JobId) -> ErrorBody:
    return JobUnknownError(f"there is no job {job}", mend="vaultlayer ps --all").body()


def check_spec(job: JobId, spec: ev.JobSpec) -> None:
    """Refuse what can never run; the command line has checked it too, but others speak this protocol."""
    error: VaultLayerError | None = None
    if not is_job_id(job):
        error = InputError(f"{job!r} is not the shape of a job id")
    elif not spec.command or not spec.command[0].strip():
        error = CommandError("the command is empty", mend="vaultlayer run python train.py")
    elif spec.gpu and spec.gpu not in GPUS:
        error = GpuUnknownError(f"no GPU is called {spec.gpu!r}")
    elif fault := _budget_fault(spec.budget):
        error = InputError("the budget cannot be used", why=fault)
    if error is not None:
        raise error


def _budget_fault(budget: ev.Budget) -> str:
    caps = {
        "max_cost_usd": budget.max_cost_usd,
        "deadline_s": budget.deadline_s,
        "losses_per_h": budget.losses_per_h,
        "no_progress": budget.no_progress,
    }
    for name, value in caps.items():
        if value is not None and value <= 0:
            return f"{name} must be above 0"
    if (budget.max_price_usd_h or 0) < 0 or budget.user_restarts < 0:
        return "max_price_usd_h and user_restarts must not be negative"
    return ""
