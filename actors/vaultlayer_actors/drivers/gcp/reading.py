"""What Compute Engine's answers mean. Pure."""

from collections.abc import Sequence

from vaultlayer.driver import Instance, Need, Offer, PriceParts
from vaultlayer.errors import (
    AuthError,
    BalanceError,
    CapacityError,
    DriverError,
    OfferGoneError,
    ThrottledError,
)
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.drivers.cloud.pricing import HOURS_A_MONTH, all_in_usd_h
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.gcp.catalogue import KINDS, Kind, price_usd_h
from vaultlayer_actors.drivers.gcp.quota import WHAT
from vaultlayer_actors.drivers.gcp.wire import Fault, MachineType, Operation, Page, Refused, Row

DISK_USD_GB_MONTH = 0.10
ADDRESS_USD_H = 0.005
EGRESS_USD_GB = 0.12
DONE = "DONE"
TARGET = "https://www.googleapis.com/compute/v1"
"""The host that targets of operations are named with, whatever host the API is called at."""

BOOTING = frozenset({"PROVISIONING", "STAGING", "PENDING"})
STOPPED = frozenset({"TERMINATED", "STOPPED", "SUSPENDED"})
ENDING = frozenset({"PENDING_STOP", "STOPPING", "SUSPENDING", "DEPROVISIONING"})
"""What runs there may still live, for the seconds of a notice: no reason yet to call it dead."""

FULL = ("ZONE_RESOURCE_POOL_EXHAUSTED", "insufficientCapacity", "RESOURCE_POOL_EXHAUSTED")
MISSING = frozenset({"RESOURCE_NOT_FOUND", "UNSUPPORTED_OPERATION"})
QUOTA = frozenset({"QUOTA_EXCEEDED", "quotaExceeded"})
BUSY = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
BILLING = frozenset({"BILLING_DISABLED", "billingNotEnabled", "accountDisabled"})
DISABLED = frozenset({"SERVICE_DISABLED", "accessNotConfigured"})
TAKEN = "compute.instances.preempted"


# Offers -------------------------------------------------------------------------------------------


def kinds_of(need: Need) -> list[Kind]:
    """Give the ways to have what is needed."""
    count = max(1, need.gpu_count)
    return [kind for kind in KINDS if (kind.gpu, kind.count) == (need.gpu, count)]


def either(field: str, values: Sequence[str]) -> str:
    """Give a filter for a field that has one of several values."""
    return " OR ".join(f'({field} = "{value}")' for value in values)


def offer_of(
    kind: Kind,
    row: MachineType,
    zone: str,
    *,
    disk_gb: float,
    own: dict[str, float],
    spot: bool,
    stay_s: float | None,
) -> Offer | None:
    """Give a machine type of a zone as an offer with its all-in price; None without a price."""
    region = region_of(zone)
    usd_h = price_usd_h(kind, region, own, spot=spot)
    if usd_h is None:
        return None
    parts = PriceParts(
        machine_usd_h=usd_h + ADDRESS_USD_H / (2 if spot else 1),
        disk_usd_h=disk_gb * DISK_USD_GB_MONTH / HOURS_A_MONTH,
        egress_usd_gb=EGRESS_USD_GB,
        least_s=60.0,
    )
    return Offer(
        provider="gcp",
        offer_id=f"{zone}/{kind.key}{':spot' if spot else ''}",
        gpu=kind.gpu,
        gpu_count=kind.count,
        price_usd_h=all_in_usd_h(parts),
        spot=spot,
        region=region,
        cpus=row.guestCpus,
        memory_b=row.memoryMb * 1024**2,
        disk_b=int(disk_gb * 1e9),
        detail=f"{kind.key}, {zone}",
        parts=parts,
        variant=kind.variant,
        arch="x86_64",
        stay_s=stay_s,
    )


def region_of(zone: str) -> str:
    """Give the region of a zone."""
    return zone.rpartition("-")[0]


def last(url: str) -> str:
    """Give the name at the end of a resource's URL."""
    return url.rpartition("/")[2]


