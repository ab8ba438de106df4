"""The first process of a local instance: starts the agent, outlives nothing of it.

Run by path, isolated and without site-packages (`python -I -S init.py <directory> <ready fd> <agent …>`), so
that it starts in about 20 ms; therefore it imports the standard library only.

What it promises: its own death by SIGKILL kills the agent (PR_SET_PDEATHSIG); an orphan of the script
stays below it (PR_SET_CHILD_SUBREAPER); when the agent ends, everything below it is killed.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"
KILL_S = 30.0
"""How long what is left may take to die; a process in uninterruptible sleep can take for ever."""


def main() -> None:
    """Detach, record who this is, run the agent, clean up, exit with the agent's status."""
    directory, ready_fd, agent = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if os.fork():
        os._exit(0)
    os.setsid()
    os.set_inheritable(ready_fd, False)
    if LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Written before the agent exists, so that no agent ever runs that nobody can find.
    write_json(directory / "instance.json", {"pid": os.getpid(), "start": _start_of_self()})
    child = _start(agent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _frame: _send(child, caught))
    _tell(ready_fd)
    status = _wait_for(child)
    _kill_the_rest()
    write_json(
        directory / "exit.json",
        {"status": os.waitstatus_to_exitcode(status)},
    )
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _tell(ready_fd: int) -> None:
    """Say to the maker that all is recorded; one that was killed meanwhile needs no answer."""
    try:
        os.write(ready_fd, b"ready\n")
    except BrokenPipeError:
        pass
    finally:
        os.close(ready_fd)


def write_json(path: Path, values: dict[str, object]) -> None:
    """Write a small file in one durable step."""
    draft = path.with_suffix(".tmp")
    with draft.open("w") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _start_of_self() -> str:
    """Start time in ticks since boot and the boot's id; empty where only psutil can tell."""
    if not LINUX:
        return ""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{fields[19]}@{boot}"


def _start(agent: list[str]) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        if LINUX:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(137)
        os.execv(agent[0], agent)  # noqa: S606  no shell is wanted here
    except OSError as error:
        os.write(2, f"cannot start {agent[0]}: {error}\n".encode())
    os._exit(127)


def _send(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        return


def _wait_for(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _kill_the_rest() -> None:
    """Kill level by level: what a killed process leaves behind becomes a child of this one."""
    give_up_at = time.monotonic() + KILL_S
    while time.monotonic() < give_up_at:
        for pid in _children():
            _send(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _children() -> list[int]:
    if not LINUX:
        import subprocess  # noqa: PLC0415  costs time and is not needed on Linux

        ps = ["/bin/ps", "-axo", "pid=,ppid="]
        listed = subprocess.run(ps, capture_output=True, text=True, check=True).stdout.split()
        pairs = zip(listed[::2], listed[1::2], strict=True)
        return [int(pid) for pid, parent in pairs if int(parent) == os.getpid()]
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main()
