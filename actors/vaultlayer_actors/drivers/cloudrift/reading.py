"""What CloudRift's answers mean. Pure."""

import re

from vaultlayer.driver import Instance
from vaultlayer.errors import BalanceError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.gpus import canonical_gpu
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.cloud.vms import Plan
from vaultlayer_actors.drivers.cloudrift.wire import InstanceType, Recipes, Row, Variant

BRANDS = {
    "RTX 4090": "RTX4090",
    "RTX 5090": "RTX5090",
    "RTX PRO 6000": "RTXPRO6000",
    "L40S": "L40S",
}
UNPAID = ("balance", "payment", "credit", "billing", "funds")
SOLD = ("no available", "not available", "unavailable", "capacity", "no nodes")
_UBUNTU = re.compile(r"Ubuntu.* (\d+)\.(\d+)")


def plans_of(kind: InstanceType) -> list[Plan]:
    """Give one plan for each size and datacentre that has a free node."""
    brand = next((name for name in BRANDS if name in kind.brand_short), "")
    found: list[Plan] = []
    for variant in kind.variants:
        gpu = _gpu_of(brand, variant)
        if gpu is None or variant.cost_per_hour <= 0:
            continue
        found += [
            Plan(
                plan=variant.name,
                region=place,
                gpu=gpu[0],
                gpu_count=variant.gpu_count,
                usd_h=variant.cost_per_hour / 100,
                disk_b=int(variant.disk),
                cpus=variant.cpu_count,
                memory_b=int(variant.dram),
                gpu_memory_b=gpu[1],
                detail=f"{kind.brand_short} {variant.name}",
            )
            for place, free in variant.available_nodes_per_dc.items()
            if free > 0
        ]
    return found


def _gpu_of(brand: str, variant: Variant) -> tuple[str, int] | None:
    """Give the canonical GPU and its bytes; `vram` may be of one GPU or of all."""
    if not brand or variant.gpu_count < 1:
        return None
    for memory_b in (variant.vram, variant.vram / variant.gpu_count):
        if name := canonical_gpu(brand, memory_b / 1024**3, BRANDS):
            return name, int(memory_b)
    return None


def image_of(recipes: Recipes) -> str:
    """Give the URL of the newest Ubuntu VM image with NVIDIA's driver; empty when there is none."""
    found: list[tuple[tuple[int, int], str]] = []
    for recipe in (one for group in recipes.groups for one in group.recipes):
        url = str(recipe.details.get("VirtualMachine", {}).get("image_url") or "")
        version = _UBUNTU.search(recipe.name)
        if url and version and "nvidia-driver" in recipe.tags:
            found.append(((int(version[1]), int(version[2])), url))
    return max(found)[1] if found else ""


def instance_of(row: Row, name: str) -> Instance:
    """Give an instance in our words, with the name that our own book has for it."""
    state, detail = _state_of(row)
    return Instance(instance=row.id, name=name, state=state, detail=detail)


def _state_of(row: Row) -> tuple[str, str]:
    if row.status == "Active":
        # A VM counts from when it is ready; an answer without any VM tells nothing more.
        waits = bool(row.virtual_machines) and not row.virtual_machines[0].ready
        return ("booting", "its VM is not ready") if waits else ("running", "")
    states = {"Initializing": "booting", "Deactivating": "stopped", "Inactive": "gone"}
    return states.get(row.status, "unknown"), row.status


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means; None: as its HTTP status says. Errors have no documented body."""
    if reply.call != "create" or reply.status in {401, 403, 429} or reply.status >= 500:
        return None
    text = reply.text.lower()
    why = f"HTTP {reply.status}: {reply.text}"
    if reply.status == 402 or any(word in text for word in UNPAID):
        mend = "add credit at CloudRift"
        return BalanceError("the CloudRift account is empty", why=why, mend=mend)
    if any(word in text for word in SOLD):
        return CapacityError("CloudRift has no such machine now", why=why, retryable=True)
    return None
