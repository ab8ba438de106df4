"""Hyperstack: VMs at fixed prices, found by their labels."""

from collections.abc import Sequence

import msgspec

from vaultlayer.driver import DriverContext, Instance, Manifest, Need, Order, PriceParts
from vaultlayer.errors import AmbiguousCreateError, DriverError
from vaultlayer_actors.drivers.cloud.api import Bearer
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.reply import error_of_status
from vaultlayer_actors.drivers.cloud.vms import Plan, VmDriver, plan_of
from vaultlayer_actors.drivers.hyperstack.reading import (
    classify,
    instance_of,
    is_creating,
    plan_for,
    prices_of,
)
from vaultlayer_actors.drivers.hyperstack.wire import (
    CreateBody,
    Flavors,
    OneRow,
    Price,
    Row,
    Rows,
)

ENDPOINT = "https://infrahub-api.nexgencloud.com/v1"
IMAGE = "Ubuntu Server 22.04 LTS R535 CUDA 12.2"
MACHINES = "/core/virtual-machines"
PAGE = 100

INTERVALS_S = {"*": 0.15}
"""500 calls a minute from one address."""

BILLING = PriceParts(billing_step_s=60.0)

MANIFEST = Manifest(
    name="hyperstack",
    title="Hyperstack",
    boot_s=1200.0,
    poll_s=15.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=120.0,
    cooldown_s=60.0,
    billing_step_s=60.0,
    needs_keys=True,
    keys={"api_key": "API key (console.hyperstack.cloud → API keys)"},
    drills=["kill"],
    visibility_s=20.0,
    can_stop=True,
    unit="vm",
    unverified=[
        "billing step",
        "whether the price of a GPU is all that a VM costs",
        "rules for labels and names",
        "how long a listing lags after a create",
        "the words of a create without capacity or credit",
    ],
)


class HyperstackOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.hyperstack]` of the configuration file; `image` is an image's name."""

    environment: str = "default-{region}"
    """Environments belong to a region, so the name may hold `{region}`."""
    key_name: str = "vaultlayer"
    """A key pair that exists in each environment; Hyperstack makes no machine without."""
    public_ip: bool = True


class HyperstackDriver(VmDriver):
    """Hyperstack with one API key."""

    def __init__(self, context: DriverContext, options: HyperstackOptions) -> None:
        super().__init__(
            MANIFEST,
            context,
            options,
            endpoint=ENDPOINT,
            auth=Bearer(context.secrets["api_key"], scheme="", header="api_key"),
            intervals_s=INTERVALS_S,
            classify=classify,
            billing=BILLING,
        )
        self._options = options

    async def _plans(self, need: Need) -> Sequence[Plan]:
        del need
        flavors = (await self._api.call("GET", "/core/flavors", call="offers")).decode(Flavors)
        rows = (await self._api.call("GET", "/pricebook", call="prices")).decode(list[Price])
        prices = prices_of(rows)
        if not self._options.public_ip:
            prices.pop("publicip", None)
        on_ephemeral = self.manifest.work_root.startswith("/ephemeral")
        plans = [
            plan_for(
                msgspec.structs.replace(one, region_name=one.region_name or group.region_name),
                prices,
                on_ephemeral=on_ephemeral,
            )
            for group in flavors.data
            for one in group.flavors
        ]
        return [plan for plan in plans if plan is not None]

    async def _make(self, order: Order) -> Instance:
        region = order.offer.region
        body = CreateBody(
            name=order.name,
            environment_name=self._options.environment.replace("{region}", region),
            image_name=self._image(order, IMAGE),
            flavor_name=plan_of(order.offer),
            key_name=self._options.key_name,
            user_data=self._script(order),
            labels=[TAG],
            assign_floating_ip=self._options.public_ip,
        )
        reply = await self._api.call(
            "POST", MACHINES, call="create", json=msgspec.to_builtins(body)
        )
        made = reply.decode(Rows).instances
        if not made:
            raise AmbiguousCreateError("Hyperstack has said of no machine that it was made")
        return msgspec.structs.replace(
            instance_of(made[0]), name=order.name, price_usd_h=order.offer.price_usd_h
        )

    async def _listed(self) -> Sequence[Instance]:
        rows: dict[int, Row] = {}
        params: dict[str, int] = {"pageSize": PAGE}
        while True:
            # The first page is asked for without a number: no source says whether it is 0 or 1.
            reply = await self._api.call("GET", MACHINES, call="list", params=params)
            page = reply.decode(Rows)
            new = {row.id: row for row in page.instances if row.id not in rows}
            rows |= new
            if not new or len(rows) >= (page.count or 0):
                return [instance_of(row) for row in rows.values()]
            params["page"] = (params.get("page", 1) if page.page is None else page.page) + 1

    async def _look(self, instance: str) -> Instance:
        reply = await self._api.call("GET", f"{MACHINES}/{instance}", call="get", accept={404})
        if reply.status == 404:
            return Instance(instance=instance, name="", state="gone")
        return instance_of(reply.decode(OneRow).instance)

    async def _end(self, instance: str) -> None:
        path = f"{MACHINES}/{instance}"
        reply = await self._api.call("DELETE", path, call="terminate", accept={400, 404, 409})
        if reply.status == 404 or reply.status < 300:
            return
        if is_creating(reply):
            raise DriverError(
                f"Hyperstack is still creating {instance}", why=reply.text, retryable=True
            )
        seen = await self._look(instance)
        if seen.state != "gone" and seen.detail != "DELETING":
            raise error_of_status(reply)


TYPE = CloudDriverType(MANIFEST, HyperstackOptions, HyperstackDriver)
