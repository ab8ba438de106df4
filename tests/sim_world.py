"""A whole installation in skipped time: the real actors on a bad bus, around machines of `sim_machines`."""

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup

from model.ledger_world import SkippingLoop
from sim_agent import Agent, Bucket
from sim_machines import Machine, Provider
from sim_wire import Wire, WireBus, WireLog
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.memory import MemoryLog
from vaultlayer.bus.protocol import Entry
from vaultlayer.driver import Manifest
from vaultlayer.errors import CheckpointError, VaultLayerError, error_of
from vaultlayer.fold import fold
from vaultlayer.ids import ActorId, CmdId, JobId
from vaultlayer.job import Job, Outcome, Phase
from vaultlayer.ledger import Ledger
from vaultlayer.lifecycle import faults
from vaultlayer.messages import (
    CommitRequest,
    Done,
    Enrol,
    EnrolCredential,
    Enrolment,
    RevokeRequest,
)
from vaultlayer.settings import Home, Settings
from vaultlayer.subjects import parse_agent, parse_event
from vaultlayer_actors.context import ActorContext, ActorFactory
from vaultlayer_actors.credential_vault import core as vault_core
from vaultlayer_actors.dispatcher import actor as dispatcher
from vaultlayer_actors.fencer import actor as fencer
from vaultlayer_actors.provider_pool import actor as pool
from vaultlayer_actors.watchdog import actor as watchdog

JOB = JobId("jworldtest")
EPOCH_S = 1_700_000_000.0
ACTORS: dict[str, ActorFactory] = {
    "dispatcher-a": dispatcher.build,
    "dispatcher-b": dispatcher.build,
    "provider_pool-a": pool.build,
    "provider_pool-b": pool.build,
    "watchdog-a": watchdog.build,
    "watchdog-b": watchdog.build,
    "fencer-a": fencer.build,
    "fencer-b": fencer.build,
}
LOCAL = Manifest(
    name="local",
    sole=True,
    boot_s=60.0,
    poll_s=1.0,
    absent_checks=1,
    absent_gap_s=0.0,
    create_s=8.0,
    cooldown_s=2.0,
    work_root="/w",
)
CLOUD = Manifest(name="cloud", boot_s=120.0, poll_s=15.0, create_s=30.0)


class Custody:
    """Stands in for the dispatcher's look into the bucket."""

    world: "SimWorld"

    def __init__(self, context: ActorContext) -> None:
        self._context = context

    async def verify(self, job: Job, number: int, request: CommitRequest) -> None:  # noqa: ARG002
        await anyio.sleep(self.world.dice.expovariate(5.0))
        if request.manifest not in self.world.bucket.progress:
            raise CheckpointError("it is not in the bucket")

    def see(self, job: Job) -> None:
        """Nothing is mirrored here."""

    async def run(self) -> None:
        await anyio.sleep_forever()


@dataclass
class Process:
    """One actor's process; `generation` rises with each start."""

    build: ActorFactory
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    bus: WireBus | None = None
    generation: int = 0
    skew_s: float = 0.0


