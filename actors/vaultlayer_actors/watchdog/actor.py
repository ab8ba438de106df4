"""The watchdog: hears every beat, grants leases, and appends what long silence means."""

import anyio
import msgspec
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from vaultlayer import subjects
from vaultlayer.errors import BrokerError, VaultLayerError
from vaultlayer.events import Event
from vaultlayer.ids import CmdId, JobId
from vaultlayer.job import Job
from vaultlayer.messages import Beat, Grant, ProbeReply, ProbeRequest
from vaultlayer_actors.context import Actor, ActorContext
from vaultlayer_actors.jobloop import JobLoop
from vaultlayer_actors.watchdog import core
from vaultlayer_actors.watchdog.membership import Membership

TICK_S = 0.5
"""How often silence is looked at; a verdict comes at most so much later than its time."""

FOLD_AGE_S = 15.0
"""A fold older than this is read again at the next beat, should a live event have been missed."""

PROBERS = 8
PROBES_MAX = 256
PROBE_TIMEOUT_S = 10.0
APPENDS_MAX = 32
"""Jobs whose verdicts are appended at the same time."""


class Watchdog:
    """One of any number of watchdogs; each hears all beats, and compare-and-swap lets one verdict count."""

    kind = "watchdog"

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._logger = context.logger
        self._members = Membership(context.actor, context.mono_s)
        self._table: dict[JobId, dict[int, core.Seen]] = {}
        self._read_at: dict[JobId, float] = {}
        """When each job's fold was last read; a job with news is not in here."""
        self._busy: set[JobId] = set()
        self._probing: set[tuple[JobId, int]] = set()
        self._slots = anyio.CapacityLimiter(APPENDS_MAX)
        self._braked = False
        self._commands = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        bus = self._context.bus
        probes, probed = anyio.create_memory_object_stream[tuple[JobId, int]](PROBES_MAX)
        bus.on_reconnect(self._renew)
        async with (
            anyio.create_task_group() as group,
            probes,
            probed,
            bus.serve(subjects.agents("beat"), self._beat, allowed=_inbox_of),
        ):
            self._context.served()
            for _ in range(PROBERS):
                group.start_soon(self._probe_for_ever, probed.clone())
            group.start_soon(self._members.run, bus)
            group.start_soon(self._hear_news)
            group.start_soon(self._judge_for_ever, group, probes)
            await JobLoop(self._context).run(self._look)

    # What is heard --------------------------------------------------------------------------------

    async def _beat(self, subject: str, payload: bytes) -> Grant | None:
        heard_s = self._context.mono_s()
        job_id, number, _ = subjects.parse_agent(subject)
        beat = msgspec.json.decode(payload, type=Beat)
        job = await self._fold(job_id, number)
        attempt = job.attempts.get(number) if job else None
        if job is None or attempt is None:
            self._logger.warning("beat_unknown", job=job_id, attempt=number)
            return None
        if attempt.incarnation == beat.incarnation and attempt.is_live:
            seen = core.heard(self._table.get(job_id, {}).get(number), attempt, beat, heard_s)
            if seen is None:
                return None
            self._table.setdefault(job_id, {})[number] = seen
        return core.granted(job, number, beat, self._context.terms)

    async def _fold(self, job_id: JobId, number: int) -> Job | None:
        """Give a fold that is fresh enough to grant by."""
        known = self._context.ledger.peek(job_id)
        age_s = self._context.mono_s() - self._read_at.get(job_id, float("-inf"))
        if known is not None and number in known.attempts and age_s < FOLD_AGE_S:
            return known
        try:
            return await self._read(job_id)
        except BrokerError as error:
            # Nobody can take over while the log is away, so the newest known state still holds.
            self._logger.warning("fold_old", job=job_id, code=error.code)
            return known

    async def _read(self, job_id: JobId) -> Job | None:
        self._read_at[job_id] = self._context.mono_s()
        try:
            job = await self._context.ledger.read(job_id)
        except VaultLayerError:
            self._read_at.pop(job_id, None)
            raise
        self._sync(job_id, job)
        return job

    async def _hear_news(self) -> None:
        """Mark the folds that have become old: the job loop gives each change to one watchdog only."""
        async with self._context.bus.subscribe(subjects.LIVE_DESTINATION) as messages:
            async for message in messages:
                self._read_at.pop(subjects.parse_event(message.subject)[0], None)

    async def _look(self, job_id: JobId) -> float | None:
        """Watch the attempts of a job that changed; silence itself is judged by the clock."""
        await self._read(job_id)
        return None

    def _sync(self, job_id: JobId, job: Job | None) -> None:
        now_s = self._context.mono_s()
        table = core.watched(job, self._table.get(job_id, {}), now_s) if job else {}
        if table:
            self._table[job_id] = table
        else:
            self._table.pop(job_id, None)
        if job is None or job.closed:
            self._read_at.pop(job_id, None)

    def _renew(self) -> None:
        now_s = self._context.mono_s()
        self._read_at.clear()
        for job_id, table in self._table.items():
            self._table[job_id] = core.renewed(table, now_s)
        self._logger.info("leases_renewed", jobs=len(self._table))

    def _forgive(self, stalled_s: float, now_s: float) -> None:
        terms = self._context.terms
        for job_id, table in self._table.items():
            self._table[job_id] = core.forgiven(table, stalled_s, now_s, terms)
        self._logger.warning("watchdog_stalled", stalled_s=round(stalled_s, 1))

    # What is judged -------------------------------------------------------------------------------

    async def _judge_for_ever(
        self, group: TaskGroup, probes: MemoryObjectSendStream[tuple[JobId, int]]
    ) -> None:
        while True:
            before_s = self._context.mono_s()
            await anyio.sleep(TICK_S)
            now_s = self._context.mono_s()
            if stalled_s := core.stall_s(TICK_S, now_s - before_s, self._context.terms):
                self._forgive(stalled_s, now_s)
                continue
            self._look_for_brake(now_s)
            for job_id in [j for j in self._table if j not in self._busy]:
                self._judge(group, probes, job_id, now_s)

    def _look_for_brake(self, now_s: float) -> None:
        everybody = (seen for table in self._table.values() for seen in table.values())
        braked = core.braked(everybody, now_s, self._context.terms)
        if braked != self._braked:
            self._logger.error("brake_set" if braked else "brake_released", jobs=len(self._table))
        self._braked = braked

    def _judge(
        self,
        group: TaskGroup,
        probes: MemoryObjectSendStream[tuple[JobId, int]],
        job_id: JobId,
        now_s: float,
    ) -> None:
        terms, rank = self._context.terms, self._members.rank(job_id)
        loud = [
            (number, seen)
            for number, seen in self._table[job_id].items()
            if not core.is_quiet(seen, now_s, terms)
        ]
        if not loud:
            return
        job = self._context.ledger.peek(job_id)
        verdicts: list[tuple[int, core.Seen, core.Verdict]] = []
        for number, seen in loud:
            attempt = job.attempts.get(number) if job else None
            if attempt is None:
                continue
            verdict = core.judge(
                attempt, seen, now_s=now_s, terms=terms, rank=rank, brake=self._braked
            )
            if verdict.probe:
                self._ask(probes, job_id, number, now_s)
            if verdict.kind:
                verdicts.append((number, seen, verdict))
        if verdicts or job is None:
            self._busy.add(job_id)
            group.start_soon(self._append_all, job_id, verdicts)

    async def _append_all(
        self, job_id: JobId, verdicts: list[tuple[int, core.Seen, core.Verdict]]
    ) -> None:
        try:
            async with self._slots:
                if not verdicts:
                    # The ledger has dropped the fold; the next tick judges by a new one.
                    await self._read(job_id)
                for number, seen, verdict in verdicts:
                    await self._append(job_id, number, seen, verdict)
        except VaultLayerError as error:
            # The silence goes on, so the next tick judges it again.
            self._logger.warning("verdict_deferred", job=job_id, code=error.code, why=str(error))
        finally:
            self._busy.discard(job_id)

    async def _append(
        self, job_id: JobId, number: int, seen: core.Seen, verdict: core.Verdict
    ) -> None:
        def decide(job: Job | None) -> Event | None:
            now = self._table.get(job_id, {}).get(number)
            if (
                now is not None
                and verdict.kind is not core.Kind.CLEARED
                and now.number != seen.number
            ):
                return None
            return core.entry_of(verdict, job, number, seen.incarnation)

        self._commands += 1
        cmd_id = CmdId(f"{self._context.actor}-{self._commands}")
        appended = await self._context.ledger.append(job_id, decide, cmd_id)
        self._sync(job_id, appended.job)
        if appended.event is not None:
            self._logger.info(
                "verdict_appended",
                job=job_id,
                attempt=number,
                verdict=verdict.kind.value,
                silent_s=round(verdict.silent_s, 1),
                evidence=verdict.evidence,
            )

    # What the provider is asked -------------------------------------------------------------------

    def _ask(
        self,
        probes: MemoryObjectSendStream[tuple[JobId, int]],
        job_id: JobId,
        number: int,
        now_s: float,
    ) -> None:
        if (job_id, number) in self._probing:
            return
        try:
            probes.send_nowait((job_id, number))
        except anyio.WouldBlock:
            return
        self._probing.add((job_id, number))
        table = self._table[job_id]
        table[number] = core.replace(table[number], probed_s=now_s)

    async def _probe_for_ever(self, probed: MemoryObjectReceiveStream[tuple[JobId, int]]) -> None:
        async with probed:
            async for job_id, number in probed:
                try:
                    await self._probe(job_id, number)
                except VaultLayerError as error:
                    self._logger.warning(
                        "probe_failed", job=job_id, attempt=number, code=error.code, why=str(error)
                    )
                finally:
                    self._probing.discard((job_id, number))

    async def _probe(self, job_id: JobId, number: int) -> None:
        seen = self._table.get(job_id, {}).get(number)
        job = self._context.ledger.peek(job_id)
        attempt = job.attempts.get(number) if job else None
        if seen is None or attempt is None or not attempt.is_live:
            return
        reply = await self._context.bus.request(
            subjects.pool(attempt.provider, "probe"),
            ProbeRequest(instance=attempt.instance),
            ProbeReply,
            timeout_s=PROBE_TIMEOUT_S,
        )
        if reply.vanished:
            found = reply.instance
            verdict = core.vanished(found.state, found.detail, seen, self._context.mono_s())
            await self._append(job_id, number, seen, verdict)


def _inbox_of(subject: str) -> str:
    job_id, number, _ = subjects.parse_agent(subject)
    return subjects.agent_inbox(job_id, number)


def build(context: ActorContext) -> Actor:
    """Make a watchdog."""
    return Watchdog(context)
