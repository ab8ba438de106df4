"""Wires one attempt together: what happens goes in, the state machine decides, effects are carried out."""

import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from vaultlayer import subjects
from vaultlayer.bus.credential import BusCredential
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.driver import BootPayload
from vaultlayer.errors import BrokerError, DeniedError, SupersededError, VaultLayerError
from vaultlayer.ids import Attempt as AttemptNumber
from vaultlayer.ids import JobId
from vaultlayer.logging import get_logger
from vaultlayer.messages import Beat, ControlMessage, Enrol, Enrolment, Grant, Progress
from vaultlayer_agent import core
from vaultlayer_agent import effects as ef
from vaultlayer_agent import happenings as hp
from vaultlayer_agent.core import Stage
from vaultlayer_agent.enrol import enrol, life_s, make_keys
from vaultlayer_agent.link import PROGRESS_EVERY_S, Link
from vaultlayer_agent.notice import sigterm_grace_s
from vaultlayer_agent.output import Output, Spool
from vaultlayer_agent.progress import Tracker
from vaultlayer_agent.surroundings import Surroundings
from vaultlayer_agent.waiting import Backoff
from vaultlayer_agent.watchers import watcher_of

if TYPE_CHECKING:
    from vaultlayer_agent.attempt import Attempt

HAPPENINGS_MAX = 10_000
TICK_S = 0.25
PARTING_S = 1.5
"""How long a last notice may take before the process ends."""

RENEW_LEAST_S = 1.0


