"""From the death of a machine to the script's next new step, and where the time goes.

    python -m benchmarks.recovery [--kills 9] [--freezes 2] [--seed 1] [--json] [--quick]

One job on an embedded broker of its own counts steps of 50 ms, saves each 20, and imports no framework.
Kill: SIGKILL to the instance's first process, which takes all others with it; the provider then says that
it is gone. Freeze: `drill freeze` stops every process; the provider goes on saying `running`, so that
only the silence tells.

*Our share* is the whole without what is not ours to shorten: the start of the agent's interpreter with
its first imports, the start of the script's interpreter, and the steps that the script has to do again
since its last save. Moments are those that the log's entries carry, the files that the provider writes,
and the script's own clock.
"""

import os
import signal
import sys
import time
from pathlib import Path
from random import Random

import anyio
import msgspec

from benchmarks import machine
from benchmarks.broker import Broker, Ear, broker, listening, prepare
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.ids import Attempt, JobId, instance_name
from vaultlayer.messages import Drill, DrillAccepted
from vaultlayer_cli.connect import new_cmd_id, session

SCRIPT = Path(__file__).parent / "jobs" / "counter.py"
STEP_S = 0.05
SAVE_STEPS = 20
PHASE_S = 1.5
"""Over so long after a save is committed the moment of death is drawn."""

AIM_KILL_S = 3.0
AIM_FREEZE_S = 35.0

PARTS = (
    "detect: death to `lost`",
    "fence: to `fenced`",
    "gone: to `gone`",
    "order: to the new instance",
    "boot: to the agent's first line",
    "enrol: to `enrolled`",
    "prepare: to `ready`",
    "take over: to `takeover`",
    "restore: to `started`",
    "start: to the script's first line",
    "steps done again, and the first new one",
)
"""One after another from the death to the new step."""

NOT_OURS = {PARTS[4], PARTS[9], PARTS[10]}


class Line(msgspec.Struct, frozen=True):
    """One line of the script's trace."""

    kind: str
    step: int
    at: float


def read_trace(path: Path) -> list[Line]:
    text = path.read_text() if path.exists() else ""
    words = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [Line(kind, int(step), float(at)) for kind, step, at in words]


class Recovery:
    """One job that is killed again and again."""

    def __init__(self, made: Broker, bus: Bus, ear: Ear, job: JobId, trace: Path) -> None:
        self._made = made
        self._bus = bus
        self._ear = ear
        self._job = job
        self._trace = trace
        self._attempt = 1

    async def round(self, verb: str, dice: Random) -> dict[str, float]:
        """Let the machine die once, and give the seconds of each part."""
        before = self._attempt
        await self._ear.until(
            lambda: self._ear.find(self._job, ev.CheckpointCommitted, before) is not None
        )
        await anyio.sleep(dice.uniform(0.0, PHASE_S))
        died = time.time()
        if verb == "kill":
            os.kill(self._made.first_pid(self._name(before)), signal.SIGKILL)
        else:
            request = Drill(cmd_id=new_cmd_id(), verb=verb)
            await self._bus.request(subjects.drill(self._job), request, DrillAccepted)
        self._attempt = before + 1
        await self._ear.until(
            lambda: self._ear.find(self._job, ev.Started, self._attempt) is not None
        )
        begun, new = await self._next_new_step()
        moments = [died, *self._moments(before), begun.at, new.at]
        return {
            part: later - earlier
            for part, earlier, later in zip(PARTS, moments[:-1], moments[1:], strict=True)
        }

    def _name(self, attempt: int) -> str:
        return instance_name(self._job, Attempt(attempt))

    def _moments(self, before: int) -> list[float]:
        name = self._name(self._attempt)
        old = [self._ear.at(self._job, kind, before) for kind in (ev.Lost, ev.Fenced, ev.Gone)]
        made = self._made.instance_file(name, "instance.json").stat().st_mtime
        kinds = (ev.Enrolled, ev.Ready, ev.Takeover, ev.Started)
        new = [self._ear.at(self._job, kind, self._attempt) for kind in kinds]
        return [*old, made, self._made.agent_started_at(name), *new]

    async def _next_new_step(self) -> tuple[Line, Line]:
        """Give the line with which the new script began, and that of the first step never done before."""
        with anyio.fail_after(60):
            while True:
                lines = read_trace(self._trace)
                begins = [number for number, line in enumerate(lines) if line.kind == "begin"]
                if len(begins) >= self._attempt:
                    begin = begins[self._attempt - 1]
                    done = max(line.step for line in lines[:begin])
                    for line in lines[begin:]:
                        if line.kind == "step" and line.step > done:
                            return lines[begin], line
                await anyio.sleep(0.05)


async def measure(
    made: Broker, rounds: dict[str, int], seed: int
) -> dict[str, list[dict[str, float]]]:
    dice = Random(seed)
    work, trace = made.base / "work", made.base / "trace.txt"
    work.mkdir()
    (work / "counter.py").write_bytes(SCRIPT.read_bytes())
    command = [sys.executable, "counter.py", str(trace), str(STEP_S), str(SAVE_STEPS)]
    found: dict[str, list[dict[str, float]]] = {}
    async with session(made.home) as opened, listening(made) as (_, ear):
        wanted = await prepare(opened.bus, dice, work, command, made.environ)
        await wanted.submit(opened.bus)
        job = Recovery(made, opened.bus, ear, wanted.job, trace)
        for verb, count in rounds.items():
            for _ in range(count):
                found.setdefault(verb, []).append(await job.round(verb, dice))
    return found


def rows(verb: str, found: list[dict[str, float]], aim_s: float) -> list[machine.Row]:
    ours = [sum(s for part, s in one.items() if part not in NOT_OURS) for one in found]
    whole = [sum(one.values()) for one in found]
    return [
        machine.row(f"{verb}: our share", "s", ours, aim_p50=aim_s),
        machine.row(f"{verb}: the whole, to the next new step", "s", whole),
        *[machine.row(f"{verb}: {part}", "s", [one[part] for one in found]) for part in PARTS],
    ]


def main() -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--freezes", type=int, default=2, help="each takes 35 s")
    chosen = parser.parse_args()
    rounds = {"kill": chosen.kills, "freeze": chosen.freezes}
    if chosen.quick:
        rounds = {"kill": 1, "freeze": 0}
    here = machine.machine()
    with broker() as made:
        made.up()
        found = anyio.run(measure, made, rounds, chosen.seed)
    aims = {"kill": AIM_KILL_S, "freeze": AIM_FREEZE_S}
    report = machine.Report(
        benchmark="recovery",
        arguments=sys.argv[1:],
        machine=here,
        seed=chosen.seed,
        quick=chosen.quick,
        rows=[one for verb, times in found.items() for one in rows(verb, times, aims[verb])],
        notes=[
            "our share: without `boot`, `start` and the last part; the parts add up to the whole"
        ],
    )
    machine.publish(report, as_json=chosen.json)


if __name__ == "__main__":
    main()
