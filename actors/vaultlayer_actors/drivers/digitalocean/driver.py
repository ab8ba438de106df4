"""DigitalOcean: GPU droplets, VMs at fixed prices that are billed until they are destroyed."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from vaultlayer.driver import DriverContext, Instance, Manifest, Need, Order, PriceParts
from vaultlayer.errors import DriverError
from vaultlayer_actors.drivers.cloud.api import Bearer
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.vms import Plan, VmDriver, plan_of
from vaultlayer_actors.drivers.digitalocean.reading import classify, instance_of, plans_of
from vaultlayer_actors.drivers.digitalocean.wire import (
    CreateBody,
    Droplets,
    OneDroplet,
    Sizes,
)

ENDPOINT = "https://api.digitalocean.com"
IMAGE_OF_1, IMAGE_OF_8 = "gpu-h100x1-base", "gpu-h100x8-base"
USER_DATA_B_MAX = 64 * 1024
PAGE = 200
P = TypeVar("P", Sizes, Droplets)

INTERVALS_S = {"*": 0.25}
"""250 calls a minute; the 5000 an hour are far from a pool's poll each 15 s."""

BILLING = PriceParts(billing_step_s=1.0, least_s=60.0)

MANIFEST = Manifest(
    name="digitalocean",
    title="DigitalOcean",
    boot_s=900.0,
    poll_s=15.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=120.0,
    cooldown_s=60.0,
    billing_step_s=1.0,
    needs_keys=True,
    keys={"api_key": "personal access token (API → Tokens at cloud.digitalocean.com)"},
    drills=["kill"],
    visibility_s=20.0,
    can_stop=True,
    unit="vm",
    unverified=[
        "how long a listing lags after a create",
        "the words of a create that is refused for want of credit",
        "whether a listing may filter by tag and type at once; it does not",
    ],
)


class DigitalOceanOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.digitalocean]` of the configuration file."""

    ssh_keys: list[str] = []
    """Ids or fingerprints of keys that may log in; without one DigitalOcean mails a password."""


class DigitalOceanDriver(VmDriver):
    """DigitalOcean with one token."""

    def __init__(self, context: DriverContext, options: DigitalOceanOptions) -> None:
        super().__init__(
            MANIFEST,
            context,
            options,
            endpoint=ENDPOINT,
            auth=Bearer(context.secrets["api_key"]),
            intervals_s=INTERVALS_S,
            classify=classify,
            billing=BILLING,
        )
        self._options = options

    async def _plans(self, need: Need) -> Sequence[Plan]:
        del need
        pages = await self._pages("/v2/sizes", "offers", Sizes)
        return [plan for page in pages for size in page.sizes for plan in plans_of(size)]

    async def _pages(self, path: str, call: str, kind: type[P], **params: str) -> list[P]:
        pages: list[P] = []
        while not pages or _has_more(pages[-1]):
            where = {**params, "per_page": PAGE, "page": len(pages) + 1}
            reply = await self._api.call("GET", path, call=call, params=where)
            pages.append(reply.decode(kind))
        return pages

    async def _make(self, order: Order) -> Instance:
        script = self._script(order)
        if len(script.encode()) > USER_DATA_B_MAX:
            raise DriverError("the boot script is larger than DigitalOcean allows")
        eight = order.offer.gpu_count == 8
        body = CreateBody(
            name=order.name,
            region=order.offer.region,
            size=plan_of(order.offer),
            image=self._image(order, IMAGE_OF_8 if eight else IMAGE_OF_1),
            ssh_keys=self._options.ssh_keys,
            tags=[TAG],
            user_data=script,
        )
        reply = await self._api.call(
            "POST", "/v2/droplets", call="create", json=msgspec.to_builtins(body)
        )
        made = instance_of(reply.decode(OneDroplet).droplet)
        return msgspec.structs.replace(
            made, name=order.name, price_usd_h=made.price_usd_h or order.offer.price_usd_h
        )

    async def _listed(self) -> Sequence[Instance]:
        # Without a type the listing leaves out every machine that has a GPU.
        pages = await self._pages("/v2/droplets", "list", Droplets, type="gpus")
        return [instance_of(one) for page in pages for one in page.droplets]

    async def _look(self, instance: str) -> Instance:
        path = f"/v2/droplets/{instance}"
        reply = await self._api.call("GET", path, call="get", accept={404})
        if reply.status == 404:
            return Instance(instance=instance, name="", state="gone")
        return instance_of(reply.decode(OneDroplet).droplet)

    async def _end(self, instance: str) -> None:
        path = f"/v2/droplets/{instance}"
        await self._api.call("DELETE", path, call="terminate", accept={404})


def _has_more(page: Sizes | Droplets) -> bool:
    return bool(page.links and page.links.pages and page.links.pages.next)


TYPE = CloudDriverType(MANIFEST, DigitalOceanOptions, DigitalOceanDriver)
