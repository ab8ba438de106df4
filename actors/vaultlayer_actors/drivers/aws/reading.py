"""What EC2's answers mean: machines, offers, failures. Pure."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from vaultlayer.driver import Instance, Need, Offer, PriceParts
from vaultlayer.errors import (
    AmbiguousCreateError,
    AuthError,
    BalanceError,
    CapacityError,
    DriverError,
    OfferGoneError,
    ThrottledError,
)
from vaultlayer_actors.drivers.aws.catalogue import (
    ADDRESS_USD_H,
    ALIASES,
    DISK_USD_GB_MONTH,
    LEAST_S,
)
from vaultlayer_actors.drivers.aws.wire import Kind, Offering, Row, SpotPrice
from vaultlayer_actors.drivers.cloud.gpus import arch_of, canonical_gpu
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.drivers.cloud.pricing import HOURS_A_MONTH, all_in_usd_h

ARCH = "x86_64"
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]+")

# Machines ---------------------------------------------------------------------------------------------

STATES = {
    "pending": "booting",
    "running": "running",
    "shutting-down": "stopped",
    "stopping": "stopped",
    "stopped": "stopped",
    "terminated": "gone",
}
TAKEN = {"Server.SpotInstanceTermination", "Server.SpotInstanceShutdown"}
NO_ROOM = {"Server.InsufficientInstanceCapacity"}
"""No machine was found after the create had been accepted."""


def instance_of(row: Row, price_usd_h: float = 0.0) -> Instance:
    """Give an instance in our words; a state that nobody knows is `unknown`, never gone."""
    word = row.state.name
    code = row.state_reason.code if row.state_reason else ""
    detail = "taken by AWS (spot)" if code in TAKEN else code
    state = STATES.get(word, "unknown")
    return Instance(
        instance=row.instance_id,
        name=next((tag.value for tag in row.tags if tag.key == TAG), ""),
        state=state,
        price_usd_h=price_usd_h,
        detail=detail or (word if state in {"unknown", "stopped"} else ""),
    )


# Offers -----------------------------------------------------------------------------------------------


class Place(msgspec.Struct, frozen=True):
    """What an offer's id says: which type, where, how it is paid."""

    zone: str
    kind: str
    spot: bool

    @property
    def region(self) -> str:
        """The start of the zone's name, also of a local zone (`us-west-2-lax-1a`)."""
        found = _REGION.match(self.zone)
        return found.group() if found else self.zone

    def __str__(self) -> str:
        """Give the offer's id."""
        return f"{self.zone}:{self.kind}:{'spot' if self.spot else 'demand'}"


