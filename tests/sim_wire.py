"""A bus in memory that loses, doubles and delays, in time that is skipped instead of waited for."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup

from vaultlayer import subjects
from vaultlayer.bus.memory import Fault, MemoryLog
from vaultlayer.bus.protocol import Changed, Entry, Handler, Incoming, ReplyPrefix
from vaultlayer.errors import BrokerDownError, BusTimeoutError, ErrorBody, VaultLayerError, error_of
from vaultlayer.events import Event, encode, kind_of
from vaultlayer.ids import Attempt, JobId
from vaultlayer.messages import JobRow, LogChunk, LogsPage

T = TypeVar("T", bound=msgspec.Struct)


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a pattern with `*` and `>`."""
    wanted, given = pattern.split("."), subject.split(".")
    for at, word in enumerate(wanted):
        if word == ">":
            return len(given) > at
        if at >= len(given) or word not in {"*", given[at]}:
            return False
    return len(wanted) == len(given)


@dataclass(eq=False)
class Service:
    """One process's answer to a pattern."""

    pattern: str
    handler: Handler
    queue: str
    group: TaskGroup
    bus: "WireBus"


@dataclass
class Waiting:
    """A question and the first answer to it."""

    came: anyio.Event = field(default_factory=anyio.Event)
    answer: msgspec.Struct | VaultLayerError | None = None


@dataclass
class Wire:
    """Everything between the processes. `loss` and `doubling` are shares of the requests."""

    dice: Random
    loss: float = 0.0
    doubling: float = 0.0
    log_faults: float = 0.0
    is_down: bool = False
    services: list[Service] = field(default_factory=list[Service])
    listeners: list[tuple[str, Callable[[Incoming], None], "WireBus"]] = field(
        default_factory=list[tuple[str, Callable[[Incoming], None], "WireBus"]]
    )
    buses: set["WireBus"] = field(default_factory=set["WireBus"])

    def __hash__(self) -> int:
        return id(self)

    def deliver(self, subject: str, payload: bytes, seq: int = 0) -> None:
        for pattern, hear, bus in list(self.listeners):
            if matches(pattern, subject) and bus.is_connected:
                hear(Incoming(subject, payload, seq))

    def pick(self, subject: str) -> list[Service]:
        """One service of each queue, and every one without a queue."""
        found = [s for s in self.services if matches(s.pattern, subject) and s.bus.is_connected]
        alone = [s for s in found if not s.queue]
        queues = sorted({s.queue for s in found if s.queue})
        return alone + [self.dice.choice([s for s in found if s.queue == q]) for q in queues]

    def heal(self) -> None:
        self.is_down = False
        for bus in list(self.buses):
            bus.reconnected()


