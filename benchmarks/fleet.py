"""A thousand machines at all providers that can be simulated: what watching over them costs.

    python -m benchmarks.fleet [--machines 1000] [--minutes 5] [--seed 1] [--json] [--quick]

Real drivers speak to the simulators over HTTP, and the pool's own watch and sweeper judge by a real log on
a nats-server that syncs every append; only the machines pretend. Each provider has a clock of its own that
moves on when its driver waits: *a cycle* is one poll and one sweep of every provider; its *work* is what this
processor needs for it, its *wait* what the providers' limits of calls would take in real time. Meanwhile
some machines are taken by their providers, and strangers' orders leave machines with our tag that no log
knows: the cycles go on until the first are called lost and the second are ended.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from random import Random

import anyio

from benchmarks import machine
from benchmarks.ledger import ACTOR, connected
from benchmarks.nats import running_nats
from vaultlayer import events as ev
from vaultlayer.bus.nats import NatsBus
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.driver import BootPayload, Driver, DriverContext, Need, Offer, Order
from vaultlayer.errors import CapacityError
from vaultlayer.gpu import GPUS
from vaultlayer.ids import Attempt, CmdId, JobId, instance_name, job_id
from vaultlayer.job import Job
from vaultlayer.ledger import Ledger
from vaultlayer.logging import set_up_logging
from vaultlayer.settings import Home, Settings
from vaultlayer.simulated import GROUP, simulator_names
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.drivers import find_driver
from vaultlayer_actors.provider_pool.sweep import SWEEP_S, Sweeper
from vaultlayer_actors.provider_pool.watch import Watch
from vaultlayer_actors.simulator.clock import VirtualClock
from vaultlayer_actors.simulator.server import Simulator

STREAMS = 4
TAKEN_SHARE = 0.05
ORPHANS = 5
"""Machines of unknown jobs at each provider."""
CYCLES_MAX = 8
HOUR_S = 3600.0

Found = tuple[list[machine.Row], list[machine.Ratio], list[str]]
"""Rows, ratios and notes of the report."""


@dataclass
class Place:
    """One provider: its simulator, its driver, and the pool's watch and sweeper over it."""

    name: str
    clock: VirtualClock
    simulator: Simulator
    driver: Driver
    watch: Watch
    sweeper: Sweeper
    spec: dict[str, object] = field(default_factory=dict[str, object])
    jobs: dict[str, JobId] = field(default_factory=dict[str, JobId])
    """By instance."""
    by_api: int = 0
    knows_names: bool = True
    """Whether a machine that another process made can be seen as ours."""


# Building -------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(bus: NatsBus, ledger: Ledger, root: Path) -> AsyncGenerator[list[Place]]:
    """Serve every simulator, with its driver and the pool's own parts."""
    kinds = {point.name: point.load() for point in entry_points(group=GROUP)}
    home = Home(config=root, state=root)
    async with AsyncExitStack() as stack:
        places: list[Place] = []
        for name in simulator_names():
            clock = VirtualClock()
            simulator: Simulator = kinds[name](clock)
            await stack.enter_async_context(simulator.serve())
            path = root / name
            path.mkdir()
            driver = find_driver(name).build(
                DriverContext(
                    options=simulator.options(),
                    secrets=simulator.secrets(),
                    state_path=path,
                    clock=clock,
                )
            )
            stack.push_async_callback(driver.close)
            context = ActorContext(
                actor=ACTOR,
                kind="provider_pool",
                bus=bus,
                log=bus.job_log(STREAMS),
                ledger=ledger,
                settings=Settings(),
                terms=Settings().lease.terms(),
                home=home,
                mono_s=clock.now_s,
            )
            watch, sweeper = Watch(context, driver), Sweeper(context, driver)
            places.append(Place(name, clock, simulator, driver, watch, sweeper))
        yield places


async def fill(place: Place, count: int, ledger: Ledger, dice: Random) -> None:
    """Order machines as a pool does: submitted, ordered, made, written down."""
    for _ in range(count):
        job = job_id(dice.randbytes(9))
        offer = await cheapest(place)
        await put(ledger, job, ev.Submitted(spec=ev.JobSpec(command=["python", "train.py"])))
        ordered = ev.Ordered(attempt=1, incarnation="benchmrk", provider=place.name, offer=offer)
        await put(ledger, job, ordered)
        instance = await make(place, job, offer)
        place.jobs[instance] = job
        appended = await put(ledger, job, ev.Created(attempt=1, instance=instance))
        place.watch.note(job, appended.attempts[1])