@dataclass(eq=False)
class SimWorld:
    """Everything, for one job of `total` units of work at the named provider."""

    seed: int
    path: Path
    manifest: Manifest = LOCAL
    total: int = 150
    spec: ev.JobSpec = field(default_factory=lambda: ev.JobSpec(command=["python", "train.py"]))
    actors: tuple[str, ...] = tuple(ACTORS)
    dice: Random = field(init=False)
    wire: Wire = field(init=False)
    log: MemoryLog = field(default_factory=MemoryLog)
    bucket: Bucket = field(default_factory=Bucket)
    provider: Provider = field(init=False)
    processes: dict[str, Process] = field(default_factory=dict[str, Process])
    agents: dict[Machine, Agent] = field(default_factory=dict[Machine, Agent])
    job: Job | None = None
    told: list[str] = field(default_factory=list[str])
    """What happened, for whoever has to find out why."""
    defects: list[str] = field(default_factory=list[str])
    """Tracebacks that an actor has swallowed."""
    group: TaskGroup = field(init=False)

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)
        self.wire = Wire(self.dice)

    # Life -----------------------------------------------------------------------------------------

    async def live(self, script: Callable[["SimWorld"], Awaitable[None]]) -> None:
        """Start everything, let `script` happen, and stop."""
        async with anyio.create_task_group() as self.group:
            self.provider = Provider(self.manifest, self.dice, self.group, self.boot)
            self.provider.lag_s = 0.0 if self.manifest.sole else 8.0
            bus = WireBus(self.wire, "vault", _open_gate)
            ledger = Ledger(self.log_of(bus), actor=ActorId("vault"), clock=self.now_s)
            async with (
                bus.serve(subjects.vault("enrol_credential"), self._enrol_credential),
                bus.serve(subjects.vault("revoke"), self._revoke),
                bus.serve(subjects.agents("enrol"), lambda s, p: self._enrol(ledger, s, p)),
            ):
                for name in self.actors:
                    self.processes[name] = Process(ACTORS[name])
                    self.group.start_soon(self._supervise, name)
                await anyio.sleep(0.1)
                await ledger.append(JOB, lambda _: ev.Submitted(spec=self.spec), CmdId("submit"))
                await script(self)
                self.group.cancel_scope.cancel()

    async def _supervise(self, name: str) -> None:
        process = self.processes[name]
        while True:
            process.generation += 1
            process.scope = anyio.CancelScope()
            actor = ActorId(f"{name}-{process.generation}")
            process.bus = WireBus(self.wire, actor, _open_gate)
            with process.scope:
                await self._run(process, actor)
            await process.bus.close()
            await anyio.sleep(self.dice.uniform(0.1, 3.0))

    async def _run(self, process: Process, actor: ActorId) -> None:
        assert process.bus is not None
        log = self.log_of(process.bus)

        def now_s() -> float:
            return self.now_s() + process.skew_s

        context = ActorContext(
            actor=actor,
            kind=actor.split("-")[0],
            bus=process.bus,
            log=log,
            ledger=Ledger(log, actor=actor, clock=now_s),
            settings=Settings(providers={self.manifest.name: {"allow": True}}),
            terms=Settings().lease.terms(),
            home=Home(config=self.path, state=self.path),
            now_s=now_s,
            mono_s=anyio.current_time,
        )
        try:
            await process.build(context).run()
        except* VaultLayerError:
            await anyio.sleep(0.2)

    def log_of(self, bus: WireBus) -> WireLog:
        return WireLog(self.log, bus, self._stored)

    def now_s(self) -> float:
        return EPOCH_S + anyio.current_time()

    def note(self, text: str) -> None:
        self.told.append(f"{anyio.current_time():8.1f} {text}")

    async def until(self, holds: Callable[[Job], bool], within_s: float) -> None:
        """Let time pass until something holds of the job; fail when it never does."""
        end_s = anyio.current_time() + within_s
        while self.job is None or not holds(self.job):
            if anyio.current_time() > end_s:
                raise AssertionError("\n".join(["it never came to pass", *self.told[-80:]]))
            await anyio.sleep(0.5)

    # Machines -------------------------------------------------------------------------------------

    async def boot(self, machine: Machine) -> int:
        agent = Agent(machine, self.wire, self.bucket, total=self.total, dice=self.dice)
        self.agents[machine] = agent
        status = await agent.run()
        self.note(f"{machine.name}: agent left with {status} {agent.state.reason}")
        return status

    def machines(self) -> list[Machine]:
        return [m for m in self.provider.machines.values() if m.state == "running"]

    async def _enrol_credential(self, _subject: str, _payload: bytes) -> EnrolCredential:
        return EnrolCredential(user_jwt="j", seed="s", bus_urls=["wire"])

    async def _revoke(self, _subject: str, payload: bytes) -> Done:
        request = msgspec.json.decode(payload, type=RevokeRequest)
        for agent in self.agents.values():
            if agent.key in request.user_keys:
                agent.bus.was_revoked = True
        return Done()

    async def _enrol(self, ledger: Ledger, subject: str, payload: bytes) -> Enrolment:
        job, number, _ = parse_agent(subject)
        request = msgspec.json.decode(payload, type=Enrol)
        appended = await ledger.append(
            job,
            lambda state: vault_core.enrol_decision(state, number, request),
            vault_core.enrol_cmd(number, request),
        )
        if appended.refused is not None:
            raise error_of(appended.refused)
        return Enrolment(user_jwt="j")

    # What must hold -------------------------------------------------------------------------------

    def _stored(self, entry: Entry) -> None:
        """Look at every entry in the moment in which it is stored."""
        job, kind = parse_event(entry.subject)
        assert job == JOB
        event = ev.decode(kind, entry.payload)
        assert event is not None
        before = self.job
        after = self.job = fold(before, event, entry.seq)
        assert after is not None
        if not isinstance(event, ev.Snapshot):
            self.note(f"{kind} {_short(event)}")
        assert faults(after) == [], "\n".join(self.told[-60:])
        if isinstance(event, ev.Takeover) and before is not None:
            head = before.head
            assert event.resume_from == (head.manifest if head else ""), self.told[-20:]
        self._check_progress(after)

    def _check_progress(self, job: Job) -> None:
        chain = [self.bucket.progress[c.manifest] for c in job.checkpoints if not c.rejected]
        assert chain == sorted(chain), "the chain goes back:\n" + "\n".join(self.told[-60:])

    def check_end(self) -> None:
        """After the job was closed: nothing runs, nothing is forgotten, and the work is done."""
        job = self.job
        assert job is not None
        assert job.closed
        assert self.defects == []
        assert self.provider.violations == []
        assert [m.name for m in self.provider.alive()] == [], "\n".join(self.told[-60:])
        if job.outcome is Outcome.SUCCEEDED:
            assert job.head is not None
            assert self.bucket.progress[job.head.manifest] == self.total


