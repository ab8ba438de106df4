"""Verda: VMs in Finnish and Icelandic data centres, on demand and spot, by OAuth client credentials."""

from collections.abc import Sequence

import httpx
import msgspec

from vaultlayer.driver import Account, DriverContext, Instance, Manifest, Need, Offer, Order
from vaultlayer.errors import AmbiguousCreateError, CapacityError, DriverError
from vaultlayer.logging import get_logger
from vaultlayer_actors.drivers.cloud.bootstrap import script_of
from vaultlayer_actors.drivers.cloud.clock import SteadyClock
from vaultlayer_actors.drivers.cloud.naming import is_ours
from vaultlayer_actors.drivers.cloud.opening import ApiDriver, open_api
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.cloud.tokens import TokenAuth
from vaultlayer_actors.drivers.verda.reading import (
    DISK_USD_GB_MONTH,
    NO_CAPACITY,
    classify,
    image_of,
    instance_of,
    is_early,
    is_gone,
    money,
    new_id,
    offer_of,
    refusal_of,
    strange_gpus,
    type_at,
)
from vaultlayer_actors.drivers.verda.wire import (
    Availability,
    Balance,
    CreateBody,
    InstanceType,
    OsVolume,
    Row,
    Script,
    VolumeType,
)

ENDPOINT = "https://api.verda.com/v1"
DISK_GB_LEAST = 50.0
SETTLE_S = 20.0
"""Within this time a machine that cannot be had says so."""
LOOK_S = 2.0
END_TRIES, END_PAUSE_S = 12, 5.0
"""A machine that is being made cannot be deleted yet."""
SCRIPTS_MAX = 50
"""More scripts of ours than this are swept: an account may keep 100."""

INTERVALS_S = {"*": 0.2}

MANIFEST = Manifest(
    name="verda",
    title="Verda",
    can_spot=True,
    billing_step_s=600.0,
    boot_s=900.0,
    poll_s=15.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=180.0,
    cooldown_s=60.0,
    needs_keys=True,
    keys={
        "client_id": "client id (Keys → Cloud API credentials at console.verda.com)",
        "client_secret": "client secret",
    },
    work_root="/workspace",
    drills=["kill"],
    visibility_s=20.0,
    can_stop=True,
    unit="vm",
    unverified=[
        "whether a spot machine is told before it is taken",
        "limits of calls",
        "what a create answers when there is no machine",
        "billing in steps of ten minutes",
    ],
)


class VerdaOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.verda]` of the configuration file."""

    ssh_key_ids: list[str] = []
    """Ids of SSH keys of the account that machines let in; empty: nobody."""


class VerdaDriver(ApiDriver):
    """Verda with one pair of client credentials."""

    def __init__(self, context: DriverContext, options: VerdaOptions) -> None:
        super().__init__(MANIFEST, context, options)
        self._options = options
        self._images: dict[str, list[str]] = {}
        """Disk images that each instance type boots from, as the last search told."""
        self._client_id = context.secrets["client_id"]
        self._client_secret = context.secrets["client_secret"]
        self._endpoint = (options.endpoint or ENDPOINT).rstrip("/")
        self._api = open_api(
            MANIFEST.name,
            context,
            options,
            endpoint=ENDPOINT,
            intervals_s=INTERVALS_S,
            classify=classify,
            auth=TokenAuth(MANIFEST.name, self._token_request, context.clock or SteadyClock()),
            key="client_secret",
        )

    def _token_request(self) -> httpx.Request:
        fields = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
        }
        return httpx.Request("POST", f"{self._endpoint}/oauth2/token", json=fields)

    # Offers -----------------------------------------------------------------------------------------

    async def _offers(self, need: Need) -> Sequence[Offer]:
        reply = await self._api.call(
            "GET", "/instance-types", call="offers", params={"currency": "usd"}
        )
        types = {row.instance_type: row for row in reply.decode(list[InstanceType])}
        self._images = {name: row.supported_os for name, row in types.items()}
        disk_usd = await self._disk_usd()
        disk_gb = self._verda_disk_gb(need)
        found: list[Offer | None] = []
        for spot in {"allow": (False, True), "never": (False,), "only": (True,)}[self._common.spot]:
            for place in await self._available(spot=spot):
                found += [
                    offer_of(
                        types[kind],
                        need,
                        place.location_code,
                        disk_gb=disk_gb,
                        disk_usd=disk_usd,
                        spot=spot,
                    )
                    for kind in place.availabilities
                    if kind in types
                ]
        return [offer for offer in found if offer is not None]

    async def _available(self, *, spot: bool) -> list[Availability]:
        params = {"isSpot": str(spot).lower()}
        reply = await self._api.call("GET", "/instance-availability", call="offers", params=params)
        return reply.decode(list[Availability])

    async def _disk_usd(self) -> float:
        reply = await self._api.call("GET", "/volume-types", call="offers")
        prices = {
            row.type: row.price.price_per_month_per_gb for row in reply.decode(list[VolumeType])
        }
        return money(prices.get("NVMe")) or DISK_USD_GB_MONTH

    def _verda_disk_gb(self, need: Need | None) -> float:
        return max(DISK_GB_LEAST, self._disk_gb(need))

    async def _account(self) -> Account:
        """Ask for the balance, and for GPUs with new names."""
        reply = await self._api.call("GET", "/balance", call="account")
        told = reply.decode(Balance)
        reply = await self._api.call(
            "GET", "/instance-types", call="offers", params={"currency": "usd"}
        )
        return Account(
            balance_usd=told.amount if told.currency.lower() == "usd" else None,
            strange_gpus=strange_gpus(reply.decode(list[InstanceType])),
        )

    # Machines ---------------------------------------------------------------------------------------

    async def _make(self, order: Order) -> Instance:
        script = await self._add_script(order)
        try:
            made = await self._create(order, script)
        except AmbiguousCreateError:
            # A machine may come up with the script; the sweep takes what is left of it.
            raise
        except DriverError as error:
            if not isinstance(error, CapacityError) or not (found := await self._named(order.name)):
                await self._drop_scripts([script])
                raise
            # "Unavailable" may also have been said too late.
            made = found[0].instance
        return await self._settle(made, order)

    async def _create(self, order: Order, script: str) -> str:
        kind, location, spot = type_at(order.offer.offer_id)
        body = CreateBody(
            instance_type=kind,
            image=self._options.image or image_of(self._images.get(kind, ())),
            hostname=order.name,
            description=order.name,
            location_code=location,
            ssh_key_ids=self._options.ssh_key_ids,
            startup_script_id=script,
            os_volume=OsVolume(
                name=order.name,
                size=round(order.offer.disk_b / 1e9 or self._verda_disk_gb(None)),
                # Volumes that outlive a spot machine would go on billing.
                on_spot_discontinue="delete_permanently" if spot else None,
            ),
            is_spot=spot,
            contract="SPOT" if spot else "PAY_AS_YOU_GO",
        )
        reply = await self._api.call(
            "POST", "/instances", call="create", is_safe=False, json=msgspec.to_builtins(body)
        )
        return _id_in(reply)

    async def _settle(self, made: str, order: Order) -> Instance:
        """Look until the machine is on its way, or says that there is none."""
        until_s = self._clock.now_s() + SETTLE_S
        seen = Instance(
            instance=made,
            name=order.name,
            state="booting",
            price_usd_h=order.offer.price_usd_h,
        )
        while self._clock.now_s() < until_s:
            row = await self._row(made)
            if row is not None and row.status == NO_CAPACITY:
                await self._end(made)
                raise CapacityError("Verda has no such machine there now", retryable=True)
            if row is not None and row.status not in {"new", "ordered", "pending"}:
                return seen
            await self._clock.sleep(LOOK_S)
        return seen

    async def _listed(self) -> Sequence[Instance]:
        reply = await self._api.call("GET", "/instances", call="list")
        return [instance_of(row) for row in reply.decode(list[Row])]

    async def _look(self, instance: str) -> Instance:
        row = await self._row(instance)
        if row is None:
            return Instance(instance=instance, name="", state="gone")
        return instance_of(row)

    async def _row(self, instance: str) -> Row | None:
        reply = await self._api.call("GET", f"/instances/{instance}", call="get", accept={404})
        return None if reply.status == 404 else reply.decode(Row)

    async def _end(self, instance: str) -> None:
        row = await self._row(instance)
        if row is None or instance_of(row).state == "gone":
            return
        await self._delete(row)
        if row.startup_script_id:
            await self._drop_scripts([row.startup_script_id])

    async def _delete(self, row: Row) -> None:
        """Delete a machine with its volumes, which would outlive it otherwise."""
        volumes = [one for one in (row.os_volume_id, *(row.volume_ids or ())) if one]
        fields = {
            "id": [row.id],
            "action": "delete",
            "volume_ids": list(dict.fromkeys(volumes)) or None,
            "delete_permanently": True,
        }
        text = ""
        for attempt in range(END_TRIES):
            if attempt:
                await self._clock.sleep(END_PAUSE_S)
            reply = await self._api.call(
                "PUT", "/instances", call="terminate", accept={207, 400, 404}, json=fields
            )
            text = refusal_of(reply)
            if not text or reply.status == 404 or is_gone(text):
                return
            if not is_early(text):
                break
        raise DriverError("Verda does not end the machine", why=text, retryable=True)

    # Scripts ----------------------------------------------------------------------------------------

    async def _add_script(self, order: Order) -> str:
        """Leave a script for one machine to find, and none of an earlier try: twice does no harm."""
        await self._sweep_scripts(order.name)
        script = script_of(order, is_vm=True, wheels_url=self._options.wheels_url)
        fields = {"name": order.name, "script": script}
        reply = await self._api.call("POST", "/scripts", call="script", json=fields, is_safe=True)
        found = new_id(reply.body.decode(errors="replace"))
        if not found:
            raise DriverError(
                "Verda did not keep the startup script", why=reply.text, retryable=True
            )
        return found

    async def _sweep_scripts(self, name: str) -> None:
        reply = await self._api.call("GET", "/scripts", call="scripts")
        ours = [one for one in reply.decode(list[Script]) if is_ours(one.name)]
        old = {one.id for one in ours if one.name == name}
        if len(ours) > SCRIPTS_MAX:
            names = {one.name for one in await self.list()}
            old |= {one.id for one in ours if one.name not in names}
        await self._drop_scripts(sorted(old))

    async def _drop_scripts(self, scripts: Sequence[str]) -> None:
        """Take scripts away; one that stays costs nothing but its place."""
        if not scripts:
            return
        try:
            await self._api.call(
                "DELETE", "/scripts", call="scripts", json={"scripts": list(scripts)}, accept={404}
            )
        except DriverError as error:
            get_logger().warning("script_kept", provider="verda", code=error.code, why=error.what)


def _id_in(reply: Reply) -> str:
    found = new_id(reply.body.decode(errors="replace"))
    if not found:
        why = f"HTTP {reply.status}: {reply.text}"
        raise AmbiguousCreateError("Verda answered a create with no id", why=why, retryable=True)
    return found


TYPE = CloudDriverType(MANIFEST, VerdaOptions, VerdaDriver)
