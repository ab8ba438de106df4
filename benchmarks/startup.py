"""The start of the command line, the way to a first job's first line, and the memory of an idle broker.

    python -m benchmarks.startup [--starts 10] [--runs 5] [--seed 1] [--json] [--quick]

`vaultlayer --help` after one warm-up. `vaultlayer run python hello.py` in a home where nothing was ever
started (the configuration, the keys, both servers, the broker, the job), to the first line of the script
on its stdout; and again in the same home after `vaultlayer down`. Memory of the broker and its two
servers after a job and a pause: RSS counts shared pages in each process, PSS divides them, USS leaves
them out.
"""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks import machine
from benchmarks.broker import CLI, Broker, broker

AIM_HELP_MS = 200.0
AIM_FIRST_LINE_S = 4.0
SETTLE_S = 5.0
MB = 1e6


def help_ms(starts: int) -> list[float]:
    """Time the installed program, as a person calls it."""
    program = machine.program("vaultlayer")
    found: list[float] = []
    for number in range(starts + 1):
        began = time.monotonic()
        subprocess.run([program, "--help"], stdout=subprocess.DEVNULL, check=True)
        if number:
            found.append(1e3 * (time.monotonic() - began))
    return found


def first_line_s(made: Broker, work: Path) -> tuple[float, float]:
    """Run a script with nothing running; give seconds to its first line, and to the end of the command."""
    began = time.monotonic()
    process = subprocess.Popen(
        [*CLI, "run", "python", "hello.py"],
        cwd=work,
        env=made.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    first_s = time.monotonic() - began
    _, errors = process.communicate(timeout=60)
    if line != "hello\n" or process.returncode:
        raise SystemExit(f"the script did not run: {errors}")
    return first_s, time.monotonic() - began


def memory_mb(made: Broker) -> dict[str, dict[str, float]]:
    """Give the memory of the broker's processes by kind."""
    broker_pid = next(
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "vaultlayer_actors.embedded" in (process.info["cmdline"] or [])
        and process.environ().get("VAULTLAYER_HOME") == made.environ["VAULTLAYER_HOME"]
    )
    root = psutil.Process(broker_pid)
    found: dict[str, dict[str, float]] = {}
    for process in [root, *root.children(recursive=True)]:
        held = process.memory_full_info()
        name = "broker" if process == root else process.name()
        found[name] = {"RSS": held.rss / MB, "PSS": held.pss / MB, "USS": held.uss / MB}
    return found


def measure(runs: int) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    times: dict[str, list[float]] = {"fresh": [], "fresh, whole": [], "again": []}
    memory: dict[str, dict[str, float]] = {}
    for number in range(runs):
        with broker() as made:
            work = made.base / "work"
            work.mkdir()
            (work / "hello.py").write_text('print("hello")\n')
            first_s, whole_s = first_line_s(made, work)
            times["fresh"].append(first_s)
            times["fresh, whole"].append(whole_s)
            if number == 0:
                time.sleep(SETTLE_S)
                memory = memory_mb(made)
            made.call("down", "--force")
            times["again"].append(first_line_s(made, work)[0])
    return times, memory


def rows(
    helps: list[float], times: dict[str, list[float]], memory: dict[str, dict[str, float]]
) -> list[machine.Row]:
    found = [
        machine.row("vaultlayer --help", "ms", helps, aim_p50=AIM_HELP_MS),
        machine.row(
            "run in a new home, to the first line", "s", times["fresh"], aim_p50=AIM_FIRST_LINE_S
        ),
        machine.row("run in a new home, to the end of the command", "s", times["fresh, whole"]),
        machine.row("run after `down`, to the first line", "s", times["again"]),
    ]
    for kind in ("RSS", "PSS", "USS"):
        for name, held in memory.items():
            found.append(machine.row(f"idle {kind}, {name}", "MB", [held[kind]]))
        whole = sum(held[kind] for held in memory.values())
        found.append(machine.row(f"idle {kind}, all", "MB", [whole]))
    return found


def main() -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    starts, runs = (2, 1) if chosen.quick else (chosen.starts, chosen.runs)
    here = machine.machine()
    helps = help_ms(starts)
    times, memory = measure(runs)
    report = machine.Report(
        benchmark="startup",
        arguments=sys.argv[1:],
        machine=here,
        seed=chosen.seed,
        quick=chosen.quick,
        rows=rows(helps, times, memory),
    )
    machine.publish(report, as_json=chosen.json)


if __name__ == "__main__":
    main()
