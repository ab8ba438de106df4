"""What Verda's answers mean. Pure."""

import re
from collections.abc import Sequence

from vaultlayer.driver import Instance, Need, Offer, PriceParts
from vaultlayer.errors import AuthError, BalanceError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.gpus import FAMILIES, canonical_gpu, variant_of
from vaultlayer_actors.drivers.cloud.naming import name_in
from vaultlayer_actors.drivers.cloud.pricing import HOURS_A_MONTH, all_in_usd_h
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.verda.wire import Done, InstanceType, Money, Refused, Row

IMAGE = "ubuntu-24.04-cuda-12.8-open-docker"
BILLING_STEP_S = 600.0
DISK_USD_GB_MONTH = 0.20
"""Used where the price list of volumes does not name NVMe."""

BOOTING = frozenset({"new", "ordered", "provisioning", "validating", "pending", "restoring"})
STOPPED = frozenset({"offline", "deleting", "error", "hibernating", "starting_hibernation"})
GONE = frozenset({"discontinued", "notfound", "deleted"})
NO_CAPACITY = "no_capacity"

GONE_TEXTS = ("invalid instance id", "can't discontinue a discontinued")
LATER_TEXTS = ("can't discontinue a provisioning", "can't discontinue a new", "ordered instance")

_TYPE = re.compile(r"(\d+)([A-Z][A-Z0-9]*)\.")
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{5,63}")
ALIASES: dict[str, str | tuple[str, ...]] = {**FAMILIES, "RTXA6000": "A6000", "A6000": "A6000"}


# Offers -------------------------------------------------------------------------------------------


def gpu_of(row: InstanceType) -> tuple[str, int] | None:
    """Give canonical name and number of GPUs; None where there are none or the name is new."""
    found = _TYPE.match(row.instance_type)
    if found is None:
        return None
    count = row.gpu.number_of_gpus or int(found[1])
    total_gb = row.gpu_memory.size_in_gigabytes
    # The memory is that of all GPUs; should it once be that of one, the name still decides.
    sizes: tuple[float | None, ...] = (total_gb / count, total_gb) if total_gb else (None,)
    names = (canonical_gpu(found[2], size_gb, ALIASES) for size_gb in sizes)
    name = next((name for name in names if name), None)
    return (name, count) if name else None


def strange_gpus(rows: Sequence[InstanceType]) -> list[str]:
    """Give the names of machines that have GPUs, but none that we know."""
    names = {row.name or row.instance_type for row in rows if _TYPE.match(row.instance_type)}
    return sorted(names - {row.name or row.instance_type for row in rows if gpu_of(row)})


def money(value: Money | None) -> float | None:
    """Read dollars, which come as a string or a number; None for nothing, and for what is free."""
    try:
        return float(value or 0.0) or None
    except ValueError:
        return None


def offer_of(
    row: InstanceType, need: Need, location: str, *, disk_gb: float, disk_usd: float, spot: bool
) -> Offer | None:
    """Give an instance type at a location as an offer with its all-in price; None where it does not serve.

    Args:
        row: the type.
        need: what it must serve.
        location: code of the data centre that has it now.
        disk_gb: size of the disk.
        disk_usd: dollars for a gigabyte and month.
        spot: whether it may be taken away.
    """
    usd_h = money(row.spot_price if spot else row.price_per_hour)
    found = gpu_of(row)
    if usd_h is None or found is None or found != (need.gpu, max(1, need.gpu_count)):
        return None
    parts = PriceParts(
        machine_usd_h=usd_h,
        disk_usd_h=disk_gb * disk_usd / HOURS_A_MONTH,
        billing_step_s=BILLING_STEP_S,
    )
    gpu, count = found
    return Offer(
        provider="verda",
        offer_id=f"{row.instance_type}@{location}{':spot' if spot else ''}",
        gpu=gpu,
        gpu_count=count,
        price_usd_h=all_in_usd_h(parts),
        spot=spot,
        region=location,
        cpus=row.cpu.number_of_cores,
        memory_b=int(row.memory.size_in_gigabytes * 1e9),
        disk_b=int(disk_gb * 1e9),
        detail=f"{row.name or row.instance_type}, {location}",
        parts=parts,
        variant=variant_of(row.name),
        arch="x86_64",
    )


def image_of(supported: Sequence[str]) -> str:
    """Give the disk image for a machine: ours, or where it does not boot there the newest with CUDA."""
    if not supported or IMAGE in supported:
        return IMAGE
    with_cuda = sorted(name for name in supported if "cuda" in name)
    return max(with_cuda, key=lambda name: ("docker" in name, name), default=IMAGE)


def type_at(offer_id: str) -> tuple[str, str, bool]:
    """Give instance type, location and whether it is spot of an offer of ours."""
    kind, _, rest = offer_id.partition("@")
    location, _, model = rest.partition(":")
    return kind, location, model == "spot"


# Machines -----------------------------------------------------------------------------------------


def instance_of(row: Row) -> Instance:
    """Give an instance in our words; a status that nobody knows is `unknown`, never gone."""
    state, detail = _state_of(row)
    return Instance(
        instance=row.id,
        name=name_in([row.hostname or "", row.description or ""]),
        state=state,
        price_usd_h=money(row.price_per_hour) or 0.0,
        detail=detail,
    )


def _state_of(row: Row) -> tuple[str, str]:
    if row.status == "running":
        return "running", ""
    if row.status in BOOTING:
        return "booting", row.status
    if row.status in GONE:
        return "gone", "discontinued" if row.is_spot else ""
    if row.status in STOPPED or row.status == NO_CAPACITY:
        return "stopped", row.status
    return "unknown", row.status


def new_id(text: str) -> str:
    """Read an id, which comes as plain text; empty where the text is none."""
    text = text.strip().strip('"')
    return text if _ID.fullmatch(text) else ""


# Errors -------------------------------------------------------------------------------------------


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means; None: as its HTTP status says."""
    body = reply.peek(Refused) or Refused()
    why = f"HTTP {reply.status}: {reply.text}"
    if body.code == "insufficient_funds":
        mend = "add credit at console.verda.com"
        return BalanceError("the account at Verda is empty", why=why, mend=mend)
    if body.code in {"unauthorized_request", "forbidden_action"}:
        mend = "vaultlayer providers key verda"
        return AuthError("Verda does not accept the API key for this", why=why, mend=mend)
    if reply.call == "create" and body.code == "service_unavailable":
        return CapacityError("Verda has no such machine there now", why=why, retryable=True)
    return None


def is_gone(text: str) -> bool:
    """Whether the answer to a delete says that there is nothing to delete."""
    return any(known in text.lower() for known in GONE_TEXTS)


def is_early(text: str) -> bool:
    """Whether the answer to a delete says that the machine must come up first."""
    return any(known in text.lower() for known in LATER_TEXTS)


def refusal_of(reply: Reply) -> str:
    """Give what an answer to a delete objects; empty when it does not."""
    if reply.status == 207:
        parts = reply.peek(list[Done]) or []
        faults = [one.error or one.status for one in parts if _is_fault(one)]
        return "; ".join(faults)
    if reply.status < 300:
        return ""
    body = reply.peek(Refused) or Refused()
    return f"{body.code}: {body.message}" if body.code else f"HTTP {reply.status}: {reply.text}"


def _is_fault(one: Done) -> bool:
    return bool(one.error) or one.statusCode >= 400
