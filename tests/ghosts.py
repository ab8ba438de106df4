"""Runs a script bare, hooked, and killed and replayed, the way the agent does, and compares what it leaves.

Each attempt gets a fresh working directory at the same path with the launch-time files only; what the script
had written at a snapshot comes back as the image of its number. `VAULTLAYER_TEST_INTERPRETER` names another
Python (with torch and NumPy of its own) that runs the scripts; it needs nothing of ours.
"""

import contextlib
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vaultlayer_agent.capture import hook_path
from vaultlayer_agent.capture.snapshots import reached_step

LIMIT_S = 300
INTERPRETER = os.environ.get("VAULTLAYER_TEST_INTERPRETER") or sys.executable
SCRIPTS = Path(__file__).parent / "ghost" / "scripts"


def hook_module(name: str) -> Any:
    """Import a module of the hooks as a script's interpreter would."""
    if str(hook_path()) not in sys.path:
        sys.path.append(str(hook_path()))
    return importlib.import_module(f"vaultlayer_hooks.ghost.{name}")


@dataclass
class Attempt:
    """What came of one process."""

    status: int
    output: str
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    def meta(self, kind: str) -> dict[str, str]:
        return self.told(kind)[-1]["meta"]


class Ears:
    """Listens to the hooks as the agent does: answers what is asked, and puts files aside when told to."""

    def __init__(self, path: Path, work: Path, images: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self.say: list[dict[str, Any]] = []
        self._work, self._images = work, images
        self.pause_s = 0.0
        self._lock = threading.Lock()
        path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        # One that is killed leaves what we have answered unread.
        gone = contextlib.suppress(ConnectionError)
        with gone, connection, connection.makefile("rb") as lines:
            for message in self.say:
                connection.sendall(json.dumps(message).encode() + b"\n")
            for line in lines:
                event = json.loads(line)
                with self._lock:
                    self._deal(event)
                    self.events.append(event)
                if "ask" in event:
                    answer = {"kind": "ack", "ask": event["ask"]}
                    connection.sendall(json.dumps(answer).encode() + b"\n")

    def _deal(self, event: dict[str, Any]) -> None:
        if event["kind"] not in ("snapshot_begin", "snapshot_end", "snapshot_void"):
            return
        number = event["meta"]["number"]
        aside, image = self._images / f"aside-{number}", self._images / number
        if event["kind"] == "snapshot_begin":
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(self._work, aside, symlinks=True)
            time.sleep(self.pause_s)
        elif event["kind"] == "snapshot_end" and aside.exists():
            shutil.rmtree(image, ignore_errors=True)
            aside.rename(image)
        else:
            shutil.rmtree(aside, ignore_errors=True)

    def close(self) -> None:
        self._server.close()


class Ghost:
    """One script under ghost replay."""

    def __init__(
        self,
        top: Path,
        script: Path,
        *words: str,
        every: str = "10steps",
        ranks: int = 1,
        **environ: str,
    ) -> None:
        self.top, self.script, self.words, self.every = top, script, words, every
        self.ranks, self.pause_s = ranks, 0.0
        self.work, self.state, self.images = top / "work", top / "state", top / "images"
        self._environ = environ

    def _env(self, **more: str) -> dict[str, str]:
        keep = {n: os.environ[n] for n in ("PATH", "HOME", "LANG") if n in os.environ}
        pins = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1", "PYTHONWARNINGS": "ignore"}
        return {**keep, **pins, **self._environ, **more}

    def _run(self, env: dict[str, str]) -> Attempt:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        shutil.copy(self.script, self.work / "train.py")
        launcher: list[str] = []
        if self.ranks > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone"]
            launcher += [f"--nproc-per-node={self.ranks}"]
        done = subprocess.run(
            [INTERPRETER, *launcher, "train.py", *self.words],
            cwd=self.work,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Attempt(done.returncode, done.stdout)

    def bare(self) -> Attempt:
        return self._run(self._env())

    def attempt(
        self,
        *,
        replay: bool = False,
        die_at: int = 0,
        snapshot: int = 0,
        say: list[dict[str, Any]] | None = None,
        every: str | None = None,
    ) -> Attempt:
        """Run once, hooked; `snapshot`: which to replay to, 0 for the newest that was announced."""
        if not replay:
            shutil.rmtree(self.state, ignore_errors=True)
            shutil.rmtree(self.images, ignore_errors=True)
        self.images.mkdir(parents=True, exist_ok=True)
        ears = Ears(self.top / "s", self.work, self.images)
        ears.say, ears.pause_s = say or [], self.pause_s
        env = self._env(
            PYTHONPATH=str(hook_path()),
            VAULTLAYER_EVENTS=str(self.top / "s"),
            VAULTLAYER_GHOST_DIR=str(self.state),
            VAULTLAYER_GHOST_MODE="replay" if replay else "record",
            VAULTLAYER_GHOST_EVERY=self.every if every is None else every,
            VAULTLAYER_WORK_DIR=str(self.work),
        )
        if die_at:
            env["VAULTLAYER_GHOST_DIE_AT"] = str(die_at)
        if replay:
            number = snapshot or self.newest()
            env["VAULTLAYER_GHOST_SNAPSHOT"] = str(number)
            env["VAULTLAYER_GHOST_IMAGE"] = str(self.images / str(number))
        try:
            attempt = self._run(env)
        finally:
            ears.close()
        attempt.events = ears.events
        return attempt

    def newest(self) -> int:
        """Give the number of the newest snapshot that was announced."""
        return max((int(p.name) for p in self.images.iterdir() if p.name.isdigit()), default=0)

    def reached(self) -> int | None:
        """Give the last step that the disk of the newest attempt tells of."""
        return reached_step(self.state)

    def files(self) -> dict[str, bytes]:
        """Give every file that the script has left, by name."""
        found = sorted(
            p for p in self.work.rglob("*") if p.is_file() and "__pycache__" not in str(p)
        )
        return {str(p.relative_to(self.work)): p.read_bytes() for p in found}


def skip_without(module: str) -> None:
    """Skip a test whose script needs a module that its interpreter lacks."""
    look = f"import sys, importlib.util as u; sys.exit(u.find_spec({module!r}) is None)"
    if subprocess.run([INTERPRETER, "-c", look], check=False).returncode:
        pytest.skip(f"no {module}")


def through_deaths(ghost: Ghost, *deaths: int) -> Attempt:
    """Run bare, hooked, and with a death at each step; all must leave the same; give the last attempt."""
    bare = ghost.bare()
    assert bare.status == 0, bare.output
    wanted = ghost.files()
    hooked = ghost.attempt()
    assert hooked.status == 0, hooked.output
    assert ghost.files() == wanted, "recording changed the run"
    assert final_lines(hooked) == final_lines(bare)
    assert not hooked.told("hook_failed"), hooked.told("hook_failed")
    last = ghost.attempt(die_at=deaths[0])
    assert ghost.reached() == deaths[0], "the disk does not hold the step that was reached"
    for number, death in enumerate((*deaths[1:], 0)):
        assert last.status == -9 or ghost.ranks > 1, last.output
        assert ghost.newest() > 0, [e for e in last.events if e["kind"] != "framework"]
        last = ghost.attempt(replay=True, die_at=death)
        assert last.told("live"), (last.output, last.events)
        resumed = int(last.meta("live")["steps"])
        assert 0 < resumed < deaths[number], "nothing was skipped, or what never was"
        assert ghost.reached() == (death or int(last.told("ghost_step")[-1]["step"]))
        verified = last.meta("verified")
        assert verified["equal"] == verified["of"], verified
    assert last.status == 0, (last.output, last.events)
    assert ghost.files() == wanted
    assert final_lines(last) == final_lines(bare)
    return last


def final_lines(attempt: Attempt) -> list[str]:
    return [line for line in attempt.output.splitlines() if line.startswith("FINAL")]
