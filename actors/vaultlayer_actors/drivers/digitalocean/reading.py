"""What DigitalOcean's answers mean. Pure."""

from vaultlayer.driver import Instance
from vaultlayer.errors import BalanceError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.gpus import canonical_gpu
from vaultlayer_actors.drivers.cloud.naming import tagged
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.cloud.vms import Plan
from vaultlayer_actors.drivers.digitalocean.wire import Droplet, Size, Trouble

ALIASES: dict[str, str] = {
    "nvidia_h100": "H100_80",
    "nvidia_h200": "H200",
    "nvidia_l40s": "L40S",
    "nvidia_rtx6000_ada": "RTX6000ADA",
    "nvidia_b300": "B300",
}
"""AMD's models are left out: a machine proves its GPU through CUDA before a job starts."""

STATES = {
    "new": "booting",
    "active": "running",
    "off": "stopped",
    "archive": "gone",
}

OWN_FAULTS = ("image", "user data", "user_data", "ssh key", "invalid key", "hostname", "tag ")
"""Words of a 422 that is about our request and no lack of machines."""


def plans_of(size: Size) -> list[Plan]:
    """Give one plan for each region that has the size; none where the GPU is not certain."""
    gpu = gpu_of(size)
    if gpu is None or size.gpu_info is None or not size.available or not size.price_hourly:
        return []
    name, memory_gib = gpu
    return [
        Plan(
            plan=size.slug,
            region=region,
            gpu=name,
            gpu_count=size.gpu_info.count,
            usd_h=size.price_hourly,
            disk_b=int(size.disk * 1024**3),
            cpus=size.vcpus,
            memory_b=int(size.memory * 1024**2),
            gpu_memory_b=int(memory_gib * 1024**3),
            detail=size.slug,
        )
        for region in size.regions
    ]


def gpu_of(size: Size) -> tuple[str, float] | None:
    """Give the canonical GPU and its memory in GiB; None where it cannot be told for certain."""
    info = size.gpu_info
    if info is None or info.vram is None or not info.model.startswith("nvidia_"):
        return None
    for memory_gib in (info.vram.amount, info.vram.amount / max(1, info.count)):
        if name := canonical_gpu(info.model, memory_gib, ALIASES):
            return name, memory_gib
    return None


def instance_of(droplet: Droplet) -> Instance:
    """Give an instance in our words; a status that nobody knows is `unknown`, never gone."""
    state = STATES.get(droplet.status, "unknown")
    details = {"stopped": "off, and billed in full", "unknown": droplet.status}
    return Instance(
        instance=str(droplet.id),
        name=tagged(droplet.name, droplet.tags),
        state=state,
        price_usd_h=droplet.size.price_hourly if droplet.size else 0.0,
        detail=details.get(state, ""),
    )


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means; None: as its HTTP status says."""
    trouble = reply.peek(Trouble) or Trouble()
    text = trouble.message.lower()
    why = f"HTTP {reply.status}: {reply.text}"
    if reply.status == 402 or (
        reply.status in {403, 422} and ("billing" in text or "payment" in text)
    ):
        mend = "mend the billing of the DigitalOcean account"
        return BalanceError("DigitalOcean lets the account rent nothing", why=why, mend=mend)
    if reply.call != "create" or reply.status != 422:
        return None
    if any(word in text for word in OWN_FAULTS):
        return DriverError("DigitalOcean refused the create", why=why)
    # No capacity has no code of its own: it comes as the 422 of any parameter.
    return CapacityError("DigitalOcean has no such machine now", why=why, retryable=True)