async def cheapest(place: Place) -> Offer:
    """Give the provider's cheapest offer of any GPU; where all are sold, one that was sold."""
    for gpu in GPUS:
        found = await place.driver.offers(Need(gpu=gpu, gpu_count=1))
        if found.offers:
            return found.offers[0]
    return Offer(provider=place.name, offer_id="sold out")


async def make(place: Place, job: JobId, offer: Offer) -> str:
    """Make one machine by the API; where the market is empty, one like the last, behind its back."""
    name = instance_name(job, Attempt(1))
    boot = BootPayload(
        job=job,
        attempt=1,
        incarnation="benchmrk",
        provider=place.name,
        bus_urls=["wss://bus.example.org"],
        enrol_jwt="e" * 900,
        enrol_seed="S" * 58,
        work_path=f"/workspace/{job}",
    )
    try:
        if offer.offer_id != "sold out":
            made = await place.driver.create(Order(name=name, offer=offer, boot=boot))
            place.spec = dict(place.simulator.fleet.machines[made.instance].spec)
            place.by_api += 1
            return made.instance
    except CapacityError:
        pass
    return place.simulator.fleet.make(name, 1.0, spec=dict(place.spec)).id


async def put(ledger: Ledger, job: JobId, event: ev.Event) -> Job:
    appended = await ledger.append(
        job, lambda _: event, CmdId(f"{job}-{type(event).__name__}".lower())
    )
    assert appended.job is not None
    return appended.job


# Watching -------------------------------------------------------------------------------------------


async def cycle(places: list[Place], *, sweep: bool) -> tuple[float, float]:
    """Poll every provider once and sweep it; gives the work in seconds and the longest wait."""
    waits: list[float] = []

    async def one(place: Place) -> None:
        began_s = place.clock.now_s()
        await place.watch.poll()
        if sweep:
            await place.sweeper.sweep()
        waits.append(place.clock.now_s() - began_s)

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for place in places:
            group.start_soon(one, place)
    return time.perf_counter() - began, max(waits)


async def steady(
    places: list[Place], minutes: int
) -> tuple[list[float], list[float], Counter[str]]:
    """Watch for some simulated minutes; gives work and wait of each cycle, and calls by provider."""
    before = {place.name: len(place.simulator.requests) for place in places}
    works: list[float] = []
    waits: list[float] = []
    for _ in range(minutes):
        for place in places:
            for _ in range(polls_a_sweep(place) - 1):
                place.clock.advance(place.driver.manifest.poll_s)
                await place.watch.poll()
            place.clock.advance(place.driver.manifest.poll_s)
        work_s, wait_s = await cycle(places, sweep=True)
        works.append(work_s)
        waits.append(wait_s)
    calls = Counter({p.name: len(p.simulator.requests) - before[p.name] for p in places})
    return works, waits, calls


def polls_a_sweep(place: Place) -> int:
    """Give how often a pool lists for its watch between two sweeps."""
    return max(1, round(SWEEP_S / place.driver.manifest.poll_s))


async def bad_day(places: list[Place], ledger: Ledger, dice: Random) -> tuple[int, int, int]:
    """Take some machines and leave orphans; gives how many of each, and cycles until all was put right."""
    taken: dict[str, JobId] = {}
    orphans: list[tuple[Place, str]] = []
    for place in places:
        for instance in dice.sample(sorted(place.jobs), max(1, int(TAKEN_SHARE * len(place.jobs)))):
            place.simulator.interrupt(instance)
            taken[instance] = place.jobs[instance]
        for _ in range(ORPHANS):
            name = instance_name(job_id(dice.randbytes(9)), Attempt(1))
            made = place.simulator.fleet.make(name, 1.0, spec=dict(place.spec)).id
            place.clock.advance(60.0)
            place.knows_names = made in {one.instance for one in await place.driver.list()}
            if place.knows_names:
                orphans.append((place, made))
            else:
                place.simulator.fleet.vanish(made)
    lost: list[JobId] = []
    left: list[str] = []
    for number in range(1, CYCLES_MAX + 1):
        for place in places:
            place.clock.advance(SWEEP_S)
        await cycle(places, sweep=True)
        lost = [job for job in taken.values() if await is_lost(ledger, job)]
        left = [one for place, one in orphans if is_billed(place, one)]
        if len(lost) == len(taken) and not left:
            return len(taken), len(orphans), number
    raise SystemExit(
        f"after {CYCLES_MAX} cycles {len(taken) - len(lost)} not lost, {left} not ended"
    )


