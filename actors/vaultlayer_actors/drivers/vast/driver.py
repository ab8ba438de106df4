"""Vast.ai: a market of machines, on demand or by bid; instances are unprivileged containers."""

import json
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec

from vaultlayer.driver import Account, DriverContext, Instance, Manifest, Need, Offer, Order
from vaultlayer.errors import AmbiguousCreateError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.bootstrap import first_stage, pieces, script_of
from vaultlayer_actors.drivers.cloud.opening import ApiDriver, open_api
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.reply import Reply, error_of_status
from vaultlayer_actors.drivers.vast.reading import (
    ALIASES,
    classify,
    instance_of,
    offer_of,
    spellings,
)
from vaultlayer_actors.drivers.vast.wire import (
    Asks,
    CreateBody,
    Created,
    GpuNames,
    OneRow,
    Page,
    User,
)

ENDPOINT = "https://console.vast.ai"
IMAGE = "vastai/pytorch:2.6.0-cuda-12.6.3-py312"
DISK_GB_LEAST = 8.0
ARGS_B_MAX = 4096
ENV_B_MAX = 32768
PAGE = 25

INTERVALS_S = {
    "offers": 1.0,
    "create": 4.5,
    "list": 1.0,
    "get": 2.0,
    "account": 1.0,
    "terminate": 3.0,
}

MANIFEST = Manifest(
    name="vast",
    title="Vast.ai",
    can_spot=True,
    boot_s=1200.0,
    poll_s=15.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=120.0,
    cooldown_s=30.0,
    needs_keys=True,
    keys={"api_key": "API key (Account → Keys at console.vast.ai)"},
    work_root="/workspace",
    drills=["kill"],
    visibility_s=20.0,
    can_stop=True,
    unit="container",
    unverified=["how long a listing lags after a create", "what a container gets before an outbid"],
)


class VastOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.vast]` of the configuration file."""

    bid_factor: float = 1.15
    """How far over the lowest bid that can win now we go."""
    verified: bool = True
    """Only hosts that Vast.ai has verified."""
    reliability: float = 0.95
    """The least of Vast.ai's own figure."""
    image_login: str = ""
    """Name in the vault of `-u USER -p PASS REGISTRY`; empty: public images."""


class VastDriver(ApiDriver):
    """Vast.ai with one API key."""

    def __init__(self, context: DriverContext, options: VastOptions) -> None:
        super().__init__(MANIFEST, context, options)
        self._options = options
        self._secrets = context.secrets
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
        factors: list[float | None] = []
        if self._options.spot != "only":
            factors.append(None)
        if self._options.spot != "never":
            factors.append(self._options.bid_factor)
        found: list[Offer] = []
        for factor in factors:
            found += await self._search(need, factor)
        return found

    async def _search(self, need: Need, factor: float | None) -> list[Offer]:
        names = spellings(need.gpu)
        if not names:
            return []
        disk_gb = self._vast_disk_gb(need)
        query: dict[str, Any] = {
            "gpu_name": {"in": names},
            "num_gpus": {"eq": max(1, need.gpu_count)},
            "rentable": {"eq": True},
            "rented": {"eq": False},
            "external": {"eq": False},
            "disk_space": {"gte": disk_gb},
            "reliability2": {"gte": self._options.reliability},
            "order": [["dph_total", "asc"]],
            "type": "on-demand" if factor is None else "bid",
            "limit": 64,
            "allocated_storage": disk_gb,
        }
        if self._options.verified:
            query["verified"] = {"eq": True}
        reply = await self._api.call(
            "POST", "/api/v0/bundles/", call="offers", is_safe=True, json=query
        )
        asks = reply.decode(Asks).offers
        offers = [offer_of(ask, need, disk_gb=disk_gb, bid_factor=factor) for ask in asks]
        return [offer for offer in offers if offer is not None]

    def _vast_disk_gb(self, need: Need | None) -> float:
        return max(DISK_GB_LEAST, self._disk_gb(need))

    # Machines ---------------------------------------------------------------------------------------

    async def _make(self, order: Order) -> Instance:
        ask = order.offer.offer_id.partition(":")[0]
        body = self._create_body(order)
        reply = await self._api.call(
            "PUT",
            f"/api/v0/asks/{ask}/",
            call="create",
            is_safe=False,
            accept={400, 403, 404, 410},
            json=msgspec.to_builtins(body),
        )
        answer = reply.decode(Created) if reply.status < 300 else reply.peek(Created)
        if reply.status < 300 and answer and answer.success and answer.new_contract:
            return Instance(
                instance=str(answer.new_contract),
                name=order.name,
                state="booting",
                price_usd_h=order.offer.price_usd_h,
            )
        if answer and answer.new_contract:
            await self._end_hidden(str(answer.new_contract))
            raise CapacityError("Vast.ai refused the bid", why=answer.text, retryable=True)
        raise self._refusal(reply)

    def _create_body(self, order: Order) -> CreateBody:
        script = script_of(order, is_vm=False, wheels_url=self._options.wheels_url)
        env = pieces(script)
        command = first_stage()
        if len(command) + 16 > ARGS_B_MAX or sum(map(len, env.values())) > ENV_B_MAX:
            raise DriverError("the boot script is larger than Vast.ai allows")
        bid_usd_h = order.offer.parts.machine_usd_h if order.offer.parts else None
        return CreateBody(
            image=order.image or self._options.image or IMAGE,
            env=env,
            price=bid_usd_h if order.offer.spot else None,
            disk=order.offer.disk_b / 1e9 or self._vast_disk_gb(None),
            label=order.name,
            args=["-c", command],
            image_login=self._secrets.get(self._options.image_login) or None,
        )

    async def _end_hidden(self, instance: str) -> None:
        """End what a failed create has left behind: it would bill its disk, and could come to life."""
        try:
            with anyio.CancelScope(shield=True):
                await self._end(instance)
        except DriverError as error:
            raise AmbiguousCreateError(
                f"a failed create left {instance} behind, and it does not end", why=error.what
            ) from error

    def _refusal(self, reply: Reply) -> DriverError:
        known = classify(reply)
        if known is not None:
            return known
        error = error_of_status(reply)
        if type(error) is DriverError:
            # Words that nobody knows say nothing about the machine: look for it.
            return AmbiguousCreateError(error.what, why=error.why)
        return error

    async def _account(self) -> Account:
        user = await self._api.call("GET", "/api/v0/users/current/", call="account")
        names = await self._api.call("GET", "/api/v0/gpu_names/unique/", call="account")
        spelt = names.decode(GpuNames).gpu_names
        return Account(
            balance_usd=user.decode(User).credit,
            strange_gpus=sorted({one for one in spelt if one not in ALIASES}),
        )

    async def _listed(self) -> Sequence[Instance]:
        return await self._pages({})

    async def _named(self, name: str) -> Sequence[Instance]:
        return await self._pages({"label": {"eq": name}})

    async def _pages(self, filters: dict[str, Any]) -> list[Instance]:
        found: list[Instance] = []
        token: str | None = None
        while True:
            params = {
                "select_filters": json.dumps(filters),
                "order_by": json.dumps([{"col": "id", "dir": "asc"}]),
                "limit": str(PAGE),
                **({"after_token": token} if token else {}),
            }
            reply = await self._api.call("GET", "/api/v1/instances/", call="list", params=params)
            page = reply.decode(Page)
            found += [instance_of(row) for row in page.instances]
            if not page.next_token or page.next_token == token:
                return found
            token = page.next_token

    async def _look(self, instance: str) -> Instance:
        path = f"/api/v0/instances/{instance}/"
        reply = await self._api.call("GET", path, call="get", params={"owner": "me"}, accept={404})
        row = reply.decode(OneRow).instances if reply.status < 300 else None
        if reply.status == 404 and (error := classify(reply)) is not None:
            raise error
        return (
            Instance(instance=instance, name="", state="gone") if row is None else instance_of(row)
        )

    async def _end(self, instance: str) -> None:
        path = f"/api/v0/instances/{instance}/"
        reply = await self._api.call(
            "DELETE", path, call="terminate", accept={400, 404, 410}, json={}
        )
        answer = reply.peek(Created)
        if reply.status == 404 and (error := classify(reply)) is not None:
            raise error
        gone = reply.status in {404, 410} or (answer and answer.error == "no_such_instance")
        if not gone and (reply.status >= 400 or (answer and answer.success is False)):
            raise error_of_status(reply)


TYPE = CloudDriverType(MANIFEST, VastOptions, VastDriver)
