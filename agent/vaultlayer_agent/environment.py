"""The script's command line and environment: the user's own, and the few things exactness needs pinned."""

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from vaultlayer.errors import CommandError

LAUNCHERS = re.compile(r"(?:^|/)(?:torchrun|accelerate|deepspeed|mpirun|horovodrun)$")
LAUNCHER_MODULES = ("torch.distributed.run", "torch.distributed.launch", "accelerate.commands")
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONSAFEPATH")
_PASSED_ON = ("VAULTLAYER_INSTANCE", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
"""What a driver says through the agent's environment: by this mark it knows what runs on behalf of an
instance, and these GPUs are the instance's own."""


class Pins(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the first attempt found on its machine and every later one repeats; kept with each checkpoint.

    The number of threads decides in which order sums are made, so a later machine with other cores
    must use the number of the first.
    """

    threads: int = 0
    """0: not pinned."""

    def as_meta(self) -> dict[str, str]:
        """Spell the pins for a checkpoint's `meta`."""
        return {"pin_threads": str(self.threads)}


def pins_of(meta: Mapping[str, str]) -> Pins | None:
    """Read the pins from a checkpoint's `meta`; None when there are none, or not readable ones."""
    threads = meta.get("pin_threads", "")
    return Pins(threads=int(threads)) if threads.isdecimal() else None


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """The framework checkpoint from which a script may go on."""

    path: Path
    """Absolute; a file or a directory."""
    step: int | None = None


def machine_base(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of this machine without what belongs to the agent.

    Where the agent runs in a virtual environment of its own, that is taken off the PATH too: `python`
    must be the machine's.
    """
    base = {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or not (name in _OURS or name.startswith("VAULTLAYER_"))
    }
    if sys.prefix != sys.base_prefix and "PATH" in base:
        own = Path(sys.prefix) / "bin"
        kept = [part for part in base["PATH"].split(os.pathsep) if Path(part) != own]
        base["PATH"] = os.pathsep.join(kept)
    return base


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """Give what the driver has set for the instance, and the user's shell does not change."""
    return {name: environ[name] for name in _PASSED_ON if name in environ}


def choose_threads(command: list[str], cores: int) -> int:
    """Choose the first attempt's number of threads; 0 for launchers, which share cores among ranks."""
    is_launcher = any(LAUNCHERS.search(word) for word in command[:3]) or any(
        word.startswith(LAUNCHER_MODULES) for word in command[:4]
    )
    return 0 if is_launcher else max(1, cores)


def script_environment(
    *,
    base: Mapping[str, str],
    user: Mapping[str, str],
    forced: Mapping[str, str],
    job: str,
    pins: Pins,
    hooks: Path | None,
) -> dict[str, str]:
    """Put the environment together; what the user set wins over our pins, `forced` over both.

    Args:
        base: of the machine; our pins win over it, since the next machine's may differ.
        user: what the user gave with `--env`, and on the user's own machine that of the user's shell.
        forced: our own `VAULTLAYER_*`.
        job: seeds the hash of strings, the same in every attempt.
        pins: what the first attempt found.
        hooks: directory to put in front on PYTHONPATH; None for no hooks.
    """
    seed = int.from_bytes(hashlib.sha256(job.encode()).digest()[:4], "big")
    pinned = {
        "PYTHONHASHSEED": str(seed),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
    }
    if pins.threads:
        pinned["OMP_NUM_THREADS"] = str(pins.threads)
    env = {**base, **pinned, **user}
    env = {**env, **{k: v for k, v in forced.items() if k not in _YIELDING or k not in env}}
    if hooks is not None:
        old = env.get("PYTHONPATH")
        env["PYTHONPATH"] = f"{hooks}{os.pathsep}{old}" if old else str(hooks)
    return env


_YIELDING = ("VAULTLAYER_CHECKPOINT_DIR", "CHECKPOINT_DIR")
"""Ours only while the user has not set it."""


def script_command(command: list[str], resume_args: str, resume: Resume | None) -> list[str]:
    """Give the command line; `resume_args` is appended only when there is something to resume from.

    The template knows `{latest}`, `{latest_dir}` (its parent) and `{step}`; it is split like a shell
    would, and no shell ever sees it.

    Raises:
        CommandError: the template has an open quote or a field that is not known.
    """
    if not resume_args or resume is None:
        return list(command)
    values = {
        "latest": str(resume.path),
        "latest_dir": str(PurePosixPath(resume.path).parent),
        "step": "" if resume.step is None else str(resume.step),
    }
    try:
        words = shlex.split(resume_args)
        return [*command, *(word.format_map(values) for word in words)]
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise CommandError(
            f"--resume-args {resume_args!r} cannot be used",
            why=str(error),
            mend="known fields: {latest}, {latest_dir}, {step}",
        ) from error


def cores_here() -> int:
    """Count the cores that this process may use; where it is told, real ones and not threads of one."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    import psutil  # noqa: PLC0415  only once, long after the first beat

    return min(allowed, psutil.cpu_count(logical=False) or allowed)
