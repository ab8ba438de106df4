"""Bids for RunPod's interruptible pods, through the GraphQL API that its REST v2 replaces. Pure.

Off unless `bids = true`: RunPod's staff has said that the mutation is being removed, and its documentation no
longer names it. Only offers and creates go this way; a pod that was made so is seen and ended by REST v2.
"""

import json
from collections.abc import Mapping

import msgspec

from vaultlayer.driver import Need, Offer, PriceParts
from vaultlayer.errors import (
    AmbiguousCreateError,
    BalanceError,
    CapacityError,
    DriverError,
)
from vaultlayer_actors.drivers.cloud.gpus import canonical_gpu, variant_of
from vaultlayer_actors.drivers.cloud.pricing import HOURS_A_MONTH, all_in_usd_h
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.runpod.reading import (
    ALIASES,
    DISK_USD_GB_MONTH,
    VARIANTS,
    is_capacity,
)
from vaultlayer_actors.drivers.runpod.wire import CreatePod

BID_MAX_SHARE = 0.95
"""A bid as dear as the pod on demand would buy nothing but the risk."""
MARK = "bid"
"""Last part of the id of an offer that is a bid."""


class Lowest(msgspec.Struct, kw_only=True):
    """Dollars an hour for one GPU; a stock of null means none."""

    minimum_bid: float | None = msgspec.field(default=None, name="minimumBidPrice")
    on_demand: float | None = msgspec.field(default=None, name="uninterruptablePrice")
    stock: str | None = msgspec.field(default=None, name="stockStatus")


class BidType(msgspec.Struct, kw_only=True):
    """One row of `gpuTypes`; memory in GB."""

    id: str
    memory_gb: float | None = msgspec.field(default=None, name="memoryInGb")
    lowest: Lowest | None = msgspec.field(default=None, name="lowestPrice")


class BidTypes(msgspec.Struct, kw_only=True):
    """What `gpuTypes` gives."""

    gpu_types: list[BidType] = msgspec.field(name="gpuTypes")


class BidPod(msgspec.Struct, kw_only=True):
    """A pod that was made."""

    id: str


class Rented(msgspec.Struct, kw_only=True):
    """What the mutation gives."""

    pod: BidPod | None = msgspec.field(default=None, name="podRentInterruptable")


class Problem(msgspec.Struct, kw_only=True):
    """One error; the HTTP status is 200 all the same."""

    message: str = ""
    extensions: dict[str, object] = {}


class TypesAnswer(msgspec.Struct, kw_only=True):
    """The envelope of `gpuTypes`."""

    data: BidTypes | None = None
    errors: list[Problem] = []


class RentAnswer(msgspec.Struct, kw_only=True):
    """The envelope of the mutation."""

    data: Rented | None = None
    errors: list[Problem] = []


def types_query(count: int, cloud: str) -> str:
    """Ask for the lowest bids of all GPUs in one cloud."""
    where = literal({"gpuCount": count, "secureCloud": cloud == "SECURE"})
    price = "{ minimumBidPrice uninterruptablePrice stockStatus }"
    return f"query {{ gpuTypes {{ id memoryInGb lowestPrice(input: {where}) {price} }} }}"


def rent_mutation(pod: CreatePod, bid_usd_h: float) -> str:
    """Ask for a pod at a bid, in dollars an hour for one GPU."""
    wanted = {
        "bidPerGpu": bid_usd_h,
        "cloudType": Word(pod.cloud),
        "gpuCount": pod.gpu.count,
        "gpuTypeId": pod.gpu.id,
        "name": pod.name,
        "imageName": pod.image,
        "dockerArgs": pod.args,
        "containerDiskInGb": pod.disk,
        "volumeInGb": 0,
        "env": [{"key": key, "value": value} for key, value in pod.env.items()],
        **({"minCudaVersion": pod.gpu.min_cuda} if pod.gpu.min_cuda else {}),
        **({"dataCenterId": pod.data_centers[0]} if pod.data_centers else {}),
        **({"containerRegistryAuthId": pod.registry} if pod.registry else {}),
    }
    return f"mutation {{ podRentInterruptable(input: {literal(wanted)}) {{ id }} }}"


class Word(str):
    """A name of GraphQL, written without quotes."""

    __slots__ = ()


def literal(value: object) -> str:
    """Write a value as GraphQL does: JSON, but for the keys of objects and names."""
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, Mapping):
        fields: Mapping[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        return "{" + ", ".join(f"{key}: {literal(one)}" for key, one in fields.items()) + "}"
    if isinstance(value, list):
        items: list[object] = value  # pyright: ignore[reportUnknownVariableType]
        return "[" + ", ".join(map(literal, items)) + "]"
    return json.dumps(value)


def bid_of(row: BidType, need: Need, *, cloud: str, disk_gb: float, factor: float) -> Offer | None:
    """Give a row as an offer that bids `factor` times the lowest bid; None where that is no use."""
    gpu = canonical_gpu(row.id, row.memory_gb, ALIASES)
    lowest, count = row.lowest, max(1, need.gpu_count)
    if gpu is None or gpu != need.gpu or lowest is None or not lowest.stock:
        return None
    if not lowest.minimum_bid or not lowest.on_demand:
        return None
    bid_usd_h = round(min(lowest.minimum_bid * factor, BID_MAX_SHARE * lowest.on_demand), 4)
    if bid_usd_h < lowest.minimum_bid:
        return None
    parts = PriceParts(
        machine_usd_h=bid_usd_h * count, disk_usd_h=disk_gb * DISK_USD_GB_MONTH / HOURS_A_MONTH
    )
    return Offer(
        provider="runpod",
        offer_id=f"{count}x/{row.id}/{cloud}//{MARK}",
        gpu=gpu,
        gpu_count=count,
        price_usd_h=all_in_usd_h(parts),
        spot=True,
        disk_b=int(disk_gb * 1e9),
        detail=f"{row.id}, {cloud.lower()} cloud, stock {lowest.stock.lower()}",
        parts=parts,
        floor_usd_h=lowest.minimum_bid * count,
        gpu_memory_b=int((row.memory_gb or 0.0) * 1024**3),
        variant=variant_of(row.id) or VARIANTS.get(row.id, ""),
        arch="x86_64",
    )


def rented(reply: Reply) -> str:
    """Give the id of the pod that a mutation made.

    Raises:
        CapacityError, BalanceError: as its text says; there is no code.
        DriverError: the mutation is no more.
        AmbiguousCreateError: its words say nothing about the pod.
    """
    answer = reply.decode(RentAnswer)
    if answer.data and answer.data.pod:
        return answer.data.pod.id
    text = " ".join(one.message for one in answer.errors)
    codes = {str(one.extensions.get("code", "")) for one in answer.errors}
    why = f"HTTP {reply.status}: {reply.text}"
    if is_capacity(text):
        raise CapacityError("RunPod has no such machine at this bid", why=why, retryable=True)
    if "balance" in text.lower() or "funds" in text.lower():
        mend = "add credit at RunPod"
        raise BalanceError("the RunPod account is empty", why=why, mend=mend)
    if "GRAPHQL_VALIDATION_FAILED" in codes or "cannot query field" in text.lower():
        mend = "set bids = false in [providers.runpod]"
        raise DriverError("RunPod takes no bids any more", why=why, mend=mend)
    raise AmbiguousCreateError("RunPod answered the bid with words that nobody knows", why=why)
