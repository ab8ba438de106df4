"""RunPod: the calls of REST v2."""

import math
import shlex
from collections.abc import Sequence
from typing import Literal

import msgspec

from vaultlayer.driver import Account, DriverContext, Instance, Manifest, Need, Offer, Order
from vaultlayer.errors import DriverError
from vaultlayer_actors.drivers.cloud.bootstrap import first_stage, pieces, script_of
from vaultlayer_actors.drivers.cloud.opening import ApiDriver, open_api
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.runpod.bids import (
    TypesAnswer,
    bid_of,
    rent_mutation,
    rented,
    types_query,
)
from vaultlayer_actors.drivers.runpod.reading import (
    classify,
    detail_of,
    instance_of,
    offers_of,
    refusal_of,
    strange_gpus,
)
from vaultlayer_actors.drivers.runpod.wire import (
    Catalog,
    CreateGpu,
    CreatePod,
    MyselfAnswer,
    Pod,
    Pods,
)

ENDPOINT = "https://api.runpod.io"
IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"

WORDS_MAX = 32
"""Texts with numbers of requests in them are never the same twice, and are not kept for ever."""

INTERVALS_S = {"*": 0.25, "list": 1.0, "offers": 0.5}
"""The vendor counts calls a minute, an hour and a day and says in its headers how many; its example is
60 a minute, so a few at once are free and a 429 tells how long to wait."""

MANIFEST = Manifest(
    name="runpod",
    title="RunPod",
    boot_s=1200.0,
    poll_s=15.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=120.0,
    cooldown_s=30.0,
    needs_keys=True,
    keys={"api_key": "API key (Settings → API Keys at console.runpod.io)"},
    work_root="/workspace",
    drills=["kill"],
    visibility_s=20.0,
    can_stop=True,
    unit="container",
    unverified=[
        "how long a listing lags after a create",
        "whether `args` is split as a shell would",
        "whether a pod may end itself by REST v2 with its own key",
    ],
)


class RunpodOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.runpod]` of the configuration file."""

    clouds: tuple[Literal["SECURE", "COMMUNITY"], ...] = ("SECURE", "COMMUNITY")
    """RunPod's own data centres, its community's machines, or both."""
    cuda: str = "12.8"
    """The least CUDA version of a host's driver, as the default image needs; empty: any."""
    bids: bool = False
    """Also bid for interruptible pods through the GraphQL API, which RunPod is taking away."""
    bid_factor: float = 1.15
    """How far over the lowest bid that can win now we go."""
    registry: str = ""
    """RunPod's id of a registry credential; empty: public images."""


class RunpodDriver(ApiDriver):
    """RunPod with one API key."""

    def __init__(self, context: DriverContext, options: RunpodOptions) -> None:
        manifest = msgspec.structs.replace(MANIFEST, can_spot=options.bids)
        super().__init__(manifest, context, options)
        self._options = options
        self._refused: dict[str, set[str]] = {}
        """Words that nobody knows → the offers that were refused with them."""
        self._api = open_api(
            MANIFEST.name,
            context,
            options,
            endpoint=ENDPOINT,
            intervals_s=INTERVALS_S,
            classify=classify,
        )

    # Offers -----------------------------------------------------------------------------------------

    async def _offers(self, need: Need) -> Sequence[Offer]:
        found: list[Offer] = []
        for cloud in self._options.clouds:
            if self._options.spot != "only":
                found += await self._on_demand(need, cloud)
            if self._options.bids and self._options.spot != "never":
                found += await self._bids(need, cloud)
        return found

    async def _on_demand(self, need: Need, cloud: str) -> list[Offer]:
        params = {
            "include": "AVAILABILITY",
            "product": "POD",
            "count": str(max(1, need.gpu_count)),
            "cloud": cloud,
            **({"minCudaVersion": self._options.cuda} if self._options.cuda else {}),
        }
        reply = await self._api.call("GET", "/v2/catalog/gpus", call="offers", params=params)
        disk_gb, regions = math.ceil(self._disk_gb(need)), self._options.regions
        return [
            offer
            for row in reply.decode(Catalog).gpus
            for offer in offers_of(row, need, cloud=cloud, disk_gb=disk_gb, regions=regions)
        ]

    async def _bids(self, need: Need, cloud: str) -> list[Offer]:
        query = {"query": types_query(max(1, need.gpu_count), cloud)}
        reply = await self._api.call("POST", "/graphql", call="offers", is_safe=True, json=query)
        types = reply.decode(TypesAnswer).data
        disk_gb, factor = math.ceil(self._disk_gb(need)), self._options.bid_factor
        rows = types.gpu_types if types else []
        bids = [bid_of(row, need, cloud=cloud, disk_gb=disk_gb, factor=factor) for row in rows]
        return [bid for bid in bids if bid is not None]

    async def _account(self) -> Account:
        """Ask for GPUs with new names, and for the balance where the old API still tells it."""
        rows = (await self._api.call("GET", "/v2/catalog/gpus", call="offers")).decode(Catalog).gpus
        return Account(balance_usd=await self._balance_usd(), strange_gpus=strange_gpus(rows))

    async def _balance_usd(self) -> float | None:
        query = {"query": "query { myself { clientBalance } }"}
        try:
            reply = await self._api.call(
                "POST", "/graphql", call="account", is_safe=True, json=query
            )
        except DriverError:
            return None
        answer = reply.peek(MyselfAnswer)
        told = answer.data.myself if answer and answer.data else None
        return told.balance_usd if told else None

    # Machines ---------------------------------------------------------------------------------------

    async def _make(self, order: Order) -> Instance:
        if order.offer.spot:
            return await self._bid(order)
        reply = await self._api.call(
            "POST",
            "/v2/pods",
            call="create",
            is_safe=False,
            accept={400},
            json=msgspec.to_builtins(self._create_body(order)),
        )
        if reply.status == 400:
            raise self._refusal(order, reply)
        self._refused.clear()
        return msgspec.structs.replace(instance_of(reply.decode(Pod)), name=order.name)

    async def _bid(self, order: Order) -> Instance:
        count = max(1, order.offer.gpu_count)
        paid_usd_h = order.offer.parts.machine_usd_h if order.offer.parts else 0.0
        mutation = rent_mutation(self._create_body(order), round(paid_usd_h / count, 4))
        reply = await self._api.call(
            "POST",
            "/graphql",
            call="create",
            is_safe=False,
            accept={400},
            json={"query": mutation},
        )
        return Instance(
            instance=rented(reply),
            name=order.name,
            state="booting",
            price_usd_h=order.offer.price_usd_h,
        )

    def _create_body(self, order: Order) -> CreatePod:
        _, gpu, cloud, region, *_ = order.offer.offer_id.split("/")
        script = script_of(order, is_vm=False, wheels_url=self._options.wheels_url)
        return CreatePod(
            name=order.name,
            image=order.image or self._options.image or IMAGE,
            args=shlex.join(["sh", "-c", first_stage()]),
            env=pieces(script),
            gpu=CreateGpu(id=gpu, count=max(1, order.offer.gpu_count), min_cuda=self._options.cuda),
            cloud=cloud,
            disk=math.ceil(order.offer.disk_b / 1e9 or self._disk_gb()),
            data_centers=[region] if region else [],
            registry=self._options.registry or None,
        )

    def _refusal(self, order: Order, reply: Reply) -> DriverError:
        if len(self._refused) > WORDS_MAX:
            self._refused.clear()
        offers = self._refused.setdefault(detail_of(reply), set())
        offers.add(order.offer.offer_id)
        return refusal_of(reply, len(offers))

    async def _listed(self) -> Sequence[Instance]:
        reply = await self._api.call("GET", "/v2/pods", call="list")
        return [instance_of(pod) for pod in reply.decode(Pods).pods]

    async def _look(self, instance: str) -> Instance:
        reply = await self._api.call("GET", f"/v2/pods/{instance}", call="get", accept={404})
        if reply.status == 404:
            return Instance(instance=instance, name="", state="gone")
        return instance_of(reply.decode(Pod))

    async def _end(self, instance: str) -> None:
        await self._api.call("DELETE", f"/v2/pods/{instance}", call="terminate", accept={404})


TYPE = CloudDriverType(MANIFEST, RunpodOptions, RunpodDriver)