async def _open_gate() -> None:
    return


def _short(event: ev.Event) -> str:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    for name in ("type", "job", "cmd_id", "at", "v", "cause", "offer", "passed_over", "spec"):
        fields.pop(name, None)
    return " ".join(f"{name}={value}" for name, value in fields.items())


@contextlib.contextmanager
def heard_logs(world: SimWorld) -> Generator[None]:
    """Keep what actors log of errors, instead of printing anything."""

    def keep(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        world.note(f"ERROR {event}")
        if event.get("exc_info") and event["event"] != "driver_failed":
            world.defects.append(traceback.format_exc())
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def run_world(world: SimWorld, script: Callable[[SimWorld], Awaitable[None]]) -> None:
    """Run a world to its end; its hours take seconds."""
    dispatcher.Custody, own_custody = Custody, dispatcher.Custody  # type: ignore[misc,assignment]
    pool.find_driver, own_driver = (lambda _name: world.provider), pool.find_driver  # type: ignore[assignment]
    Custody.world = world
    try:
        with heard_logs(world), asyncio.Runner(loop_factory=SkippingLoop) as runner:
            runner.run(world.live(script))
    finally:
        dispatcher.Custody = own_custody  # type: ignore[misc]
        pool.find_driver = own_driver


async def finish(world: SimWorld, within_s: float = 7200.0) -> None:
    """Let the job come to its end in a world in which nothing breaks any more."""
    await world.until(lambda job: job.closed, within_s)
    await anyio.sleep(180.0)
    world.check_end()


def active_machine(world: SimWorld) -> Machine | None:
    """The machine of the active attempt, if it runs."""
    job = world.job
    if job is None or job.active_attempt is None or job.active_attempt.phase is not Phase.ACTIVE:
        return None
    return next((m for m in world.machines() if m.name.endswith(f"-a{job.active}")), None)
