# pyright: reportPrivateUsage=false
"""A pool process with two providers, on a log in memory: what one machine suffers from spares the others."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
import pytest

from clouds import Cloud, CloudDriver
from sim_wire import Wire, WireBus, WireLog
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.memory import MemoryLog
from vaultlayer.driver import Instance, Manifest, Offer
from vaultlayer.errors import DriverError
from vaultlayer.fold import fold
from vaultlayer.ids import ActorId, CmdId, JobId
from vaultlayer.job import Job, Phase
from vaultlayer.lease import LeaseTerms
from vaultlayer.ledger import Ledger
from vaultlayer.messages import EnrolCredential
from vaultlayer.settings import Home, Settings
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.provider_pool.actor import ProviderPool
from vaultlayer_actors.provider_pool.watch import Watch

JOB = JobId("j22222222a")


class SilentDriver(CloudDriver):
    """Its provider's API is down."""

    async def list(self) -> list[Instance]:
        raise DriverError("it does not answer", retryable=True)

    async def drill(self, instance: str, verb: str, grace_s: float) -> str:  # noqa: ARG002
        raise DriverError("it does not answer", retryable=True)


def cloud(name: str) -> Cloud:
    made = Cloud()
    made.manifest = Manifest(name=name, absent_checks=1, absent_gap_s=0.0, drills=["kill"])
    return made


async def _open_gate() -> None:
    return


@dataclass
class Bench:
    """The pool under test, and its log."""

    path: Path
    clouds: dict[str, Cloud] = field(default_factory=lambda: {n: cloud(n) for n in ("a", "b")})
    bus: WireBus = field(default_factory=lambda: WireBus(Wire(Random(1)), "pool", _open_gate))
    pool: ProviderPool = field(init=False)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        log = WireLog(MemoryLog(), self.bus, lambda _entry: None)
        self.ledger = Ledger(log, actor=ActorId("pool"), clock=lambda: 1000.0)
        self.pool = ProviderPool(
            ActorContext(
                actor=ActorId("pool"),
                kind="provider_pool",
                bus=self.bus,
                log=log,
                ledger=self.ledger,
                settings=Settings(),
                terms=LeaseTerms(),
                home=Home(config=self.path, state=self.path),
            )
        )
        self.use("a", CloudDriver(self.clouds["a"]))
        self.use("b", CloudDriver(self.clouds["b"]))

    def use(self, name: str, driver: CloudDriver) -> None:
        self.pool._drivers[name] = driver
        self.pool._watches[name] = Watch(self.pool._context, driver)

    async def put(self, *events: ev.Event) -> None:
        for event in events:
            cmd = f"c{len(await self.pool._context.log.read(JOB))}"
            await self.ledger.append(JOB, lambda _, e=event: e, CmdId(cmd))

    async def look(self) -> Job:
        error: DriverError | None = None
        async with self.bus.serve(subjects.vault("enrol_credential"), enrol_credential):
            try:
                await self.pool._handle(JOB)
            except DriverError as raised:
                error = raised
        if error is not None:
            raise error
        return await self.job()

    async def job(self) -> Job:
        job = await self.ledger.read(JOB)
        assert job is not None
        return job


async def enrol_credential(_subject: str, _payload: bytes) -> EnrolCredential:
    return EnrolCredential(user_jwt="j", seed="s", bus_urls=["nats://x"])


def ordered(number: int, provider: str) -> ev.Ordered:
    return ev.Ordered(
        attempt=number,
        incarnation=f"incarna{number}",
        provider=provider,
        offer=Offer(provider=provider, offer_id="o"),
    )


SUBMITTED = ev.Submitted(spec=ev.JobSpec(command=["true"]))
CLAIMED = ev.CreateClaimed(attempt=1, claim_s=0.0)
ENROLLED = ev.Enrolled(attempt=1, user_key="U", seal_key="s")


@pytest.mark.anyio
async def test_a_provider_that_does_not_answer_keeps_no_order_from_another(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.use("a", SilentDriver(bench.clouds["a"]))
    lost = ev.Lost(attempt=1, evidence="late")
    await bench.put(SUBMITTED, ordered(1, "a"), CLAIMED, lost, ordered(2, "b"))
    with pytest.raises(DriverError):
        await bench.look()
    assert (await bench.job()).attempts[2].instance


@pytest.mark.anyio
async def test_a_drill_that_breaks_off_keeps_no_order_from_being_carried_out(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.use("a", SilentDriver(bench.clouds["a"]))
    drill = ev.DrillRequested(attempt=1, verb="kill")
    created = ev.Created(attempt=1, instance="i-9")
    await bench.put(SUBMITTED, ordered(1, "a"), CLAIMED, created, drill, ordered(2, "b"))
    with pytest.raises(DriverError):
        await bench.look()
    assert (await bench.job()).attempts[2].instance


@pytest.mark.anyio
async def test_a_machine_that_has_spoken_is_never_said_not_to_exist(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.put(SUBMITTED, ordered(1, "a"), CLAIMED, ENROLLED, ev.Ready(attempt=1))
    made = bench.clouds["a"].add(f"vl-{JOB}-a1")
    bench.clouds["a"].unlisted.add(made.instance)
    with pytest.raises(DriverError, match="not listed"):
        await bench.look()
    assert (await bench.job()).attempts[1].phase is Phase.READY
    bench.clouds["a"].unlisted.clear()
    found = (await bench.look()).attempts[1]
    assert (found.phase, found.instance) == (Phase.READY, made.instance)


def test_the_fold_keeps_a_machine_that_has_spoken() -> None:
    job: Job | None = None
    failed = ev.CreateFailed(attempt=1, code="x", reason="none")
    for seq, event in enumerate((SUBMITTED, ordered(1, "a"), CLAIMED, ENROLLED, failed), 1):
        job = fold(job, msgspec.structs.replace(event, job=JOB, cmd_id=f"c{seq}"), seq)
    assert job is not None
    assert job.attempts[1].phase is Phase.ORDERED
