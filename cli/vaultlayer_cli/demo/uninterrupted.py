"""The yardstick of a demonstration: the same script, run to its end with nothing of ours around it."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import anyio

from vaultlayer.errors import CommandError

SCRIPT = Path(__file__).parent / "job" / "train.py"
PINNED = {"OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Both runs add floating-point numbers in the same order only with the same number of threads."""


def script_directory(work: Path) -> Path:
    """Give a fresh directory that holds nothing but the script."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shutil.copy(SCRIPT, work / "train.py")
    return work


async def run_uninterrupted(work: Path, arguments: list[str]) -> str:
    """Run the script in `work` and give the digest of the weights that it ends with.

    Raises:
        CommandError: the script failed; the end of its output is told.
    """
    script_directory(work)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
    done = await anyio.run_process(
        [sys.executable, "train.py", *arguments],
        cwd=work,
        env={**environment, **PINNED},
        check=False,
    )
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise CommandError(
            "the uninterrupted run failed", why=" / ".join(tail), mend="make demo installs torch"
        )
    return digest(work / "out")


def digest(out: Path) -> str:
    """Give the SHA-256 of the final weights' file."""
    return hashlib.sha256((out / "final" / "model.safetensors").read_bytes()).hexdigest()
