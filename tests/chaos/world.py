"""A real broker with real children, and a hand that kills any one process of it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SCRIPT = Path(__file__).parents[2] / "cli" / "vaultlayer_cli" / "demo" / "job" / "train.py"
CLI = [sys.executable, "-m", "vaultlayer_cli"]
PINNED = {"OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
DEADLINE_S = 240.0
ROLES = ("script", "agent", "init", "broker", "nats-server", "s3-server")


@dataclass
class World:
    """One home with an embedded broker; every process in it is found by what it is, never by name alone."""

    base: Path
    steps: int = 40
    save_steps: int = 8
    killed: list[str] = field(default_factory=list[str])

    @property
    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
        return {**kept, "VAULTLAYER_HOME": str(self.base / "home"), **PINNED}

    def call(self, *arguments: str, cwd: Path | None = None, check: bool = True) -> str:
        """Run one command line to its end and give what it wrote."""
        done = subprocess.run(
            [*CLI, *arguments],
            cwd=cwd or self.base,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def up(self) -> None:
        self.call("init", "--yes")
        self.call("up")

    def down(self) -> None:
        self.call("down", "--force", check=False)
        for process in self.instance_processes():
            process.kill()
        broker = self.broker()
        if broker is not None:
            broker.kill()

    def work(self, name: str) -> Path:
        """A fresh directory that holds the script and nothing else."""
        path = self.base / "work" / name
        path.mkdir(parents=True)
        (path / "train.py").write_bytes(SCRIPT.read_bytes())
        return path

    @property
    def command(self) -> list[str]:
        steps = ["--steps", str(self.steps), "--save-steps", str(self.save_steps)]
        return [sys.executable, "train.py", *steps]

    def submit(self, name: str) -> str:
        """Submit the script and give the job's id."""
        pins = [word for key, value in PINNED.items() for word in ("--env", f"{key}={value}")]
        out = self.call(
            "run",
            "--detach",
            "--json",
            "--name",
            name,
            *pins,
            "--",
            *self.command,
            cwd=self.work(name),
        )
        for line in out.splitlines():
            row = json.loads(line)
            if "job" in row:
                return row["job"]
        raise AssertionError(f"no job id in {out!r}")

    def bare(self) -> bytes:
        """The weights of the script, run with nothing of ours around it."""
        work = self.work("bare")
        subprocess.run(self.command, cwd=work, env=self.environ, check=True, capture_output=True)
        return weights(work)

    def state(self, job: str) -> dict[str, object]:
        """The folded job; an empty one while the broker is away."""
        out = self.call("show", job, "--json", check=False)
        return json.loads(out) if out.strip().startswith("{") else {}

    def finish(self, job: str) -> dict[str, object]:
        """Wait for the job's outcome; the broker is started again whenever it is not there."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if self.broker() is None:
                self.call("up")
            state = self.state(job)
            if state.get("outcome"):
                return state
            time.sleep(0.5)
        raise AssertionError(f"{job} did not end: {self.call('events', job, check=False)}")

    def pull(self, job: str) -> Path:
        """Fetch the job's outputs."""
        into = self.base / "pulled" / job
        self.call("pull", job, str(into))
        return into

    # Who is who ---------------------------------------------------------------------------------

    def broker(self) -> psutil.Process | None:
        try:
            told = json.loads((self.base / "home" / "run" / "broker.json").read_text())
            process = psutil.Process(told["pid"])
            return process if "vaultlayer_actors.embedded" in " ".join(process.cmdline()) else None
        except (FileNotFoundError, json.JSONDecodeError, psutil.NoSuchProcess):
            return None

    def instance_processes(self) -> list[psutil.Process]:
        """Everything that belongs to an instance of this home, whoever started it."""
        found: list[psutil.Process] = []
        marker = str(self.base / "home")
        for process in psutil.process_iter():
            try:
                environ = process.environ()
                line = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if "VAULTLAYER_INSTANCE" in environ and (marker in line or marker in str(environ)):
                found.append(process)
        return found

    def find(self, role: str) -> psutil.Process | None:
        """Find one process of a role, or None while there is none."""
        try:
            return self._find(role)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return None

    def _find(self, role: str) -> psutil.Process | None:
        if role == "broker":
            return self.broker()
        if role in {"nats-server", "s3-server"}:
            broker = self.broker()
            name = "nats-server" if role == "nats-server" else "weed"
            children = broker.children(recursive=True) if broker else []
            return next((p for p in children if name in p.name()), None)
        words = {"script": "train.py", "agent": "vaultlayer_agent", "init": "drivers.local.init"}
        return next(
            (p for p in self.instance_processes() if words[role] in " ".join(p.cmdline())), None
        )

    def kill(self, role: str) -> bool:
        """SIGKILL one process of a role; False when there is none just now."""
        process = self.find(role)
        if process is None:
            return False
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.killed.append(role)
        return True


def weights(work: Path) -> bytes:
    """The final weights' file."""
    return (work / "out" / "final" / "model.safetensors").read_bytes()
