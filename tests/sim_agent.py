"""One attempt on a simulated machine: the agent's own rules and link around a made-up script and bucket."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import anyio
from anyio.abc import TaskGroup

from sim_machines import Machine
from sim_wire import Wire, WireBus
from vaultlayer.driver import (
    BootPayload,
)
from vaultlayer.errors import (
    BrokerError,
    CheckpointError,
    SupersededError,
    VaultLayerError,
)
from vaultlayer.ids import Attempt, JobId
from vaultlayer.messages import (
    Beat,
    Brief,
    BriefRequest,
    CheckpointRef,
    CommitRequest,
    Done,
    Enrol,
    Enrolment,
    ExitReport,
    Grant,
    NoticeReport,
    ReadyReply,
    ReadyReport,
    RejectReply,
    RejectReport,
    StartedReport,
    TakeoverOrder,
)
from vaultlayer_agent import core
from vaultlayer_agent import effects as ef
from vaultlayer_agent import happenings as hp
from vaultlayer_agent.core import Stage, State
from vaultlayer_agent.link import Link

SAVE_EVERY = 15
"""Units of work between checkpoints."""


@dataclass
class Bucket:
    """What was uploaded: how far the script was, and whether it can still be read."""

    progress: dict[str, int] = field(default_factory=dict[str, int])
    damaged: set[str] = field(default_factory=set[str])


@dataclass(eq=False)
class Script:
    """A run of the script: it counts up to `total`."""

    progress: int
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_paused: bool = False
    end_signal: int = 0


class Agent:
    """One attempt: the agent's own state machine and link, with everything else made up."""

    def __init__(
        self, machine: Machine, wire: Wire, bucket: Bucket, *, total: int, dice: Random
    ) -> None:
        boot: BootPayload = machine.order.boot
        self._machine = machine
        self._boot = boot
        self._wire = wire
        self._bucket = bucket
        self._total = total
        self._dice = dice
        self.key = f"U{boot.job}{boot.attempt}{boot.incarnation}"
        self.bus = WireBus(wire, f"agent-{boot.attempt}", machine.gate)
        self.state = State(attempt=boot.attempt, born_s=anyio.current_time())
        self.script: Script | None = None
        self.placed: tuple[CheckpointRef | None, int] | None = None
        self._seq = 0
        self._ending: tuple[int, int] = (0, 0)
        self._group: TaskGroup
        self._is_over = False
        self._link = Link(
            job=JobId(boot.job),
            attempt=Attempt(boot.attempt),
            incarnation=boot.incarnation,
            clock_s=anyio.current_time,
            fenced=lambda reason: self.tell(hp.FencedOff(reason=reason)),
        )
        self._outbox, self._inbox = anyio.create_memory_object_stream[hp.Happening](10_000)

    def tell(self, event: hp.Happening) -> None:
        if not self._is_over:
            self._outbox.send_nowait(event)

    async def run(self) -> int:
        """Live; give the exit status."""
        try:
            async with anyio.create_task_group() as self._group:
                self._group.start_soon(self._ticks)
                self._group.start_soon(self._connect)
                await self._decide()
                self._group.cancel_scope.cancel()
        finally:
            self.script = None
            self._is_over = True
            self._wire.buses.discard(self.bus)
            self._outbox.close()
            self._inbox.close()
        return self.state.status

    async def _decide(self) -> None:
        async for event in self._inbox:
            await self._machine.gate()
            self.state, effects = core.step(self.state, event, anyio.current_time())
            for effect in effects:
                self._perform(effect)
            if self.state.stage is Stage.DONE:
                return

    async def _ticks(self) -> None:
        while True:
            await anyio.sleep(0.25)
            await self._machine.gate()
            self.tell(hp.Tick())

    async def _connect(self) -> None:
        await anyio.sleep(self._dice.uniform(0.1, 5.0))
        request = Enrol(incarnation=self._boot.incarnation, user_key=self.key, seal_key="s")
        self._link.attach(self.bus)  # type: ignore[arg-type]
        while True:
            try:
                await self.bus.request(self._link.subject("enrol"), request, Enrolment)
                break
            except BrokerError:
                await anyio.sleep(1.0)
            except VaultLayerError as error:
                self.tell(hp.FencedOff(reason=error.what))
                return
        self._group.start_soon(self._link.beats, self._beat, self._granted, self._unanswered)
        self._group.start_soon(self._obey)
        self.tell(hp.Enrolled())

    def _beat(self, number: int) -> Beat:
        return Beat(
            incarnation=self._boot.incarnation,
            number=number,
            stage=self.state.stage.value,
            step=self.script.progress if self.script else None,
            active=self.state.stage in {Stage.ACTIVE, Stage.EXITING},
        )

    def _granted(self, sent_s: float, grant: Grant) -> None:
        self.tell(hp.Granted(sent_s=sent_s, grant=grant))

    def _unanswered(self, sent_s: float) -> None:
        self.tell(hp.BeatFailed(sent_s=sent_s))

    async def _obey(self) -> None:
        async for control in self._link.controls():
            if control.verb == "takeover" and control.message.takeover is not None:
                self.tell(hp.TakeoverOrdered(order=control.message.takeover))
            elif control.verb == "fenced":
                self.tell(hp.FencedOff(reason="told"))
            elif control.verb == "stop":
                self.tell(hp.StopAsked(reason="told"))

    # Effects --------------------------------------------------------------------------------------

    def _perform(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Prepare():
                self._then(self._prepare)
            case ef.SendReady():
                self._then(self._ready)
            case ef.Place(order=order):
                self._then(lambda: self._place(order))
            case ef.StartScript():
                self._then(self._run_script)
            case ef.PauseScript() if self.script:
                self.script.is_paused = True
            case ef.ResumeScript() if self.script:
                self.script.is_paused = False
            case ef.StopScript() if self.script:
                self.end_script(15)
            case ef.KillScript() if self.script:
                self.script.scope.cancel()
                self.script = None
            case ef.Finalise():
                self._then(self._finalise)
            case ef.Salvage():
                self._then(self._salvage)
            case ef.SendExit():
                self._then(lambda: self._exit(effect))
            case ef.SendNotice(grace_s=grace_s, source=source):
                self._then(lambda: self._notice(grace_s, source))
            case _:
                return

    def _then(self, act: Callable[[], Awaitable[hp.Happening | None]]) -> None:
        async def work() -> None:
            try:
                event = await act()
            except VaultLayerError as error:
                event = hp.PrepareFailed(exit_code=error.exit_status, detail=str(error))
            if event is not None:
                self.tell(event)

        self._group.start_soon(work)

    async def _prepare(self) -> hp.Happening:
        brief = await self._link.ask(
            "brief", BriefRequest(incarnation=self._boot.incarnation), Brief
        )
        await anyio.sleep(self._dice.uniform(0.1, 8.0))
        self.tell(hp.Briefed(strict=brief.spec.strict))
        return hp.Prepared()

    async def _ready(self) -> hp.Happening | None:
        report = ReadyReport(cmd_id=self._link.cmd_id("ready"), incarnation=self._boot.incarnation)
        reply = await self._link.ask("ready", report, ReadyReply)
        return hp.TakeoverOrdered(order=reply.takeover) if reply.takeover else None

    async def _place(self, order: TakeoverOrder) -> hp.Happening:
        head = order.head
        await anyio.sleep(self._dice.uniform(0.1, 5.0))
        while head is not None and head.manifest in self._bucket.damaged:
            report = RejectReport(
                cmd_id=f"{self._link.cmd_id('reject')}-{head.manifest}",
                incarnation=self._boot.incarnation,
                manifest=head.manifest,
                reason="damaged",
            )
            head = (await self._link.ask("reject", report, RejectReply)).head
        self.placed = head, self._bucket.progress[head.manifest] if head else 0
        return hp.Placed()

    async def _run_script(self) -> hp.Happening:
        assert self.placed is not None
        script = self.script = Script(self.placed[1])
        self.tell(hp.ScriptStarted())
        self._then(self._started)
        with script.scope:
            while script.progress < self._total:
                await anyio.sleep(1.0)
                await self._machine.gate()
                if script.is_paused:
                    continue
                script.progress += 1
                if script.progress % SAVE_EVERY == 0 and script.progress < self._total:
                    self._group.start_soon(self._save, script.progress)
        self._ending = (128 + script.end_signal, script.end_signal) if script.end_signal else (0, 0)
        self.placed = self.placed[0], script.progress
        self.script = None
        return hp.ScriptEnded()

    def end_script(self, number: int) -> None:
        """The script dies by a signal."""
        if self.script is not None:
            self.script.end_signal = number
            self.script.scope.cancel()

    async def _started(self) -> None:
        report = StartedReport(
            cmd_id=self._link.cmd_id("started"), incarnation=self._boot.incarnation
        )
        await self._link.ask("started", report, Done)

    async def _save(self, progress: int) -> None:
        """A checkpoint on the way: tried a few times, then passed over."""
        request = await self._upload(progress, final=False)
        for _ in range(3):
            try:
                if core.may_commit(self.state, anyio.current_time()):
                    await self._link.ask_once("ckpt", request, Done, timeout_s=15.0)
                    return
            except BrokerError:
                pass
            except VaultLayerError:
                return
            await anyio.sleep(1.0)

    async def _upload(self, progress: int, *, final: bool) -> CommitRequest:
        self._seq += 1
        seq = self._seq
        await anyio.sleep(self._dice.uniform(0.1, 4.0))
        manifest = f"m{self._boot.attempt}-{self._boot.incarnation}-{seq}"
        self._bucket.progress[manifest] = progress
        return CommitRequest(
            cmd_id=self._link.cmd_id("ckpt", seq),
            incarnation=self._boot.incarnation,
            seq=seq,
            manifest=manifest,
            key=f"{self._boot.attempt}/{manifest}",
            step=progress,
            final=final,
        )

    async def _finalise(self) -> hp.Happening:
        assert self.placed is not None
        while True:
            request = await self._upload(self.placed[1], final=True)
            while True:
                if core.may_commit(self.state, anyio.current_time()):
                    try:
                        await self._link.ask_once("ckpt", request, Done, timeout_s=15.0)
                    except BrokerError:
                        pass
                    except CheckpointError:
                        break
                    else:
                        return hp.Finalised()
                await anyio.sleep(self._dice.uniform(0.5, 3.0))

    async def _salvage(self) -> hp.Happening:
        self.end_script(15)
        await anyio.sleep(1.0)
        return hp.Salvaged()

    async def _exit(self, effect: ef.SendExit) -> hp.Happening:
        code, number = self._ending
        report = ExitReport(
            cmd_id=self._link.cmd_id("exit"),
            incarnation=self._boot.incarnation,
            exit_code=code if effect.exit_code is None else effect.exit_code,
            signal=number if effect.exit_code is None else effect.signal,
            detail=effect.detail,
        )
        await self._link.ask("exit", report, Done)
        return hp.ExitAnswered()

    async def _notice(self, grace_s: float, source: str) -> None:
        report = NoticeReport(
            cmd_id=f"{self._link.cmd_id('notice')}-{source}",
            incarnation=self._boot.incarnation,
            grace_s=grace_s,
            source=source,
        )
        try:
            await self._link.ask("notice", report, Done, timeout_s=2.0)
        except SupersededError:
            return
