"""What a simulated EC2 has: types, zones, images and spot prices. Numbers: README.md."""

from collections.abc import Mapping

import msgspec

from vaultlayer_actors.drivers.aws.catalogue import ON_DEMAND_USD_H
from vaultlayer_actors.drivers.aws.protocol import Tree

ZONES = {
    "us-east-1": ("us-east-1a", "us-east-1b", "us-east-1d"),
    "us-east-2": ("us-east-2a", "us-east-2b"),
    "us-west-2": ("us-west-2a", "us-west-2c"),
    "eu-west-1": ("eu-west-1a", "eu-west-1b"),
}
AMI = "ami-0123456789abcdef0"
OLD_AMI = "ami-00000000000000001"
IMAGE_GIB = 75
"""The snapshot of the image: no root disk may be smaller."""


class Type(msgspec.Struct, frozen=True):
    """One instance type."""

    name: str
    gpu: str
    count: int
    memory_mib: int
    cpus: int
    host_gib: int
    maker: str = "NVIDIA"
    arch: str = "x86_64"
    spot_share: float = 0.4
    """Spot price of its dearest zone, relative to on demand."""


TYPES = {
    one.name: one
    for one in (
        Type("g4dn.xlarge", "T4", 1, 16384, 4, 16),
        Type("g4dn.2xlarge", "T4", 1, 16384, 8, 32),
        Type("g5.xlarge", "A10G", 1, 22888, 4, 16),
        Type("g5.12xlarge", "A10G", 4, 22888, 48, 192),
        Type("g6.xlarge", "L4", 1, 22888, 4, 16),
        Type("g6f.large", "L4", 1, 2861, 2, 8),
        Type("g6e.xlarge", "L40S", 1, 45776, 4, 32),
        Type("g6e.2xlarge", "L40S", 1, 45776, 8, 64),
        Type("g5g.xlarge", "T4g", 1, 16384, 4, 8, arch="arm64"),
        Type("g4ad.xlarge", "Radeon Pro V520", 1, 8192, 4, 16, maker="AMD"),
        Type("p3.2xlarge", "V100", 1, 16384, 8, 61),
        Type("p4d.24xlarge", "A100", 8, 40960, 96, 1152),
        Type("p4de.24xlarge", "A100", 8, 81920, 96, 1152),
        Type("p5.4xlarge", "H100", 1, 81920, 16, 256, spot_share=1.0),
        Type("p5.48xlarge", "H100", 8, 81920, 192, 2048),
        Type("p5en.48xlarge", "H200", 8, 144384, 192, 2048),
        Type("p6-b200.48xlarge", "B200", 8, 183359, 192, 2048),
        Type("p99.xlarge", "Novelty 9000", 1, 100000, 4, 16),
    )
}
"""`p99` is a family of next year; `g6f` has an eighth of a GPU."""


def zones_of(kind: str, region: str) -> tuple[str, ...]:
    """Give the zones that sell a type: all of them, but large types lack one."""
    zones = ZONES.get(region, ())
    return zones[:-1] if kind.startswith("p") and len(zones) > 2 else zones


def spot_usd_h(kind: Type, zone: str) -> float:
    """Give the spot price: the first zone of a region is the dearest."""
    place = next(zones.index(zone) for zones in ZONES.values() if zone in zones)
    demand = ON_DEMAND_USD_H.get(kind.name, 1.0)
    return round(demand * kind.spot_share * (1.0 - 0.1 * place * (kind.spot_share < 1.0)), 6)


def type_row(kind: Type) -> Mapping[str, Tree]:
    """Give a type as DescribeInstanceTypes does."""
    gpu: Mapping[str, Tree] = {
        "name": kind.gpu,
        "manufacturer": kind.maker,
        "count": kind.count,
        "logicalGpuCount": kind.count,
        "gpuPartitionSize": 0.125 if kind.name.startswith("g6f") else 1.0,
        "memoryInfo": {"sizeInMiB": kind.memory_mib},
    }
    return {
        "instanceType": kind.name,
        "currentGeneration": True,
        "supportedUsageClasses": ["on-demand", "spot"],
        "processorInfo": {"supportedArchitectures": [kind.arch]},
        "vCpuInfo": {"defaultVCpus": kind.cpus},
        "memoryInfo": {"sizeInMiB": kind.host_gib * 1024},
        "gpuInfo": {"gpus": [gpu], "totalGpuMemoryInMiB": kind.memory_mib * kind.count},
    }


def image_rows() -> list[Mapping[str, Tree]]:
    """Give two versions of Amazon's image for deep learning, the older one first."""
    dates = {OLD_AMI: "2026-01-09T08:00:00.000Z", AMI: "2026-10-30T08:00:00.000Z"}
    return [
        {
            "imageId": ami,
            "imageOwnerId": "898082745236",
            "name": f"Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) {date[:10]}",
            "creationDate": date,
            "architecture": "x86_64",
            "imageState": "available",
            "rootDeviceName": "/dev/sda1",
            "rootDeviceType": "ebs",
            "blockDeviceMapping": [
                {
                    "deviceName": "/dev/sda1",
                    "ebs": {"volumeSize": IMAGE_GIB, "volumeType": "gp2"},
                }
            ],
        }
        for ami, date in dates.items()
    ]
