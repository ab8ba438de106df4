"""What ghost replay costs a plain PyTorch loop: recording, snapshots, log, replay, and where nothing trains.

    python -m benchmarks.ghost [--rounds 5] [--seed 1] [--json] [--quick]

The same script (benchmarks/jobs/steps.py) runs bare and recorded, the two in drawn order, and times its own
steps. They are compared by the processor time of the training thread, of which neighbours can only take more:
a run counts by its tenth percentile. How fast large matrices are multiplied differs by a tenth from one
process to the next, so the 20 ms steps are compared by the medians of many short runs, and so are bare runs
with other bare runs: what these differ by is noise. Stalls are wall time.
A listener stands at the other end of the hooks' socket and answers at once; what the agent does while a
snapshot waits (hard links of the job's files) is left out. Steps of a replay are those of a second run after
a kill, up to the snapshot.
"""

import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import hooks, machine
from vaultlayer_agent.capture import hook_path

SCRIPT = Path(__file__).parent / "jobs" / "steps.py"
WARM_STEPS = 50
SMALL = ["--width", "64", "--layers", "2", "--batch", "32"]
LARGE = ["--width", "1024", "--layers", "3", "--batch", "64"]
"""About 0.5 ms and 20 ms a step on one core of 2024."""

LARGE_MORE = 3
"""Triples of runs of 20 ms steps for each pair of small ones."""

STATE_MB = 256
KILLED = -9

AIM_STEP_RATIO = 1.01
AIM_STEP_MS = 0.1
AIM_REPLAY_US = 50.0
LEAST = 1e-3
"""Stands for no cost that could be measured."""


class Times(msgspec.Struct, frozen=True):
    """Clock readings at the end of each step, in seconds, and the most memory that was used."""

    cpu_s: list[float]
    wall_s: list[float]
    peak_b: int

    def steps_ms(self, first: int = WARM_STEPS, until: int | None = None) -> list[float]:
        """Give the processor time of the steps from `first` on."""
        return [
            1e3 * (b - a)
            for a, b in zip(self.cpu_s[first:until], self.cpu_s[first + 1 : until], strict=False)
        ]

    def wall_ms(self, step: int) -> float:
        """Give what the wall clock says of one step; the first is 1."""
        return 1e3 * (self.wall_s[step - 1] - self.wall_s[step - 2])


class Listener:
    """Hears the hooks and answers what they ask at once."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        self._server.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                event = json.loads(line)
                self.events.append(event)
                if "ask" in event:
                    connection.sendall(
                        json.dumps({"kind": "ack", "ask": event["ask"]}).encode() + b"\n"
                    )

    def close(self) -> None:
        """Hear no more."""
        self._server.close()


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One run; `log_b` and `state` are what a recorded one left."""

    times: Times | None
    events: list[dict[str, Any]] = []
    log_b: int = 0

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Give what the hooks said of one kind."""
        return [event for event in self.events if event["kind"] == kind]


class Runs:
    """Runs the script in a directory of its own."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._count = 0
        self._bare = {
            "PATH": os.environ["PATH"],
            "PYTHONHASHSEED": "1",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }

    def bare(self, *words: str) -> Ran:
        """Run it with nothing of ours around it."""
        return self._run(words, self._bare, killed=False)

    def recorded(self, *words: str, every: int = 0, die_at: int = 0, replay: bool = False) -> Ran:
        """Run it recorded; `every`: steps from one snapshot to the next, `die_at`: step of its death."""
        self._count += 1
        state, events = self._top / "state", self._top / f"e{self._count}"
        if not replay:
            shutil.rmtree(state, ignore_errors=True)
        listener = Listener(events)
        environ = self._bare | {
            "PYTHONPATH": str(hook_path()),
            "VAULTLAYER_EVENTS": str(events),
            "VAULTLAYER_GHOST_DIR": str(state),
            "VAULTLAYER_GHOST_MODE": "replay" if replay else "record",
            "VAULTLAYER_GHOST_EVERY": f"{every}steps" if every else "",
            "VAULTLAYER_WORK_DIR": str(self._top / "work"),
        }
        if die_at:
            environ["VAULTLAYER_GHOST_DIE_AT"] = str(die_at)
        try:
            ran = self._run(words, environ, killed=bool(die_at))
        finally:
            listener.close()
        log_b = sum(path.stat().st_size for path in state.rglob("*.seg"))
        return msgspec.structs.replace(ran, events=listener.events, log_b=log_b)

    def _run(self, words: tuple[str, ...], environ: dict[str, str], *, killed: bool) -> Ran:
        work, times = self._top / "work", self._top / "times.json"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        times.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(times), *words],
            cwd=work,
            env=environ,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != (KILLED if killed else 0):
            raise SystemExit(f"the script ended with status {done.returncode}")
        return Ran(times=None if killed else msgspec.json.decode(times.read_bytes(), type=Times))


