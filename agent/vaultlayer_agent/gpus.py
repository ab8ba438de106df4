"""Whether the machine has the GPUs that it was rented for, shown by a computation on each of them."""

import subprocess
import sys
from collections.abc import Sequence

import anyio
import msgspec

from vaultlayer.driver import BootPayload
from vaultlayer.errors import GpuUnfitError
from vaultlayer.gpu import GPUS, canonical

PROOF_S = 90.0
"""The first call of a CUDA driver takes seconds on machines with many GPUs."""
TOLERANCE = 0.12
"""Drivers report a little less memory than the data sheet: ECC and reserved regions."""


class Gpu(msgspec.Struct, frozen=True):
    """One GPU that has computed."""

    name: str
    memory_b: int


class Proof(msgspec.Struct, frozen=True):
    """What `vaultlayer_agent.gpu_proof` prints."""

    gpus: list[Gpu] = []
    error: str = ""


def unfit(gpus: Sequence[Gpu], promised: str, count: int) -> str:
    """Say why these GPUs are not what was promised; empty when they are.

    Args:
        gpus: what has computed.
        promised: the canonical name.
        count: how many.
    """
    if len(gpus) < count:
        return f"it has {len(gpus)} GPUs, not {count}"
    memory_b = GPUS[promised][0] * 2**30 if promised in GPUS else 0
    for gpu in gpus[:count]:
        known = canonical(gpu.name)
        family = promised.partition("_")[0]
        # Where a name is sold with several sizes, its memory decides.
        if known is not None and known.partition("_")[0] != family:
            return f"its GPU is {gpu.name}, not {promised}"
        if memory_b and abs(gpu.memory_b - memory_b) > TOLERANCE * memory_b:
            return f"its {gpu.name} has {gpu.memory_b / 2**30:.1f} GiB, not that of {promised}"
    return ""


async def prove_gpus(boot: BootPayload) -> None:
    """Let the promised GPUs compute in a process of its own.

    Raises:
        GpuUnfitError: they do not, are missing, or are others.
    """
    if not boot.gpu:
        return
    proof = Proof(error=f"the CUDA driver did not answer in {PROOF_S:g} s")
    with anyio.move_on_after(PROOF_S):
        command = [sys.executable, "-m", "vaultlayer_agent.gpu_proof"]
        done = await anyio.run_process(command, check=False, stderr=subprocess.DEVNULL)
        proof = _read(done.stdout, done.returncode)
    why = proof.error or unfit(proof.gpus, boot.gpu, max(1, boot.gpu_count))
    if why:
        raise GpuUnfitError(f"this machine is not the {boot.gpu} that was rented", why=why)


def _read(printed: bytes, status: int) -> Proof:
    try:
        return msgspec.json.decode(printed, type=Proof)
    except msgspec.MsgspecError:
        return Proof(error=f"the CUDA driver ended its caller (status {status})")
