"""What the hooks cost a script that does not train: the start of an interpreter, hooked against bare.

    python -m benchmarks.hooks [--starts 40] [--seed 1] [--json] [--quick]

The same interpreter runs `pass`, and a script that imports what most scripts do, with and without the hook
directory in front on PYTHONPATH, the two in drawn order, with a listener at the other end of the hooks'
socket. The cost is the median of the differences within the pairs.
"""

import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import machine
from vaultlayer_agent.capture import hook_path

AIM_COST_MS = 15.0
LEAST_MS = 0.01
"""Stands for no cost that could be measured."""

SCRIPTS = {
    "pass": "pass",
    "json, argparse, logging": "import json, argparse, logging, random, uuid, subprocess",
}


def listen(path: Path) -> socket.socket:
    """Take every connection and everything that is said, as the agent would."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(64)

    def take() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while connection.recv(65536):
                    pass

    threading.Thread(target=take, daemon=True).start()
    return server


def start_ms(code: str, environ: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    return 1e3 * (time.perf_counter() - began)


def measure(code: str, starts: int, events: Path, dice: random.Random) -> list[tuple[float, float]]:
    """Give pairs of milliseconds, bare and hooked; the order within a pair is drawn."""
    bare = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "1"}
    hooked = bare | {"PYTHONPATH": str(hook_path()), "VAULTLAYER_EVENTS": str(events)}
    pairs: list[tuple[float, float]] = []
    for number in range(starts + 1):
        if dice.random() < 0.5:
            first = start_ms(code, bare)
            pair = (first, start_ms(code, hooked))
        else:
            second = start_ms(code, hooked)
            pair = (start_ms(code, bare), second)
        if number:
            pairs.append(pair)
    return pairs


def main() -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--starts", type=int, default=40)
    chosen = parser.parse_args()
    starts = 3 if chosen.quick else chosen.starts
    dice = random.Random(chosen.seed)
    here = machine.machine()
    rows: list[machine.Row] = []
    ratios: list[machine.Ratio] = []
    with tempfile.TemporaryDirectory(prefix="vl-hooks-", dir="/tmp") as top:
        events = Path(top, "events.sock")
        with listen(events):
            for name, code in SCRIPTS.items():
                pairs = measure(code, starts, events, dice)
                cost = machine.quantile([hooked - bare for bare, hooked in pairs], 0.5)
                rows.append(machine.row(f"start, bare: {name}", "ms", [one for one, _ in pairs]))
                rows.append(machine.row(f"start, hooked: {name}", "ms", [two for _, two in pairs]))
                rows.append(
                    machine.row(
                        f"cost of hooks: {name}", "ms", [max(cost, LEAST_MS)], aim_p50=AIM_COST_MS
                    )
                )
                ratios.append(machine.ratio(f"hooked / bare: {name}", [(b, a) for a, b in pairs]))
    report = machine.Report(
        benchmark="hooks",
        arguments=sys.argv[1:],
        machine=here,
        seed=chosen.seed,
        quick=chosen.quick,
        rows=rows,
        ratios=ratios,
    )
    machine.publish(report, as_json=chosen.json)


if __name__ == "__main__":
    main()
