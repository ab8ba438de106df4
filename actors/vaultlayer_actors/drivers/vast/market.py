"""The asks of a simulated Vast.ai, and its query language. Prices: README.md."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_SEED = [
    # id, machine, gpu, count, MB, dollars an hour on demand
    (12345601, 88801, "RTX 4090", 1, 24564, 0.40),
    (12345602, 88802, "RTX 4090", 1, 24564, 0.43),
    (12345603, 88803, "RTX 4090", 2, 24564, 0.81),
    (12345604, 88804, "RTX 5090", 1, 32607, 0.48),
    (12345605, 88805, "RTX 3090", 2, 24576, 0.33),
    (12345606, 88806, "A100 SXM4", 1, 40536, 0.76),
    (12345607, 88807, "A100 PCIE", 1, 81920, 0.87),
    (12345608, 88808, "A100 SXM4", 1, 81920, 0.94),
    (12345609, 88809, "L40S", 1, 46068, 0.60),
    (12345610, 88810, "A40", 1, 46068, 0.67),
    (12345611, 88811, "H100 SXM", 1, 81559, 1.87),
    (12345612, 88812, "H100 NVL", 1, 95830, 2.08),
    (12345613, 88813, "H200", 1, 143771, 2.65),
    (12345614, 88814, "RTX PRO 6000 S", 1, 97887, 1.13),
    (12345615, 88815, "Tesla T4", 1, 15360, 0.15),
    (12345616, 88816, "Novelty 9000", 1, 10000, 0.05),
]


def ask(
    ask_id: int, machine: int, gpu: str, *, count: int, memory_mb: int, usd_h: float
) -> dict[str, Any]:
    """Give one row of the search in the vendor's words."""
    return {
        "id": ask_id,
        "ask_contract_id": ask_id,
        "bundle_id": ask_id - 12340000,
        "machine_id": machine,
        "host_id": machine - 80000,
        "gpu_name": gpu,
        "num_gpus": count,
        "gpu_ram": memory_mb,
        "gpu_total_ram": memory_mb * count,
        "gpu_frac": 0.125,
        "gpu_arch": "nvidia",
        "compute_cap": 890,
        "cuda_max_good": 12.8,
        "driver_version": "570.86.10",
        "cpu_name": "AMD EPYC 7B13",
        "cpu_cores": 128,
        "cpu_cores_effective": 16.0,
        "cpu_ram": 515000,
        "cpu_arch": "amd64",
        "disk_space": 812.4,
        "disk_bw": 3100.0,
        "inet_down": 1800.5,
        "inet_up": 900.1,
        "inet_down_cost": 0.0,
        "inet_up_cost": 0.0,
        "direct_port_count": 120,
        "static_ip": True,
        "public_ipaddr": "203.0.113.42",
        "geolocation": "Texas, US",
        "geolocode": 1,
        "hosting_type": 1,
        "verification": "verified",
        "verified": True,
        "reliability2": 0.998,
        "reliability": 0.998,
        "score": round(100 / usd_h, 2),
        "dlperf": 95.2,
        "dph_base": usd_h,
        "min_bid": round(usd_h / 2, 4),
        "storage_cost": 0.15,
        "rentable": True,
        "rented": False,
        "external": False,
        "start_date": 1790000000.0,
        "end_date": 1795000000.0,
        "duration": 4320000.0,
    }


MARKET = [
    ask(ask_id, machine, gpu, count=count, memory_mb=memory_mb, usd_h=usd_h)
    for ask_id, machine, gpu, count, memory_mb, usd_h in _SEED
]

_OPS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda have, want: have == want,
    "neq": lambda have, want: have != want,
    "gt": lambda have, want: have > want,
    "gte": lambda have, want: have >= want,
    "lt": lambda have, want: have < want,
    "lte": lambda have, want: have <= want,
    "in": lambda have, want: have in want,
    "notin": lambda have, want: have not in want,
}


def matches(row: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Whether a row meets a query; values that arrive as strings are read as the row's own type."""
    for field, wanted in query.items():
        if not isinstance(wanted, dict):
            continue
        conditions: dict[str, Any] = wanted  # pyright: ignore[reportUnknownVariableType]
        for op, value in conditions.items():
            have = row.get(field)
            if have is None or not _OPS[op](have, _like(have, value)):
                return False
    return True


def _like(have: Any, value: Any) -> Any:
    if isinstance(value, list):
        several: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [_like(have, one) for one in several]
    if isinstance(value, str) and isinstance(have, bool):
        return value.lower() == "true"
    if isinstance(value, str) and isinstance(have, (int, float)):
        return float(value)
    return value


def order_by(
    rows: Sequence[dict[str, Any]], order: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Sort rows by `[field, asc|desc]`, the first one foremost."""
    found = list(rows)
    for field, direction in reversed(order):
        found.sort(key=lambda row, field=field: row.get(field) or 0, reverse=direction == "desc")
    return found