def pairs_of(
    runs: Runs, words: list[str], rounds: int, dice: random.Random
) -> list[tuple[Ran, Ran]]:
    """Give pairs, bare and recorded; the order within a pair is drawn."""
    pairs: list[tuple[Ran, Ran]] = []
    for _ in range(rounds):
        if dice.random() < 0.5:
            first = runs.bare(*words)
            pairs.append((first, runs.recorded(*words)))
        else:
            second = runs.recorded(*words)
            pairs.append((runs.bare(*words), second))
    return pairs


def triples_of(
    runs: Runs, words: list[str], count: int, dice: random.Random
) -> list[tuple[Ran, Ran, Ran]]:
    """Give triples, bare, bare once more and recorded; the order within a triple is drawn."""
    triples: list[tuple[Ran, Ran, Ran]] = []
    for _ in range(count):
        kinds = [runs.bare, runs.bare, runs.recorded]
        order = dice.sample(range(3), 3)
        done = {at: kinds[at](*words) for at in order}
        triples.append((done[0], done[1], done[2]))
    return triples


def step_ms(ran: Ran) -> float:
    assert ran.times is not None
    return machine.quantile(ran.times.steps_ms(), 0.1)


def large_ratios(bare: list[float], again: list[float], ours: list[float]) -> list[machine.Ratio]:
    """Compare the medians of 20 ms steps, and those of bare ones among themselves."""
    all_bare_ms = machine.quantile([*bare, *again], 0.5)
    pair = (machine.quantile(again, 0.5), machine.quantile(bare, 0.5))
    return [
        machine.ratio(
            "20 ms step, recorded / bare",
            [(machine.quantile(ours, 0.5), all_bare_ms)],
            aim=AIM_STEP_RATIO,
        ),
        machine.ratio("20 ms step, bare / bare (noise)", [pair]),
    ]


def stalls_ms(runs: Runs, words: list[str], every: int, snapshots: int) -> list[float]:
    """Give by how much longer the steps that end in a snapshot take."""
    ran = runs.recorded(*words, "--steps", str(every * (snapshots + 1) - 1), every=every)
    times = ran.times
    assert times is not None
    usual = machine.quantile([times.wall_ms(step) for step in range(2, len(times.wall_s))], 0.5)
    taken = [int(event["step"]) for event in ran.told("snapshot_begin")]
    return [max(LEAST, times.wall_ms(step) - usual) for step in taken]


def replay_of(runs: Runs, words: list[str], steps: int) -> Times:
    """Give the times of a run that was killed, and replayed `steps` steps."""
    more = ["--steps", str(steps + 64)]
    runs.recorded(*words, *more, every=steps, die_at=steps + 20)
    ran = runs.recorded(*words, *more, replay=True)
    if not ran.told("verified"):
        raise SystemExit(f"the replay failed: {ran.told('diverged')}")
    assert ran.times is not None
    return ran.times


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much is run."""

    rounds: int
    steps: int
    large_steps: int
    replayed: int
    snapshots: int
    state_mb: int
    starts: int


WHOLE = Sizes(
    rounds=5,
    steps=2000,
    large_steps=120,
    replayed=20_000,
    snapshots=5,
    state_mb=STATE_MB,
    starts=15,
)
QUICK = Sizes(rounds=1, steps=200, large_steps=64, replayed=200, snapshots=1, state_mb=16, starts=2)


def start_ms(environ: dict[str, str]) -> float:
    """Give the processor time of an interpreter that starts, imports a little, and ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import json, random"], env=environ, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def starts_ms(top: Path, starts: int) -> list[tuple[float, float]]:
    """Give pairs of starts, bare and hooked with the ghost wanted; the first ones only warm the disk."""
    bare = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "1"}
    hooked = bare | {
        "PYTHONPATH": str(hook_path()),
        "VAULTLAYER_EVENTS": str(top / "starts"),
        "VAULTLAYER_GHOST_DIR": str(top / "idle"),
        "VAULTLAYER_GHOST_MODE": "record",
    }
    with hooks.listen(top / "starts"):
        return [(start_ms(bare), start_ms(hooked)) for _ in range(starts + 1)][1:]


