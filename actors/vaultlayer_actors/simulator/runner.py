"""Runs what a simulated machine is told to run: a real process group with real children.

The machine has a directory as its disk and home, and the programs of the "image", whose PATH comes first.
All that runs on it carries the machine's mark in its environment, so that its death takes everything along.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from vaultlayer_actors.drivers.local import processes
from vaultlayer_actors.simulator.image import OFF, Image

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
KILL_S = 10.0
PASSED = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE")


class Runner:
    """The hardware of a simulated provider.

    Args:
        root: where the machines' disks are made.
        image: the programs of the machines, in front of the system's.
        environ: what else every machine's environment has.
    """

    def __init__(
        self, root: Path, *, image: Image | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._root = root
        base = image.environment(SYSTEM_PATH) if image else {"PATH": SYSTEM_PATH}
        self._environ = {**base, **(environ or {})}
        self._first: dict[str, subprocess.Popen[bytes]] = {}
        self._identities: dict[str, processes.Identity] = {}

    def _mark(self, machine: str) -> str:
        # Ids are alike in every simulator, and several may run on one host.
        return f"{machine}@{self._root.absolute()}"

    def disk(self, machine: str) -> Path:
        """Give the machine's disk."""
        return self._root / machine

    def _console(self, machine: str) -> Path:
        return self._root / f"{machine}.log"

    def log(self, machine: str) -> str:
        """Give what the machine has printed; it is kept after its end."""
        path = self._console(machine)
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, machine: str, script: str, env: Mapping[str, str]) -> None:
        """Boot: run a script, on a disk that outlives a stop."""
        disk = self.disk(machine)
        (disk / "tmp").mkdir(parents=True, exist_ok=True)
        kept = {key: os.environ[key] for key in PASSED if key in os.environ}
        own = {
            **kept,
            **self._environ,
            **env,
            "HOME": str(disk),
            "TMPDIR": str(disk / "tmp"),
            processes.MARK: self._mark(machine),
        }
        with self._console(machine).open("ab") as console:
            self._first[machine] = subprocess.Popen(
                ["/bin/sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=disk,
                env=own,
                start_new_session=True,
            )
        found = processes.look_at(self._first[machine].pid)
        if found is not None:
            self._identities[machine] = found.identity

    def exit_status(self, machine: str) -> int | None:
        """Give the exit status of what it ran; None while it runs, or when nothing did."""
        first = self._first.get(machine)
        return None if first is None else first.poll()

    def is_off(self, machine: str) -> bool:
        """Whether the machine has powered itself off."""
        return (self.disk(machine) / OFF).exists()

    def terminate(self, machine: str) -> None:
        """Send SIGTERM to what it runs, as a container's stop does."""
        first = self._first.get(machine)
        if first is not None and first.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGTERM)

    def kill(self, machine: str) -> None:
        """Take the power: everything dies at once; the disk stays."""
        first = self._first.pop(machine, None)
        if first is None:
            return
        identity = self._identities.pop(machine, None)
        processes.kill_all(self._mark(machine), identity, deadline_s=KILL_S)
        first.wait()

    def freeze(self, machine: str) -> None:
        """Stop the machine's time."""
        processes.freeze_all(self._mark(machine), self._identities.get(machine))

    def wipe(self, machine: str) -> None:
        """Kill it and take its disk."""
        self.kill(machine)
        shutil.rmtree(self.disk(machine), ignore_errors=True)

    def kill_everything(self) -> None:
        """End all machines."""
        for machine in list(self._first):
            self.kill(machine)
