"""Vultr: VMs with whole GPUs at fixed prices, billed until they are destroyed."""

import base64
from collections.abc import Sequence
from typing import TypeVar

import anyio
import msgspec

from vaultlayer.driver import DriverContext, Instance, Manifest, Need, Order, PriceParts
from vaultlayer.errors import DriverError
from vaultlayer_actors.drivers.cloud.api import Bearer
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.vms import Plan, VmDriver, plan_of
from vaultlayer_actors.drivers.vultr.reading import classify, gpu_of, instance_of, plan_for
from vaultlayer_actors.drivers.vultr.wire import (
    Availability,
    CreateBody,
    OneRow,
    Plans,
    Rows,
)

ENDPOINT = "https://api.vultr.com/v2"
UBUNTU_22 = "1743"
"""Ubuntu 22.04, which has the GPU's driver on GPU plans."""
PAGE = 500
P = TypeVar("P", Plans, Rows)

INTERVALS_S = {"*": 0.05}
"""30 calls a second are allowed from one address; 20 leave room for others behind it."""

BILLING = PriceParts(billing_step_s=3600.0, least_s=3600.0)

MANIFEST = Manifest(
    name="vultr",
    title="Vultr",
    boot_s=1200.0,
    poll_s=15.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=120.0,
    cooldown_s=60.0,
    billing_step_s=3600.0,
    needs_keys=True,
    keys={"api_key": "API key (Account → API at my.vultr.com; let the broker's address in)"},
    drills=["kill"],
    visibility_s=20.0,
    can_stop=True,
    unit="vm",
    unverified=[
        "prices of today",
        "how long a listing lags after a create",
        "the words of a create without capacity or credit",
        "whether a machine that is being installed refuses its end",
    ],
)


class VultrOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.vultr]` of the configuration file; `image` is an os_id, an image_id or `snapshot:<id>`."""

    ssh_keys: list[str] = []
    """Ids of keys that may log in."""


class VultrDriver(VmDriver):
    """Vultr with one API key."""

    def __init__(self, context: DriverContext, options: VultrOptions) -> None:
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
        pages = await self._pages("/plans", "offers", Plans, type="all")
        rows = [row for page in pages for row in page.plans]
        rows = [row for row in rows if (gpu_of(row) or ("",))[0] == need.gpu]
        regions = {one for row in rows for one in row.locations if one}
        if self._options.regions:
            regions &= set(self._options.regions)
        found: list[Plan] = []
        failed: list[DriverError] = []

        async def look(region: str) -> None:
            try:
                free = await self._free(region)
            except DriverError as error:
                failed.append(error)
                return
            plans = [plan_for(row, region) for row in rows if row.id in free]
            found.extend(plan for plan in plans if plan is not None)

        async with anyio.create_task_group() as group:
            for region in sorted(regions):
                group.start_soon(look, region)
        # One region that does not answer hides no other one.
        if failed and not found:
            raise failed[0]
        return found

    async def _pages(self, path: str, call: str, kind: type[P], **params: str) -> list[P]:
        pages: list[P] = []
        cursor = ""
        while not pages or cursor:
            where = {**params, "per_page": PAGE, **({"cursor": cursor} if cursor else {})}
            reply = await self._api.call("GET", path, call=call, params=where)
            pages.append(reply.decode(kind))
            cursor = _next(pages[-1])
        return pages

    async def _free(self, region: str) -> set[str]:
        """Give what a region has now: a plan's locations only tell where it is ever sold."""
        path = f"/regions/{region}/availability"
        reply = await self._api.call("GET", path, call="stock", params={"type": "vcg"})
        return set(reply.decode(Availability).available_plans)

    async def _make(self, order: Order) -> Instance:
        kind, _, image = self._image_of(order).rpartition(":")
        body = CreateBody(
            region=order.offer.region,
            plan=plan_of(order.offer),
            label=order.name,
            hostname=order.name,
            tags=[TAG],
            user_data=base64.b64encode(self._script(order).encode()).decode(),
            os_id=int(image) if image.isdigit() and not kind else None,
            image_id=image if not image.isdigit() and not kind else None,
            snapshot_id=image if kind == "snapshot" else None,
            sshkey_id=self._options.ssh_keys,
            activation_email=False,
        )
        reply = await self._api.call(
            "POST", "/instances", call="create", json=msgspec.to_builtins(body)
        )
        made = instance_of(reply.decode(OneRow).instance)
        return msgspec.structs.replace(made, name=order.name, price_usd_h=order.offer.price_usd_h)

    def _image_of(self, order: Order) -> str:
        image = self._image(order, UBUNTU_22)
        if image.rpartition(":")[0] not in {"", "snapshot"}:
            raise DriverError(f"{image!r} is no image of Vultr's", mend="an os_id or snapshot:<id>")
        return image

    async def _listed(self) -> Sequence[Instance]:
        pages = await self._pages("/instances", "list", Rows)
        return [instance_of(row) for page in pages for row in page.instances]

    async def _look(self, instance: str) -> Instance:
        path = f"/instances/{instance}"
        reply = await self._api.call("GET", path, call="get", accept={404})
        if reply.status == 404:
            return Instance(instance=instance, name="", state="gone")
        return instance_of(reply.decode(OneRow).instance)

    async def _end(self, instance: str) -> None:
        path = f"/instances/{instance}"
        await self._api.call("DELETE", path, call="terminate", accept={404})


def _next(page: Plans | Rows) -> str:
    return page.meta.links.next if page.meta and page.meta.links else ""


TYPE = CloudDriverType(MANIFEST, VultrOptions, VultrDriver)