def measure(
    top: Path, sizes: Sizes, dice: random.Random
) -> tuple[list[machine.Row], list[machine.Ratio]]:
    runs = Runs(top)
    small = pairs_of(runs, [*SMALL, "--steps", str(sizes.steps)], sizes.rounds, dice)
    words = [*LARGE, "--steps", str(sizes.large_steps)]
    large = triples_of(runs, words, LARGE_MORE * sizes.rounds, dice)
    small_ms = [(step_ms(bare), step_ms(ours)) for bare, ours in small]
    bare_ms, again_ms, ours_ms = ([step_ms(ran[at]) for ran in large] for at in range(3))
    cost = machine.quantile([ours - bare for bare, ours in small_ms], 0.5)
    log_b = [ours.log_b / sizes.steps for _, ours in small]
    short, long = (replay_of(runs, SMALL, n) for n in (sizes.replayed // 10, sizes.replayed))
    replayed = [1e3 * ms for ms in long.steps_ms(until=sizes.replayed - 1)]
    held_b = (long.peak_b - short.peak_b) / (sizes.replayed - sizes.replayed // 10)
    little = stalls_ms(runs, SMALL, 100, sizes.snapshots)
    much = stalls_ms(runs, [*SMALL, "--state-mb", str(sizes.state_mb)], 128, sizes.snapshots)
    per_gb = (machine.quantile(much, 0.5) - machine.quantile(little, 0.5)) * 1e3 / sizes.state_mb
    starts = starts_ms(top, sizes.starts)
    start = machine.quantile([ours - bare for bare, ours in starts], 0.5)
    rows = [
        machine.row("small step, bare", "ms", [one for one, _ in small_ms]),
        machine.row("small step, recorded", "ms", [two for _, two in small_ms]),
        machine.row("recording, a step", "ms", [max(cost, LEAST)], aim_p50=AIM_STEP_MS),
        machine.row("20 ms step, bare", "ms", bare_ms + again_ms),
        machine.row("20 ms step, recorded", "ms", ours_ms),
        machine.row("log, a step", "B", log_b),
        machine.row("replay, a skipped step", "us", replayed, aim_p50=AIM_REPLAY_US),
        machine.row("replay, memory a skipped step", "B", [max(held_b, LEAST)]),
        machine.row("snapshot stall, small state", "ms", little),
        machine.row("snapshot stall, a GB more", "ms", [max(per_gb, LEAST)]),
        machine.row("start without training", "ms", [max(start, LEAST)], aim_p50=hooks.AIM_COST_MS),
    ]
    ratios = [
        *large_ratios(bare_ms, again_ms, ours_ms),
        machine.ratio("small step, recorded / bare", [(b, a) for a, b in small_ms]),
    ]
    return rows, ratios


def main() -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=WHOLE.rounds)
    chosen = parser.parse_args()
    sizes = QUICK if chosen.quick else msgspec.structs.replace(WHOLE, rounds=chosen.rounds)
    here = machine.machine()
    with tempfile.TemporaryDirectory(prefix="vl-ghost-", dir="/tmp") as top:
        rows, ratios = measure(Path(top), sizes, random.Random(chosen.seed))
    report = machine.Report(
        benchmark="ghost",
        arguments=sys.argv[1:],
        machine=here,
        seed=chosen.seed,
        quick=chosen.quick,
        rows=rows,
        ratios=ratios,
        notes=["steps and starts by processor time, stalls by the wall; one thread"],
    )
    machine.publish(report, as_json=chosen.json)


if __name__ == "__main__":
    main()
