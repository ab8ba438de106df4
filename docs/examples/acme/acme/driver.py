"""Acme GPU as a provider: virtual machines at fixed prices, rented and given back by four calls."""

from collections.abc import Sequence

from acme.wire import Failure, GpuType, Machines, Me, Row, Types
from vaultlayer.driver import (
    Account,
    DriverContext,
    Instance,
    Manifest,
    Need,
    Offer,
    Order,
    PriceParts,
)
from vaultlayer.errors import BalanceError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.bootstrap import script_of
from vaultlayer_actors.drivers.cloud.gpus import canonical_gpu
from vaultlayer_actors.drivers.cloud.opening import ApiDriver, open_api
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.pricing import all_in_usd_h
from vaultlayer_actors.drivers.cloud.reply import Reply

MANIFEST = Manifest(
    name="acme",
    title="Acme GPU",
    boot_s=600.0,
    needs_keys=True,
    keys={"api_key": "API key (Settings at acme.example)"},
    drills=["kill"],
    visibility_s=10.0,
    unit="vm",
    unverified=["all of it: there is no such provider"],
)

STATES = {"creating": "booting", "up": "running", "lost": "stopped", "ending": "stopped"}

ALIASES = {"RTX 4090": "RTX4090", "L4": "L4"}


class AcmeOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.acme]`: what all clouds share; a machine's image and disk are fixed at Acme."""


def classify(reply: Reply) -> DriverError | None:
    """Say what a failure means; None leaves it to the HTTP status."""
    failure = reply.peek(Failure) or Failure()
    if failure.error == "sold_out":
        return CapacityError("Acme has no such machine now", retryable=True)
    if failure.error == "no_credit":
        return BalanceError("the account at Acme is empty", mend="add credit at acme.example")
    return None


def instance_of(row: Row) -> Instance:
    """Give a machine in our words; a word that nobody knows is `unknown`, never `gone`."""
    return Instance(
        instance=row.id,
        name=row.name,
        state=STATES.get(row.state, "unknown"),
        price_usd_h=row.usd_h,
        detail=row.state,
    )


class AcmeDriver(ApiDriver):
    """Acme with one API key."""

    def __init__(self, context: DriverContext, options: AcmeOptions) -> None:
        super().__init__(MANIFEST, context, options)
        self._api = open_api(
            "acme",
            context,
            options,
            endpoint="https://api.acme.example",
            intervals_s={"*": 0.2},
            classify=classify,
        )

    async def _offers(self, need: Need) -> Sequence[Offer]:
        reply = await self._api.call("GET", "/v1/types", call="offers")
        found = [offer_of(row, need) for row in reply.decode(Types).types if row.free]
        return [one for one in found if one is not None]

    async def _make(self, order: Order) -> Instance:
        kind, _, zone = order.offer.offer_id.partition("/")
        body = {
            "type": kind,
            "zone": zone,
            "name": order.name,
            "boot_script": script_of(order, is_vm=True, wheels_url=self._common.wheels_url),
        }
        reply = await self._api.call("POST", "/v1/machines", call="create", json=body)
        return instance_of(reply.decode(Row))

    async def _listed(self) -> Sequence[Instance]:
        found: list[Instance] = []
        after = ""
        while True:
            reply = await self._api.call(
                "GET", "/v1/machines", call="list", params={"after": after}
            )
            page = reply.decode(Machines)
            found += [instance_of(row) for row in page.machines]
            if not page.next:
                return found
            after = page.next

    async def _look(self, instance: str) -> Instance:
        path = f"/v1/machines/{instance}"
        reply = await self._api.call("GET", path, call="get", accept={404})
        if reply.status == 404:
            return Instance(instance=instance, name="", state="gone")
        return instance_of(reply.decode(Row))

    async def _end(self, instance: str) -> None:
        path = f"/v1/machines/{instance}"
        await self._api.call("DELETE", path, call="terminate", accept={404})

    async def _account(self) -> Account:
        me = (await self._api.call("GET", "/v1/me", call="account")).decode(Me)
        return Account(balance_usd=me.credit_usd, can_create=me.may_create)


def offer_of(row: GpuType, need: Need) -> Offer | None:
    """Give a type as an offer; None where nobody knows for certain what its GPU is."""
    gpu = canonical_gpu(row.gpu, row.memory_gb, ALIASES)
    if gpu is None or gpu != need.gpu:
        return None
    parts = PriceParts(machine_usd_h=row.usd_h)
    return Offer(
        provider="acme",
        offer_id=f"{row.type}/{row.zone}",
        gpu=gpu,
        gpu_count=row.count,
        price_usd_h=all_in_usd_h(parts),
        region=row.zone,
        parts=parts,
        gpu_memory_b=int(row.memory_gb * 1024**3),
    )


TYPE = CloudDriverType(MANIFEST, AcmeOptions, AcmeDriver)
