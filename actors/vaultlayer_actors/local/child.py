"""A child server: started, watched, started again when it dies or is stuck, ended with its broker.

It dies with the broker whatever kills that (`launch`). Where the kernel has no such thing, the next broker
finds it by pid and start time in the pid file and ends it before it starts another.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import msgspec
from anyio.abc import Process, TaskStatus

from vaultlayer.errors import ServerStartError
from vaultlayer.logging import get_logger

ENV_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "GOMAXPROCS")
"""All that a server sees of our environment: it holds keys, and some servers read `AWS_*` by themselves."""

READY_POLL_S = 0.02
END_S = 5.0
"""How long a server may take to end by itself, where its spec says nothing else."""

BACKOFF_S = (0.0, 0.1, 0.3, 1.0, 3.0, 5.0)
STABLE_S = 30.0
"""After living so long, a server's next death counts as its first."""

STUCK_LOOK_S = 2.0
STUCK_LOOKS = 3
"""So many looks in a row must find a server stuck before it is ended."""

_TAIL_LINES = 5
_LONG_TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{33,}")
_LAUNCH = Path(__file__).with_name("launch.py")


class PidFile(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs, so that a pid which was given to another process is not taken for ours."""

    pid: int
    started: str


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to start and how to know that it serves."""

    name: str
    program: Path
    arguments: Sequence[str]
    run_path: Path
    """Where pid file and log lie."""
    is_ready: Callable[[], Awaitable[bool]]
    start_s: float = 20.0
    """Seconds within which it must serve."""
    end_s: float = END_S
    """Seconds after SIGTERM until SIGKILL."""
    is_stuck: Callable[[], Awaitable[bool]] | None = None
    """Whether it lives, does not serve, and would if it were started again; None: it never is."""
    clean_up: Callable[[], None] = field(default=lambda: None)
    """Removes what it leaves behind outside its directory."""

    @property
    def pid_path(self) -> Path:
        """The pid file."""
        return self.run_path / f"{self.name}.pid"

    @property
    def log_path(self) -> Path:
        """All its output, appended."""
        return self.run_path / f"{self.name}.log"


class Child:
    """One supervised server."""

    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec
        self._process: Process | None = None
        self._logger = get_logger(server=spec.name)
        self.restarts = 0
        self.ready_s = 0.0
        """How long the last start took."""

    @property
    def pid(self) -> int:
        """Its process now; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; reports `started` as soon as the server answers.

        Raises:
            ServerStartError: the first start failed; a later one is tried again for ever.
        """
        await end_stale(self._spec.pid_path)
        try:
            await self._start()
            task_status.started()
            deaths = 0
            while True:
                deaths = await self._outlive(deaths)
        finally:
            with anyio.CancelScope(shield=True):
                await self._end()

    async def _outlive(self, deaths: int) -> int:
        """Wait for the server's death and start it again; give how often it died in a row."""
        assert self._process is not None
        since = time.monotonic()
        status = await self._wait()
        deaths = 1 if time.monotonic() - since > STABLE_S else deaths + 1
        self._logger.warning("server_died", status=status, deaths=deaths)
        while True:
            await anyio.sleep(BACKOFF_S[min(deaths, len(BACKOFF_S)) - 1])
            try:
                await self._start()
            except ServerStartError as error:
                deaths += 1
                self._logger.warning("server_start_failed", why=str(error), deaths=deaths)
                continue
            self.restarts += 1
            self._logger.info("server_restarted", pid=self.pid, ready_s=round(self.ready_s, 3))
            return deaths

    async def _wait(self) -> int:
        """Wait for the server's death, which is hastened when it is stuck; give its status."""
        assert self._process is not None
        process = self._process
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_when_stuck, process)
            await process.wait()
            group.cancel_scope.cancel()
        return await process.wait()

    async def _end_when_stuck(self, process: Process) -> None:
        is_stuck = self._spec.is_stuck
        if is_stuck is None:
            return
        looks = 0
        while looks < STUCK_LOOKS:
            await anyio.sleep(STUCK_LOOK_S)
            looks = looks + 1 if await is_stuck() else 0
        self._logger.warning("server_stuck", pid=process.pid)
        await _end_process(process, self._spec.end_s)

    async def _start(self) -> None:
        began = time.monotonic()
        spec = self._spec
        spec.run_path.mkdir(parents=True, exist_ok=True)
        with spec.log_path.open("ab") as log:
            self._process = await anyio.open_process(
                [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(spec.program)]
                + [str(argument) for argument in spec.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=spec.run_path,
                env={name: os.environ[name] for name in ENV_KEPT if name in os.environ},
                start_new_session=True,
            )
        pid = self._process.pid
        spec.pid_path.write_bytes(msgspec.json.encode(PidFile(pid=pid, started=start_time(pid))))
        try:
            await self._become_ready()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._end()
            raise
        self.ready_s = time.monotonic() - began

    async def _become_ready(self) -> None:
        assert self._process is not None
        with anyio.move_on_after(self._spec.start_s):
            while self._process.returncode is None:
                if await self._spec.is_ready():
                    return
                await anyio.sleep(READY_POLL_S)
        status = self._process.returncode
        what = "did not answer in time" if status is None else f"ended with status {status}"
        raise ServerStartError(
            f"{self._spec.name} {what}",
            why=self._tail() or "it said nothing",
            mend=f"see {self._spec.log_path}",
            retryable=True,
        )

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        await _end_process(process, self._spec.end_s)
        self._spec.pid_path.unlink(missing_ok=True)
        self._spec.clean_up()

    def _tail(self) -> str:
        """Give the last lines of its log without anything that could be a key."""
        try:
            lines = self._spec.log_path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return _LONG_TOKEN.sub("***", " | ".join(lines[-_TAIL_LINES:]))


async def _end_process(process: Process, within_s: float) -> None:
    """Send SIGTERM, and SIGKILL when the process has not ended `within_s` later."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with anyio.move_on_after(within_s):
        await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def start_time(pid: int) -> str:
    """Give something that differs between two processes that had the same pid; empty: no such process."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return _start_time_elsewhere(pid)
    # Fields 3 and 22 of proc(5): a zombie is dead, and its start time is in clock ticks since boot.
    return "" if after_name[0] == "Z" else after_name[19]


def _start_time_elsewhere(pid: int) -> str:
    import psutil  # noqa: PLC0415  only where there is no /proc

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return ""


async def end_stale(pid_path: Path) -> bool:
    """End the server that a dead broker left running; tells whether there was one."""
    try:
        known = msgspec.json.decode(pid_path.read_bytes(), type=PidFile)
    except (FileNotFoundError, msgspec.MsgspecError):
        return False
    if not known.started or start_time(known.pid) != known.started:
        pid_path.unlink(missing_ok=True)
        return False
    get_logger().warning("stale_server_found", pid=known.pid, server=pid_path.stem)
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(known.pid, sent)
        with anyio.move_on_after(END_S):
            while start_time(known.pid) == known.started:  # noqa: ASYNC110  nobody tells of a strange process
                await anyio.sleep(READY_POLL_S)
            break
    pid_path.unlink(missing_ok=True)
    return True
