"""Actors on a real bus: a broker's rig, scripted agents, a scripted pool and a scripted vault."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec

from histories import History, incarnation
from servers import NatsServer
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.driver import Instance
from vaultlayer.errors import DriverError
from vaultlayer.ids import ActorId, Attempt, CmdId, JobId
from vaultlayer.job import AttemptState, Job
from vaultlayer.lease import LeaseTerms
from vaultlayer.ledger import Ledger
from vaultlayer.messages import (
    AbsentReply,
    Beat,
    Done,
    Grant,
    ProbeReply,
    ProbeRequest,
    RevokeRequest,
    TerminateRequest,
)
from vaultlayer.settings import BusSettings, Home, Settings
from vaultlayer_actors.context import ActorContext, ActorFactory

STREAMS = 1
T = TypeVar("T", bound=msgspec.Struct)


@dataclass
class Rig:
    """One installation on a test's server, with this test as an actor of its own."""

    server: NatsServer
    bus: NatsBus
    ledger: Ledger
    terms: LeaseTerms
    commands: int = 0

    async def put(self, job: JobId, *events: ev.Event) -> None:
        """Append entries without conditions."""
        for event in events:
            self.commands += 1
            await self.ledger.append(job, lambda _, e=event: e, CmdId(f"test-{self.commands}"))

    async def tell(self, history: History) -> JobId:
        """Append a whole history."""
        await self.put(history.name, *history.entries)
        return history.name

    async def job(self, job: JobId) -> Job:
        state = await self.ledger.read(job)
        assert state is not None
        return state

    async def attempt(self, job: JobId, number: int = 1) -> AttemptState:
        return (await self.job(job)).attempts[number]

    async def kinds(self, job: JobId) -> list[str]:
        """The kinds of the job's entries, oldest first."""
        entries = await self.bus.job_log(STREAMS).read(job)
        return [subjects.parse_event(entry.subject)[1] for entry in entries]

    async def events(self, job: JobId, kind: type[ev.Event]) -> list[ev.Event]:
        """The job's entries of one kind."""
        found: list[ev.Event] = []
        for entry in await self.bus.job_log(STREAMS).read(job):
            event = ev.decode(subjects.parse_event(entry.subject)[1], entry.payload)
            if isinstance(event, kind):
                found.append(event)
        return found

    @asynccontextmanager
    async def actor(self, build: ActorFactory, name: str) -> AsyncGenerator[None]:
        """Run an actor on a connection of its own while the context is open."""
        actor_id = ActorId(name)
        async with (
            open_bus(
                [self.server.url], None, inbox=subjects.actor_inbox(actor_id), name=name
            ) as bus,
            anyio.create_task_group() as group,
        ):
            log = bus.job_log(STREAMS)
            home = Home(config=Path("/nowhere"), state=Path("/nowhere"))
            actor = build(
                ActorContext(
                    actor=actor_id,
                    kind=name.split("-", maxsplit=1)[0],
                    bus=bus,
                    log=log,
                    ledger=Ledger(log, actor=actor_id, clock=time.time),
                    settings=Settings(bus=BusSettings(streams=STREAMS)),
                    terms=self.terms,
                    home=home,
                )
            )
            group.start_soon(actor.run)
            yield
            group.cancel_scope.cancel()

    @asynccontextmanager
    async def agent(self, job: JobId, number: int = 1) -> AsyncGenerator["Agent"]:
        """Connect as one attempt's machine."""
        inbox = subjects.agent_inbox(job, Attempt(number))
        async with open_bus([self.server.url], None, inbox=inbox, name=f"agent-{number}") as bus:
            yield Agent(bus, job, Attempt(number), incarnation(number))


@dataclass
class Agent:
    """A machine that says what it is told to say."""

    bus: NatsBus
    job: JobId
    number: Attempt
    incarnation: str
    beats: int = 0

    async def beat(self, *, number: int = 0, timeout_s: float = 5.0, active: bool = False) -> Grant:
        """Send the next beat and give the first answer."""
        self.beats = number or self.beats + 1
        return await self.bus.request(
            subjects.agent(self.job, self.number, "beat"),
            Beat(incarnation=self.incarnation, number=self.beats, step=self.beats, active=active),
            Grant,
            timeout_s=timeout_s,
        )

    async def beat_to_all(self, watchdogs: int) -> list[Grant]:
        """Send the next beat and give every watchdog's answer."""
        self.beats += 1
        return await self.bus.gather(
            subjects.agent(self.job, self.number, "beat"),
            Beat(incarnation=self.incarnation, number=self.beats),
            Grant,
            wait_s=2.0,
            most=watchdogs,
        )


@dataclass
class Provider:
    """A pool and a vault as the test wants them; `calls` is what was asked of them, in order."""

    calls: list[str] = field(default_factory=list[str])
    asked: list[msgspec.Struct] = field(default_factory=list[msgspec.Struct])
    state: str = "running"
    refuses: set[str] = field(default_factory=set[str])
    """Verbs that fail now."""
    listed_for: int = 0
    """How many times a machine is still listed after it was terminated."""

    def counted(self, verb: str) -> int:
        return self.calls.count(verb)

    async def probe(self, _subject: str, payload: bytes) -> ProbeReply:
        request = self._take("probe", payload, ProbeRequest)
        vanished = self.state in {"gone", "stopped"}
        found = Instance(instance=request.instance, name="x", state=self.state)
        return ProbeReply(instance=found, vanished=vanished)

    async def terminate(self, _subject: str, payload: bytes) -> Done:
        self._take("terminate", payload, TerminateRequest)
        return Done()

    async def absent(self, _subject: str, payload: bytes) -> AbsentReply:
        self._take("absent", payload, TerminateRequest)
        self.listed_for -= 1
        return AbsentReply(absent=self.listed_for < 0, detail="still listed")

    async def revoke(self, _subject: str, payload: bytes) -> Done:
        self._take("revoke", payload, RevokeRequest)
        return Done()

    def _take(self, verb: str, payload: bytes, kind: type[T]) -> T:
        request = msgspec.json.decode(payload, type=kind)
        self.calls.append(verb)
        self.asked.append(request)
        if verb in self.refuses:
            raise DriverError(f"{verb} fails now")
        return request

    @asynccontextmanager
    async def serving(
        self, bus: NatsBus, *verbs: str, name: str = "cloud"
    ) -> AsyncGenerator["Provider"]:
        """Serve some of `probe terminate absent revoke`."""
        handlers = {
            "probe": (subjects.pool(name, "probe"), self.probe),
            "terminate": (subjects.pool(name, "terminate"), self.terminate),
            "absent": (subjects.pool(name, "absent"), self.absent),
            "revoke": (subjects.vault("revoke"), self.revoke),
        }
        async with AsyncExitStack() as stack:
            for verb in verbs or handlers:
                subject, handler = handlers[verb]
                await stack.enter_async_context(bus.serve(subject, handler))
            yield self


@asynccontextmanager
async def running_rig(server: NatsServer, terms: LeaseTerms) -> AsyncGenerator[Rig]:
    """Make the streams and give the installation."""
    tester = ActorId("tester-one")
    async with open_bus([server.url], None, inbox=subjects.actor_inbox(tester), name=tester) as bus:
        await ensure_streams(bus, STREAMS)
        yield Rig(
            server=server,
            bus=bus,
            ledger=Ledger(bus.job_log(STREAMS), actor=tester, clock=time.time),
            terms=terms,
        )


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float = 15.0) -> None:
    """Wait until something holds."""
    with anyio.fail_after(within_s):
        while not await holds():
            await anyio.sleep(0.02)
