"""The machines of a simulated Verda, where they are to be had, and what they cost. Prices: README.md."""

from typing import Any

_Seed = tuple[str, str, int, int, int, int, str, str]

_SEED: list[_Seed] = [
    # type, name, GPUs, GB of one, CPUs, GB, dollars an hour, on spot
    ("1A100.22V", "A100 SXM4 80GB", 1, 80, 22, 120, "1.29", "0.4515"),
    ("1A100.40S.22V", "A100 SXM4 40GB", 1, 40, 22, 120, "0.72", "0.252"),
    ("1H100.80S.32V", "H100 SXM5 80GB", 1, 80, 32, 185, "2.29", "0.8015"),
    ("1H200.141S.44V", "H200 SXM5 141GB", 1, 141, 44, 185, "3.39", "1.1865"),
    ("2H200.141S.88V", "H200 SXM5 141GB", 2, 141, 88, 370, "6.78", "2.373"),
    ("1B200.30V", "B200 SXM6 180GB", 1, 180, 30, 184, "4.89", "1.712"),
    ("1RTXPRO6000.30V", "RTX PRO 6000 96GB", 1, 96, 30, 178, "1.69", "0.5915"),
    ("1RTX6000ADA.10V", "RTX 6000 Ada 48GB", 1, 48, 10, 60, "0.826", "0.2891"),
    ("1V100.6V", "Tesla V100 16GB", 1, 16, 6, 23, "0.138", "0.0483"),
    ("8V100.48V", "Tesla V100 16GB", 8, 16, 48, 180, "1.104", "0.3864"),
    ("1GB900.36V", "GB900 999GB", 1, 999, 36, 400, "0.01", "0.005"),
    ("CPU.4V.16G", "AMD EPYC", 0, 0, 4, 16, "0.02", "0.007"),
]

AVAILABLE = {
    "FIN-01": ["1A100.22V", "1V100.6V", "8V100.48V", "CPU.4V.16G", "1GB900.36V"],
    "FIN-02": ["1H100.80S.32V", "1A100.22V", "1A100.40S.22V", "2H200.141S.88V"],
    "FIN-03": ["1B200.30V", "1H200.141S.44V", "1RTX6000ADA.10V"],
    "ICE-01": ["1A100.22V", "1RTXPRO6000.30V"],
}


def _instance_type(seed: _Seed) -> dict[str, Any]:
    kind, name, gpus, gpu_gb, cpus, gb, usd, spot_usd = seed
    return {
        "id": f"c01dd00d-0000-4000-8000-{len(kind):012d}",
        "instance_type": kind,
        "model": name.partition(" ")[0],
        "name": name,
        "display_name": name,
        "description": f"Dedicated {name}",
        "price_per_hour": usd,
        "spot_price": spot_usd,
        "currency": "usd",
        "manufacturer": "NVIDIA",
        "p2p": "",
        "best_for": ["Training"],
        "cpu": {"description": f"{cpus} CPU", "number_of_cores": cpus},
        "gpu": {"description": f"{gpus}x {name}", "number_of_gpus": gpus},
        "memory": {"description": f"{gb}GB RAM", "size_in_gigabytes": gb},
        "gpu_memory": {
            "description": f"{gpus * gpu_gb}GB GPU RAM",
            "size_in_gigabytes": gpus * gpu_gb,
        },
        "storage": {"description": "dynamic"},
        "supported_os": ["ubuntu-24.04-cuda-12.8-open-docker"],
    }


TYPES = {seed[0]: _instance_type(seed) for seed in _SEED}
