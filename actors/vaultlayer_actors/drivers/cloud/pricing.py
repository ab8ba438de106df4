"""What a machine really costs in an hour: its own price, its disk and the bytes that it moves."""

from vaultlayer.driver import PriceParts

HOURS_A_MONTH = 730.0
TRAFFIC_GB_H = 2.0
"""What an ordinary job moves each way in an hour, to compare offers that bill it; an assumption."""


def all_in_usd_h(parts: PriceParts, *, traffic_gb_h: float = TRAFFIC_GB_H) -> float:
    """Give dollars an hour, rounded to a millionth.

    Args:
        parts: what the provider bills.
        traffic_gb_h: gigabytes into the machine, and as many out of it, in an hour.
    """
    traffic_usd_h = traffic_gb_h * (parts.ingress_usd_gb + parts.egress_usd_gb)
    return round(parts.machine_usd_h + parts.disk_usd_h + traffic_usd_h, 6)


def billed_s(run_s: float, parts: PriceParts) -> float:
    """Give for how long a stay of `run_s` seconds is billed: whole steps, and at least the least."""
    steps = -(-max(run_s, 0.0) // parts.billing_step_s)
    return max(steps * parts.billing_step_s, parts.least_s)
