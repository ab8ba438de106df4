"""Machine types with GPUs, and what they cost: no call of Compute Engine tells a price.

Dollars an hour for host and GPU together, divided by the GPUs. Sources and what is unverified: README.md.
"""

import msgspec

Rate = tuple[float | None, float | None]
"""On demand and spot; None: not sold so, or no price was seen."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One way to have a number of GPUs."""

    machine_type: str
    gpu: str
    count: int = 1
    rate: str
    """Key of RATES."""
    accelerator: str = ""
    """GPUs that are asked for beside the machine type; empty: the machine type implies them."""
    variant: str = ""
    disk_type: str = "pd-balanced"
    spot_only: bool = False

    @property
    def key(self) -> str:
        """The name that offers and the option `prices` use."""
        extra = f"+{self.accelerator}x{self.count}" if self.accelerator else ""
        return f"{self.machine_type}{extra}"


def _kinds() -> list[Kind]:
    found = [
        Kind(machine_type=f"a2-highgpu-{n}g", gpu="A100_40", count=n, rate="a2-high", variant="sxm")
        for n in (1, 2, 4, 8)
    ]
    found += [
        Kind(
            machine_type=f"a2-ultragpu-{n}g", gpu="A100_80", count=n, rate="a2-ultra", variant="sxm"
        )
        for n in (1, 2, 4, 8)
    ]
    found += [
        Kind(
            machine_type=f"a3-highgpu-{n}g",
            gpu="H100_80",
            count=n,
            rate="a3-high",
            variant="sxm",
            spot_only=n < 8,
        )
        for n in (1, 2, 4, 8)
    ]
    for machine_type, gpu, rate in (
        ("a3-ultragpu-8g", "H200", "a3-ultra"),
        ("a4-highgpu-8g", "B200", "a4-high"),
    ):
        found.append(
            Kind(
                machine_type=machine_type,
                gpu=gpu,
                count=8,
                rate=rate,
                variant="sxm",
                disk_type="hyperdisk-balanced",
            )
        )
    found += [
        Kind(machine_type=f"g2-standard-{cpus}", gpu="L4", count=n, rate=f"g2-{cpus}")
        for cpus, n in ((4, 1), (8, 1), (24, 2), (48, 4), (96, 8))
    ]
    found += [
        Kind(
            machine_type="n1-standard-8",
            gpu=gpu,
            count=n,
            rate=f"n1-{gpu}x{n}",
            accelerator=accelerator,
        )
        for gpu, accelerator in (
            ("T4", "nvidia-tesla-t4"),
            ("V100_16", "nvidia-tesla-v100"),
            ("P100", "nvidia-tesla-p100"),
        )
        for n in (1, 2)
    ]
    return found


KINDS = _kinds()

_L4_REGIONS = ("us-central1", "us-east1", "us-west1")
_N1_REGIONS = ("us-central1", "us-east1", "us-west1")
_N1_HOST: tuple[float, float] = (0.38, 0.08)


def _n1(gpu_usd_h: float, spot_usd_h: float, count: int) -> dict[str, Rate]:
    host_usd_h, host_spot_usd_h = _N1_HOST
    rate = (host_usd_h / count + gpu_usd_h, host_spot_usd_h / count + spot_usd_h)
    return dict.fromkeys(_N1_REGIONS, rate)


RATES: dict[str, dict[str, Rate]] = {
    "a2-high": {
        "us-central1": (3.6734, 1.8039),
        "us-east1": (3.6734, 1.8039),
        "us-west1": (3.6734, 1.8039),
        "us-west3": (4.3251, 1.9703),
        "us-west4": (3.9344, 1.5737),
        "me-west1": (4.0407, 1.3932),
        "europe-west4": (None, 1.4873),
        "asia-southeast1": (None, 1.8456),
        "asia-northeast1": (None, 1.6485),
        "asia-northeast3": (None, 1.5829),
    },
    "a2-ultra": {
        "us-central1": (None, 2.5138),
        "us-east4": (None, 2.2658),
        "us-east5": (5.5238, 1.6475),
        "europe-west4": (None, 2.6359),
        "asia-southeast1": (6.2025, 2.4468),
    },
    "a3-high": {
        "us-central1": (None, 3.3538),
        "us-west1": (None, 3.3538),
        "us-east4": (10.9791, 2.5056),
        "us-east5": (12.3657, 2.6989),
        "us-west4": (None, 2.8274),
        "europe-north1": (12.089, 1.5391),
        "europe-west1": (12.089, 2.7647),
        "europe-west3": (12.9553, 2.9632),
        "europe-west4": (13.9772, 3.1955),
        "asia-south1": (11.4182, 2.6116),
        "asia-northeast1": (None, 3.9378),
        "asia-southeast1": (None, 3.3929),
    },
    "a3-ultra": {"us-central1": (10.6, None), "us-west1": (10.6, None)},
    "g2-4": dict.fromkeys(_L4_REGIONS, (0.7068, 0.2818)),
    "g2-8": dict.fromkeys(_L4_REGIONS, (0.8536, 0.3405)),
    "g2-24": dict.fromkeys(_L4_REGIONS, (1.0004, 0.3992)),
    "g2-48": dict.fromkeys(_L4_REGIONS, (1.0004, 0.3992)),
    "g2-96": dict.fromkeys(_L4_REGIONS, (1.0004, 0.3992)),
    "n1-T4x1": _n1(0.35, 0.14, 1),
    "n1-T4x2": _n1(0.35, 0.14, 2),
    "n1-V100_16x1": _n1(2.48, 0.99, 1),
    "n1-V100_16x2": _n1(2.48, 0.99, 2),
    "n1-P100x1": _n1(1.46, 0.58, 1),
    "n1-P100x2": _n1(1.46, 0.58, 2),
}


def price_usd_h(kind: Kind, region: str, own: dict[str, float], *, spot: bool) -> float | None:
    """Give dollars an hour for the whole machine without its disk; None where no price is known.

    Args:
        kind: what is rented.
        region: where.
        own: the user's prices, by `<region>/<key>` or `<key>`, each with `:spot` for spot.
        spot: whether it may be taken away.
    """
    key = f"{kind.key}:spot" if spot else kind.key
    for name in (f"{region}/{key}", key):
        if name in own:
            return own[name]
    if kind.spot_only and not spot:
        return None
    rate = RATES.get(kind.rate, {}).get(region, (None, None))[1 if spot else 0]
    return None if rate is None else rate * kind.count
