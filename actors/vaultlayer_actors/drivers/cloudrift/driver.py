"""CloudRift: VMs at fixed prices whose machines have no names, labels or tags."""

from collections.abc import Sequence
from typing import Any, TypeVar

from vaultlayer.driver import DriverContext, Instance, Manifest, Need, Order, PriceParts
from vaultlayer.errors import AmbiguousCreateError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.api import Bearer
from vaultlayer_actors.drivers.cloud.bootstrap import one_line
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.cloud.vms import Plan, VmDriver, plan_of
from vaultlayer_actors.drivers.cloudrift.book import Book
from vaultlayer_actors.drivers.cloudrift.reading import classify, image_of, instance_of, plans_of
from vaultlayer_actors.drivers.cloudrift.wire import (
    VERSION,
    Ended,
    Envelope,
    InstanceTypes,
    Recipes,
    Rented,
    Row,
    Rows,
)

ENDPOINT = "https://api.cloudrift.ai"
LIVE = ["Initializing", "Active", "Deactivating"]
T = TypeVar("T")

WAIT_FOR_TIME = (
    "command -v timedatectl >/dev/null && timeout 60 sh -c 'until timedatectl show"
    " -p NTPSynchronized --value | grep -q yes; do sleep 1; done';"
)
"""A VM's clock is wrong until it has asked for the time, and TLS and signatures fail by then."""

INTERVALS_S = {"*": 0.2}
"""No limit is documented; five calls a second harm nobody."""

BILLING = PriceParts(billing_step_s=1.0)

MANIFEST = Manifest(
    name="cloudrift",
    title="CloudRift",
    boot_s=900.0,
    poll_s=15.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=180.0,
    cooldown_s=60.0,
    needs_keys=True,
    keys={"api_key": "API key of an account that nobody else uses (cloudrift.ai)"},
    drills=["kill"],
    visibility_s=20.0,
    unit="vm",
    unverified=[
        "prices of today, billing step and limits",
        "bodies of errors",
        "how cloudinit_commands are run, and how long they may be",
        "how long a listing lags after a create",
    ],
)


class CloudRiftOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.cloudrift]` of the configuration file; `image` is the URL of a VM image."""

    ssh_public_keys: list[str] = []
    """Keys that may log in as `riftuser`."""
    public_ip: bool = True


class CloudRiftDriver(VmDriver):
    """CloudRift with one API key; the account is this home's alone."""

    def __init__(self, context: DriverContext, options: CloudRiftOptions) -> None:
        super().__init__(
            MANIFEST,
            context,
            options,
            endpoint=ENDPOINT,
            auth=Bearer(context.secrets["api_key"], scheme="", header="X-API-Key"),
            intervals_s=INTERVALS_S,
            classify=classify,
            billing=BILLING,
        )
        self._options = options
        self._book = Book(context.state_path / "machines.json", self._clock)

    async def _plans(self, need: Need) -> Sequence[Plan]:
        del need
        selector = {"ByServiceAndLocation": {"services": ["vm"]}}
        reply = await self._post("instance-types/list", "offers", {"selector": selector})
        return [
            plan for kind in read(reply, InstanceTypes).instance_types for plan in plans_of(kind)
        ]

    async def _make(self, order: Order) -> Instance:
        data = await self._rent_data(order)
        async with self._book.turn():
            self._book.intend(order.name, [row.id for row in await self._rows()])
            try:
                made = read(await self._post("instances/rent", "create", data), Rented).instance_ids
            except AmbiguousCreateError:
                raise
            except DriverError:
                self._book.refused(order.name)
                raise
            if not made:
                self._book.refused(order.name)
                raise CapacityError(
                    "CloudRift has no such machine now", why="it answered with none", retryable=True
                )
            self._book.made(order.name, made[0])
        return Instance(
            instance=made[0],
            name=order.name,
            state="booting",
            price_usd_h=order.offer.price_usd_h,
        )

    async def _rent_data(self, order: Order) -> dict[str, Any]:
        image = self._image(order, "") or await self._newest_image()
        vm = {
            "cloudinit_commands": f"{WAIT_FOR_TIME} {one_line(self._script(order))}",
            "image_url": image,
            "ssh_key": {"PublicKeys": self._options.ssh_public_keys},
        }
        where = {"datacenters": [order.offer.region], "instance_type": plan_of(order.offer)}
        return {
            "selector": {"ByInstanceTypeAndLocation": where},
            "with_public_ip": self._options.public_ip,
            "config": {"VirtualMachine": vm},
        }

    async def _newest_image(self) -> str:
        image = image_of(read(await self._post("recipes/list", "recipes", {}), Recipes))
        if not image:
            raise DriverError(
                "CloudRift lists no VM image with NVIDIA's driver",
                mend='[providers.cloudrift] image = "https://…"',
            )
        return image

    async def _listed(self) -> Sequence[Instance]:
        rows = await self._rows()
        if self._book.has_intents():
            # Nothing may be in flight while what is new is given to whom it belongs.
            async with self._book.turn():
                rows = await self._rows()
                self._book.judge(row.id for row in rows)
        else:
            self._book.tell_strangers(row.id for row in rows)
        return [instance_of(row, self._book.name_of(row.id)) for row in rows]

    async def _rows(self) -> list[Row]:
        reply = await self._post("instances/list", "list", {"selector": {"ByStatus": LIVE}})
        return read(reply, Rows).instances

    async def _look(self, instance: str) -> Instance:
        data = {"selector": {"ById": [instance]}}
        rows = read(await self._post("instances/list", "get", data), Rows).instances
        name = self._book.name_of(instance)
        seen = next((instance_of(row, name) for row in rows if row.id == instance), None)
        if seen is None:
            # It may not be shown yet, so its name is kept.
            return Instance(instance=instance, name=name, state="gone")
        if seen.state == "gone":
            self._book.ended(instance)
        return seen

    async def _end(self, instance: str) -> None:
        data = {"selector": {"ById": [instance]}}
        reply = await self._post("instances/terminate", "terminate", data)
        if read(reply, Ended).terminated:
            return
        seen = await self._look(instance)
        if seen.state != "gone" and seen.detail != "Deactivating":
            raise DriverError(
                f"CloudRift did not end {instance}", why=f"it is {seen.state}", retryable=True
            )

    async def _post(self, path: str, call: str, data: dict[str, Any]) -> Reply:
        body = {"version": VERSION, "data": data}
        is_safe = call != "create"
        return await self._api.call(
            "POST", f"/api/v1/{path}", call=call, is_safe=is_safe, json=body
        )


def read(reply: Reply, kind: type[T]) -> T:
    """Take an answer out of its envelope."""
    return reply.decode(Envelope[kind]).data


TYPE = CloudDriverType(MANIFEST, CloudRiftOptions, CloudRiftDriver)
