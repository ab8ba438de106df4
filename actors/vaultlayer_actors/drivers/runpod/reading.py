"""What RunPod's answers mean. Pure."""

from collections.abc import Sequence

from vaultlayer.driver import Instance, Need, Offer, PriceParts
from vaultlayer.errors import BalanceError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.gpus import canonical_gpu, variant_of
from vaultlayer_actors.drivers.cloud.pricing import HOURS_A_MONTH, all_in_usd_h
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.runpod.wire import GpuType, Pod, Problem

DISK_USD_GB_MONTH = 0.10
"""Of a container's disk, the vendor's page of storage types."""
SUSPECT = 3
"""So many offers refused in the same unknown words make the order suspect, and not the offers."""

ALIASES: dict[str, str | tuple[str, ...]] = {
    "NVIDIA A100 80GB PCIe": "A100_80",
    "NVIDIA A100-SXM4-80GB": "A100_80",
    "NVIDIA H100 PCIe": "H100_80",
    "NVIDIA H100 80GB HBM3": "H100_80",
    "NVIDIA H100 NVL": "H100_94",
    "NVIDIA H200": "H200",
    "NVIDIA B200": "B200",
    "NVIDIA A30": "A30",
    "NVIDIA A40": "A40",
    "NVIDIA L4": "L4",
    "NVIDIA L40": "L40",
    "NVIDIA L40S": "L40S",
    "NVIDIA GeForce RTX 3090": "RTX3090",
    "NVIDIA GeForce RTX 4090": "RTX4090",
    "NVIDIA GeForce RTX 5090": "RTX5090",
    "NVIDIA RTX A4000": "A4000",
    "NVIDIA RTX A5000": "A5000",
    "NVIDIA RTX A6000": "A6000",
    "NVIDIA RTX 6000 Ada Generation": "RTX6000ADA",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTXPRO6000",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "RTXPRO6000",
    "Tesla T4": "T4",
    "Tesla V100-PCIE-16GB": ("V100_16", "V100_32"),
    "Tesla V100-SXM2-16GB": ("V100_16", "V100_32"),
    "Tesla V100-SXM2-32GB": ("V100_16", "V100_32"),
}
VARIANTS = {"NVIDIA H100 80GB HBM3": "sxm", "NVIDIA H200": "sxm", "NVIDIA B200": "sxm"}

STATES = {
    "PROVISIONING": "booting",
    "STARTING": "booting",
    "RUNNING": "running",
    "EXITED": "stopped",
    "ERROR": "stopped",
    "TERMINATED": "gone",
}

NO_CAPACITY = (
    "no longer any instances",
    "no instances available",
    "not enough free gpus",
    "no available machine",
    "out of capacity",
)
"""What people were told when there was no machine; there is no code for it."""


def offers_of(
    row: GpuType, need: Need, *, cloud: str, disk_gb: float, regions: Sequence[str]
) -> list[Offer]:
    """Give a row of the catalogue as offers with all-in prices; none where it cannot be used.

    Args:
        row: asked for with this cloud, so its stock is that cloud's.
        need: what it must serve.
        cloud: `SECURE` or `COMMUNITY`.
        disk_gb: how much disk is rented along.
        regions: data centres, one offer each; empty: one offer, and RunPod chooses.
    """
    gpu = canonical_gpu(row.id, row.memory, ALIASES)
    is_there, usd_h, most = _in_cloud(row, cloud)
    count = max(1, need.gpu_count)
    if gpu is None or gpu != need.gpu or not is_there or not usd_h or count > most:
        return []
    stocks = {"": row.availability}
    if regions:
        stocks = {one.id: one.availability for one in row.data_centers if one.id in regions}
    parts = PriceParts(
        machine_usd_h=usd_h * count, disk_usd_h=disk_gb * DISK_USD_GB_MONTH / HOURS_A_MONTH
    )
    return [
        Offer(
            provider="runpod",
            offer_id=f"{count}x/{row.id}/{cloud}/{region}",
            gpu=gpu,
            gpu_count=count,
            price_usd_h=all_in_usd_h(parts),
            region=region,
            disk_b=int(disk_gb * 1e9),
            detail=f"{row.name or row.id}, {cloud.lower()} cloud, stock {stock.lower()}",
            parts=parts,
            gpu_memory_b=int((row.memory or 0.0) * 1024**3),
            variant=variant_of(row.id) or VARIANTS.get(row.id, ""),
            arch="x86_64",
        )
        for region, stock in stocks.items()
        if stock != "NONE"
    ]


def strange_gpus(rows: Sequence[GpuType]) -> list[str]:
    """Give the ids of GPUs that we do not know."""
    return sorted(row.id for row in rows if canonical_gpu(row.id, row.memory, ALIASES) is None)


def _in_cloud(row: GpuType, cloud: str) -> tuple[bool, float | None, int]:
    if cloud == "SECURE":
        return row.secure, row.price.secure, row.max_count.secure
    return row.community, row.price.community, row.max_count.community


def instance_of(pod: Pod) -> Instance:
    """Give a pod in our words; a status that nobody knows is `unknown`, never gone."""
    status = pod.status or ""
    return Instance(
        instance=pod.id,
        name=pod.name or "",
        state=STATES.get(status, "unknown"),
        price_usd_h=pod.cost or 0.0,
        detail="" if status == "RUNNING" else status.lower(),
    )


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means; None: as its HTTP status says."""
    detail = detail_of(reply)
    why = f"HTTP {reply.status}: {reply.text}"
    if reply.status == 402:
        mend = "add credit at RunPod"
        return BalanceError("the RunPod account is empty", why=why, mend=mend)
    if reply.status == 403 and reply.call == "create" and "pool" in detail.lower():
        return CapacityError("the RunPod account may not use this GPU", why=why, retryable=True)
    return None


def refusal_of(reply: Reply, same: int) -> DriverError:
    """Say what a 400 to a create means: the vendor has one status for a bad order and for no capacity.

    Args:
        reply: the answer.
        same: how many different offers were refused in these very words.
    """
    detail = detail_of(reply)
    why = f"HTTP 400: {reply.text}"
    if is_capacity(detail):
        return CapacityError("RunPod has no such machine now", why=why, retryable=True)
    if same >= SUSPECT:
        what = f"RunPod refuses {same} offers in the same words: the order is at fault"
        return DriverError(what, why=why, mend="look at image and options of [providers.runpod]")
    return CapacityError("RunPod refused the order", why=why, retryable=True)


def is_capacity(detail: str) -> bool:
    """Whether a text says that there is no machine."""
    return any(words in detail.lower() for words in NO_CAPACITY)


def detail_of(reply: Reply) -> str:
    """Give the words of a problem; the whole body where it is none."""
    problem = reply.peek(Problem)
    return problem.detail if problem and problem.detail else reply.text
