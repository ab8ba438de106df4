"""What a simulated Compute Engine has: zones, machine types, accelerators, and its filter language."""

import re
from collections.abc import Mapping
from typing import Any

_CLAUSE = re.compile(r'([A-Za-z][\w.-]*)\s*(!?=)\s*(?:"([^"]*)"|([^\s()"]+))')

TYPES: dict[str, tuple[int, int, str, int]] = {
    # cpus, MB, accelerator, how many
    "a2-highgpu-1g": (12, 87040, "nvidia-tesla-a100", 1),
    "a2-highgpu-2g": (24, 174080, "nvidia-tesla-a100", 2),
    "a2-ultragpu-1g": (12, 174080, "nvidia-a100-80gb", 1),
    "a3-highgpu-1g": (26, 239616, "nvidia-h100-80gb", 1),
    "a3-highgpu-8g": (208, 1916928, "nvidia-h100-80gb", 8),
    "a3-ultragpu-8g": (224, 3022848, "nvidia-h200-141gb", 8),
    "g2-standard-4": (4, 16384, "nvidia-l4", 1),
    "g2-standard-8": (8, 32768, "nvidia-l4", 1),
    "n1-standard-8": (8, 30720, "", 0),
}

ZONES: dict[str, tuple[str, ...]] = {
    "us-central1-a": ("a2-highgpu-1g", "a2-highgpu-2g", "a2-ultragpu-1g", "a3-highgpu-1g"),
    "us-central1-b": ("a2-highgpu-1g", "a3-ultragpu-8g", "g2-standard-4", "g2-standard-8"),
    "us-central1-f": ("a2-highgpu-1g",),
    "us-east1-b": ("a2-highgpu-1g", "g2-standard-4"),
    "us-east4-a": ("a3-highgpu-1g", "a3-highgpu-8g", "g2-standard-4"),
    "us-west4-b": ("a2-highgpu-1g",),
    "europe-west4-a": ("a2-highgpu-1g", "a2-ultragpu-1g"),
    "africa-south1-a": (),
}
ACCELERATORS: dict[str, tuple[str, ...]] = {
    "us-central1-a": ("nvidia-tesla-t4", "nvidia-tesla-v100"),
    "us-east1-b": ("nvidia-tesla-t4",),
}


def machine_types(zone: str) -> list[dict[str, Any]]:
    """Give a zone's machine types; every zone has the one that takes accelerators."""
    return [_machine_type(zone, name) for name in (*ZONES[zone], "n1-standard-8")]


def accelerator_types(zone: str) -> list[dict[str, Any]]:
    """Give a zone's accelerators."""
    return [{"name": name, "zone": zone} for name in ACCELERATORS.get(zone, ())]


def _machine_type(zone: str, name: str) -> dict[str, Any]:
    cpus, memory_mb, accelerator, count = TYPES[name]
    row: dict[str, Any] = {
        "kind": "compute#machineType",
        "id": "1234567890123456789",
        "name": name,
        "zone": zone,
        "guestCpus": cpus,
        "memoryMb": memory_mb,
        "isSharedCpu": False,
    }
    if count:
        row["accelerators"] = [
            {"guestAcceleratorType": accelerator, "guestAcceleratorCount": count}
        ]
    return row


def matches(row: Mapping[str, Any], text: str) -> bool:
    """Whether a row meets a filter of clauses that are all joined by AND, or all by OR."""
    found = [
        (_field(row, name) == (quoted or plain)) == (op == "=")
        for name, op, quoted, plain in _CLAUSE.findall(text)
    ]
    if not found:
        return True
    return any(found) if " OR " in text else all(found)


def _field(row: Mapping[str, Any], path: str) -> str:
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return "" if value is None else str(value)  # pyright: ignore[reportUnknownArgumentType]