def kind_at(offer_id: str) -> tuple[str, Kind, bool]:
    """Give zone, kind and whether it is spot of an offer of ours.

    Raises:
        OfferGoneError: the catalogue has it no longer.
    """
    zone, _, rest = offer_id.partition("/")
    key, _, model = rest.partition(":")
    kind = next((one for one in KINDS if one.key == key), None)
    if kind is None or not zone:
        raise OfferGoneError(f"no machine type of gcp is called {offer_id!r}")
    return zone, kind, model == "spot"


# Machines -----------------------------------------------------------------------------------------


def handle(zone: str, name: str) -> str:
    """Give what a machine is called at the provider: names are unique in a zone only."""
    return f"{name}@{zone}"


def instance_of(row: Row, zone: str, *, price: float = 0.0) -> Instance:
    """Give an instance in our words; a status that nobody knows is `unknown`, never gone."""
    return Instance(
        instance=handle(zone, row.name),
        name=row.labels.get(TAG) or row.name,
        state=_state_of(row.status),
        price_usd_h=price,
        detail=row.status.lower(),
    )


def _state_of(status: str) -> str:
    if status == "RUNNING":
        return "running"
    if status in BOOTING:
        return "booting"
    # ENDING, REPAIRING and every word that is new may still run what is ours.
    return "stopped" if status in STOPPED else "unknown"


def complete(page: Page) -> None:
    """Pass when a page leaves no zone out: a zone that did not answer may hold our machines.

    Raises:
        DriverError: a part is missing.
    """
    warnings = [page.warning, *(scope.warning for scope in page.items.values())]
    codes = {one.code for one in warnings if one is not None} - {"NO_RESULTS_ON_PAGE"}
    if codes or page.unreachables:
        why = ", ".join([*sorted(codes), *map(last, page.unreachables)])
        raise DriverError("gcp listed only a part of its zones", why=why, retryable=True)


# Errors -------------------------------------------------------------------------------------------


def error_of_operation(operation: Operation) -> DriverError | None:
    """Say why an operation failed; None where it did not."""
    faults = operation.error.errors if operation.error else []
    if not faults:
        return None
    codes = {fault.code for fault in faults}
    why = "; ".join(f"{fault.code}: {fault.message}" for fault in faults)[:300]
    return _error_of_codes(codes, why) or DriverError("gcp could not make the machine", why=why)


def classify(reply: Reply) -> DriverError | None:
    """Say what a failed call means; None: as its HTTP status says."""
    refused = reply.peek(Refused)
    why = f"HTTP {reply.status}: {reply.text}"
    if refused is None:
        return None
    body = refused.error
    codes = {fault.reason for fault in body.errors} | {body.status}
    codes |= {str(detail.get("reason", "")) for detail in body.details}
    if reply.call == "create" and reply.status == 404:
        return OfferGoneError("this zone of gcp has no such machine type", why=why, retryable=True)
    return _error_of_codes(codes, why)


def reasons(reply: Reply) -> set[str]:
    """Give the reasons of a refusal."""
    refused = reply.peek(Refused)
    faults: list[Fault] = refused.error.errors if refused else []
    return {fault.reason for fault in faults}


def _is_full(codes: set[str]) -> bool:
    return any(code.startswith(FULL) for code in codes)


def _error_of_codes(codes: set[str], why: str) -> DriverError | None:
    if _is_full(codes):
        return CapacityError("gcp has no such machine in this zone now", why=why, retryable=True)
    if codes & BUSY:
        return ThrottledError("gcp asks for fewer calls", why=why, retryable=True)
    if codes & QUOTA:
        mend = "ask for more quota at console.cloud.google.com/iam-admin/quotas"
        return CapacityError(WHAT, why=why, mend=mend)
    if codes & BILLING:
        mend = "turn billing on for the project at console.cloud.google.com/billing"
        return BalanceError("the gcp project has no billing", why=why, mend=mend)
    if codes & DISABLED:
        mend = "enable it: gcloud services enable compute.googleapis.com"
        return AuthError("the gcp project has no Compute Engine API", why=why, mend=mend)
    if codes & MISSING:
        return OfferGoneError("this zone of gcp has no such machine type", why=why, retryable=True)
    if codes & {"PERMISSION_DENIED", "forbidden", "UNAUTHENTICATED", "authError", "required"}:
        mend = "give the service account the role Compute Instance Admin (v1)"
        return AuthError("gcp does not let this service account", why=why, mend=mend)
    return None