def place_of(offer_id: str) -> Place:
    """Read an offer's id.

    Raises:
        DriverError: it is none of ours.
    """
    zone, _, rest = offer_id.partition(":")
    kind, _, market = rest.partition(":")
    if not zone or not kind or market not in {"spot", "demand"}:
        raise DriverError(f"{offer_id!r} is no offer of AWS")
    return Place(zone, kind, market == "spot")


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the options add to every offer."""

    disk_gb: float
    egress_usd_gb: float


def fitting(kinds: Sequence[Kind], need: Need) -> list[Kind]:
    """Leave the types that have exactly the GPUs that are asked for."""
    return [kind for kind in kinds if _gpu_of(kind) == (need.gpu, max(1, need.gpu_count))]


def _gpu_of(kind: Kind) -> tuple[str, int] | None:
    gpus = kind.gpu_info.gpus if kind.gpu_info else []
    if len(gpus) != 1 or gpus[0].manufacturer != "NVIDIA" or gpus[0].gpu_partition_size != 1.0:
        return None
    if ARCH not in map(arch_of, kind.processor_info.supported_architectures):
        return None
    memory_gb = gpus[0].memory_info.size_in_mi_b / 1024
    name = canonical_gpu(gpus[0].name, memory_gb, ALIASES)
    return (name, gpus[0].count) if name else None


def demand_offers(
    kinds: Sequence[Kind],
    offerings: Sequence[Offering],
    prices_usd_h: Mapping[str, float | None],
    terms: Terms,
) -> list[Offer]:
    """Give one offer a zone in which a type is sold; a type without a known price is passed over."""
    by_name = {kind.instance_type: kind for kind in kinds}
    found: list[Offer] = []
    for one in offerings:
        price_usd_h = prices_usd_h.get(one.instance_type)
        kind = by_name.get(one.instance_type)
        if kind is not None and price_usd_h is not None:
            place = Place(one.location, one.instance_type, spot=False)
            found.append(_offer(kind, place, price_usd_h, terms))
    return found


def spot_offers(
    kinds: Sequence[Kind],
    prices: Sequence[SpotPrice],
    prices_usd_h: Mapping[str, float | None],
    terms: Terms,
) -> list[Offer]:
    """Give one offer a zone and type at its newest price; one as dear as on demand buys only the risk."""
    by_name = {kind.instance_type: kind for kind in kinds}
    newest: dict[tuple[str, str], SpotPrice] = {}
    for price in prices:
        key = (price.availability_zone, price.instance_type)
        if key not in newest or price.timestamp > newest[key].timestamp:
            newest[key] = price
    found: list[Offer] = []
    for (zone, name), price in newest.items():
        kind, usd_h = by_name.get(name), float(price.spot_price)
        demand_usd_h = prices_usd_h.get(name)
        if kind is not None and (demand_usd_h is None or usd_h < demand_usd_h):
            found.append(_offer(kind, Place(zone, name, spot=True), usd_h, terms))
    return found


def _offer(kind: Kind, place: Place, usd_h: float, terms: Terms) -> Offer:
    gpu, count = _gpu_of(kind) or ("", 0)
    parts = PriceParts(
        machine_usd_h=usd_h + ADDRESS_USD_H,
        disk_usd_h=terms.disk_gb * DISK_USD_GB_MONTH / HOURS_A_MONTH,
        egress_usd_gb=terms.egress_usd_gb,
        least_s=LEAST_S,
    )
    memory_mib = kind.gpu_info.gpus[0].memory_info.size_in_mi_b if kind.gpu_info else 0
    return Offer(
        provider="aws",
        offer_id=str(place),
        gpu=gpu,
        gpu_count=count,
        price_usd_h=all_in_usd_h(parts),
        spot=place.spot,
        region=place.region,
        cpus=kind.v_cpu_info.default_v_cpus,
        memory_b=kind.memory_info.size_in_mi_b << 20,
        disk_b=int(terms.disk_gb * 1e9),
        detail=f"{place.kind} in {place.zone}",
        parts=parts,
        gpu_memory_b=memory_mib << 20,
        arch=ARCH,
    )


# Failures ---------------------------------------------------------------------------------------------

UNKNOWN_INSTANCE = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})

_BAD_KEY = {
    "AuthFailure",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "MissingAuthenticationToken",
    "UnrecognizedClientException",
    "ExpiredToken",
}
_BAD_CLOCK = {"RequestExpired", "RequestTimeTooSkewed"}
_NO_RIGHT = {
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    # The first spot machine of an account makes a role of its own.
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
}
_ACCOUNT = {"Blocked", "OptInRequired", "PendingVerification"}
_CAPACITY = {
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacity",
    "UnfulfillableCapacity",
    "SpotMaxPriceTooLow",
}
QUOTA = frozenset({"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"})
_THROTTLED = {
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "EC2ThrottledException",
}


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is an error."""

    call: str
    code: str
    text: str
    """Without secrets."""
    status: int = 400

    @property
    def why(self) -> str:
        """What is told of it."""
        return f"{self.code}: {self.text}".rstrip(": ")


def error_of(failure: Failure) -> DriverError:
    """Say what a failed call means; the code goes before the HTTP status, which is 500 for no capacity."""
    known = _of_account(failure) or _of_capacity(failure)
    if known is not None:
        return known
    if failure.code in _THROTTLED or failure.status == 429:
        return ThrottledError("AWS asks for fewer calls", why=failure.why, retryable=True)
    if failure.code == "IdempotentParameterMismatch":
        # Somebody has asked for a machine of this name in other words: it may well be there.
        return AmbiguousCreateError("AWS knows another order of this name", why=failure.why)
    if failure.status >= 500:
        cls = AmbiguousCreateError if failure.call == "create" else DriverError
        return cls(f"AWS failed at {failure.call}", why=failure.why, retryable=True)
    return DriverError(f"AWS refused {failure.call}", why=failure.why)


def _of_account(failure: Failure) -> DriverError | None:
    if failure.code in _NO_RIGHT:
        return AuthError(
            f"the AWS key has no right to {failure.call}",
            why=failure.why,
            mend="give its user the rights that the driver's README lists",
        )
    if failure.code in _ACCOUNT:
        mend = "look at the account's messages and payments at console.aws.amazon.com"
        return BalanceError("the AWS account may not be used", why=failure.why, mend=mend)
    if failure.code in _BAD_CLOCK:
        return AuthError(
            "AWS refuses the time of our requests",
            why=failure.why,
            mend="let this machine's clock follow NTP: timedatectl set-ntp true",
        )
    if failure.code in _BAD_KEY or failure.status in {401, 403}:
        mend = "vaultlayer providers key aws"
        return AuthError("AWS does not accept the key", why=failure.why, mend=mend)
    return None


def _of_capacity(failure: Failure) -> DriverError | None:
    if failure.code in _CAPACITY:
        what = "AWS has no such machine in that zone now"
        return CapacityError(what, why=failure.why, retryable=True)
    if failure.code in QUOTA:
        return CapacityError(
            "the AWS account's quota in that region is used up",
            why=failure.why,
            mend="ask for a higher one at Service Quotas, or name other regions in [providers.aws]",
            retryable=True,
        )
    if failure.code == "Unsupported":
        what = "AWS does not sell that type in that zone"
        return OfferGoneError(what, why=failure.why, retryable=True)
    return None
