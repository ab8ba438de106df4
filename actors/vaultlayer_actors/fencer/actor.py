"""The fencer: disconnects and terminates every machine that is over, and repeats until it is seen gone."""

import anyio
from anyio.abc import TaskGroup

from vaultlayer import subjects
from vaultlayer.errors import BrokerError, VaultLayerError
from vaultlayer.ids import Attempt, CmdId, JobId
from vaultlayer.job import AttemptState
from vaultlayer.messages import (
    AbsentReply,
    ControlMessage,
    Done,
    RevokeRequest,
    TerminateRequest,
)
from vaultlayer_actors.context import Actor, ActorContext
from vaultlayer_actors.fencer import core
from vaultlayer_actors.jobloop import JobLoop

REVOKE_TIMEOUT_S = 10.0
TERMINATE_TIMEOUT_S = 30.0
ABSENT_TIMEOUT_S = 90.0
"""The pool looks several times, as far apart as its provider needs, before it answers."""

ROUNDS_MAX = 128
"""Machines that are worked on at the same time; the others wait their turn."""


class Fencer:
    """One of any number of fencers; all steps may be done twice."""

    kind = "fencer"

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._logger = context.logger
        self._under_way: set[tuple[JobId, int]] = set()
        self._slots = anyio.CapacityLimiter(ROUNDS_MAX)

    async def run(self) -> None:
        """Serve until cancelled."""
        self._context.served()
        async with anyio.create_task_group() as group:

            async def look(job_id: JobId) -> float | None:
                await self._look(group, job_id)

            await JobLoop(self._context).run(look)

    async def _look(self, group: TaskGroup, job_id: JobId) -> None:
        """Start what a job needs: a machine's slow provider must not delay the job's other machines."""
        job = await self._context.ledger.read(job_id)
        for number in core.unfinished(job) if job else []:
            if (job_id, number) not in self._under_way:
                self._under_way.add((job_id, number))
                group.start_soon(self._see_to, job_id, number)

    async def _see_to(self, job_id: JobId, number: int) -> None:
        try:
            await _Fencing(self._context, job_id, number, self._slots).run()
        finally:
            self._under_way.discard((job_id, number))


class _Fencing:
    """One machine on its way out."""

    def __init__(
        self, context: ActorContext, job_id: JobId, number: int, slots: anyio.CapacityLimiter
    ) -> None:
        self._context = context
        self._job_id = job_id
        self._number = number
        self._slots = slots
        self._logger = context.logger.bind(job=job_id, attempt=number)
        self._began_s = context.mono_s()
        self._claim = ""
        self._claim_seen_s = self._began_s
        self._alerted = False

    async def run(self) -> None:
        """Repeat until the machine is gone; returns when nothing is left to be done."""
        failures = 0
        while True:
            try:
                async with self._slots:
                    pause_s = await self._round()
            except VaultLayerError as error:
                failures += 1
                pause_s = core.backoff_s(failures)
                self._logger.warning(
                    "fencing_deferred", code=error.code, why=str(error), pause_s=pause_s
                )
            except Exception:  # one machine's defect must not keep the others from being ended
                failures += 1
                pause_s = core.backoff_s(failures)
                self._logger.exception("fencing_failed", pause_s=pause_s)
            else:
                failures = 0
            if pause_s is None:
                return
            self._alert()
            await anyio.sleep(pause_s)

    async def _round(self) -> float | None:
        """Do the next step; gives the pause before the one after it, or None at the end."""
        job = await self._context.ledger.read(self._job_id)
        attempt = job.attempts.get(self._number) if job else None
        step = core.step_of(attempt) if attempt else core.Step.NONE
        if attempt is None or step is core.Step.NONE:
            return None
        if step is core.Step.FENCE:
            return await self._fence(attempt)
        return await self._confirm(attempt)

    async def _fence(self, attempt: AttemptState) -> float:
        await self._tell(attempt)
        refusal = await self._revoke(attempt)
        if (rest_s := self._claim_rest_s(attempt)) > 0:
            # A create is under way: its outcome is in the log soon, and wakes nobody but this loop.
            return min(rest_s, 1.0)
        # Revoking comes first; a vault that is away must not keep the machine billing.
        await self._terminate(attempt)
        if refusal is not None:
            raise refusal
        await self._context.ledger.append(
            self._job_id,
            lambda job: core.fenced_entry(job, attempt),
            CmdId(core.cmd_id("fenced", attempt)),
        )
        self._logger.info("attempt_fenced", instance=attempt.instance)
        return 0.0

    async def _tell(self, attempt: AttemptState) -> None:
        """Tell the agent, if it still listens; revocation does not depend on it."""
        subject = subjects.control(self._job_id, Attempt(self._number), "fenced")
        try:
            await self._context.bus.publish(subject, ControlMessage(reason=attempt.end_reason))
        except BrokerError as error:
            self._logger.info("fenced_untold", code=error.code)

    async def _revoke(self, attempt: AttemptState) -> VaultLayerError | None:
        if not attempt.user_key:
            return None
        try:
            await self._context.bus.request(
                subjects.vault("revoke"),
                RevokeRequest(user_keys=[attempt.user_key]),
                Done,
                timeout_s=REVOKE_TIMEOUT_S,
            )
        except VaultLayerError as error:
            self._logger.warning("revoke_failed", code=error.code, why=str(error))
            return error
        return None

    async def _terminate(self, attempt: AttemptState) -> None:
        await self._context.bus.request(
            subjects.pool(attempt.provider, "terminate"),
            self._machine(attempt),
            Done,
            timeout_s=TERMINATE_TIMEOUT_S,
        )

    async def _confirm(self, attempt: AttemptState) -> float | None:
        reply = await self._context.bus.request(
            subjects.pool(attempt.provider, "absent"),
            self._machine(attempt),
            AbsentReply,
            timeout_s=ABSENT_TIMEOUT_S,
        )
        if not reply.absent:
            self._logger.info("machine_still_listed", detail=reply.detail)
            # A provider may have accepted the first call without carrying it out.
            await self._terminate(attempt)
            return core.backoff_s(1 + int(self._waited_s() // 10))
        appended = await self._context.ledger.append(
            self._job_id,
            lambda job: core.gone_entry(job, attempt, self._context.now_s()),
            CmdId(core.cmd_id("gone", attempt)),
        )
        if appended.event is not None:
            self._logger.info("attempt_gone", instance=attempt.instance)
        return 0.0

    def _machine(self, attempt: AttemptState) -> TerminateRequest:
        """Name the machine; without an instance the pool looks for the attempt's tag."""
        return TerminateRequest(job=self._job_id, attempt=self._number, instance=attempt.instance)

    def _claim_rest_s(self, attempt: AttemptState) -> float:
        now_s = self._context.mono_s()
        if attempt.claim_cmd != self._claim:
            self._claim, self._claim_seen_s = attempt.claim_cmd, now_s
        return core.claim_rest_s(attempt, self._claim_seen_s, now_s)

    def _waited_s(self) -> float:
        return self._context.mono_s() - self._began_s

    def _alert(self) -> None:
        if not self._alerted and self._waited_s() > core.ALERT_S:
            self._alerted = True
            self._logger.error("machine_may_still_bill", waited_s=round(self._waited_s()))


def build(context: ActorContext) -> Actor:
    """Make a fencer."""
    return Fencer(context)
