"""A script's step time with the agent beside it and uploads under way, against the same script alone.

    python -m benchmarks.step_time [--pairs 5] [--steps 400] [--threads 1] [--seed 1] [--json] [--quick]

A PyTorch loop of 20 ms steps saves 25 MB each 50 steps. Runs alternate: alone, with, alone, with. Both
have the same seeds, the same number of threads and the same directory layout; the steps are timed inside
the script. With one thread one of two cores is left for the agent, the broker, both servers and the
operating system, all of which run here; on a rented machine there is only the agent. With `--threads 2`
everything competes for the same two cores. A save includes the wait until the agent has put the file
aside (a copy, where a lone file may be rewritten in place).
"""

import json
import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks import machine
from benchmarks.broker import Broker, broker

SCRIPT = Path(__file__).parent / "jobs" / "train.py"
AIM_RATIO_P50 = 1.01


class Times(msgspec.Struct, frozen=True):
    """What the script writes at its end, in seconds."""

    steps_s: list[float]
    saves_s: list[float]


class Runs:
    """Runs the script in fresh directories."""

    def __init__(self, made: Broker, *, steps: int, threads: int) -> None:
        self._made = made
        self._arguments = ["--steps", str(steps)]
        self._pins = {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "PYTHONHASHSEED": "0",
        }
        self._count = 0

    def _work(self) -> tuple[Path, Path]:
        self._count += 1
        work = self._made.base / f"work-{self._count}"
        work.mkdir()
        (work / "train.py").write_bytes(SCRIPT.read_bytes())
        return work, self._made.base / f"times-{self._count}.json"

    def alone(self) -> Times:
        """Run it with nothing of ours around it."""
        work, times = self._work()
        command = [sys.executable, "train.py", str(times), *self._arguments]
        environ = {**self._made.environ, **self._pins}
        subprocess.run(command, cwd=work, env=environ, stdout=subprocess.DEVNULL, check=True)
        return _read(times)

    def with_us(self) -> Times:
        """Run it as a job."""
        work, times = self._work()
        pins = [word for pair in self._pins.items() for word in ("--env", "=".join(pair))]
        command = [sys.executable, "train.py", str(times), *self._arguments]
        self._made.call("run", *pins, "--", *command, cwd=work)
        return _read(times)


def _read(path: Path) -> Times:
    return msgspec.convert(json.loads(path.read_text()), Times)


def report(
    here: machine.Machine, seed: int, quick: bool, pairs: list[tuple[Times, Times]]
) -> machine.Report:
    def pooled(which: int, of: str) -> list[float]:
        return [1e3 * s for pair in pairs for s in getattr(pair[which], of)]

    def compared(share: float, of: str = "steps_s") -> list[tuple[float, float]]:
        return [
            (
                machine.quantile(getattr(ours, of), share),
                machine.quantile(getattr(alone, of), share),
            )
            for alone, ours in pairs
        ]

    alone_p50 = [machine.quantile(alone.steps_s, 0.5) for alone, _ in pairs]
    among = list(zip(alone_p50[1:], alone_p50, strict=False))
    ratios = [
        machine.ratio("step p50, with / alone", compared(0.5), aim=AIM_RATIO_P50),
        machine.ratio("step p99, with / alone", compared(0.99)),
        machine.ratio("save p50, with / alone", compared(0.5, "saves_s")),
    ]
    if among:
        ratios.append(machine.ratio("step p50, alone / alone before (noise)", among))
    return machine.Report(
        benchmark="step_time",
        arguments=sys.argv[1:],
        machine=here,
        seed=seed,
        quick=quick,
        rows=[
            machine.row("step, alone", "ms", pooled(0, "steps_s")),
            machine.row("step, with the agent and uploads", "ms", pooled(1, "steps_s")),
            machine.row("save, alone", "ms", pooled(0, "saves_s")),
            machine.row("save, with the agent and uploads", "ms", pooled(1, "saves_s")),
        ],
        ratios=ratios,
        notes=[
            f"{here.cores} cores carry script, agent, broker and both servers: a ceiling, not a forecast"
        ],
    )


def main() -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    count, steps = (1, 60) if chosen.quick else (chosen.pairs, chosen.steps)
    here = machine.machine()
    with broker() as made:
        made.up()
        runs = Runs(made, steps=steps, threads=chosen.threads)
        pairs = [(runs.alone(), runs.with_us()) for _ in range(count)]
    machine.publish(report(here, chosen.seed, chosen.quick, pairs), as_json=chosen.json)


if __name__ == "__main__":
    main()
