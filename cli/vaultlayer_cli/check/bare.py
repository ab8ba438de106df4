"""The yardstick of a check: the script as it is, for some steps, in a copy of the working directory."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import msgspec

from vaultlayer.errors import CheckError, DiskError
from vaultlayer_cli.check.trace import Trace, read_trace
from vaultlayer_cli.workdir import Workdir

POLL_S = 0.05
TAIL_B = 8192
LEAST_S = 3.0
"""So long at least the steps are watched, so that a median means something."""

MOST_S = 30.0
"""So long at most, counted from the first step."""

NO_GPU = re.compile(
    r"No CUDA GPUs are available|not compiled with CUDA enabled|Found no NVIDIA driver"
    r"|no CUDA-capable device|nvidia-smi.*not found|requires? (?:a )?(?:GPU|CUDA)",
    re.IGNORECASE,
)
NO_FILE = re.compile(r"No such file or directory: '([^']+)'")
NO_MODULE = re.compile(r"ModuleNotFoundError: (No module named '[^']+')")


class Bare(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; `status` None: it was ended by us."""

    trace: Trace
    status: int | None = None
    tail: str = ""


async def run_bare(
    command: Sequence[str],
    workdir: Workdir,
    base: Path,
    environ: Mapping[str, str],
    *,
    steps: int,
    first_s: float,
) -> Bare:
    """Run the script bare until it has made enough steps, or ends by itself.

    Args:
        command: as the user would type it.
        workdir: what would be sent.
        base: where the copy, the output and the traces are put.
        environ: the script's whole environment, the witness in it.
        steps: how many are wanted at least.
        first_s: how long the first one may take.
    """
    work, traces, said = base / "bare", base / "traces", base / "bare.out"
    copy_out(workdir, work)
    traces.mkdir(exist_ok=True)
    process = _start(command, work, environ, said)
    try:
        status = await _watch(process, traces, steps, first_s)
    finally:
        _end(process)
    return Bare(trace=read_trace(traces, "bare"), status=status, tail=_tail(said))


def _start(
    command: Sequence[str], work: Path, environ: Mapping[str, str], said: Path
) -> subprocess.Popen[bytes]:
    with said.open("wb") as out:
        try:
            # A session of its own, so that all that it starts can be ended with it.
            return subprocess.Popen(
                list(command),
                cwd=work,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise CheckError(
                f"{command[0]} cannot be started", why=str(error.strerror or error)
            ) from error


async def _watch(
    process: subprocess.Popen[bytes], traces: Path, steps: int, first_s: float
) -> int | None:
    began_s, first_at_s = time.monotonic(), 0.0
    while process.poll() is None:
        now_s = time.monotonic()
        made = read_trace(traces, "bare").steps
        if made and not first_at_s:
            first_at_s = now_s
        if not made and now_s - began_s > first_s:
            return None
        if first_at_s and (
            (made >= steps and now_s - first_at_s > LEAST_S) or now_s - first_at_s > MOST_S
        ):
            return None
        await anyio.sleep(POLL_S)
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(path: Path) -> str:
    data = path.read_bytes()[-TAIL_B:]
    return data.decode(errors="replace").strip()


def copy_out(workdir: Workdir, into: Path) -> None:
    """Copy what would be sent to a directory of its own; nothing of the user's is touched.

    Raises:
        DiskError: it cannot be copied.
    """
    into.mkdir(parents=True)
    try:
        for file in workdir.files:
            path = into / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.kind == "dir":
                path.mkdir(exist_ok=True)
            elif file.kind == "symlink":
                path.symlink_to(file.target)
            else:
                shutil.copy2(file.path, path)
    except OSError as error:
        raise DiskError(
            f"the working directory cannot be copied to {into}", why=str(error.strerror or error)
        ) from error


def failure(bare: Bare, workdir: Workdir) -> CheckError:
    """Say why a script that failed by itself cannot be checked here, and what helps."""
    last = next((line.strip() for line in reversed(bare.tail.splitlines()) if line.strip()), "")
    if NO_GPU.search(bare.tail):
        return CheckError(
            "the script needs a GPU, and this machine has none that it can use",
            why=last,
            mend="check it on a machine with a GPU; or run it: the tier is told in its first minute",
        )
    if found := NO_FILE.search(bare.tail):
        return _no_file(found[1], last, workdir)
    if found := NO_MODULE.search(bare.tail):
        return CheckError(
            "the script needs a package that is not installed here",
            why=found[1],
            mend="install it for the interpreter that the command names",
        )
    return CheckError(
        f"the script fails by itself, with status {bare.status}",
        why=last,
        mend="run it without vaultlayer first; variables of your shell are not sent, name them by --env",
    )


def _no_file(name: str, last: str, workdir: Workdir) -> CheckError:
    path = Path(workdir.path, name)
    if path.exists() and path.is_relative_to(workdir.path):
        relative = path.relative_to(workdir.path).as_posix()
        return CheckError(
            f"the script needs {name}, which is here but is not sent with a job",
            why=workdir.ignored.why_not_reached(relative) or last,
            mend=f"put !{relative} into .vaultlayerignore, or let the script fetch it",
        )
    return CheckError(
        f"the script needs {name}, which is not here",
        why=last,
        mend="put it there, or let the script fetch it",
    )
