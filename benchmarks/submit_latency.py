"""From `submit` to the agent's first beat, and how much of it is ours before the provider is called.

    python -m benchmarks.submit_latency [--jobs 50] [--seed 1] [--json] [--quick]

Jobs of `sh -c true`, one after another, each closed before the next, on an embedded broker of its own.
The code is sent and the environment sealed before the clock starts: it starts with the request on
`vl.cmd.submit`. The first beat is timed at a subscriber's receipt. The provider's create call is timed by
the file that the local driver writes first (`intent.json`), plus what file times lag behind the clock on
this machine. All clocks are one.
"""

import sys
import tempfile
import time
from pathlib import Path
from random import Random

import anyio
import msgspec

from benchmarks import machine
from benchmarks.broker import Broker, Ear, Wanted, broker, listening, prepare
from vaultlayer import events as ev
from vaultlayer.bus.protocol import Bus
from vaultlayer.ids import Attempt, instance_name
from vaultlayer_cli.connect import session

AIM_BEAT_P50_S = 1.0
AIM_OWN_P50_MS = 25.0
AIM_OWN_P99_MS = 150.0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Unix seconds of one job."""

    submitted: float
    acknowledged: float
    ordered: float
    claimed: float
    called: float
    created: float
    began: float
    """The agent's own code runs: its interpreter has started and its first imports are done."""
    enrolled: float
    beat: float


def file_lag_s() -> float:
    """Give by how much a new file's time may lie before the moment of its making."""
    most = 0.0
    with tempfile.TemporaryDirectory() as place:
        for number in range(200):
            path = Path(place, str(number))
            before = time.time()
            path.touch()
            most = max(most, before - path.stat().st_mtime)
            time.sleep(0.0007)
    return most


async def one(made: Broker, bus: Bus, ear: Ear, wanted: Wanted, lag_s: float) -> Times:
    job = wanted.job
    name = instance_name(job, Attempt(1))
    submitted = time.time()
    await wanted.submit(bus)
    acknowledged = time.time()
    await ear.until(lambda: (job, 1) in ear.beats)
    called = made.instance_file(name, "intent.json").stat().st_mtime + lag_s
    await ear.until(lambda: ear.find(job, ev.Closed) is not None)
    return Times(
        submitted=submitted,
        acknowledged=acknowledged,
        ordered=ear.at(job, ev.Ordered),
        claimed=ear.at(job, ev.CreateClaimed),
        called=called,
        created=ear.at(job, ev.Created),
        began=made.agent_started_at(name),
        enrolled=ear.at(job, ev.Enrolled),
        beat=ear.beats[job, 1],
    )


async def measure(made: Broker, jobs: int, seed: int, lag_s: float) -> list[Times]:
    dice = Random(seed)
    work = made.base / "work"
    work.mkdir()
    (work / "readme.txt").write_text("nothing to run here\n")
    found: list[Times] = []
    async with session(made.home) as opened, listening(made) as (_, ear):
        for number in range(jobs + 1):
            command = ["sh", "-c", "true"]
            wanted = await prepare(opened.bus, dice, work, command, made.environ)
            times = await one(made, opened.bus, ear, wanted, lag_s)
            if number:  # the first one finds the broker cold
                found.append(times)
    return found


def rows(found: list[Times]) -> list[machine.Row]:
    ms = [
        ("submit to acknowledgement", [t.acknowledged - t.submitted for t in found]),
        ("submit to order in the log", [t.ordered - t.submitted for t in found]),
        ("submit to a pool's claim in the log", [t.claimed - t.submitted for t in found]),
    ]
    after = [
        ("create call to machine in the log", [t.created - t.called for t in found]),
        ("create call to agent's first line", [t.began - t.called for t in found]),
        ("agent's first line to enrolled", [t.enrolled - t.began for t in found]),
        ("enrolled to first beat", [t.beat - t.enrolled for t in found]),
    ]
    return [
        machine.row(
            "submit to first beat",
            "s",
            [t.beat - t.submitted for t in found],
            aim_p50=AIM_BEAT_P50_S,
        ),
        machine.row(
            "submit to create call (our share)",
            "ms",
            [1e3 * (t.called - t.submitted) for t in found],
            aim_p50=AIM_OWN_P50_MS,
            aim_p99=AIM_OWN_P99_MS,
        ),
        *[machine.row(name, "ms", [1e3 * s for s in values]) for name, values in [*ms, *after]],
    ]


def main() -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=50)
    chosen = parser.parse_args()
    jobs = 2 if chosen.quick else chosen.jobs
    here = machine.machine()
    lag_s = file_lag_s()
    with broker() as made:
        made.up()
        found = anyio.run(measure, made, jobs, chosen.seed, lag_s)
    report = machine.Report(
        benchmark="submit_latency",
        arguments=sys.argv[1:],
        machine=here,
        seed=chosen.seed,
        quick=chosen.quick,
        rows=rows(found),
        notes=[
            f"file times lag by up to {1e3 * lag_s:.1f} ms here; that much is added to our share"
        ],
    )
    machine.publish(report, as_json=chosen.json)


if __name__ == "__main__":
    main()
