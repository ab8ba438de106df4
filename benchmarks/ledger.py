"""The job log on a real nats-server that syncs every append: latency, throughput, folds, and opening a
watch.

    python -m benchmarks.ledger [--appends 500] [--writers 32] [--seed 1] [--json] [--quick]

A server of its own, data on the disk of the temporary directory (`sync_interval: always`; what one sync
of that disk costs stands in the table). *Ledger append* is what actors call: read what is new, decide,
append by compare-and-swap. *Throughput* is of that many writers at once, each with a job of its own, over
1 stream and over 4. The folded job has 500 entries, nearly all of them checkpoints. A *watch* connects,
reads and shows all of them through a dispatcher that runs in the same process.
"""

import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import anyio
import msgspec

from benchmarks import machine
from benchmarks.nats import NatsServer, running_nats
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.protocol import Entry
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.driver import Offer
from vaultlayer.fold import fold
from vaultlayer.ids import ActorId, CmdId, JobId, job_id
from vaultlayer.job import Job
from vaultlayer.ledger import Ledger
from vaultlayer.logging import set_up_logging
from vaultlayer.messages import Progress
from vaultlayer.settings import BusSettings, Home, Settings
from vaultlayer_actors.runtime import serve_actors
from vaultlayer_cli.follow import Follower
from vaultlayer_cli.reading import Happened, Printed

ENTRIES = 500
ROUNDS = 20
ACTOR = ActorId("bench-one")


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncGenerator[NatsBus]:
    inbox = subjects.actor_inbox(ACTOR)
    async with open_bus([server.url], None, inbox=inbox, name=ACTOR) as bus:
        yield bus


def ledger_of(bus: NatsBus, streams: int) -> Ledger:
    return Ledger(bus.job_log(streams), actor=ACTOR, clock=time.time)


# Appends --------------------------------------------------------------------------------------------


def sync_ms(place: Path, count: int) -> list[float]:
    """Time what the disk itself takes for a small write that survives a power cut."""
    found: list[float] = []
    with (place / "sync").open("wb") as file:
        for _ in range(count):
            file.write(b"x" * 512)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            found.append(1e3 * (time.perf_counter() - began))
    return found


async def append(ledger: Ledger, job: JobId, number: int) -> None:
    def decide(state: Job | None) -> ev.Event:
        if state is None:
            return ev.Submitted(spec=ev.JobSpec(command=["python", "train.py"]))
        return ev.TierFound(tier="B", detail=str(number))

    await ledger.append(job, decide, CmdId(f"bench-{number}"))


async def alone_ms(bus: NatsBus, job: JobId, appends: int) -> list[float]:
    ledger = ledger_of(bus, 4)
    found: list[float] = []
    for number in range(appends):
        began = time.perf_counter()
        await append(ledger, job, number)
        found.append(1e3 * (time.perf_counter() - began))
    return found


async def crowd(bus: NatsBus, jobs: Sequence[JobId], appends: int, streams: int) -> float:
    """Give appends a second, all writers together."""
    ledger = ledger_of(bus, streams)

    async def write(job: JobId) -> None:
        for number in range(appends):
            await append(ledger, job, number)

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(write, job)
    return len(jobs) * appends / (time.perf_counter() - began)


# A long job -----------------------------------------------------------------------------------------


def history(job: JobId) -> list[ev.Event]:
    """Give the entries of a job that trained for long on one machine, and ended well."""
    offer = Offer(provider="cloud", offer_id="one", price_usd_h=1.0)
    before: list[ev.Event] = [
        ev.Submitted(spec=ev.JobSpec(command=["python", "train.py"])),
        ev.Ordered(attempt=1, incarnation="abcdefgh", provider="cloud", offer=offer),
        ev.CreateClaimed(attempt=1),
        ev.Created(attempt=1, instance="i1"),
        ev.Enrolled(attempt=1, user_key="U1"),
        ev.Ready(attempt=1),
        ev.Takeover(attempt=1),
        ev.Started(attempt=1),
    ]
    after: list[ev.Event] = [
        ev.Exited(attempt=1, exit_code=0),
        ev.Finished(outcome="succeeded"),
        ev.Fenced(attempt=1),
        ev.Gone(attempt=1, billed_s=1.0),
        ev.Closed(),
    ]
    saves = [
        ev.CheckpointCommitted(
            attempt=1,
            seq=number,
            manifest=f"{number:064x}",
            key=f"jobs/{job}/a1-abcdefgh/manifests/{number:064x}.json",
            step=number * 100,
            size_b=1 << 30,
            new_b=1 << 28,
            files=12,
        )
        for number in range(1, ENTRIES - len(before) - len(after) + 1)
    ]
    return [
        msgspec.structs.replace(event, job=job, cmd_id=f"c{number}", at=1e9 + number, actor=ACTOR)
        for number, event in enumerate([*before, *saves, *after])
    ]


async def tell(bus: NatsBus, job: JobId) -> None:
    log, newest = bus.job_log(4), 0
    for event in history(job):
        newest = await log.append(event, after=newest)


