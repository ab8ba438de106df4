"""A home with a real embedded broker, and a hand that takes a job's whole machine away."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from chaos.world import CLI, World
from matrix.rows import Row
from vaultlayer_agent.capture.snapshots import reached_step

PINS = {
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "HF_HUB_OFFLINE": "1",
    "JAX_PLATFORMS": "cpu",
}
BARE_S = 480.0
STOP_S = 10.0


class Death(msgspec.Struct, frozen=True):
    """What was killed: how many processes, and the step that the ghost's disk says they had reached."""

    processes: int
    reached_step: int | None = None


class Place(World):
    """One home; jobs of many scripts."""

    def command_of(self, row: Row) -> list[str]:
        """Give the command line as its user would type it."""
        launcher: list[str] = []
        if row.ranks > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone"]
            launcher += [f"--nproc-per-node={row.ranks}"]
        return [sys.executable, *launcher, row.script.name]

    def directory(self, name: str, row: Row) -> Path:
        """Make a working directory that holds the script and nothing else."""
        path = self.base / "work" / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        shutil.copy(row.script, path)
        return path

    def run_bare(self, row: Row) -> Path:
        """Run with nothing of ours around it; give its directory."""
        work = self.directory(f"{row.name}-bare", row)
        kept = {k: v for k, v in self.environ.items() if k not in {"VAULTLAYER_HOME", "PYTHONPATH"}}
        done = subprocess.run(
            self.command_of(row),
            cwd=work,
            env={**kept, **PINS},
            capture_output=True,
            text=True,
            timeout=BARE_S,
            check=False,
        )
        assert done.returncode == 0, f"{row.name} fails by itself: {done.stderr[-2000:]}"
        return work

    def submit_row(self, row: Row) -> str:
        """Submit the script and give the job's id."""
        words = [word for key, value in PINS.items() for word in ("--env", f"{key}={value}")]
        words += ["--snapshot-every", row.every, "--name", row.name.replace("_", "-")]
        out = self.call(
            "run",
            "--detach",
            "--json",
            *words,
            "--",
            *self.command_of(row),
            cwd=self.directory(row.name, row),
        )
        rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return next(found["job"] for found in rows if "job" in found)

    def machine(self, instance: str) -> list[psutil.Process]:
        """Every process that runs on behalf of one instance."""
        found: list[psutil.Process] = []
        for process in self.instance_processes():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("VAULTLAYER_INSTANCE") == instance:
                    found.append(process)
        return found

    def take_away(self, instance: str, work: Path, copy: Path) -> Death:
        """Kill a machine in mid-step: freeze it, keep what lay on its disk, kill all of it."""
        gone: dict[int, psutil.Process] = {}
        reached: list[int] = []
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in self.machine(instance):
                gone[process.pid] = process
                if number == signal.SIGSTOP:
                    reached += _reached(process)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            if number == signal.SIGSTOP and work.is_dir():
                shutil.copytree(work, copy, symlinks=True, dirs_exist_ok=True)
        psutil.wait_procs(list(gone.values()), timeout=STOP_S)
        return Death(len(gone), max(reached, default=None))


def _reached(process: psutil.Process) -> list[int]:
    with contextlib.suppress(psutil.Error):
        ghost = process.environ().get("VAULTLAYER_GHOST_DIR")
        step = reached_step(Path(ghost)) if ghost else None
        return [step] if step is not None else []
    return []


class Events:
    """A job's entries and its progress as they come, by `vaultlayer watch --json`."""

    def __init__(self, place: Place, job: str) -> None:
        self.entries: list[dict[str, Any]] = []
        self._more = threading.Condition()
        self._over = False
        self._process = subprocess.Popen(
            [*CLI, "watch", job, "--tail", "0", "--json"],
            cwd=place.base,
            env=place.environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                with self._more:
                    self.entries.append(json.loads(line))
                    self._more.notify_all()
        with self._more:
            self._over = True
            self._more.notify_all()

    def follow(self, deadline_s: float) -> Iterator[dict[str, Any]]:
        """Give each entry once, until the job is over."""
        seen, end = 0, time.monotonic() + deadline_s
        while True:
            with self._more:
                while len(self.entries) == seen and not self._over:
                    left = end - time.monotonic()
                    assert left > 0, f"the job did not end: {self.entries[-3:]}"
                    self._more.wait(left)
                if len(self.entries) == seen:
                    return
                fresh = self.entries[seen:]
            for entry in fresh:
                seen += 1
                yield entry

    def close(self) -> None:
        """End the follower."""
        self._process.terminate()
        self._process.wait()
        self._thread.join(STOP_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
