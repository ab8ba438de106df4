"""Canonical GPU names, their aliases, and the near matches of a name that is unknown.

A canonical name is the product's name, with the memory in GB where a product is sold with several
(`A100_40`, `A100_80`). Memory sizes are the vendors' data sheets'.
"""

import difflib

import msgspec

from vaultlayer.errors import GpuUnknownError

# canonical name -> (memory in GB, other spellings that people and providers use)
GPUS: dict[str, tuple[int, tuple[str, ...]]] = {
    "A10": (24, ()),
    "A10G": (24, ()),
    "A16": (16, ()),
    "A30": (24, ()),
    "A40": (48, ()),
    "A100_40": (40, ("A100", "A100-40GB", "A100-SXM4-40GB", "A100-PCIE-40GB", "A100_40GB")),
    "A100_80": (
        80,
        ("A100-80GB", "A100-SXM4-80GB", "A100-PCIE-80GB", "A100_80GB", "A100 80GB PCIe"),
    ),
    "A4000": (16, ("RTX A4000",)),
    "A5000": (24, ("RTX A5000",)),
    "A6000": (48, ("RTX A6000",)),
    "B200": (180, ()),
    "B300": (288, ()),
    "GH200": (96, ()),
    "H100_80": (80, ("H100", "H100-SXM5-80GB", "H100 80GB HBM3", "H100 PCIe", "H100_SXM")),
    "H100_94": (94, ("H100 NVL", "H100-NVL-94GB")),
    "H200": (141, ("H200 SXM", "H200 NVL")),
    "L4": (24, ()),
    "L40": (48, ()),
    "L40S": (48, ()),
    "MI300X": (192, ()),
    "P100": (16, ("Tesla P100-PCIE-16GB",)),
    "RTX3090": (24, ("3090", "RTX 3090", "GeForce RTX 3090")),
    "RTX4090": (24, ("4090", "RTX 4090", "GeForce RTX 4090")),
    "RTX5090": (32, ("5090", "RTX 5090", "GeForce RTX 5090")),
    "RTX6000ADA": (48, ("RTX 6000 Ada Generation", "6000Ada")),
    "RTXPRO6000": (
        96,
        ("RTX PRO 6000", "RTX PRO 6000 S", "RTX PRO 6000 WS", "RTX PRO 6000 Blackwell"),
    ),
    "T4": (16, ("Tesla T4",)),
    "V100_16": (16, ("V100", "Tesla V100-SXM2-16GB", "V100-16GB")),
    "V100_32": (32, ("Tesla V100-SXM2-32GB", "V100-32GB")),
}


class GpuNeed(msgspec.Struct, frozen=True):
    """What a job asks for; no name means that any machine will do, also one without a GPU."""

    name: str = ""
    count: int = 0


def _fold(text: str) -> str:
    kept = "".join(char for char in text.upper() if char.isalnum())
    return kept.removeprefix("NVIDIA").removeprefix("GEFORCE")


_BY_FOLD = {
    _fold(spelling): name for name, (_, aliases) in GPUS.items() for spelling in (name, *aliases)
}


def canonical(text: str) -> str | None:
    """Give the canonical name of any known spelling, or None."""
    return _BY_FOLD.get(_fold(text))


def near(text: str, most: int = 3) -> list[str]:
    """Give the canonical names whose spelling lies nearest, best first."""
    hits = difflib.get_close_matches(_fold(text), _BY_FOLD, n=12, cutoff=0.4)
    starts = [fold for fold in _BY_FOLD if fold.startswith(_fold(text)[:2]) and _fold(text)]
    return list(dict.fromkeys(_BY_FOLD[hit] for hit in [*hits, *starts]))[:most]


def parse(text: str) -> GpuNeed:
    """Read `A100_40` or `A100_40:2`.

    Raises:
        GpuUnknownError: the name is unknown (near matches are told) or the count is no number from 1.
    """
    name, _, count = text.partition(":")
    if count and (not count.isdigit() or int(count) < 1):
        raise GpuUnknownError(
            f"cannot read the GPU count in {text!r}",
            why="after the colon stands a whole number from 1",
            mend=f"--gpu {name}:2",
        )
    found = canonical(name)
    if found is None:
        matches = near(name)
        raise GpuUnknownError(
            f"no GPU is called {name!r}",
            why=f"nearest known names: {', '.join(matches)}"
            if matches
            else "no known name is near",
            mend=f"--gpu {matches[0]}" if matches else f"one of: {', '.join(sorted(GPUS))}",
        )
    return GpuNeed(found, int(count or 1))
