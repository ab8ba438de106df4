"""What Lambda's answers mean. Pure."""

import re
from collections.abc import Iterable

from vaultlayer.driver import Instance, Need, Offer, PriceParts
from vaultlayer.errors import (
    AmbiguousCreateError,
    AuthError,
    BalanceError,
    CapacityError,
    DriverError,
)
from vaultlayer_actors.drivers.cloud.gpus import canonical_gpu, variant_of
from vaultlayer_actors.drivers.cloud.naming import name_in
from vaultlayer_actors.drivers.cloud.pricing import all_in_usd_h
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.lambda_cloud.wire import Failed, InstanceType, Row, TypeItem

BILLING_STEP_S = 60.0
"""Instances are billed in steps of a minute, the vendor's page of billing."""

ALIASES: dict[str, str | tuple[str, ...]] = {
    "a10": "A10",
    "a6000": "A6000",
    "a100": ("A100_40", "A100_80"),
    "h100": ("H100_80", "H100_94"),
    "h200": "H200",
    "gh200": "GH200",
    "b200": "B200",
    "b300": "B300",
    "l4": "L4",
    "l40s": "L40S",
    "v100": ("V100_16", "V100_32"),
}
"""The first word after `gpu_8x_` of a type's name; what comes after it is variant and revision."""
_NAME = re.compile(r"gpu_\d+x_([a-z0-9]+)")
_MEMORY = re.compile(r"(\d+) ?GB")
ARM = ("gh200", "gb200", "gb300")

STATES = {
    "booting": "booting",
    "active": "running",
    "unhealthy": "unknown",
    "preempted": "stopped",
    "terminating": "stopped",
    "terminated": "gone",
}
"""An unhealthy machine may still run our processes: its agent's heartbeat decides."""


def offers_of(item: TypeItem, need: Need, *, disk_gb: float) -> list[Offer]:
    """Give a type as one offer for each region that has it; none where it cannot serve.

    Args:
        item: a type and its regions.
        need: what it must serve.
        disk_gb: the least disk; Lambda's is part of the type.
    """
    kind = item.instance_type
    gpu, word = _gpu_of(kind)
    disk_b = kind.specs.storage_gib * 1024**3
    count = max(1, need.gpu_count)
    if gpu is None or gpu != need.gpu or kind.specs.gpus != count or disk_b < disk_gb * 1e9:
        return []
    parts = PriceParts(machine_usd_h=kind.price_cents_per_hour / 100, billing_step_s=BILLING_STEP_S)
    return [
        Offer(
            provider="lambda",
            offer_id=f"{kind.name}/{region.name}",
            gpu=gpu,
            gpu_count=count,
            price_usd_h=all_in_usd_h(parts),
            region=region.name,
            cpus=kind.specs.vcpus,
            memory_b=kind.specs.memory_gib * 1024**3,
            disk_b=disk_b,
            detail=f"{kind.name}, {kind.gpu_description}",
            parts=parts,
            gpu_memory_b=int((_memory_gb(kind) or 0) * 1024**3),
            variant=variant_of(kind.name) or variant_of(kind.gpu_description),
            arch="arm64" if word in ARM else "x86_64",
        )
        for region in item.regions_with_capacity_available
        if kind.price_cents_per_hour > 0
    ]


def strange_gpus(items: Iterable[TypeItem]) -> list[str]:
    """Give the names of types whose GPU we do not know."""
    kinds = [item.instance_type for item in items]
    return sorted(kind.name for kind in kinds if kind.specs.gpus and _gpu_of(kind)[0] is None)


def _gpu_of(kind: InstanceType) -> tuple[str | None, str]:
    found = _NAME.match(kind.name)
    word = found.group(1) if found else ""
    return canonical_gpu(word, _memory_gb(kind), ALIASES), word


def _memory_gb(kind: InstanceType) -> float | None:
    found = _MEMORY.search(kind.gpu_description) or _MEMORY.search(kind.name.upper())
    return float(found.group(1)) if found else None


def instance_of(row: Row) -> Instance:
    """Give an instance in our words; its tag says whose it is even where people have renamed it."""
    status = row.status or ""
    tagged = name_in(tag.value for tag in row.tags)
    return Instance(
        instance=row.id,
        name=tagged or row.name or "",
        state=STATES.get(status, "unknown"),
        price_usd_h=row.instance_type.price_cents_per_hour / 100,
        detail="" if status == "active" else status,
    )


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means, by its code alone; None: as its HTTP status says."""
    failed = reply.peek(Failed)
    code = failed.error.code if failed else ""
    why = f"HTTP {reply.status}: {reply.text}"
    if code == "instance-operations/launch/insufficient-capacity":
        return CapacityError("Lambda has no such machine now", why=why, retryable=True)
    if code == "global/quota-exceeded":
        mend = "ask Lambda's support for a higher quota"
        return CapacityError("Lambda's quota is used up", why=why, mend=mend, retryable=True)
    if code in {"global/account-inactive", "global/invalid-address"}:
        mend = "look at payment and address at cloud.lambda.ai"
        return BalanceError("the Lambda account cannot be billed", why=why, mend=mend)
    if code in {"global/invalid-api-key", "global/forbidden"}:
        mend = "vaultlayer providers key lambda"
        return AuthError("Lambda does not accept the API key", why=why, mend=mend)
    if code.startswith("provider/"):
        # What stands behind Lambda failed: nobody says whether it had begun.
        kind = DriverError if reply.is_safe else AmbiguousCreateError
        return kind(f"Lambda failed at {reply.call}", why=why, retryable=True)
    if code == "global/object-does-not-exist" and reply.call == "create":
        mend = "look at ssh_key, image and regions of [providers.lambda]"
        return DriverError("Lambda does not know what the order names", why=why, mend=mend)
    return None
