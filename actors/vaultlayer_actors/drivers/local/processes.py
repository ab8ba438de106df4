"""Processes of this machine: who is who, what belongs to an instance, and how to end all of it.

A process id is used again by the system, so a process is known by its id *and* its start time. What belongs
to an instance is found in two ways, either of which a process may slip: the mark in its environment
(`VAULTLAYER_INSTANCE`) and its descent from the instance's first process.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

LINUX = sys.platform == "linux"
MARK = "VAULTLAYER_INSTANCE"
FREEZE_ROUNDS_MAX = 50


class Identity(msgspec.Struct, frozen=True):
    """One process for all time: `start` is ticks since boot and the boot's id."""

    pid: int
    start: str


class Process(msgspec.Struct, frozen=True):
    """One line of the process table."""

    identity: Identity
    parent: int
    dead: bool = False
    """A zombie: it runs nothing and waits to be reaped."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.identity.pid


def look_at(pid: int) -> Process | None:
    """Look at one process; None when there is none of that id."""
    return _look_linux(pid) if LINUX else _look_psutil(pid)


def is_alive(identity: Identity) -> bool:
    """Whether this very process still runs, not just one with its id."""
    found = look_at(identity.pid)
    return found is not None and not found.dead and found.identity.start == identity.start


def table() -> dict[int, Process]:
    """Give every process that can be seen, zombies left out."""
    found = (look_at(pid) for pid in _pids())
    return {process.pid: process for process in found if process is not None and not process.dead}


def belonging(name: str, first: Identity | None) -> list[Process]:
    """Find what belongs to an instance, its first process last.

    Args:
        name: the instance's name, as its mark says it.
        first: the instance's first process; None when it is not known.
    """
    everything = table()
    found = {pid for pid in everything if _mark_of(pid) == name}
    if first is not None and (root := everything.get(first.pid)) and root.identity == first:
        found.add(first.pid)
    found = _with_descendants(everything, found) - {os.getpid()}
    return sorted(
        (everything[pid] for pid in found), key=lambda p: first is not None and p.identity == first
    )


def freeze_all(name: str, first: Identity | None) -> list[Process]:
    """Stop all that belongs to an instance, until a look finds nothing new; give what was stopped."""
    stopped: dict[Identity, Process] = {}
    for _ in range(FREEZE_ROUNDS_MAX):
        new = [p for p in belonging(name, first) if p.identity not in stopped]
        if not new:
            break
        # The first process goes first here: it must not clean up after the others.
        for process in reversed(new):
            send(process.identity, signal.SIGSTOP)
            stopped[process.identity] = process
    return list(stopped.values())


def kill_all(name: str, first: Identity | None, *, deadline_s: float) -> list[int]:
    """Kill all that belongs to an instance, stopped processes included.

    Everything is stopped before anything is killed: nothing can start something new meanwhile, and no
    orphan without a mark is lost sight of when its ancestors die.

    Returns:
        the ids that are still there when `deadline_s` has passed; empty when nothing is left.
    """
    give_up_at = time.monotonic() + deadline_s
    targets = {process.identity for process in freeze_all(name, first)}
    pause_s = 0.001
    while True:
        for identity in sorted(targets, key=lambda one: one == first):
            send(identity, signal.SIGKILL)
        time.sleep(pause_s)
        targets = {one for one in targets if is_alive(one)}
        if not targets:
            targets = {process.identity for process in belonging(name, first)}
            if not targets:
                return []
        if time.monotonic() > give_up_at:
            return sorted(one.pid for one in targets)
        pause_s = min(2 * pause_s, 0.05)


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to this very process; False when it is gone."""
    if not LINUX:
        return _send_plain(identity, number)
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle holds the process fast, so between this look and the signal no other takes its id.
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _send_plain(identity: Identity, number: signal.Signals) -> bool:
    if not is_alive(identity):
        return False
    try:
        os.kill(identity.pid, number)
    except ProcessLookupError:
        return False
    return True


def _with_descendants(everything: dict[int, Process], roots: Iterable[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in everything.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found


# Linux --------------------------------------------------------------------------------------------


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _look_linux(pid: int) -> Process | None:
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(
        identity=Identity(pid, f"{int(fields[19])}@{_boot_id()}"),
        parent=int(fields[1]),
        dead=fields[0] in {b"Z", b"X", b"x"},
    )


def _pids() -> list[int]:
    if not LINUX:
        return _pids_psutil()
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  names only


def _mark_of(pid: int) -> str:
    """Give the mark in the environment that a process was started with; empty for none or a stranger's."""
    if not LINUX:
        return _mark_psutil(pid)
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            environ = b"\0" + file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    _, found, rest = environ.partition(f"\0{MARK}=".encode())
    return rest.partition(b"\0")[0].decode(errors="replace") if found else ""


# Elsewhere ----------------------------------------------------------------------------------------


def _look_psutil(pid: int) -> Process | None:
    import psutil  # noqa: PLC0415  not needed on Linux

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Process(
                identity=Identity(pid, f"{process.create_time():.3f}"),
                parent=process.ppid(),
                dead=process.status() == psutil.STATUS_ZOMBIE,
            )
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return None


def _pids_psutil() -> list[int]:
    import psutil  # noqa: PLC0415  not needed on Linux

    return psutil.pids()


def _mark_psutil(pid: int) -> str:
    import psutil  # noqa: PLC0415  not needed on Linux

    try:
        return psutil.Process(pid).environ().get(MARK, "")
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return ""
