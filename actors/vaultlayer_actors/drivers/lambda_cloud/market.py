"""The types of a simulated Lambda, and what its contract refuses. Prices: README.md."""

import re
from collections.abc import Mapping
from typing import Any

REGIONS = {"us-west-1": "California, USA", "us-east-1": "Virginia, USA", "us-south-2": "Texas, USA"}

_SEED = [
    # type, GPU, GPUs, cents an hour, vCPUs, GiB of memory and of disk
    ("gpu_1x_a10", "A10 (24 GB PCIe)", 1, 75, (30, 200, 1400)),
    ("gpu_1x_a6000", "A6000 (48 GB)", 1, 109, (14, 100, 512)),
    ("gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", 1, 129, (30, 200, 512)),
    ("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", 8, 1432, (240, 1800, 19968)),
    ("gpu_8x_v100_n", "Tesla V100 (16 GB)", 8, 632, (88, 448, 5939)),
    ("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 1, 329, (26, 225, 1024)),
    ("gpu_1x_h100_sxm5", "H100 (80 GB SXM5)", 1, 429, (26, 225, 2816)),
    ("gpu_2x_h100_sxm5", "H100 (80 GB SXM5)", 2, 838, (52, 450, 5632)),
    ("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 8, 3192, (208, 1800, 22528)),
    ("gpu_1x_gh200", "GH200 (96 GB)", 1, 229, (64, 432, 4096)),
    ("gpu_1x_b200_sxm6", "B200 (180 GB SXM6)", 1, 699, (26, 360, 2816)),
    ("gpu_1x_novelty", "Novelty (24 GB)", 1, 5, (4, 16, 128)),
]


def type_of(
    name: str, gpu: str, count: int, *, cents_h: int, sizes: tuple[int, int, int]
) -> dict[str, Any]:
    """Give one type in the vendor's words, available everywhere."""
    vcpus, memory_gib, storage_gib = sizes
    return {
        "instance_type": {
            "name": name,
            "description": f"{count}x {gpu}",
            "gpu_description": gpu,
            "price_cents_per_hour": cents_h,
            "specs": {
                "vcpus": vcpus,
                "memory_gib": memory_gib,
                "storage_gib": storage_gib,
                "gpus": count,
            },
        },
        "regions_with_capacity_available": [
            {"name": key, "description": text} for key, text in REGIONS.items()
        ],
    }


def catalogue() -> dict[str, dict[str, Any]]:
    """Give all types by their name."""
    return {
        name: type_of(name, gpu, count, cents_h=cents_h, sizes=sizes)
        for name, gpu, count, cents_h, sizes in _SEED
    }


_KNOWN = {
    "region_name",
    "instance_type_name",
    "ssh_key_names",
    "file_system_names",
    "file_system_mounts",
    "hostname",
    "name",
    "image",
    "user_data",
    "tags",
    "firewall_rulesets",
}


def violation(body: Mapping[str, Any]) -> str:
    """Say what a launch breaks of the contract; empty when nothing."""
    tags: list[Mapping[str, str]] = body.get("tags") or []
    rules = [
        (int(body.get("quantity", 1)) != 1, "quantity must be 1"),
        (bool(set(body) - _KNOWN - {"quantity"}), "unknown property"),
        (not body.get("region_name"), "region_name is required"),
        (not body.get("instance_type_name"), "instance_type_name is required"),
        (len(body.get("ssh_key_names") or []) != 1, "exactly one SSH key must be specified"),
        (len(body.get("name") or "") > 64, "name is too long"),
        (
            re.fullmatch(r"[a-z0-9][0-9a-z-]{0,62}", body.get("hostname", "h")) is None,
            "hostname does not match",
        ),
        (len((body.get("user_data") or "").encode()) > 1_000_000, "user_data exceeds 1MB"),
        (
            any(
                re.fullmatch(r"[a-z][a-z0-9-:]+", tag.get("key", "")) is None
                or len(tag["key"]) > 55
                or len(tag.get("value", "")) > 128
                for tag in tags
            ),
            "a tag does not match",
        ),
    ]
    return next((text for is_broken, text in rules if is_broken), "")
