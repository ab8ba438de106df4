"""The user's command as a process group that never outlives the agent.

Three things see to that: the kernel kills the command when the agent dies (Linux), a guard process kills the
whole group when its pipe from the agent breaks, and what has left the group is found by the mark in its
environment.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from vaultlayer.errors import CommandError

MARK = "VAULTLAYER_SCRIPT"
"""Name of the environment variable that all processes of the script carry, and the agent does not."""

READ_B = 64 * 1024
KILL_S = 5.0
LAUNCH = Path(__file__).with_name("launch.py")
_GUARD = 'read -r _; kill -KILL "-$1" 2>/dev/null'


class Ending(msgspec.Struct, frozen=True):
    """How a command ended: as a shell would say it, 128 + n for signal n."""

    exit_code: int
    signal: int = 0


def ending_of(returncode: int) -> Ending:
    """Translate the return code of `subprocess`, where signals are negative."""
    return Ending(128 - returncode, -returncode) if returncode < 0 else Ending(returncode)


class Script:
    """One run of the command."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], mark: str
    ) -> None:
        """Start the command; must be called on the main thread, whose death the kernel watches.

        Args:
            command: program and arguments; the program is looked for on the PATH of `env`.
            cwd: its working directory.
            env: its whole environment, to which the mark is added.
            mark: tells its processes from all others.

        A program that cannot be started ends with 127 or 126 and a line of output, as in a shell.

        Raises:
            CommandError: the system has no room for another process, or `cwd` is gone.
        """
        self._mark = mark
        self._output, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                cwd=cwd,
                env={**env, MARK: mark},
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._output)
            raise CommandError("the command cannot be started", why=str(error)) from error
        finally:
            os.close(write_end)
        os.set_blocking(self._output, False)
        self._guard, self._leash = _start_guard(self.pid)

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""
        return self._process.pid

    async def wait(self) -> Ending:
        """Wait until the command's first process has ended."""
        if hasattr(os, "pidfd_open") and self._process.poll() is None:
            handle = os.pidfd_open(self.pid)
            try:
                await anyio.wait_readable(handle)
            finally:
                os.close(handle)
        while (code := self._process.poll()) is None:  # noqa: ASYNC110  where there is no pidfd
            await anyio.sleep(0.02)
        return ending_of(code)

    async def pump(self, take: Callable[[bytes], object]) -> None:
        """Give all output to `take`, until no process holds the other end any more."""
        while True:
            await anyio.wait_readable(self._output)
            try:
                data = os.read(self._output, READ_B)
            except BlockingIOError:
                continue
            if not data:
                return
            take(data)

    def pause(self) -> None:
        """Stop the group where it stands."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the group go on."""
        self._signal_group(signal.SIGCONT)

    async def stop(self, grace_s: float) -> Ending:
        """Ask the group to end, wait, then kill what is left."""
        self._signal_group(signal.SIGTERM)
        self.resume()  # a stopped process takes no SIGTERM
        with anyio.move_on_after(grace_s):
            ending = await self.wait()
            await anyio.to_thread.run_sync(self.kill)
            return ending
        await anyio.to_thread.run_sync(self.kill)
        return await self.wait()

    def kill(self) -> bool:
        """Kill every process of the command, wherever it went; whether none is left."""
        self._signal_group(signal.SIGKILL)
        give_up_at = time.monotonic() + KILL_S
        spared = {os.getpid(), self._guard.pid}
        while found := members(self._mark, self.pid) - spared:
            for pid in found:
                _send(pid, signal.SIGKILL)
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Kill what is left, and give back what was held."""
        self.kill()
        self._process.wait()
        self._guard.kill()
        self._guard.wait()
        os.close(self._leash)
        os.close(self._output)

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # nobody is left in it


def _start_guard(group: int) -> "tuple[subprocess.Popen[bytes], int]":
    """Start the guard of a process group; it acts when the returned descriptor is closed by our death."""
    read_end, leash = os.pipe()
    try:
        guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "vaultlayer-guard", str(group)],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath},
            start_new_session=True,
        )
    finally:
        os.close(read_end)
    return guard, leash


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def members(mark: str, group: int) -> set[int]:
    """Find the living processes that carry the mark or belong to the group; 0 is no group."""
    if sys.platform == "linux":
        pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
        return {pid for pid in pids if _belongs(pid, mark, group)}
    return _members_elsewhere(mark, group)


def _belongs(pid: int, mark: str, group: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in {b"Z", b"X"}:
            return False
        if group and int(fields[2]) == group:
            return True
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False  # gone meanwhile, or a stranger's
    return f"{MARK}={mark}".encode() in environ.split(b"\0")


def _members_elsewhere(mark: str, group: int) -> set[int]:
    import psutil  # noqa: PLC0415  not needed on Linux

    found: set[int] = set()
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            in_group = bool(group) and os.getpgid(process.pid) == group
            if in_group or process.environ().get(MARK) == mark:
                found.add(process.pid)
        except (psutil.Error, OSError):
            continue
    return found
