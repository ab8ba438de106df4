"""Every benchmark runs, and prints the object that docs/benchmarks.md describes."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.__main__ import COMMANDS  # noqa: E402
from benchmarks.machine import Report  # noqa: E402

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROWS = {
    "startup": {
        "vaultlayer --help",
        "run in a new home, to the first line",
        "run after `down`, to the first line",
        "idle RSS, all",
        "idle PSS, all",
        "idle USS, all",
    },
    "hooks": {"start, bare: pass", "cost of hooks: pass"},
    "ghost": {
        "recording, a step",
        "log, a step",
        "replay, a skipped step",
        "snapshot stall, small state",
        "snapshot stall, a GB more",
        "start without training",
    },
    "ledger": {
        "ledger append, one writer",
        "appends a second, 4 writers, 1 stream",
        "appends a second, 4 writers, 4 streams",
        "fold of 500 entries in memory",
        "watch: connect and show 500 entries",
    },
    "submit_latency": {"submit to first beat", "submit to create call (our share)"},
    "recovery": {"kill: our share", "kill: the whole, to the next new step"},
    "fleet": {
        "a cycle over all providers: our work",
        "API calls an instance-hour, by provider",
        "a machine ordered and written down",
    },
    "step_time": {"step, alone", "step, with the agent and uploads"},
}


def run(name: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *COMMANDS[name][1], "--json"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.train
@pytest.mark.parametrize("name", ROWS)
def test_a_benchmark_prints_the_documented_object(name: str) -> None:
    report = msgspec.json.decode(run(name), type=Report)
    assert report.benchmark == name
    assert report.quick
    assert report.seed == 1
    assert report.machine.cores >= 1
    assert report.machine.load_1m >= 0
    assert 0 <= report.machine.busy <= 1
    assert {"nats-server", "weed", "vaultlayer"} <= set(report.machine.versions)
    assert {row.name for row in report.rows} >= ROWS[name]
    for row in report.rows:
        assert 0 < row.least <= row.p50 <= row.p99 <= row.most, row
        assert row.n >= 1
        assert (row.met is None) == (row.aim_p50 is None and row.aim_p99 is None)


def test_the_checkpoint_path_prints_its_object() -> None:
    found = json.loads(run("checkpoint_path"))
    assert {"machine", "cores", "load", "rounds", "figures"} <= set(found)
    assert all({"name", "gb_s", "cpu_s_gb"} <= set(figure) for figure in found["figures"])


def test_every_benchmark_is_in_the_list() -> None:
    scripts = {
        path.stem for path in (ROOT / "benchmarks").glob("*.py") if "def main" in path.read_text()
    }
    assert scripts - {"__main__"} == set(COMMANDS)
    assert set(COMMANDS) == {*ROWS, "checkpoint_path"}
