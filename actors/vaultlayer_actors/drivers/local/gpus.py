"""The NVIDIA GPUs of this machine, as `nvidia-smi` lists them, under canonical names."""

import shutil
import subprocess
from collections.abc import Sequence

import msgspec

from vaultlayer.gpu import GPUS, canonical

QUERY_S = 10.0
QUERY = ("--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits")


class Gpu(msgspec.Struct, frozen=True):
    """One GPU: its index as `CUDA_VISIBLE_DEVICES` counts with `CUDA_DEVICE_ORDER=PCI_BUS_ID`."""

    index: int
    name: str
    memory_mb: int


def find_gpus() -> list[Gpu]:
    """List the GPUs; empty without the program, without a driver, or when it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        asked = subprocess.run(
            [program, *QUERY], capture_output=True, text=True, timeout=QUERY_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(asked.stdout)


def parse_gpus(text: str) -> list[Gpu]:
    """Read `index, name, memory in MiB` lines; a line of another shape is left out."""
    found: list[Gpu] = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3 and fields[0].isdigit():
            memory_mb = int(fields[2]) if fields[2].isdigit() else 0
            found.append(Gpu(int(fields[0]), canonical_name(fields[1], memory_mb), memory_mb))
    return found


def canonical_name(product: str, memory_mb: int) -> str:
    """Give the canonical name of a product; an unknown product keeps its own.

    The memory decides between variants where the product's name alone does not tell them apart.
    """
    found = canonical(product)
    if found is None:
        return product.removeprefix("NVIDIA ").strip()
    family, _, memory = found.rpartition("_")
    if not memory.isdigit() or not memory_mb:
        return found
    variants = [name for name in GPUS if name.startswith(f"{family}_")]
    return min(variants, key=lambda name: abs(GPUS[name][0] * 1024 - memory_mb))


def describe(gpus: Sequence[Gpu]) -> str:
    """Say in words what this machine has, such as `T4 x1`."""
    counts: dict[str, int] = {}
    for gpu in gpus:
        counts[gpu.name] = counts.get(gpu.name, 0) + 1
    return ", ".join(f"{name} x{count}" for name, count in counts.items())
