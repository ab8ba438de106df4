"""What EC2's own API does not tell: prices on demand, of disks and of bytes; and its names of GPUs.

Dollars are those of us-east-1, which us-east-2 and us-west-2 share; sources and doubts: README.md. Spot
prices, sizes and zones are asked for, never taken from here.
"""

REGIONS = ("us-east-1", "us-east-2", "us-west-2")
"""Where machines are looked for when the options name no region: the ones whose prices stand here."""

DISK_USD_GB_MONTH = 0.08
"""Of a gp3 volume with its ordinary speed."""
ADDRESS_USD_H = 0.005
"""Of the public IPv4 address that a machine dials out from."""
EGRESS_USD_GB = 0.09
"""To the internet; to a bucket in the same region it is nothing."""
LEAST_S = 60.0
"""Seconds that are billed at least; from then on each second."""

ALIASES: dict[str, str | tuple[str, ...]] = {
    "T4": "T4",
    "A10G": "A10G",
    "L4": "L4",
    "L40S": "L40S",
    "V100": ("V100_16", "V100_32"),
    "A100": ("A100_40", "A100_80"),
    "H100": "H100_80",
    "H200": "H200",
    "B200": "B200",
    "B300": "B300",
    "RTX PRO Server 6000": "RTXPRO6000",
    "RTX PRO 6000": "RTXPRO6000",
}
"""`GpuInfo.Gpus[].Name` → canonical; what memory tells apart has several."""

FAMILIES = ("g*", "p*")
"""Instance types with GPUs begin so."""

ON_DEMAND_USD_H: dict[str, float] = {
    "g4dn.xlarge": 0.526,
    "g4dn.2xlarge": 0.752,
    "g4dn.4xlarge": 1.204,
    "g4dn.8xlarge": 2.176,
    "g4dn.12xlarge": 3.912,
    "g4dn.16xlarge": 4.352,
    "g5.xlarge": 1.006,
    "g5.2xlarge": 1.212,
    "g5.4xlarge": 1.624,
    "g5.8xlarge": 2.448,
    "g5.12xlarge": 5.672,
    "g5.16xlarge": 4.096,
    "g5.24xlarge": 8.144,
    "g5.48xlarge": 16.288,
    "g6.xlarge": 0.8048,
    "g6.2xlarge": 0.9776,
    "g6.4xlarge": 1.3232,
    "g6.8xlarge": 2.0144,
    "g6.12xlarge": 4.6016,
    "g6.16xlarge": 3.3968,
    "g6.24xlarge": 6.6752,
    "g6.48xlarge": 13.3504,
    "g6e.xlarge": 1.861,
    "g6e.2xlarge": 2.24208,
    "g6e.4xlarge": 3.00424,
    "g6e.8xlarge": 4.52856,
    "g6e.12xlarge": 10.49264,
    "g6e.16xlarge": 7.57719,
    "g6e.24xlarge": 15.06559,
    "g6e.48xlarge": 30.13118,
    "p3.2xlarge": 3.06,
    "p3.8xlarge": 12.24,
    "p3.16xlarge": 24.48,
    "p4d.24xlarge": 21.96,
    "p4de.24xlarge": 27.447,
    "p5.4xlarge": 6.88,
    "p5.48xlarge": 55.04,
    "p5en.48xlarge": 63.296,
    "p6-b200.48xlarge": 113.933,
}


def on_demand_usd_h(region: str, kind: str, own: dict[str, float]) -> float | None:
    """Give the price on demand; None where it is not known.

    Args:
        region: where.
        kind: the instance type.
        own: prices of the user's own, by type or by `region/type`; they go first.
    """
    for key in (f"{region}/{kind}", kind):
        if key in own:
            return own[key]
    return ON_DEMAND_USD_H.get(kind) if region in REGIONS else None
