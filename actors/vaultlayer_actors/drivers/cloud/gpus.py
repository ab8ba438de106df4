"""From a provider's spelling of a GPU to the canonical name, never without its memory where that decides."""

from collections.abc import Mapping, Sequence

from vaultlayer.gpu import GPUS, canonical

TOLERANCE = 0.12
"""Providers report a little more or less than the data sheet's memory (Vast: 40 536 MB for 40 GB)."""

FAMILIES = {
    "A100": ("A100_40", "A100_80"),
    "H100": ("H100_80", "H100_94"),
    "V100": ("V100_16", "V100_32"),
}
"""Products that are sold with several sizes of memory."""


def canonical_gpu(
    spelling: str, memory_gb: float | None, aliases: Mapping[str, str | Sequence[str]]
) -> str | None:
    """Give the canonical name, or None where it cannot be told for certain.

    Args:
        spelling: the provider's own name.
        memory_gb: of one GPU, as the provider says; None when it does not.
        aliases: the provider's spellings → a canonical name, or several that only memory tells apart.
    """
    names = aliases.get(spelling)
    if names is None:
        names = canonical(spelling) or ()
        names = _FAMILY_OF.get(names, (names,)) if isinstance(names, str) else names
    candidates = (names,) if isinstance(names, str) else tuple(names)
    if memory_gb is None:
        return candidates[0] if len(candidates) == 1 else None
    fitting = [name for name in candidates if _fits(name, memory_gb)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(name: str, memory_gb: float) -> bool:
    nominal_gb = GPUS[name][0]
    return abs(memory_gb - nominal_gb) <= TOLERANCE * nominal_gb


_FAMILY_OF = {name: names for names in FAMILIES.values() for name in names}


def variant_of(spelling: str) -> str:
    """Give `sxm`, `nvl` or `pcie` when a spelling tells it; empty otherwise."""
    folded = spelling.lower()
    return next((word for word in ("sxm", "nvl", "pcie") if word in folded), "")


def arch_of(text: str) -> str:
    """Give `x86_64` or `arm64` for any usual spelling; unknown ones are passed on."""
    known = {"amd64": "x86_64", "x86_64": "x86_64", "x86": "x86_64", "x64": "x86_64"}
    known |= {"arm64": "arm64", "aarch64": "arm64", "arm": "arm64"}
    return known.get(text.lower(), text.lower())