def boot_time_s() -> float:
    """Seconds since boot, sleep included, where there is such a clock; it never jumps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Agent:
    """One attempt on one machine, from its first beat to its last word.

    Args:
        boot: what the machine was told.
        state_path: the agent's own directory.
        version: told to the broker.
        clock_s: the boot-time clock.
    """

    def __init__(
        self,
        boot: BootPayload,
        *,
        state_path: Path,
        version: str = "",
        clock_s: Callable[[], float] = boot_time_s,
    ) -> None:
        self._boot = boot
        self._state_path = state_path
        self._version = version
        self._clock_s = clock_s
        self._keys = make_keys(os.urandom(64))
        self._jwt_life_s = 0.0
        self._state = core.State(attempt=boot.attempt, born_s=clock_s())
        self._outbox, self._inbox = anyio.create_memory_object_stream[hp.Happening](HAPPENINGS_MAX)
        self._output = Output(
            Spool(state_path / "spool"),
            incarnation=boot.incarnation,
            wall_s=time.time,
            clock_s=clock_s,
        )
        self._tracker = Tracker()
        self._link = Link(
            job=JobId(boot.job),
            attempt=AttemptNumber(boot.attempt),
            incarnation=boot.incarnation,
            clock_s=clock_s,
            fenced=lambda reason: self.tell(hp.FencedOff(reason=reason)),
        )
        self._attempt: Attempt | None = None
        self._group: anyio.abc.TaskGroup
        self._notices: set[anyio.Event] = set()

    @property
    def state(self) -> core.State:
        """The newest state."""
        return self._state

    def tell(self, event: hp.Happening) -> None:
        """Let something have happened; it is dealt with in order."""
        self._outbox.send_nowait(event)

    async def run(self) -> int:
        """Live until there is nothing left to do; give the process's exit status."""
        try:
            async with anyio.create_task_group() as self._group:
                for task in (self._signals, self._ticks, self._watch_notices, self._connect):
                    self._group.start_soon(task)
                await self._decide()
                self._group.cancel_scope.cancel()
        finally:
            if self._attempt is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._attempt.close)
        get_logger().info("agent_left", status=self._state.status, why=self._state.reason)
        return self._state.status

    async def _decide(self) -> None:
        async for event in self._inbox:
            before = self._state.stage
            self._state, effects = core.step(self._state, event, self._clock_s())
            if self._state.stage is not before:
                get_logger().info("stage_entered", stage=self._state.stage.value)
            for effect in effects:
                await self._perform(effect)
            if self._state.stage is Stage.DONE:
                return

    # Effects --------------------------------------------------------------------------------------

    async def _perform(self, effect: ef.Effect) -> None:
        """Carry out one effect; what takes time becomes a task that tells its outcome."""
        attempt = self._attempt
        match effect:
            case ef.Prepare():
                attempt = self._begin()
                self._then(attempt.prepare)
            case ef.SendNotice(grace_s=grace_s, source=source):
                self._send_notice(grace_s, source)
            case ef.KillScript():
                if attempt is not None:
                    await anyio.to_thread.run_sync(attempt.kill)
            case ef.Leave():
                await self._part()
            case _:
                assert attempt is not None, "nothing else comes before Prepare"
                self._perform_later(attempt, effect)

    def _perform_later(self, attempt: "Attempt", effect: ef.Effect) -> None:
        match effect:
            case ef.SendReady():
                self._then(attempt.ready)
            case ef.Place(order=order):
                self._then(lambda: attempt.place(order))
            case ef.StartScript():
                self._then(attempt.run)
            case ef.PauseScript():
                attempt.course.pause()
            case ef.ResumeScript():
                attempt.course.resume()
            case ef.StopScript(grace_s=grace_s):
                self._spawn(lambda: attempt.course.stop(grace_s))
            case ef.Finalise():
                self._then(attempt.course.finalise)
            case ef.Salvage(limit_s=limit_s):
                self._then(lambda: attempt.course.salvage(limit_s))
            case ef.SendExit():
                self._then(lambda: attempt.exit(effect))
            case _:
                raise AssertionError(effect)

    def _begin(self) -> "Attempt":
        """Load what only a machine that is wanted needs, after the first beat is on its way."""
        from vaultlayer_agent.attempt import Attempt  # noqa: PLC0415  loaded late on purpose

        self._attempt = Attempt(
            Surroundings(
                boot=self._boot,
                state_path=self._state_path,
                keys=self._keys,
                link=self._link,
                output=self._output,
                tracker=self._tracker,
                born_s=self._state.born_s,
                clock_s=self._clock_s,
                tell=self.tell,
                may_commit=lambda: core.may_commit(self._state, self._clock_s()),
                spawn=self._spawn,
            )
        )
        return self._attempt

    def _spawn(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._group.start_soon(task)

    def _then(self, act: Callable[[], Awaitable[hp.Happening | None]]) -> None:
        """Do something and tell what came of it; an error that trying again does not mend is told too."""

        async def work() -> None:
            try:
                event = await act()
            except VaultLayerError as error:
                get_logger().error("attempt_failed", code=error.code, why=str(error))
                event = hp.PrepareFailed(exit_code=error.exit_status, detail=str(error))
            if event is not None:
                self.tell(event)

        self._group.start_soon(work)

    def _send_notice(self, grace_s: float, source: str) -> None:
        attempt = self._attempt
        if attempt is None:
            return
        said = anyio.Event()
        self._notices.add(said)

        async def work() -> None:
            await attempt.notice(grace_s, source)
            said.set()

        self._group.start_soon(work)

    async def _part(self) -> None:
        """Let a notice that is on its way be said, if the broker answers at once."""
        if self._state.status == core.Status.NOTICED:
            with anyio.move_on_after(PARTING_S):
                for said in self._notices:
                    await said.wait()

    # What happens by itself -----------------------------------------------------------------------

    async def _ticks(self) -> None:
        while True:
            await anyio.sleep(TICK_S)
            self.tell(hp.Tick())

    async def _signals(self) -> None:
        """SIGTERM is how many providers announce the end; a second one, or SIGINT, asks for it."""
        grace_s = sigterm_grace_s(self._boot.provider)
        terms = 0
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                terms += number == signal.SIGTERM
                if number == signal.SIGINT or terms > 1:
                    self.tell(hp.StopAsked(reason=f"{signal.Signals(number).name} received"))
                else:
                    self.tell(hp.Noticed(grace_s=grace_s, source="sigterm", ends_idle=True))

    async def _watch_notices(self) -> None:
        async for notice in watcher_of(self._boot.provider)(self._state_path):
            self.tell(hp.Noticed(grace_s=notice.grace_s, source=notice.source))

    # The bus --------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Enrol, connect with the machine's own credential, and speak until the agent leaves."""
        try:
            enrolment = await enrol(self._boot, self._keys, version=self._version)
            await self._stay_connected(enrolment)
        except (DeniedError, SupersededError) as error:
            self.tell(hp.FencedOff(reason=f"not admitted: {error.what}"))
        except VaultLayerError as error:
            self.tell(hp.Refused(reason=f"not admitted: {error.what} ({error.code})"))

    async def _stay_connected(self, enrolment: Enrolment) -> None:
        job, attempt = JobId(self._boot.job), AttemptNumber(self._boot.attempt)
        self._jwt_life_s = life_s(enrolment.user_jwt)
        backoff = Backoff()
        while True:
            tried_s = self._clock_s()
            try:
                async with open_bus(
                    enrolment.bus_urls or self._boot.bus_urls,
                    BusCredential(jwt=enrolment.user_jwt, seed=self._keys.user_seed),
                    inbox=subjects.agent_inbox(job, attempt),
                    name=f"agent-{job}-a{attempt}",
                ) as bus:
                    await self._speak(bus)
            except BrokerError as error:
                get_logger().info("bus_unreached", code=error.code)
                self._unanswered(tried_s)
            await backoff.wait()

    async def _speak(self, bus: NatsBus) -> None:
        link = self._link
        link.attach(bus)
        bus.on_reconnect(self._output.rewind)
        async with task_group() as group:
            group.start_soon(link.beats, self._beat, self._granted, self._unanswered)
            group.start_soon(self._obey, link)
            group.start_soon(self._output.send, link.store)
            group.start_soon(self._publish_progress, link)
            group.start_soon(self._renew, bus, link)
            self.tell(hp.Enrolled())

    def _beat(self, number: int) -> Beat:
        now = self._tracker.now
        return Beat(
            incarnation=self._boot.incarnation,
            number=number,
            stage=self._state.stage.value,
            step=self._tracker.step,
            steps=now.steps,
            loss=now.loss,
            active=self._state.stage in {Stage.ACTIVE, Stage.EXITING},
        )

    def _granted(self, sent_s: float, grant: Grant) -> None:
        self.tell(hp.Granted(sent_s=sent_s, grant=grant))

    def _unanswered(self, sent_s: float) -> None:
        self.tell(hp.BeatFailed(sent_s=sent_s))

    async def _obey(self, link: Link) -> None:
        async for control in link.controls():
            self._ordered(control.verb, control.message)

    def _ordered(self, verb: str, message: ControlMessage) -> None:
        if verb == "takeover" and message.takeover is not None:
            self.tell(hp.TakeoverOrdered(order=message.takeover))
        elif verb == "fenced":
            self.tell(hp.FencedOff(reason=message.reason or "the broker says so"))
        elif verb == "stop":
            self.tell(hp.StopAsked(reason=message.reason or "the broker asks for it"))
        elif verb == "save" and self._attempt is not None and self._state.has_script:
            self._spawn(self._attempt.course.save)

    async def _publish_progress(self, link: Link) -> None:
        """Publish what changed, at most five times a second."""
        last: Progress | None = None
        while True:
            now = self._tracker.now
            progress = Progress(
                incarnation=self._boot.incarnation,
                stage=self._state.stage.value,
                step=now.step,
                steps=now.steps,
                loss=now.loss,
                rate=now.rate,
            )
            if progress != last:
                await link.progress(progress)
                last = progress
            await anyio.sleep(PROGRESS_EVERY_S)

    async def _renew(self, bus: NatsBus, link: Link) -> None:
        """Get another JWT at half of each one's life; the newest is shown at every new connection."""
        request = Enrol(
            incarnation=self._boot.incarnation,
            user_key=self._keys.user_key,
            seal_key=self._keys.seal_key,
            agent_version=self._version,
        )
        while self._jwt_life_s:
            await anyio.sleep(max(RENEW_LEAST_S, self._jwt_life_s / 2))
            try:
                renewed = await link.ask("renew", request, Enrolment)
            except VaultLayerError as error:
                get_logger().warning("credential_not_renewed", code=error.code, why=error.what)
                continue
            self._jwt_life_s = life_s(renewed.user_jwt)
            await bus.renew(BusCredential(jwt=renewed.user_jwt, seed=self._keys.user_seed))
