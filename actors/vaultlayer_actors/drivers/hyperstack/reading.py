"""What Hyperstack's answers mean. Pure."""

from collections.abc import Mapping, Sequence

from vaultlayer.driver import Instance
from vaultlayer.errors import AmbiguousCreateError, BalanceError, CapacityError, DriverError
from vaultlayer.gpu import GPUS
from vaultlayer_actors.drivers.cloud.naming import tagged
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.cloud.vms import Plan
from vaultlayer_actors.drivers.hyperstack.wire import Flavor, Price, Row, Trouble

NAMES = {
    "A100-80G-PCIe": "A100_80",
    "A100-80G-PCIe-NVLink": "A100_80",
    "A100-80G-SXM4": "A100_80",
    "H100-80G-PCIe": "H100_80",
    "H100-80G-PCIe-NVLink": "H100_80",
    "H100-80G-SXM5": "H100_80",
    "H200-141G-SXM5": "H200",
    "B200-180G-SXM6": "B200",
    "L40": "L40",
    "L40S": "L40S",
    "RTX-A4000": "A4000",
    "RTX-A5000": "A5000",
    "RTX-A6000": "A6000",
    "RTX-PRO6000-SE": "RTXPRO6000",
}
"""The product names hold the memory; any other name is passed over, spot flavours among them."""

STATES = {
    "CREATING": "booting",
    "BUILD": "booting",
    "STARTING": "booting",
    "REBOOTING": "booting",
    "HARD_REBOOT": "booting",
    "ACTIVE": "running",
    "STOPPING": "stopped",
    "SHUTOFF": "stopped",
    "HIBERNATING": "stopped",
    "HIBERNATED": "stopped",
    "ERROR": "stopped",
    "DELETING": "stopped",
    "DELETED": "gone",
}
CREATING = "wait until the creation"
ADDRESS = "publicip"
UNPAID = ("credit", "balance", "payment", "billing", "funds")
SOLD = ("stock", "capacity", "not enough", "insufficient", "unavailable", "no available", "quota")
OWN_FAULTS = ("environment", "keypair", "key pair", "key_name", "image", "flavor", "user_data")


def plan_for(flavor: Flavor, prices: Mapping[str, float], *, on_ephemeral: bool) -> Plan | None:
    """Give a flavour with its price; None where the GPU or the price is not known, or there is none.

    Args:
        flavor: the row.
        prices: dollars an hour of one GPU, by the vendor's name.
        on_ephemeral: whether the jobs' directories stand on the second disk.
    """
    gpu, usd_h = NAMES.get(flavor.gpu), prices.get(flavor.gpu, 0.0)
    is_spot = "spot" in flavor.name.lower()
    if gpu is None or usd_h <= 0 or flavor.gpu_count < 1 or is_spot or not flavor.stock_available:
        return None
    return Plan(
        plan=flavor.name,
        region=flavor.region_name,
        gpu=gpu,
        gpu_count=flavor.gpu_count,
        usd_h=usd_h * flavor.gpu_count,
        address_usd_h=prices.get(ADDRESS, 0.0),
        disk_b=int((flavor.ephemeral if on_ephemeral else flavor.disk) * 1e9),
        cpus=flavor.cpu,
        memory_b=int(flavor.ram * 1e9),
        gpu_memory_b=GPUS[gpu][0] * 10**9,
        detail=f"{flavor.name}, {flavor.gpu}",
    )


def prices_of(rows: Sequence[Price]) -> dict[str, float]:
    """Give dollars an hour by name; the address has a name of its own, in whatever spelling."""
    prices = {row.name: row.value for row in rows}
    for row in rows:
        if "".join(char for char in row.name.lower() if char.isalnum()) == ADDRESS:
            prices[ADDRESS] = row.value
    return prices


def instance_of(row: Row) -> Instance:
    """Give an instance in our words; a status that nobody knows is `unknown`, never gone."""
    status = row.status or ""
    state = STATES.get(status, "unknown")
    if state == "running" and (row.vm_state or "active").lower() != "active":
        state, status = "booting", f"vm_state {row.vm_state}"
    return Instance(
        instance=str(row.id),
        name=tagged(row.name, row.labels),
        state=state,
        detail="" if state == "running" else status,
    )


def is_creating(reply: Reply) -> bool:
    """Whether an end was refused because the machine is still being created."""
    return CREATING in reply.text.lower()


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means; None: as its HTTP status says."""
    if reply.call != "create" or reply.status in {401, 403, 429} or reply.status >= 500:
        return None
    trouble = reply.peek(Trouble) or Trouble()
    text = f"{trouble.message or ''} {trouble.error_reason or ''}".lower()
    why = f"HTTP {reply.status}: {reply.text}"
    if reply.status == 409:
        return AmbiguousCreateError("Hyperstack has a machine of that name", why=why)
    if reply.status == 402 or any(word in text for word in UNPAID):
        mend = "add credit at Hyperstack"
        return BalanceError("the Hyperstack account is empty", why=why, mend=mend)
    if any(word in text for word in SOLD):
        return CapacityError("Hyperstack has no such machine now", why=why, retryable=True)
    if any(word in text for word in OWN_FAULTS):
        mend = "[providers.hyperstack] environment, key_name, image: each must exist in the region"
        return DriverError("Hyperstack refused the create", why=why, mend=mend)
    return None