def fold_ms(entries: Sequence[Entry]) -> float:
    began = time.perf_counter()
    state: Job | None = None
    for entry in entries:
        event = ev.decode(subjects.parse_event(entry.subject)[1], entry.payload)
        if event is not None:
            state = fold(state, event, entry.seq)
    assert state is not None
    assert state.closed
    return 1e3 * (time.perf_counter() - began)


async def cold_read_ms(bus: NatsBus, job: JobId) -> float:
    began = time.perf_counter()
    state = await ledger_of(bus, 4).read(job)
    assert state is not None
    assert state.closed
    return 1e3 * (time.perf_counter() - began)


class Shown:
    """A view that only counts."""

    def __init__(self) -> None:
        self.entries = 0

    def happened(self, entry: Happened) -> None:
        """Count it."""
        self.entries += entry.seq > 0

    def printed(self, output: Printed) -> None:
        """There is none."""

    def progressed(self, attempt: int, progress: Progress) -> None:
        """There is none."""

    def told(self, text: str) -> None:
        """Stop: there is something wrong with the connection."""
        raise SystemExit(text)


async def watch_ms(server: NatsServer, job: JobId) -> float:
    began = time.perf_counter()
    async with open_bus(
        [server.url], None, inbox=subjects.user_inbox("bench"), name="watcher"
    ) as bus:
        view = Shown()
        follower = Follower(bus, job, view)
        await follower.replay()
        found_ms = 1e3 * (time.perf_counter() - began)
    if view.entries != ENTRIES:
        raise SystemExit(f"the watch has shown {view.entries} of {ENTRIES} entries")
    return found_ms


async def watches(server: NatsServer, job: JobId, place: Path, rounds: int) -> list[float]:
    home = Home(config=place, state=place)
    found: list[float] = []
    async with anyio.create_task_group() as group:

        async def dispatcher(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await serve_actors(
                ["dispatcher"],
                home=home,
                settings=Settings(bus=BusSettings(streams=4)),
                urls=[server.url],
                credential=None,
                monitor_url=server.monitor_url,
                task_status=task_status,
            )

        await group.start(dispatcher)
        await anyio.sleep(1.0)  # it reads the whole log when it starts
        found += [await watch_ms(server, job) for _ in range(rounds)]
        group.cancel_scope.cancel()
    return found


# All of it ------------------------------------------------------------------------------------------


async def throughput(
    place: Path, jobs: Sequence[JobId], appends: int, rounds: int
) -> dict[int, list[float]]:
    """Give appends a second by number of streams, on a new server each time, in turn."""
    found: dict[int, list[float]] = {1: [], 4: []}
    for number in range(rounds):
        for streams, rates in found.items():
            with running_nats(place / f"crowd-{streams}-{number}") as server:
                async with connected(server) as bus:
                    await ensure_streams(bus, streams)
                    rates.append(await crowd(bus, jobs, appends, streams))
    return found


async def measure(
    place: Path, seed: int, appends: int, writers: int, rounds: int
) -> machine.Report:
    dice = Random(seed)
    jobs = [job_id(dice.randbytes(9)) for _ in range(writers)]
    long_job = job_id(dice.randbytes(9))
    here = machine.machine()
    with running_nats(place / "one") as server:
        async with connected(server) as bus:
            await ensure_streams(bus, 4)
            disk = sync_ms(place, min(appends, 200))
            alone = await alone_ms(bus, jobs[0], appends)
            await tell(bus, long_job)
            entries = await bus.job_log(4).read(long_job)
            folds = [fold_ms(entries) for _ in range(rounds)]
            reads = [await cold_read_ms(bus, long_job) for _ in range(rounds)]
        opened = await watches(server, long_job, place, rounds)
    many = await throughput(place, jobs, max(2, appends // 10), max(1, rounds // 4))
    rows = [
        machine.row("sync of the disk", "ms", disk),
        machine.row("ledger append, one writer", "ms", alone),
        *[
            machine.row(f"appends a second, {writers} writers, {_counted(streams)}", "1/s", rates)
            for streams, rates in many.items()
        ],
        machine.row(f"fold of {ENTRIES} entries in memory", "ms", folds),
        machine.row(f"read and fold of {ENTRIES} entries", "ms", reads),
        machine.row(f"watch: connect and show {ENTRIES} entries", "ms", opened),
    ]
    return machine.Report(
        benchmark="ledger",
        arguments=sys.argv[1:],
        machine=here,
        seed=seed,
        quick=False,
        rows=rows,
        ratios=[
            machine.ratio(
                "throughput, 4 streams / 1 stream",
                list(zip(many[4], many[1], strict=True)),
            )
        ],
    )


def _counted(streams: int) -> str:
    return f"{streams} stream" if streams == 1 else f"{streams} streams"


def main() -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--appends", type=int, default=500)
    parser.add_argument("--writers", type=int, default=32)
    chosen = parser.parse_args()
    set_up_logging(level="CRITICAL")
    with tempfile.TemporaryDirectory(prefix="vl-bench-") as name:
        appends, writers, rounds = (
            (10, 4, 2) if chosen.quick else (chosen.appends, chosen.writers, ROUNDS)
        )
        report = anyio.run(measure, Path(name), chosen.seed, appends, writers, rounds)
    report = msgspec.structs.replace(report, quick=chosen.quick)
    machine.publish(report, as_json=chosen.json)


if __name__ == "__main__":
    main()