async def is_lost(ledger: Ledger, job: JobId) -> bool:
    found = await ledger.read(job)
    return found is not None and not found.attempts[1].is_live


def is_billed(place: Place, instance: str) -> bool:
    return instance in place.simulator.fleet.ledger.billed()


def untracked(places: list[Place]) -> int:
    """Count machines that a provider bills and no job knows."""
    return sum(
        1
        for place in places
        for instance in place.simulator.fleet.ledger.billed()
        if instance not in place.jobs
    )


async def end_all(places: list[Place]) -> int:
    """End every machine through its driver; gives how many are billed after all."""

    async def one(place: Place) -> None:
        for instance in place.jobs:
            await place.driver.terminate(instance)
        place.clock.advance(HOUR_S)
        place.simulator.fleet.tick()

    async with anyio.create_task_group() as group:
        for place in places:
            group.start_soon(one, place)
    return sum(len(place.simulator.fleet.ledger.billed()) for place in places)


# All together ---------------------------------------------------------------------------------------


async def measure(root: Path, count: int, minutes: int, seed: int) -> Found:
    dice = Random(seed)
    with running_nats(root / "nats") as server:
        async with connected(server) as bus:
            await ensure_streams(bus, STREAMS)
            ledger = Ledger(bus.job_log(STREAMS), actor=ACTOR, clock=time.time)
            async with serving(bus, ledger, root) as places:
                return await watched(places, ledger, count, minutes, dice)


async def watched(
    places: list[Place], ledger: Ledger, count: int, minutes: int, dice: Random
) -> Found:
    began = time.perf_counter()
    for number, place in enumerate(places):
        await fill(place, len(range(number, count, len(places))), ledger, dice)
        place.clock.advance(60.0)
    filled_s = time.perf_counter() - began
    await cycle(places, sweep=True)
    works, waits, calls = await steady(places, minutes)
    hours = {place.name: len(place.jobs) * minutes * 60.0 / HOUR_S for place in places}
    per_hour = [calls[place.name] / hours[place.name] for place in places]
    taken, orphans, cycles = await bad_day(places, ledger, dice)
    strays, left = untracked(places), await end_all(places)
    if strays or left:
        raise SystemExit(f"{strays} machines that no job knows, {left} are billed at the end")
    rows = [
        machine.row("a cycle over all providers: our work", "s", works),
        machine.row(
            "the same: longest wait for a provider's limits", "s", [w + 1e-9 for w in waits]
        ),
        machine.row("API calls an instance-hour, by provider", "calls", per_hour),
        machine.row("a machine ordered and written down", "ms", [1e3 * filled_s / count]),
    ]
    asked = [(calls[p.name] / (minutes * polls_a_sweep(p)), float(len(p.jobs))) for p in places]
    ratios = [machine.ratio("calls a poll to asking for each machine", asked)]
    made = sum(place.by_api for place in places)
    notes = [
        f"{count} machines at {len(places)} providers: {', '.join(place.name for place in places)}",
        f"{made} ordered through the APIs, the others put there where a market had no more",
        f"{sum(calls.values()) / sum(hours.values()):.2f} API calls an instance-hour over all",
        f"{taken} machines taken and {orphans} orphans left: all lost and ended after {cycles} sweeps",
        "0 machines that no job knows, 0 billed after the end",
    ]
    if blind := [place.name for place in places if not place.knows_names]:
        notes.append(
            f"no orphan could be planted at {', '.join(blind)}: behind the API it has no name"
        )
    return rows, ratios, notes


def main() -> int:
    options = machine.parser(__doc__)
    options.add_argument("--machines", type=int, default=1000)
    options.add_argument("--minutes", type=int, default=5, help="simulated, of quiet watching")
    chosen = options.parse_args()
    count = 44 if chosen.quick else chosen.machines
    minutes = 1 if chosen.quick else chosen.minutes
    where = machine.machine()
    set_up_logging(level="CRITICAL")
    with tempfile.TemporaryDirectory(prefix="vl-fleet-") as root:
        rows, ratios, notes = anyio.run(measure, Path(root), count, minutes, chosen.seed)
    report = machine.Report(
        benchmark="fleet",
        arguments=[f"--machines={count}", f"--minutes={minutes}"],
        machine=where,
        seed=chosen.seed,
        quick=chosen.quick,
        rows=rows,
        ratios=ratios,
        notes=notes,
    )
    machine.publish(report, as_json=chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
