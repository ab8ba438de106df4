"""The instances of this machine as directories, and what their processes say about them.

```text
instances/<name>/intent.json     written before anything is started: GPUs, price
                 instance.json   written by the first process itself: pid and start time
                 doom.json       when a preempted instance dies, on the clock that counts sleep too
                 exit.json       the agent's exit status
                 boot.json       BootPayload, mode 0600, deleted by the agent
                 agent.log  state/
ended/<name>/                    instance.json, exit.json and agent.log of instances that are gone
```

Everything here blocks; the driver calls it in threads. Any number of processes may share one root.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from vaultlayer.driver import Instance
from vaultlayer.errors import DriverError
from vaultlayer.ids import parse_instance_name
from vaultlayer_actors.drivers.local.processes import Identity, is_alive, kill_all, look_at

T = TypeVar("T", bound=msgspec.Struct)

KILL_S = 10.0
"""How long the processes of an instance may take to die after SIGKILL."""
LOCK_S = 30.0
ENDED_KEPT = 100
"""Instances whose log is kept after they are gone."""
WORK_KEPT_S = 24 * 3600.0
"""How long the working directory of a gone instance stays for people to look at."""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What was promised to an instance before it existed."""

    gpus: list[int] = []
    price_usd_h: float = 0.0


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent ended: its exit status, or minus the signal."""

    status: int


class Doom(msgspec.Struct, frozen=True, kw_only=True):
    """When everything of a preempted instance is killed, in seconds of CLOCK_BOOTTIME."""

    due_s: float


class Instances:
    """Looks at, finds, kills and buries the instances below one root."""

    def __init__(self, root: Path) -> None:
        self._living = root / "instances"
        self._ended = root / "ended"
        self._trash = root / "trash"
        self._drafts = root / "drafts"
        self._work = root / "work"
        self._lock_file = root / "create.lock"
        for path in (self._living, self._ended, self._trash, self._drafts, self._work):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def directory(self, name: str) -> Path:
        """Where an instance keeps its files while it lives."""
        return self._living / name

    def names(self) -> list[str]:
        """List the instances that have a directory, whatever their state."""
        return sorted(
            path.name for path in self._living.iterdir() if parse_instance_name(path.name)
        )

    def look(self, name: str) -> Instance:
        """Give an instance as it is now; the dead are buried and the doomed killed on the way."""
        directory = self.directory(name)
        intent = read_record(directory / "intent.json", Intent)
        if intent is None:
            return self._absent(name)
        first = self.first_process(name)
        if first is None:
            return self._half_made(name, intent)
        if not is_alive(first):
            return self._bury(name, first, intent)
        doom = read_record(directory / "doom.json", Doom)
        if doom is not None and boot_time_s() >= doom.due_s:
            return self.end(name)
        return Instance(instance=name, name=name, state="running", price_usd_h=intent.price_usd_h)

    def end(self, name: str) -> Instance:
        """Kill everything of an instance; what it gives is `gone`, or `stopped` if something resists."""
        first = self.first_process(name)
        return self._bury(name, first, read_record(self.directory(name) / "intent.json", Intent))

    def first_process(self, name: str) -> Identity | None:
        """Give the first process of an instance, whether it still runs or not."""
        path = self.directory(name) / "instance.json"
        first = read_record(path, Identity)
        if first is None or first.start:
            return first
        # Where the first process cannot tell its own start time, the first look records it.
        found = look_at(first.pid)
        if found is None:
            return first
        write_record(path, found.identity)
        return found.identity

    def intents(self) -> dict[str, Intent]:
        """Give what was promised to each instance that may still run."""
        found: dict[str, Intent] = {}
        for name in self.names():
            if self.look(name).state != "gone":
                intent = read_record(self.directory(name) / "intent.json", Intent)
                found[name] = intent or Intent()
        return found

    def begin(self, name: str, intent: Intent) -> Path:
        """Make the directory of an instance and its intent in one step; to be called while `creating`."""
        draft = self._drafts / name
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "state").mkdir(mode=0o700, parents=True)
        draft.chmod(0o700)
        write_record(draft / "intent.json", intent)
        return draft.rename(self.directory(name))

    @contextmanager
    def creating(self) -> Generator[None]:
        """Hold the lock under which instances are made; the system frees it when the holder dies.

        Raises:
            DriverError: somebody else holds it for too long.
        """
        with self._lock_file.open("w") as file:
            give_up_at = time.monotonic() + LOCK_S
            while not _try_lock(file.fileno()):
                if time.monotonic() > give_up_at:
                    raise DriverError(
                        "cannot make an instance on this machine",
                        why=f"another process has held {self._lock_file} for {LOCK_S:g} s",
                        retryable=True,
                    )
                time.sleep(0.01)
            yield

    def empty_work(self, job: str) -> Path:
        """Give an empty working directory; what an earlier attempt left there is discarded."""
        work = self._work / job
        self._discard(work)
        work.mkdir(mode=0o700)
        return work

    def tidy(self) -> None:
        """Delete what was discarded, what ended long ago, and deserted working directories."""
        for path in self._work.iterdir():
            used = any(name.startswith(f"vl-{path.name}-a") for name in self.names())
            if not used and time.time() - self._left_at(path) > WORK_KEPT_S:
                self._discard(path)
        for path in list(self._trash.iterdir()):
            shutil.rmtree(path, ignore_errors=True)
        by_age = sorted(self._ended.iterdir(), key=_changed_at, reverse=True)
        for path in by_age[ENDED_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)

    def _left_at(self, work: Path) -> float:
        """When the last instance that used a working directory ended."""
        ended = self._ended.glob(f"vl-{work.name}-a*")
        return max(map(_changed_at, [work, *ended]))

    def _discard(self, path: Path) -> None:
        """Put a file or directory where `tidy` finds it; one that is not there is no error."""
        try:
            path.rename(self._trash / f"{path.name}-{time.time_ns()}")
        except FileNotFoundError:
            return

    def _absent(self, name: str) -> Instance:
        record = read_record(self._ended / name / "exit.json", ExitRecord)
        return Instance(instance=name, name=name, state="gone", detail=_exit_text(record))

    def _half_made(self, name: str, intent: Intent) -> Instance:
        """Somebody makes it just now, or died while making it; then nothing of it may stay."""
        with self._lock_file.open("w") as file:
            if not _try_lock(file.fileno()) or self.first_process(name) is not None:
                return Instance(
                    instance=name, name=name, state="booting", price_usd_h=intent.price_usd_h
                )
            return self._bury(name, None, intent)

    def clear_half_made(self) -> None:
        """Remove what makers that died have left; to be called while `creating`."""
        for name in self.names():
            if self.first_process(name) is None:
                self._bury(name, None, None)

    def _bury(self, name: str, first: Identity | None, intent: Intent | None) -> Instance:
        """Kill what is left, keep the log and the exit status, drop the rest."""
        left = kill_all(name, first, deadline_s=KILL_S)
        if left:
            return Instance(
                instance=name,
                name=name,
                state="stopped",
                price_usd_h=intent.price_usd_h if intent else 0.0,
                detail=f"processes that do not die: {', '.join(map(str, left))}",
            )
        directory = self.directory(name)
        kept = self._ended / name
        kept.mkdir(mode=0o700, exist_ok=True)
        for file in ("instance.json", "exit.json", "agent.log"):
            try:
                (directory / file).replace(kept / file)
            except FileNotFoundError:
                continue
        self._discard(directory)
        return self._absent(name)

    def was_here(self, name: str) -> bool:
        """Whether an instance of that name has already lived and ended here."""
        return (self._ended / name / "instance.json").exists()


def read_record(path: Path, kind: type[T]) -> T | None:
    """Read a small JSON file; None when it is not there or not whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def write_record(path: Path, record: msgspec.Struct, *, mode: int = 0o600) -> None:
    """Write a small JSON file in one durable step."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def boot_time_s() -> float:
    """Seconds since boot, sleep included; what else has no such clock gives the monotonic one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _exit_text(record: ExitRecord | None) -> str:
    if record is None:
        return "its processes are gone"
    if record.status < 0:
        return f"the agent was killed by signal {-record.status}"
    return f"the agent exited with status {record.status}"
