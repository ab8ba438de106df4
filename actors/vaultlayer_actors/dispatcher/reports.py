"""What agents report: each report is checked against the log and appended to it, at most once.

An attempt that is no longer current is answered `superseded`, and stops.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from vaultlayer import events as ev
from vaultlayer import messages as ms
from vaultlayer import subjects
from vaultlayer.errors import CheckpointError, ErrorBody, SupersededError, error_of
from vaultlayer.ids import CmdId, JobId
from vaultlayer.job import CheckpointState, Job, Phase
from vaultlayer.lifecycle import is_current, may_commit, steps_again
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.dispatcher.custody import Custody
from vaultlayer_actors.dispatcher.interruptions import mean_between_s
from vaultlayer_actors.jobloop import JobLoop

Advance = Callable[[JobId], Awaitable[float | None]]


def inbox_of(subject: str) -> str:
    """The only inbox that a request of this agent may be answered to."""
    job, attempt, _ = subjects.parse_agent(subject)
    return subjects.agent_inbox(job, attempt)


def order_of(job: Job) -> ms.TakeoverOrder:
    """Give the takeover order of the active attempt."""
    return ms.TakeoverOrder(attempt=job.active, head=ref_of(job.head))


def ref_of(checkpoint: CheckpointState | None) -> ms.CheckpointRef | None:
    """Give where a checkpoint lies."""
    if checkpoint is None:
        return None
    return ms.CheckpointRef(manifest=checkpoint.manifest, key=checkpoint.key, step=checkpoint.step)


class ReportDesk:
    """Serves agents."""

    def __init__(
        self, context: ActorContext, loop: JobLoop, custody: Custody, advance: Advance
    ) -> None:
        self._context = context
        self._loop = loop
        self._custody = custody
        self._advance = advance

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncGenerator[None]:
        """Answer while the context is open."""
        verbs = {
            "brief": self._brief,
            "ready": self._ready,
            "started": self._started,
            "stepped": self._stepped,
            "tier": self._tier,
            "ckpt": self._commit,
            "reject": self._reject,
            "notice": self._notice,
            "exit": self._exit,
            "log": self._log,
        }
        async with contextlib.AsyncExitStack() as stack:
            for verb, handler in verbs.items():
                service = self._context.bus.serve(
                    subjects.agents(verb), handler, queue=self._context.kind, allowed=inbox_of
                )
                await stack.enter_async_context(service)
            yield

    async def _current(self, subject: str, incarnation: str) -> tuple[Job, int]:
        """Give (job, attempt), or tell the caller that it is superseded."""
        job, attempt, _ = subjects.parse_agent(subject)
        state = await self._context.ledger.read(job)
        if state is None or not is_current(state, attempt, incarnation):
            raise _superseded(job, attempt)
        return state, attempt

    async def _report(self, subject: str, incarnation: str, cmd_id: str, event: ev.Event) -> Job:
        """Append a report of a current attempt; a repeated one is answered as the first was."""
        job, attempt, _ = subjects.parse_agent(subject)
        stamped = msgspec.structs.replace(event, attempt=attempt)

        def decide(state: Job | None) -> ev.Event | ErrorBody:
            if state is None or not is_current(state, attempt, incarnation):
                return _superseded(job, attempt).body()
            return stamped

        appended = await self._context.ledger.append(job, decide, CmdId(cmd_id))
        if appended.refused is not None:
            raise error_of(appended.refused)
        assert appended.job is not None
        return appended.job

    async def _log(self, subject: str, payload: bytes) -> ms.LogStored:
        """Store output, also of an attempt that is over: its last words matter most."""
        chunk = msgspec.json.decode(payload, type=ms.LogChunk)
        job, attempt, _ = subjects.parse_agent(subject)
        return ms.LogStored(seq=await self._context.bus.keep_log(job, attempt, chunk))

    async def _brief(self, subject: str, payload: bytes) -> ms.Brief:
        request = msgspec.json.decode(payload, type=ms.BriefRequest)
        job, number = await self._current(subject, request.incarnation)
        attempt = job.attempts[number]
        return ms.Brief(
            spec=msgspec.structs.replace(job.spec, env_sealed=""),
            work_path=attempt.work_path,
            head=ref_of(job.head),
            first=not job.has_started,
            sole=attempt.sole,
            between_s=mean_between_s(job, self._context.now_s()),
        )

    async def _ready(self, subject: str, payload: bytes) -> ms.ReadyReply:
        request = msgspec.json.decode(payload, type=ms.ReadyReport)
        event = ev.Ready(prefetched=request.prefetched, boot_s=request.boot_s)
        job = await self._report(subject, request.incarnation, request.cmd_id, event)
        await self._advance(JobId(job.job))
        state, number = await self._current(subject, request.incarnation)
        is_active = state.active == number and state.attempts[number].phase is Phase.ACTIVE
        return ms.ReadyReply(takeover=order_of(state) if is_active else None)

    async def _started(self, subject: str, payload: bytes) -> ms.Done:
        request = msgspec.json.decode(payload, type=ms.StartedReport)
        job, number = await self._current(subject, request.incarnation)
        event = ev.Started(
            resumed_from=request.resumed_from,
            resumed_step=request.resumed_step,
            restore_s=request.restore_s,
            again_steps=steps_again(job, number, request.resumed_step),
        )
        await self._report(subject, request.incarnation, request.cmd_id, event)
        return ms.Done()

    async def _stepped(self, subject: str, payload: bytes) -> ms.Done:
        request = msgspec.json.decode(payload, type=ms.SteppedReport)
        event = ev.Stepped(step=request.step)
        await self._report(subject, request.incarnation, request.cmd_id, event)
        return ms.Done()

    async def _tier(self, subject: str, payload: bytes) -> ms.Done:
        request = msgspec.json.decode(payload, type=ms.TierReport)
        event = ev.TierFound(tier=request.tier, detail=request.detail)
        await self._report(subject, request.incarnation, request.cmd_id, event)
        return ms.Done()

    async def _commit(self, subject: str, payload: bytes) -> ms.Done:
        """Make a checkpoint of an uploaded manifest: the guards are asked before and at the append."""
        request = msgspec.json.decode(payload, type=ms.CommitRequest)
        job, number, _ = subjects.parse_agent(subject)
        state = await self._context.ledger.read(job)
        if state is not None and request.cmd_id in state.seen:
            return ms.Done()
        if state is None:
            raise _superseded(job, number)
        if fault := may_commit(state, number, request.incarnation, request.seq):
            raise error_of(fault)
        await self._custody.verify(state, number, request)

        def decide(newest: Job | None) -> ev.Event | ErrorBody:
            if newest is None:
                return _superseded(job, number).body()
            refused = may_commit(newest, number, request.incarnation, request.seq)
            return refused or _committed(number, request)

        appended = await self._context.ledger.append(job, decide, CmdId(request.cmd_id))
        if appended.refused is not None:
            raise error_of(appended.refused)
        return ms.Done()

    async def _reject(self, subject: str, payload: bytes) -> ms.RejectReply:
        request = msgspec.json.decode(payload, type=ms.RejectReport)
        state, _ = await self._current(subject, request.incarnation)
        known = [c for c in state.checkpoints if c.manifest == request.manifest]
        if not known:
            raise CheckpointError(
                f"checkpoint {request.manifest[:12]} cannot be rejected",
                why="the log knows no checkpoint of that id",
            )
        if not known[-1].rejected:
            event = ev.CheckpointRejected(manifest=request.manifest, reason=request.reason)
            state = await self._report(subject, request.incarnation, request.cmd_id, event)
        return ms.RejectReply(head=ref_of(state.head))

    async def _notice(self, subject: str, payload: bytes) -> ms.Done:
        request = msgspec.json.decode(payload, type=ms.NoticeReport)
        event = ev.Noticed(grace_s=request.grace_s, source=request.source)
        job = await self._report(subject, request.incarnation, request.cmd_id, event)
        self._loop.poke(JobId(job.job))
        return ms.Done()

    async def _exit(self, subject: str, payload: bytes) -> ms.Done:
        request = msgspec.json.decode(payload, type=ms.ExitReport)
        job, number, _ = subjects.parse_agent(subject)
        event = ev.Exited(
            attempt=number,
            exit_code=request.exit_code,
            signal=request.signal,
            last_step=request.last_step,
            detail=request.detail,
        )

        def decide(state: Job | None) -> ev.Event | ErrorBody:
            current = state is not None and is_current(state, number, request.incarnation)
            if state is None or not current or state.active != number:
                return _superseded(job, number).body()
            return event

        appended = await self._context.ledger.append(job, decide, CmdId(request.cmd_id))
        if appended.refused is not None:
            raise error_of(appended.refused)
        self._loop.poke(job)
        return ms.Done()


def _superseded(job: str, attempt: int) -> SupersededError:
    return SupersededError(
        f"attempt {attempt} of {job} is not current",
        why="a newer attempt has taken over, or the job is over",
    )


def _committed(number: int, request: ms.CommitRequest) -> ev.CheckpointCommitted:
    return ev.CheckpointCommitted(
        attempt=number,
        seq=request.seq,
        manifest=request.manifest,
        key=request.key,
        parent=request.parent,
        step=request.step,
        size_b=request.size_b,
        new_b=request.new_b,
        files=request.files,
        final=request.final,
    )
