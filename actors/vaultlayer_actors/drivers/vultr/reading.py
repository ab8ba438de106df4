"""What Vultr's answers mean. Pure."""

from vaultlayer.driver import Instance
from vaultlayer.errors import AuthError, BalanceError, CapacityError, DriverError
from vaultlayer.gpu import GPUS
from vaultlayer_actors.drivers.cloud.gpus import canonical_gpu
from vaultlayer_actors.drivers.cloud.naming import tagged
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.cloud.vms import Plan
from vaultlayer_actors.drivers.vultr.wire import Row, Trouble, VultrPlan

CARDS = {
    "A16": "A16",
    "A40": "A40",
    "A100": "A100_80",
    "L40S": "L40S",
    "H100": "H100_80",
    "H200": "H200",
    "B200": "B200",
}
"""Vultr's A100 have 80 GB; AMD's cards are left out: a machine proves its GPU through CUDA."""

NO_ADDRESS = frozenset({"", "0.0.0.0"})  # noqa: S104  the vendor's word for none
BOOTING = frozenset({"pending", "resizing"})
DEAD = frozenset({"suspended", "failed"})
INSTALLING = frozenset({"none", "locked", "installingbooting"})
LOCKED = ("locked", "currently being", "not ready", "still installing", "pending")
SOLD = ("not available", "unavailable", "out of stock", "sold out", "capacity", "no longer")
UNPAID = ("balance", "payment", "credit", "billing", "funds")


def plan_for(plan: VultrPlan, region: str) -> Plan | None:
    """Give a plan in one region; None for a share of a GPU and for what cannot be told."""
    found = gpu_of(plan)
    if found is None or plan.deploy_ondemand is False or plan.hourly_cost <= 0 or not region:
        return None
    gpu, count = found
    return Plan(
        plan=plan.id,
        region=region,
        gpu=gpu,
        gpu_count=count,
        usd_h=plan.hourly_cost,
        disk_b=int(plan.disk * 1e9),
        cpus=plan.vcpu_count,
        memory_b=int(plan.ram * 1e6),
        gpu_memory_b=GPUS[gpu][0] * 10**9,
        detail=plan.id,
    )


def gpu_of(plan: VultrPlan) -> tuple[str, int] | None:
    """Give the canonical GPU and how many whole ones a plan has."""
    maker, _, card = (plan.gpu_type or "").partition("_")
    name = CARDS.get(card)
    if plan.type != "vcg" or maker != "NVIDIA" or name is None or not plan.gpu_vram_gb:
        return None
    count = round(plan.gpu_vram_gb / GPUS[name][0])
    if count < 1 or canonical_gpu(card, plan.gpu_vram_gb / count, {card: name}) is None:
        return None
    return name, count


def instance_of(row: Row) -> Instance:
    """Give an instance in our words; a status that nobody knows is `unknown`, never gone."""
    state, detail = _state_of(row)
    return Instance(instance=row.id, name=tagged(row.label, row.tags), state=state, detail=detail)


def _state_of(row: Row) -> tuple[str, str]:
    if row.status in BOOTING:
        return "booting", row.status
    if row.status in DEAD:
        return "stopped", f"{row.status}, and billed in full"
    if row.status != "active":
        return "unknown", row.status
    if row.server_status in INSTALLING or row.main_ip in NO_ADDRESS:
        return "booting", row.server_status
    if row.power_status == "stopped":
        return "stopped", "stopped, and billed in full"
    if row.power_status == "running" and row.server_status == "ok":
        return "running", ""
    return "unknown", f"{row.power_status} {row.server_status}"


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means; None: as its HTTP status says."""
    text = (reply.peek(Trouble) or Trouble()).error.lower()
    why = f"HTTP {reply.status}: {reply.text}"
    if "api token" in text or "api key" in text:
        mend = (
            "vaultlayer providers key vultr; the key's access list must hold the broker's address"
        )
        return AuthError("Vultr does not accept the API key", why=why, mend=mend)
    if reply.call == "terminate" and any(word in text for word in LOCKED):
        return DriverError("Vultr ends no machine that it is installing", why=why, retryable=True)
    if reply.call != "create" or reply.status >= 500 or reply.status == 429:
        return None
    if any(word in text for word in SOLD):
        return CapacityError("Vultr has no such machine now", why=why, retryable=True)
    if any(word in text for word in UNPAID):
        mend = "mend the billing of the Vultr account"
        return BalanceError("Vultr lets the account rent nothing", why=why, mend=mend)
    return None
