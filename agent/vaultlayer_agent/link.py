"""One attempt's words on the bus: requests until answered, beats, output, progress, and orders heard."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

import anyio
import msgspec

from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.errors import (
    BrokerDownError,
    BrokerError,
    DeniedError,
    SupersededError,
    VaultLayerError,
)
from vaultlayer.ids import Attempt, JobId
from vaultlayer.lease import LeaseTerms
from vaultlayer.logging import get_logger
from vaultlayer.messages import Beat, ControlMessage, Grant, LogChunk, Message, Progress
from vaultlayer_agent.waiting import Backoff

T = TypeVar("T", bound=msgspec.Struct)

REQUEST_TIMEOUT_S = 5.0
COMMIT_TIMEOUT_S = 15.0
"""The broker reads the manifest from the bucket before it answers."""

DEFECT_TRIES = 20
"""How often a request is made again that met a defect of the broker's; it may be restarted meanwhile."""

PROGRESS_EVERY_S = 0.2
FENCING_ERRORS = (SupersededError, DeniedError)
"""Answers after which an attempt has nothing more to say."""


class AgentBus(Bus, Protocol):
    """The bus as an agent uses it."""

    async def store_log(self, subject: str, chunk: LogChunk) -> int:
        """Have a chunk of output stored; returns when that is acknowledged."""
        ...


class Control(Message, frozen=True, kw_only=True):
    """One thing that the broker tells this agent."""

    verb: str
    message: ControlMessage


class Link:
    """Speaks for one attempt."""

    def __init__(
        self,
        *,
        job: JobId,
        attempt: Attempt,
        incarnation: str,
        clock_s: Callable[[], float],
        fenced: Callable[[str], None],
    ) -> None:
        self._attached: AgentBus | None = None
        self._beats = 0
        self._job = job
        self._attempt = attempt
        self.incarnation = incarnation
        self._clock_s = clock_s
        self._fenced = fenced

    def attach(self, bus: AgentBus) -> None:
        """Speak over this connection from now on."""
        self._attached = bus

    @property
    def _bus(self) -> AgentBus:
        if self._attached is None:
            raise BrokerDownError("there is no connection to the bus yet", retryable=True)
        return self._attached

    def subject(self, verb: str) -> str:
        """Where this attempt says `verb`."""
        return subjects.agent(self._job, self._attempt, verb)

    def cmd_id(self, verb: str, number: int = 0) -> str:
        """Name a request, so that the broker knows its repetition."""
        tail = f"-{number}" if number else ""
        return f"{verb}-{self._attempt}-{self.incarnation}{tail}"

    async def ask(
        self, verb: str, message: msgspec.Struct, reply: type[T], *, timeout_s: float | None = None
    ) -> T:
        """Ask until answered, however long the broker is away.

        An answer that fences this attempt is told to the state machine, and the call never returns:
        it is cancelled when the agent leaves.

        Raises:
            VaultLayerError: a refusal that trying again would not change.
        """
        backoff = Backoff()
        while True:
            try:
                return await self.ask_once(verb, message, reply, timeout_s=timeout_s)
            except BrokerError as error:
                if backoff.tries % 10 == 0:
                    get_logger().info("request_unanswered", verb=verb, code=error.code)
            except VaultLayerError as error:
                is_defect = error.code == "internal" and backoff.tries < DEFECT_TRIES
                if not (error.retryable or is_defect):
                    raise
                get_logger().info("request_put_off", verb=verb, code=error.code)
            await backoff.wait()

    async def ask_once(
        self, verb: str, message: msgspec.Struct, reply: type[T], *, timeout_s: float | None = None
    ) -> T:
        """Ask once; fencing answers are treated as in `ask`."""
        try:
            return await self._bus.request(
                self.subject(verb), message, reply, timeout_s=timeout_s or REQUEST_TIMEOUT_S
            )
        except FENCING_ERRORS as error:
            self._fenced(f"{verb}: {error.what}")
            await anyio.sleep_forever()
            raise

    async def beats(
        self,
        make: Callable[[int], Beat],
        granted: Callable[[float, Grant], None],
        failed: Callable[[float], None],
    ) -> None:
        """Beat until cancelled.

        Args:
            make: gives the beat of a number.
            granted: takes when a beat was sent and what it was granted.
            failed: takes when a beat was sent that was not answered.
        """
        beat_s = LeaseTerms().beat_s
        pauses = Backoff(first_s=0.2, cap_s=1.0)
        while True:
            self._beats += 1
            sent_s = self._clock_s()
            grant = await self._beat(make(self._beats), timeout_s=beat_s * 0.8)
            if grant is None:
                failed(sent_s)
                # Unanswered: the sooner it is heard again, the less work is doubted.
                await anyio.sleep(min(pauses.next_s(), beat_s * 0.2))
                continue
            pauses = Backoff(first_s=0.2, cap_s=1.0)
            granted(sent_s, grant)
            beat_s = max(0.05, grant.beat_s)
            await anyio.sleep(max(0.0, beat_s - (self._clock_s() - sent_s)))

    async def _beat(self, beat: Beat, *, timeout_s: float) -> Grant | None:
        try:
            return await self.ask_once("beat", beat, Grant, timeout_s=timeout_s)
        except VaultLayerError as error:
            get_logger().debug("beat_unanswered", number=beat.number, code=error.code)
            return None

    async def controls(self) -> AsyncIterator[Control]:
        """Give what the broker tells this attempt, until cancelled."""
        async with self._bus.subscribe(subjects.controls(self._job, self._attempt)) as incoming:
            async for one in incoming:
                try:
                    message = msgspec.json.decode(one.payload or b"{}", type=ControlMessage)
                except msgspec.MsgspecError:
                    get_logger().warning("control_unreadable", subject=one.subject)
                    continue
                yield Control(verb=one.subject.rpartition(".")[2], message=message)

    async def store(self, chunk: LogChunk) -> None:
        """Have output stored."""
        await self._bus.store_log(self.subject("log"), chunk)

    async def progress(self, progress: Progress) -> None:
        """Tell watchers; nobody minds when it is lost."""
        try:
            await self._bus.publish(self.subject("progress"), progress)
        except VaultLayerError as error:
            get_logger().debug("progress_unsent", code=error.code)
