"""The catalogue of a simulated RunPod, and what its contract refuses. Prices: README.md."""

import re
from collections.abc import Mapping
from typing import Any

_SEED = [
    # id, name, GB, dollars an hour secure and community, most GPUs secure and community
    ("NVIDIA GeForce RTX 4090", "RTX 4090", 24, (0.44, 0.31), (8, 4)),
    ("NVIDIA GeForce RTX 5090", "RTX 5090", 32, (0.89, 0.69), (8, 4)),
    ("NVIDIA GeForce RTX 3090", "RTX 3090", 24, (0.43, 0.22), (4, 4)),
    ("NVIDIA RTX A6000", "RTX A6000", 48, (0.49, 0.33), (8, 4)),
    ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", 48, (0.77, 0.74), (8, 4)),
    ("NVIDIA L4", "L4", 24, (0.43, 0.0), (8, 0)),
    ("NVIDIA L40S", "L40S", 48, (0.86, 0.79), (8, 4)),
    ("NVIDIA A40", "A40", 48, (0.40, 0.0), (10, 0)),
    ("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, (1.39, 1.19), (8, 4)),
    ("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, (1.49, 0.0), (8, 0)),
    ("NVIDIA H100 PCIe", "H100 PCIe", 80, (2.39, 1.99), (8, 4)),
    ("NVIDIA H100 80GB HBM3", "H100 SXM", 80, (3.49, 0.0), (8, 0)),
    ("NVIDIA H100 NVL", "H100 NVL", 94, (2.79, 2.59), (8, 4)),
    ("NVIDIA H200", "H200 SXM", 141, (4.59, 0.0), (8, 0)),
    ("NVIDIA B200", "B200", 180, (6.79, 0.0), (8, 0)),
    ("NVIDIA Novelty 9000", "Novelty", 24, (0.05, 0.04), (8, 4)),
]
DATA_CENTERS = {"US-KS-2": "US Kansas 2", "EU-RO-1": "EU Romania 1", "CA-MTL-3": "CA Montreal 3"}


def gpu_type(
    gpu: str, name: str, memory_gb: int, *, usd_h: tuple[float, float], most: tuple[int, int]
) -> dict[str, Any]:
    """Give one row of the catalogue in the vendor's words, with `stock` by cloud for ourselves."""
    return {
        "id": gpu,
        "name": name,
        "pool": None,
        "manufacturer": "NVIDIA",
        "memory": memory_gb,
        "secure": usd_h[0] > 0,
        "community": usd_h[1] > 0,
        "price": {"secure": usd_h[0], "community": usd_h[1]},
        "maxCount": {"secure": most[0], "community": most[1]},
        "stock": {"SECURE": "HIGH", "COMMUNITY": "MEDIUM" if usd_h[1] > 0 else "NONE"},
    }


def catalogue() -> dict[str, dict[str, Any]]:
    """Give all rows by the id of the GPU."""
    return {
        gpu: gpu_type(gpu, name, memory_gb, usd_h=usd_h, most=most)
        for gpu, name, memory_gb, usd_h, most in _SEED
    }


_CLOUDS = {"SECURE", "COMMUNITY"}
_CREATE: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "image": str,
    "args": str,
    "disk": int,
    "env": dict,
    "ports": list,
    "registry": (str, type(None)),
    "cloud": str,
    "cpu": dict,
    "gpu": dict,
    "dataCenterIds": list,
    "globalNetworking": bool,
    "mounts": dict,
    "startJupyter": bool,
    "startSsh": bool,
    "templateId": str,
}
_GPU: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "count": int,
    "allowedCudaVersions": list,
    "minCudaVersion": str,
}


def violations(body: Mapping[str, Any]) -> list[str]:
    """List what a create breaks of the contract (422); values are judged once the types fit."""
    found = _misfits("$", body, _CREATE)
    needs_image = not body.get("templateId")
    for name, is_needed in (("name", True), ("image", needs_image)):
        if is_needed and not body.get(name):
            found.append(f"$: missing property '{name}'")
    if isinstance(body.get("gpu"), dict):
        found += _misfits("$.gpu", body["gpu"], _GPU)
        if "id" not in body["gpu"]:
            found.append("$.gpu: missing property 'id'")
    return found or [text for is_broken, text in _values(body) if is_broken]


def _values(body: Mapping[str, Any]) -> list[tuple[bool, str]]:
    gpu: Mapping[str, Any] = body.get("gpu") or {}
    env: Mapping[str, Any] = body.get("env") or {}
    mounts: Mapping[str, Any] = body.get("mounts") or {}
    persistent: Mapping[str, Any] = mounts.get("persistent") or {"size": 10, "path": "/"}
    texts: list[Any] = [*env.values(), *body.get("ports", []), *body.get("dataCenterIds", [])]
    return [
        (any(not isinstance(one, str) for one in texts), "$: got number, want string"),
        (body.get("disk", 1) < 1, "$.disk: minimum: got 0, want 1"),
        (gpu.get("count", 1) < 1, "$.gpu.count: minimum: got 0, want 1"),
        (body.get("cloud", "SECURE") not in _CLOUDS, "$.cloud: value must be one of them"),
        (
            re.fullmatch(r"\d+\.\d+", gpu.get("minCudaVersion", "12.8")) is None,
            "$.gpu.minCudaVersion: does not match pattern",
        ),
        (
            set(persistent) != {"size", "path"} or persistent["size"] < 10,
            "$.mounts.persistent: want size from 10 and path",
        ),
    ]


def rule_broken(body: Mapping[str, Any]) -> str:
    """Say which rule across fields a create breaks (400); empty when none."""
    if ("gpu" in body) == ("cpu" in body):
        return "exactly one of gpu or cpu must be set"
    mounts: Mapping[str, Any] = body.get("mounts") or {}
    if "persistent" in mounts and "network" in mounts:
        return "persistent and network mounts are mutually exclusive"
    gpu: Mapping[str, Any] = body.get("gpu") or {}
    if gpu.get("allowedCudaVersions") and gpu.get("minCudaVersion"):
        return "allowedCudaVersions and minCudaVersion are mutually exclusive"
    return ""


def _misfits(
    path: str, body: Mapping[str, Any], known: Mapping[str, type | tuple[type, ...]]
) -> list[str]:
    extra = [name for name in body if name not in known]
    found = [f"{path}: additional properties '{name}' not allowed" for name in extra]
    for name, kind in known.items():
        is_number = isinstance(body.get(name), bool) and kind is int
        if name in body and (is_number or not isinstance(body[name], kind)):
            found.append(f"{path}.{name}: got {type(body[name]).__name__}")
    return found