class WireBus:
    """One process's connection; implements `vaultlayer.bus.protocol.Bus`."""

    def __init__(self, wire: Wire, name: str, gate: Callable[[], Awaitable[None]]) -> None:
        self.wire = wire
        self.name = name
        self.is_cut = False
        self.was_revoked = False
        self._gate = gate
        self._callbacks: list[Callable[[], None]] = []
        wire.buses.add(self)

    @property
    def inbox(self) -> str:
        return f"_INBOX.{self.name}"

    @property
    def is_connected(self) -> bool:
        return not (self.wire.is_down or self.is_cut or self.was_revoked)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def reconnected(self) -> None:
        if self.is_connected:
            for callback in self._callbacks:
                callback()

    def check(self) -> None:
        if not self.is_connected:
            raise BrokerDownError("there is no connection to the bus", retryable=True)

    async def publish(self, subject: str, message: msgspec.Struct) -> None:
        await self._gate()
        self.check()
        if self.wire.dice.random() >= self.wire.loss:
            self.wire.deliver(subject, msgspec.json.encode(message))

    async def request(
        self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout_s: float = 5.0
    ) -> T:
        await self._gate()
        self.check()
        dice = self.wire.dice
        lost = dice.random() < self.wire.loss
        chosen = [] if lost else self.wire.pick(subject)
        if not chosen and not lost:
            await anyio.sleep(0.01)
            raise BrokerDownError(f"nobody serves {subject}", retryable=True)
        waiting = Waiting()
        payload = msgspec.json.encode(message)
        for service in chosen:
            for _ in range(1 + (dice.random() < self.wire.doubling)):
                service.group.start_soon(self._serve, service, subject, payload, waiting)
        with anyio.move_on_after(timeout_s):
            await waiting.came.wait()
            await self._gate()
            answer = waiting.answer
            if isinstance(answer, VaultLayerError):
                raise answer
            return msgspec.json.decode(msgspec.json.encode(answer), type=reply)
        raise BusTimeoutError(f"no answer from {subject}", retryable=True)

    async def _serve(
        self,
        service: Service,
        subject: str,
        payload: bytes,
        waiting: "Waiting",
    ) -> None:
        dice = self.wire.dice
        await anyio.sleep(dice.expovariate(50.0))
        answer: msgspec.Struct | VaultLayerError | None
        try:
            answer = await service.handler(subject, payload)
        except VaultLayerError as error:
            # As over the wire: the body is all that travels.
            body = msgspec.json.decode(msgspec.json.encode(error.body()), type=ErrorBody)
            answer = error_of(body)
        await anyio.sleep(dice.expovariate(50.0))
        is_heard = self.is_connected and service.bus.is_connected
        is_heard = is_heard and dice.random() >= self.wire.loss
        if answer is not None and is_heard and not waiting.came.is_set():
            waiting.answer = answer
            waiting.came.set()

    async def gather(
        self, subject: str, message: msgspec.Struct, reply: type[T], *, wait_s: float, most: int = 0
    ) -> list[T]:
        return [await self.request(subject, message, reply, timeout_s=wait_s)][: most or None]

    @asynccontextmanager
    async def serve(
        self,
        subject: str,
        handler: Handler,
        *,
        queue: str = "",
        allowed: ReplyPrefix | None = None,  # noqa: ARG002  who may ask is the real bus's business
    ) -> AsyncGenerator[None]:
        async with anyio.create_task_group() as group:
            service = Service(subject, handler, queue, group, self)
            self.wire.services.append(service)
            try:
                yield
            finally:
                self.wire.services.remove(service)
                group.cancel_scope.cancel()

    @asynccontextmanager
    async def subscribe(self, subject: str) -> AsyncGenerator[AsyncIterator[Incoming]]:
        send, receive = anyio.create_memory_object_stream[Incoming](10_000)
        listener = (subject, send.send_nowait, self)
        self.wire.listeners.append(listener)
        try:
            yield receive
        finally:
            self.wire.listeners.remove(listener)
            send.close()
            receive.close()

    async def keep_log(self, job: JobId, attempt: Attempt, chunk: LogChunk) -> int:  # noqa: ARG002
        return 1

    async def read_logs(
        self,
        job: JobId,  # noqa: ARG002
        *,
        after: int = 0,  # noqa: ARG002
        attempt: int = 0,  # noqa: ARG002
        most: int = 200,  # noqa: ARG002
    ) -> LogsPage:
        return LogsPage()

    def index(self) -> "WireIndex":
        return WireIndex(self)

    async def close(self) -> None:
        self.wire.buses.discard(self)


class WireIndex:
    """Rows that nobody reads."""

    def __init__(self, bus: WireBus) -> None:
        self._bus = bus

    async def put(self, job: JobId, row: JobRow) -> None:  # noqa: ARG002
        self._bus.check()

    async def all(self) -> list[JobRow]:
        self._bus.check()
        return []

    async def drop(self) -> None:
        return


class WireLog:
    """The log as one process reaches it; implements `vaultlayer.bus.protocol.JobLog`."""

    def __init__(self, shared: MemoryLog, bus: WireBus, stored: Callable[[Entry], None]) -> None:
        self._shared = shared
        self._bus = bus
        self._stored = stored

    async def append(self, event: Event, *, after: int) -> int:
        dice = self._bus.wire.dice
        self._bus.check()
        await anyio.sleep(dice.expovariate(200.0))
        self._bus.check()
        fault = Fault.NONE
        if dice.random() < self._bus.wire.log_faults:
            fault = dice.choice([Fault.ACK_LOST, Fault.NOT_STORED])
        if fault is Fault.NOT_STORED:
            await anyio.sleep(5.0)
            raise BusTimeoutError("no answer to an append", retryable=True)
        seq = self._shared.store(event, after=after)
        entry = Entry(seq, subjects.event(JobId(event.job), kind_of(event)), encode(event))
        self._stored(entry)
        live = f"vl.live.{entry.subject.removeprefix('vl.job.')}"
        self._bus.wire.deliver(live, entry.payload, seq)
        if fault is Fault.ACK_LOST:
            await anyio.sleep(5.0)
            raise BusTimeoutError("no answer to an append", retryable=True)
        return seq

    async def read(self, job: JobId, *, after: int = 0) -> list[Entry]:
        self._bus.check()
        await anyio.sleep(self._bus.wire.dice.expovariate(500.0))
        self._bus.check()
        return list(await self._shared.read(job, after=after))

    async def last_snapshot(self, job: JobId) -> Entry | None:
        self._bus.check()
        return await self._shared.last_snapshot(job)

    async def kinds(self) -> dict[JobId, set[str]]:
        self._bus.check()
        return await self._shared.kinds()

    def changes(self, kind: str) -> AbstractAsyncContextManager[AsyncIterator[Changed]]:
        return self._shared.changes(kind)
