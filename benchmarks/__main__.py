"""Runs the benchmarks one after another: `python -m benchmarks [--quick] [NAME …]`; `make bench`.

Each is a program of its own, with more options: `python -m benchmarks.recovery --help`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent

COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "startup": (["--runs", "3"], ["--quick"]),
    "hooks": ([], ["--quick"]),
    "ghost": (["--rounds", "3"], ["--quick"]),
    "ledger": ([], ["--quick"]),
    "submit_latency": ([], ["--quick"]),
    "recovery": (["--freezes", "1"], ["--quick"]),
    "step_time": (["--pairs", "3"], ["--quick"]),
    "fleet": (["--machines", "200", "--minutes", "2"], ["--quick"]),
    "checkpoint_path": (["--size-mb", "256"], ["--size-mb", "16", "--rounds", "1"]),
}
"""By name: the arguments of a short run, and of one that only shows that it works."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny numbers: do they work at all")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(COMMANDS)}")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in COMMANDS]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}")
    failed: list[str] = []
    for name in chosen.names or COMMANDS:
        short, quick = COMMANDS[name]
        arguments = quick if chosen.quick else short
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=HERE.parent, check=False
        )
        print(f"  took {time.monotonic() - began:.0f} s\n", flush=True)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
