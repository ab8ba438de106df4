"""What Vast.ai's answers mean. Pure."""

from vaultlayer.driver import Instance, Need, Offer, PriceParts
from vaultlayer.errors import (
    AuthError,
    BalanceError,
    CapacityError,
    DriverError,
    OfferGoneError,
    ThrottledError,
)
from vaultlayer_actors.drivers.cloud.gpus import arch_of, canonical_gpu, variant_of
from vaultlayer_actors.drivers.cloud.pricing import all_in_usd_h
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.vast.wire import Ask, Created, Row

HOURS_A_MONTH = 30 * 24
BID_MAX_SHARE = 0.95
"""A bid as dear as the machine on demand would buy nothing but the risk."""

ALIASES: dict[str, str | tuple[str, ...]] = {
    "A100 PCIE": ("A100_40", "A100_80"),
    "A100 SXM4": ("A100_40", "A100_80"),
    "A100X": "A100_80",
    "H100 PCIE": "H100_80",
    "H100 SXM": "H100_80",
    "H100 NVL": "H100_94",
    "H200": "H200",
    "H200 NVL": "H200",
    "B200": "B200",
    "B300": "B300",
    "L4": "L4",
    "L40": "L40",
    "L40S": "L40S",
    "A10": "A10",
    "A30": "A30",
    "A40": "A40",
    "RTX 3090": "RTX3090",
    "RTX 4090": "RTX4090",
    "RTX 5090": "RTX5090",
    "RTX A4000": "A4000",
    "RTX A5000": "A5000",
    "RTX A6000": "A6000",
    "RTX 6000Ada": "RTX6000ADA",
    "RTX PRO 6000 S": "RTXPRO6000",
    "RTX PRO 6000 WS": "RTXPRO6000",
    "Tesla T4": "T4",
    "Tesla V100": ("V100_16", "V100_32"),
    "Tesla P100": "P100",
}

BOOTING = frozenset({None, "created", "loading", "rebooting"})
DEAD = frozenset({"stopped", "exited"})
OCI_FAILED = "OCI runtime create failed"


def spellings(gpu: str) -> list[str]:
    """Give Vast.ai's names of a canonical GPU."""
    return [
        name
        for name, known in ALIASES.items()
        if gpu in ((known,) if isinstance(known, str) else known)
    ]


def offer_of(ask: Ask, need: Need, *, disk_gb: float, bid_factor: float | None) -> Offer | None:
    """Give an ask as an offer with its all-in price; None where it cannot be used.

    Args:
        ask: a row of the search.
        need: what it must serve.
        disk_gb: how much disk is rented along.
        bid_factor: how far over the lowest bid we go; None: on demand.
    """
    gpu = canonical_gpu(ask.gpu_name, None if ask.gpu_ram is None else ask.gpu_ram / 1024, ALIASES)
    machine_usd_h = _price_usd_h(ask, bid_factor)
    if gpu is None or gpu != need.gpu or machine_usd_h is None or not ask.cpu_cores:
        return None
    parts = PriceParts(
        machine_usd_h=machine_usd_h,
        disk_usd_h=disk_gb * (ask.storage_cost or 0.0) / HOURS_A_MONTH,
        ingress_usd_gb=ask.inet_down_cost or 0.0,
        egress_usd_gb=ask.inet_up_cost or 0.0,
    )
    share = (ask.cpu_cores_effective or 0.0) / ask.cpu_cores
    return Offer(
        provider="vast",
        offer_id=f"{ask.id}{'' if bid_factor is None else ':bid'}",
        gpu=gpu,
        gpu_count=ask.num_gpus,
        price_usd_h=all_in_usd_h(parts),
        spot=bid_factor is not None,
        region=ask.geolocation or "",
        cpus=int(ask.cpu_cores_effective or 0),
        memory_b=int((ask.cpu_ram or 0.0) * share * 1e6),
        disk_b=int(disk_gb * 1e9),
        detail=f"{ask.gpu_name}, host {ask.host_id}",
        parts=parts,
        floor_usd_h=ask.min_bid or 0.0 if bid_factor is not None else 0.0,
        gpu_memory_b=int((ask.gpu_ram or 0.0) * 1024**2),
        variant=variant_of(ask.gpu_name),
        arch=arch_of(ask.cpu_arch or ""),
        machine=str(ask.machine_id or ""),
        host=str(ask.host_id or ""),
        reliability=ask.reliability2,
        stay_s=ask.duration,
        ingress_b_s=(ask.inet_down or 0.0) * 125_000,
        egress_b_s=(ask.inet_up or 0.0) * 125_000,
    )


def _price_usd_h(ask: Ask, bid_factor: float | None) -> float | None:
    if bid_factor is None:
        return ask.dph_base
    if ask.min_bid is None:
        return None
    most_usd_h = BID_MAX_SHARE * (ask.dph_base if ask.dph_base is not None else float("inf"))
    bid_usd_h = round(min(ask.min_bid * bid_factor, most_usd_h), 4)
    return bid_usd_h if bid_usd_h >= ask.min_bid else None


def instance_of(row: Row) -> Instance:
    """Give an instance in our words; a status that nobody knows is `unknown`, never gone."""
    state, detail = _state_of(row)
    return Instance(
        instance=str(row.id),
        name=row.label or "",
        state=state,
        price_usd_h=row.dph_total or 0.0,
        detail=detail,
    )


def _state_of(row: Row) -> tuple[str, str]:
    if row.cur_state == "unloaded":
        return "gone", ""
    # Also of a machine that never started, whatever its actual status says.
    halted = row.cur_state == row.intended_status == row.next_state == "stopped"
    if halted or row.actual_status == "stopped":
        return "stopped", "outbid" if row.is_bid else "stopped"
    if row.actual_status == "running":
        return "running", ""
    if row.actual_status in DEAD:
        return "stopped", f"{row.actual_status}: what it ran has ended"
    if row.actual_status in BOOTING:
        failed = row.actual_status == "created" and OCI_FAILED in (row.status_msg or "")
        # The message may echo arguments, so only what it is about is told.
        return ("stopped", OCI_FAILED) if failed else ("booting", row.actual_status or "")
    return "unknown", row.actual_status or ""


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means; None: as its HTTP status says."""
    body = reply.peek(Created) or Created()
    text = body.text.lower() or reply.text.lower()
    why = f"HTTP {reply.status}: {reply.text}"
    if reply.status == 429:
        if body.error == "search_quota_exceeded":
            return ThrottledError("Vast.ai: the daily number of searches is used up", why=why)
        return None
    if body.error == "auth_error" or "invalid user key" in text:
        mend = "vaultlayer providers key vast"
        return AuthError("Vast.ai does not accept the API key", why=why, mend=mend)
    if "no_such_ask" in text or reply.status == 410:
        return OfferGoneError("the Vast.ai offer is gone", why=why, retryable=True)
    if "credit" in text or "balance" in text:
        mend = "add credit at Vast.ai"
        return BalanceError("the Vast.ai account is empty", why=why, mend=mend)
    if body.error == "invalid_price":
        return CapacityError("the bid is too low for this Vast.ai offer", why=why, retryable=True)
    return None
